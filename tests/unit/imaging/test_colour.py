"""Colour profiles and their conversion, against LittleCMS and the published formulas."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from atdsr import imaging
from atdsr.imaging import CodePoints, Picture, colour, notices, open_frames, read, write
from helpers.colours import ADOBE, GRID, HLG, P3, POINTS, PQ, XY, by_lcms, chrm, gama, srgb, to_xyz
from helpers.pictures import SRGB, chunk, chunks_in, gray_profile, noise, png


@pytest.mark.parametrize("points", POINTS)
def test_profiles_give_the_colours_of_the_formulas(points):
    primaries, transfer = points
    icc = colour.icc_from_code_points(CodePoints(*points), gray=False)
    wanted = srgb(GRID, to_xyz(XY[primaries]), transfer)
    assert np.abs(by_lcms(GRID, icc) - wanted).max() <= 2
    ramp = np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
    gray = colour.icc_from_code_points(CodePoints(*points), gray=True)
    wanted = srgb(ramp.repeat(3, 2), to_xyz(XY[1]), transfer)
    # LittleCMS takes gray through a coarse table, which misses dark levels of steep curves
    assert np.abs(by_lcms(ramp, gray) - wanted).mean() <= 0.6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("points", POINTS)
def test_conversion_to_srgb_is_that_of_the_formulas(points, dtype):
    """Within a level of 8 bits also with 16 bits and gray, where LittleCMS is far off."""
    primaries, transfer = points
    samples = noise(4, dtype).clip(np.iinfo(dtype).max // 1000)  # "log" has a step at black
    picture = Picture(samples, code_points=CodePoints(*points))
    made = colour.to_srgb(picture)
    unit = np.iinfo(dtype).max / 255
    wanted = srgb(picture.samples[..., :3] / unit, to_xyz(XY[primaries]), transfer)
    assert (made.samples.dtype, made.icc, made.code_points) == (dtype, None, None)
    assert np.abs(made.samples[..., :3] / unit - wanted).max() <= 0.75
    assert np.array_equal(made.samples[..., 3], picture.samples[..., 3])
    gray = Picture(samples[..., 2:], code_points=CodePoints(*points))
    made = colour.to_srgb(gray)
    wanted = srgb((gray.samples[..., :1] / unit).repeat(3, 2), to_xyz(XY[1]), transfer)
    assert made.samples.shape == gray.samples.shape
    assert np.abs(made.samples[..., 0] / unit - wanted[..., 0]).max() <= 0.75
    assert np.array_equal(made.samples[..., 1], gray.samples[..., 1])


def curve(kind: int, *numbers: float) -> bytes:
    fixed = [round(65536 * number) for number in numbers]
    return struct.pack(f">4s4xH2x{len(fixed)}i", b"para", kind, *fixed)


def sampled(values: np.ndarray) -> bytes:
    return struct.pack(">4s4xI", b"curv", len(values)) + values.astype(">u2").tobytes()


@pytest.mark.parametrize(
    "tone",
    [
        *(curve(0, 2.2), curve(1, 2.0, 0.9, 0.1), curve(2, 2.0, 0.9, 0.1, -0.005)),
        *(curve(3, 2.4, 0.95, 0.05, 0.08, 0.04), curve(4, 2.4, 0.9, 0.05, 0.08, 0.04, 0.01, 0.0)),
        *(
            sampled(np.array([])),
            sampled(np.array([512])),
            sampled(np.arange(0, 65536, 257) ** 0.9),
        ),
    ],
)
def test_curves_of_every_kind_are_read_as_littlecms_reads_them(tone):
    icc = colour.build_profile("x", colour.PRIMARIES[12][1], [tone], gray=False)
    made = colour.to_srgb(Picture(GRID, icc)).samples
    assert np.abs(made.astype(int) - by_lcms(GRID, icc)).max() <= 1


@pytest.mark.slow
def test_damaged_profiles_harm_nothing(tmp_path):
    good, chance = colour.icc_from_code_points(P3, gray=False), np.random.default_rng(0)
    assert good is not None
    for _ in range(60):
        bad = bytearray(good[: chance.integers(20, len(good))])
        bad[20 + chance.integers(len(bad) - 20) if len(bad) > 20 else 0] = chance.integers(256)
        for name in ("bmp", "webp", "png"):
            for channels in (1, 3):
                icc = bytes(bad) if channels == 3 else bytes(bad).replace(b"RGB ", b"GRAY")
                write(Picture(noise(channels), icc), tmp_path / f"x.{name}", overwrite=True)
                notices(Picture(noise(channels), icc), f"x.{name}")


def test_what_code_points_leave_open_is_filled_in():
    assert colour.resolve(None) is None
    for open_ in (0, 2, 3, 19, 255):
        assert colour.resolve(CodePoints(open_, open_)) is None
        assert colour.resolve(CodePoints(open_, 13)) == CodePoints(1, 13)
        assert colour.resolve(CodePoints(open_, 16)) == PQ  # never taken for sRGB
        assert colour.resolve(CodePoints(open_, 18)) == HLG
        assert colour.resolve(CodePoints(12, open_)) == P3


@pytest.mark.slow
def test_every_code_point_makes_a_sound_profile():
    for primaries in range(256):
        for transfer in (0, 1, 2, 3, 8, 10, 11, 12, 13, 16, 17, 18, 19, 255):
            for gray in (False, True):
                given = Picture(
                    noise(1 if gray else 3), code_points=CodePoints(primaries, transfer)
                )
                points, icc = colour.resolve(given.code_points), colour.profile_of(given)
                assert (icc is None) == (points in (None, CodePoints(1, 13)))
                if icc is not None and points is not None:
                    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
                    name = ImageCms.getProfileDescription(profile).strip()
                    assert name == colour.name_of(points)
                    assert icc[16:20] == (b"GRAY" if gray else b"RGB ")
                    assert len(icc) == int.from_bytes(icc[:4], "big")
                    cicp_tag = b"cicp" + bytes(
                        (0, 0, 0, 0, points.primaries, points.transfer, 0, 1)
                    )
                    assert (cicp_tag in icc) != gray


@pytest.mark.parametrize("points", [P3, PQ, HLG])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_code_points_stay_in_png_and_avif_and_become_profiles_elsewhere(tmp_path, points, channels):
    picture = Picture(noise(channels), code_points=points)
    write(picture, tmp_path / "x.png")
    names = list(chunks_in((tmp_path / "x.png").read_bytes()).items())
    assert names[1] == (b"cICP", bytes((points.primaries, points.transfer, 0, 1)))
    assert b"iCCP" not in dict(names)
    back = read(tmp_path / "x.png")
    assert back.code_points == points
    assert np.array_equal(back.samples, picture.samples)
    write(picture, tmp_path / "x.avif")
    back = read(tmp_path / "x.avif")
    assert (back.code_points, back.icc) == (points, None)
    for name in ("tiff", "webp", *(["jpg"] if channels in (1, 3) else [])):
        write(picture, tmp_path / f"x.{name}")
        gray = channels < 3 and name in ("tiff", "jpg")
        with Image.open(tmp_path / f"x.{name}") as image:
            assert image.info["icc_profile"] == colour.icc_from_code_points(points, gray=gray)
            if name in ("tiff", "webp"):  # only said to be another, not converted
                shown = np.array(image.convert("LA" if channels == 2 and gray else image.mode))
                wanted = (
                    picture.samples if gray or channels > 2 else noise(channels)[..., [0, 0, 0]]
                )
                assert np.array_equal(shown.reshape(23, 37, -1)[..., :3], wanted[..., :3])


@pytest.mark.parametrize("name", ["bmp", "gif"])
def test_colours_become_srgb_where_nothing_can_be_said(tmp_path, name):
    flat = np.broadcast_to(np.array([60, 200, 90], np.uint8), (4, 4, 3)).copy()
    for points in (P3, PQ, HLG, CodePoints(1, 8)):
        write(Picture(flat, code_points=points), tmp_path / f"x.{name}", overwrite=True)
        wanted = srgb(flat, to_xyz(XY[points.primaries]), points.transfer)
        assert np.abs(read(tmp_path / f"x.{name}").samples - wanted).max() <= 2
    icc = colour.icc_from_code_points(P3, gray=False)
    write(Picture(flat, icc), tmp_path / f"x.{name}", overwrite=True)
    wanted = srgb(flat, to_xyz(XY[12]), 13)
    assert np.abs(read(tmp_path / f"x.{name}").samples - wanted).max() <= 2
    write(Picture(flat, SRGB), tmp_path / f"x.{name}", overwrite=True)
    assert np.array_equal(read(tmp_path / f"x.{name}").samples, flat)
    write(Picture(flat, b"\0" * 16 + b"RGB " + bytes(200)), tmp_path / f"x.{name}", overwrite=True)
    assert np.array_equal(read(tmp_path / f"x.{name}").samples, flat)


def test_hdr_reference_white_becomes_white(tmp_path):
    """BT.2408: 203 cd/m2, which is 58 % of PQ and 75 % of HLG, is SDR's white."""
    for points, level in ((PQ, 0.5807), (HLG, 0.75)):
        for factor, wanted in ((1, 255), (1.2, 255), (0.5, 0)):
            gray = np.full((2, 2, 3), round(65535 * factor * level), np.uint16)
            made = colour.to_srgb(Picture(gray, code_points=points))
            assert (made.icc, made.code_points) == (None, None)
            if factor >= 1:
                assert np.abs(made.samples / 257 - wanted).max() < 1
            else:
                assert made.samples.max() / 257 < 200


def test_gray_of_a_bmp_stays_gray(tmp_path):
    write(Picture(noise(1), gray_profile()), tmp_path / "x.bmp")
    with Image.open(tmp_path / "x.bmp") as image:
        assert image.mode == "L"
        wanted = gray_in_srgb(noise(1))[..., 0]
        assert np.abs(np.array(image).astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_animations_keep_code_points(tmp_path, channels):
    frames = [Picture(np.roll(noise(channels), k, 0), code_points=PQ) for k in range(3)]
    imaging.write_frames(frames, tmp_path / "x.png", durations=[40] * 3)
    assert chunks_in((tmp_path / "x.png").read_bytes())[b"cICP"] == bytes((9, 16, 0, 1))
    again = list(open_frames(tmp_path / "x.png"))
    assert [frame.code_points for frame in again] == [PQ] * 3
    imaging.write_frames(again, tmp_path / "x.webp", durations=[40] * 3)
    with Image.open(tmp_path / "x.webp") as image:
        assert image.info["icc_profile"] == colour.icc_from_code_points(PQ, gray=False)
    flat = [Picture(np.full((4, 4, 3), 90 + k, np.uint8), code_points=PQ) for k in range(3)]
    imaging.write_frames(flat, tmp_path / "x.gif", durations=[40] * 3)
    for before, after in zip(flat, open_frames(tmp_path / "x.gif"), strict=True):
        wanted = srgb(before.samples, to_xyz(XY[9]), 16)
        assert np.abs(after.samples[..., :3] - wanted).max() <= 2


def gray_in_srgb(samples: np.ndarray) -> np.ndarray:
    """Gray of gamma 2.2, as `gray_profile` says."""
    linear = (samples / 255) ** (563 / 256)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * encoded


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_gray_with_a_profile_keeps_its_curve_as_rgb(tmp_path, name):
    write(Picture(noise(1), gray_profile()), tmp_path / f"x.{name}")
    picture = read(tmp_path / f"x.{name}")
    assert np.abs(picture.samples.astype(int) - noise(1)).max() <= (0 if name == "webp" else 8)
    wanted = gray_in_srgb(GRID[..., :1]).repeat(3, 2)
    equal = GRID[..., [0, 0, 0]]
    assert np.abs(by_lcms(equal, picture.icc) - wanted).max() <= 1.5


def test_an_animation_of_gray_keeps_the_curve_of_its_profile(tmp_path):
    """Frames are RGB; a profile of gray would not fit, and was dropped."""
    frames = [Picture(np.roll(noise(1), k, 0), gray_profile()) for k in range(2)]
    imaging.write_frames(frames, tmp_path / "x.png", durations=[40] * 2)
    first = next(iter(open_frames(tmp_path / "x.png")))
    assert np.array_equal(first.samples[..., :3], noise(1).repeat(3, 2))
    assert np.abs(by_lcms(noise(3), first.icc) - gray_in_srgb(noise(3))).max() <= 1.5


def test_pillow_images_carry_a_profile_of_the_code_points(tmp_path):
    image = imaging.to_pil(Picture(noise(3), code_points=P3))
    assert image.info["icc_profile"] == colour.icc_from_code_points(P3, gray=False)
    assert imaging.from_pil(image).icc == image.info["icc_profile"]
    (tmp_path / "x.png").write_bytes(png(noise(3), gama(100_000) + chrm(ADOBE)))
    with Image.open(tmp_path / "x.png") as image:
        assert imaging.from_pil(image).icc == read(tmp_path / "x.png").icc
    (tmp_path / "x.png").write_bytes(png(noise(3), gama(100_000) + chunk(b"sRGB", b"\0")))
    with Image.open(tmp_path / "x.png") as image:
        assert imaging.from_pil(image).icc is None


def test_notices_name_what_changes():
    picture = Picture(noise(3), code_points=PQ)
    assert notices(picture, "x.png") == ()
    assert notices(picture, "x.jpg") == (
        "BT.2020 PQ is kept as an ICC profile, since jpg holds no code points.",
    )
    assert notices(picture, "x.bmp") == (
        "BT.2020 PQ becomes sRGB, since bmp holds no colour profile; what is brighter than 203 "
        "cd/m2 becomes white.",
    )
    assert notices(Picture(noise(3), code_points=P3), "x.GIF") == (
        "Display P3 becomes sRGB, since gif holds no colour profile.",
    )
    assert notices(Picture(noise(1), gray_profile()), "x.webp") == ()
    assert notices(Picture(noise(1), gray_profile()), "x.bmp") == (
        "A colour profile without a name becomes sRGB, since bmp holds no colour profile.",
    )
    for plain in (Picture(noise(3)), Picture(noise(3), SRGB), Picture(noise(4, np.uint16))):
        for name in imaging.FORMATS:
            assert notices(plain, f"x.{name}") == ()
    with pytest.raises(imaging.PictureError, match=r"no format has the suffix '\.txt'"):
        notices(picture, "x.txt")
