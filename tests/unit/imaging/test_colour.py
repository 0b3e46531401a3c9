"""Colour that files describe without a profile, against LittleCMS and the published formulas."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from atdsr import imaging
from atdsr.imaging import CodePoints, Picture, colour, notices, open_frames, read, write
from helpers.pictures import SRGB, chunk, chunks_in, gray_profile, noise, png, saved

P3, PQ, HLG = CodePoints(12, 13), CodePoints(9, 16), CodePoints(9, 18)
XY = {  # red, green, blue; the white is D65 in all of them
    1: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
POINTS = [(12, 13), (9, 1), (9, 14), (9, 15), (1, 4), (1, 5), (1, 6), (1, 7), (12, 8), (1, 9)]
POINTS += [(9, 16), (12, 16), (1, 17), (9, 18), (12, 18)]
D65 = (0.3127, 0.3290)
GRID = np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * 3), 3).reshape(1, -1, 3)


def to_xyz(xy: tuple[float, ...]) -> np.ndarray:
    """The matrix from linear RGB to XYZ."""
    columns = np.array([(x, y, 1 - x - y) for x, y in zip(xy[::2], xy[1::2], strict=True)]).T
    white = np.array([D65[0], D65[1], 1 - sum(D65)]) / D65[1]
    return columns * np.linalg.solve(columns, white)


def light(v: np.ndarray, transfer: int) -> np.ndarray:
    """Light of a display as parts of white, from the inverse of the formulas of H.273."""
    match transfer:
        case 1 | 6 | 14 | 15:
            return np.where(v < 0.081, v / 4.5, ((v + 0.0993) / 1.0993) ** (1 / 0.45))
        case 4:
            return v**2.2
        case 5:
            return v**2.8
        case 7:
            return np.where(v < 0.0913, v / 4, ((v + 0.1115) / 1.1115) ** (1 / 0.45))
        case 8:
            return v
        case 9:
            return np.where(v > 0, 10.0 ** (2 * v - 2), 0)
        case 13:
            return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
        case 16:
            m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
            p = v ** (1 / m2)
            return 10000 / 203 * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1)
        case 17:
            return 52.37 / 48 * v**2.6
        case _:
            a, b, c = 0.17883277, 0.28466892, 0.55991073
            e = np.where(v <= 0.5, v * v / 3, (np.exp((v - c) / a) + b) / 12)
            return 1000 / 203 * e**1.2


def srgb(samples: np.ndarray, matrix: np.ndarray, transfer: int) -> np.ndarray:
    """The sRGB of samples of 8 bits."""
    linear = light(samples / 255, transfer).clip(0, 1) @ matrix.T @ np.linalg.inv(to_xyz(XY[1])).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * encoded


def by_lcms(samples: np.ndarray, icc: bytes | None) -> np.ndarray:
    """The sRGB of samples as LittleCMS makes it through a profile."""
    assert icc is not None
    image = Image.fromarray(samples.squeeze(2) if samples.shape[2] == 1 else samples)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    target = ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    made = ImageCms.profileToProfile(image, profile, target, intent, "RGB")
    assert made is not None
    return np.array(made)


def iccp(icc: bytes) -> bytes:
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(icc))


def gama(number: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", number))


def chrm(xy: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in (*D65, *xy))))


def cicp(*numbers: int) -> bytes:
    return chunk(b"cICP", bytes(numbers))


def loaded(folder: Path, before: bytes = b"", after: bytes = b"", channels: int = 3) -> Picture:
    (folder / "in.png").write_bytes(png(noise(channels), before, after))
    return read(folder / "in.png")


@pytest.mark.parametrize("points", POINTS)
def test_profiles_give_the_colours_of_the_formulas(points):
    primaries, transfer = points
    icc = colour.of_code_points(CodePoints(*points), gray=False)
    wanted = srgb(GRID, to_xyz(XY[primaries]), transfer)
    assert np.abs(by_lcms(GRID, icc) - wanted).max() <= 2
    ramp = np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
    gray = colour.of_code_points(CodePoints(*points), gray=True)
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
    icc = colour._profile("x", colour.PRIMARIES[12][1], [tone], gray=False)
    made = colour.to_srgb(Picture(GRID, icc)).samples
    assert np.abs(made.astype(int) - by_lcms(GRID, icc)).max() <= 1


@pytest.mark.slow
def test_damaged_profiles_harm_nothing(tmp_path):
    good, chance = colour.of_code_points(P3, gray=False), np.random.default_rng(0)
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
    assert colour.resolved(None) is None
    for open_ in (0, 2, 3, 19, 255):
        assert colour.resolved(CodePoints(open_, open_)) is None
        assert colour.resolved(CodePoints(open_, 13)) == CodePoints(1, 13)
        assert colour.resolved(CodePoints(open_, 16)) == PQ  # never taken for sRGB
        assert colour.resolved(CodePoints(open_, 18)) == HLG
        assert colour.resolved(CodePoints(12, open_)) == P3


@pytest.mark.slow
def test_every_code_point_makes_a_sound_profile():
    for primaries in range(256):
        for transfer in (0, 1, 2, 3, 8, 10, 11, 12, 13, 16, 17, 18, 19, 255):
            for gray in (False, True):
                given = Picture(
                    noise(1 if gray else 3), code_points=CodePoints(primaries, transfer)
                )
                points, icc = colour.resolved(given.code_points), colour.profile(given)
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


@pytest.mark.parametrize(("number", "exponent"), [(100_000, 1.0), (55_556, 1.8), (40_000, 2.5)])
def test_gamma_of_png_becomes_a_profile(tmp_path, number, exponent):
    picture = loaded(tmp_path, gama(number))
    assert np.array_equal(picture.samples, noise(3))
    wanted = 12.92 * (GRID / 255) ** exponent
    linear = (GRID / 255) ** exponent
    wanted = np.where(linear <= 0.0031308, wanted, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(by_lcms(GRID, picture.icc) - 255 * wanted).max() <= 2
    for name in ("png", "jpg", "tiff", "webp", "avif"):
        write(picture, tmp_path / f"out.{name}")
        assert read(tmp_path / f"out.{name}").icc == picture.icc
    gray = loaded(tmp_path, gama(number), channels=1)
    assert np.abs(by_lcms(GRID[..., :1], gray.icc) - 255 * wanted[..., :1]).max() <= 2


def test_primaries_of_png_become_a_profile(tmp_path):
    icc = loaded(tmp_path, gama(45_455) + chrm(ADOBE)).icc
    assert np.abs(by_lcms(GRID, icc) - srgb(GRID, to_xyz(ADOBE), 13)).max() <= 2
    assert loaded(tmp_path, chrm(ADOBE)).icc == icc


@pytest.mark.parametrize("gray", [False, True])
def test_what_png_says_counts_in_its_order(tmp_path, gray):
    own, channels = (gray_profile(), 1) if gray else (SRGB, 3)
    linear, srgb_chunk = gama(100_000), chunk(b"sRGB", b"\0")

    def meaning(before: bytes) -> tuple[bytes | None, CodePoints | None]:
        picture = loaded(tmp_path, before, channels=channels)
        return picture.icc, picture.code_points

    assert meaning(cicp(12, 13, 0, 1) + iccp(own) + linear) == (None, P3)
    assert meaning(iccp(own) + linear) == (own, None)
    assert meaning(srgb_chunk + linear) == (None, None)
    assert meaning(cicp(2, 16, 0, 1) + iccp(own)) == (None, PQ)
    assert meaning(cicp(2, 2, 0, 1) + iccp(own)) == (own, None)
    assert meaning(cicp(1, 13, 0, 1) + linear) == (None, None)
    assert meaning(cicp(1, 13, 0, 1) + iccp(own)) == (None, None)
    assert meaning(gama(45_455)) == (None, None)
    assert meaning(gama(45_455) + chrm(XY[1])) == (None, None)
    assert meaning(linear)[0] is not None


@pytest.mark.parametrize(
    "nonsense",
    [
        *(
            cicp(2, 2, 0, 1),
            cicp(12, 13, 1, 1),
            cicp(12, 13, 0, 2),
            cicp(12, 13),
            cicp(3, 13, 0, 1),
        ),
        *(gama(0), gama(1), gama(2**32 - 1), chunk(b"gAMA", b"\0"), chunk(b"cHRM", b"")),
        *(chunk(b"cHRM", bytes(32)), chunk(b"cHRM", b"\xff" * 32), chrm((0.3, 0.3) * 3)),
        cicp(12, 13, 0, 1)[:-1] + b"?",
    ],
)
def test_descriptions_that_say_nothing_are_passed_over(tmp_path, nonsense):
    picture = loaded(tmp_path, nonsense)
    assert (picture.icc, picture.code_points) == (None, None)


def test_colour_behind_the_pixels_does_not_count(tmp_path):
    picture = loaded(tmp_path, after=cicp(12, 13, 0, 1) + gama(100_000))
    assert (picture.icc, picture.code_points) == (None, None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_narrow_range_becomes_full(tmp_path, channels, dtype):
    levels = np.array([0, 16, 17, 125, 126, 234, 235, 255], np.int64) * (np.iinfo(dtype).max // 255)
    wide = levels if dtype == np.uint8 else (levels * 256) // 257  # the levels of 8 bits, shifted
    samples = np.broadcast_to(wide[None, :, None], (2, 8, channels)).astype(dtype)
    (tmp_path / "x.png").write_bytes(png(samples, cicp(9, 16, 0, 0)))
    picture = read(tmp_path / "x.png")
    top = np.iinfo(dtype).max
    step = 1 if dtype == np.uint8 else 256
    wanted = ((wide - 16 * step) / (219 * step) * top).clip(0, top)
    colours = channels - (channels in (2, 4))
    assert np.abs(picture.samples[..., :colours] - wanted[None, :, None]).max() <= 0.5
    assert np.array_equal(picture.samples[..., colours:], samples[..., colours:])
    write(picture, tmp_path / "y.png")
    assert chunks_in((tmp_path / "y.png").read_bytes())[b"cICP"] == bytes((9, 16, 0, 1))


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
            assert image.info["icc_profile"] == colour.of_code_points(points, gray=gray)
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
    icc = colour.of_code_points(P3, gray=False)
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
        assert image.info["icc_profile"] == colour.of_code_points(PQ, gray=False)
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
    assert image.info["icc_profile"] == colour.of_code_points(P3, gray=False)
    assert imaging.from_pil(image).icc == image.info["icc_profile"]
    (tmp_path / "x.png").write_bytes(png(noise(3), gama(100_000) + chrm(ADOBE)))
    with Image.open(tmp_path / "x.png") as image:
        assert imaging.from_pil(image).icc == read(tmp_path / "x.png").icc
    (tmp_path / "x.png").write_bytes(png(noise(3), gama(100_000) + chunk(b"sRGB", b"\0")))
    with Image.open(tmp_path / "x.png") as image:
        assert imaging.from_pil(image).icc is None


@pytest.mark.parametrize(("space", "index"), [(0xFFFF, b"R03\0"), (2, b"R98\0")])
def test_cameras_that_name_adobe_rgb_in_exif_only(tmp_path, space, index):
    """DCF 2.0 calls Adobe RGB "uncalibrated", and names it in the table on interoperability."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08"
    exif += struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 0)
    exif += struct.pack(">HHHIHHHHIII", 2, 0xA001, 3, 1, space, 0, 0xA005, 4, 1, 56, 0)
    exif += struct.pack(">HHHI4sI", 1, 1, 2, 4, index, 0)
    path = saved(Image.fromarray(noise(3)), tmp_path / "x.jpg", exif=exif)
    picture = read(path)
    assert np.abs(by_lcms(GRID, picture.icc) - adobe_in_srgb()).max() <= 2
    path = saved(Image.fromarray(noise(3)), tmp_path / "y.jpg", exif=exif, icc_profile=SRGB)
    assert read(path).icc == SRGB
    plain = exif.replace(index, b"R98\0").replace(struct.pack(">HH", space, 0), b"\0\1\0\0")
    assert read(saved(Image.fromarray(noise(3)), tmp_path / "z.jpg", exif=plain)).icc is None


def tiff(samples: np.ndarray, tags: list[tuple[int, int, tuple[int, ...]]]) -> bytes:
    """An uncompressed TIFF file of 8 bits, of gray or RGB, with more tags."""
    h, w, channels = samples.shape
    size = samples.size + samples.size % 2
    table = [
        *((256, 3, (w,)), (257, 3, (h,)), (258, 3, (8,) * channels), (259, 3, (1,))),
        *((262, 3, (1 if channels == 1 else 2,)), (273, 4, (8,)), (277, 3, (channels,))),
        *((278, 3, (h,)), (279, 4, (samples.size,)), *tags),
    ]
    body = b"II*\0" + struct.pack("<I", 8 + size) + samples.tobytes().ljust(size, b"\0")
    rows, behind, at = b"", b"", 8 + size + 2 + 12 * len(table) + 4
    for tag, kind, numbers in sorted(table):
        value = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        count = len(numbers) // (2 if kind == 5 else 1)
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", at + len(behind))
        behind += value if len(value) > 4 else b""
        rows += struct.pack("<HHI", tag, kind, count) + place
    return body + struct.pack("<H", len(table)) + rows + bytes(4) + behind


def thousandths(*values: float) -> tuple[int, ...]:
    return tuple(part for value in values for part in (round(1000 * value), 1000))


def test_colour_in_the_tags_of_a_tiff_becomes_a_profile(tmp_path):
    white, primaries = (318, 5, thousandths(0.3127, 0.329)), (319, 5, thousandths(*ADOBE))
    line = tuple(257 * level for level in range(256))
    square = tuple(round((level / 255) ** 2 * 65535) for level in range(256))

    def icc(tags: list[tuple[int, int, tuple[int, ...]]], channels: int = 3) -> bytes | None:
        (tmp_path / "x.tif").write_bytes(tiff(noise(channels), tags))
        picture = read(tmp_path / "x.tif")
        assert np.array_equal(picture.samples, noise(channels))
        return picture.icc

    assert icc([]) is None
    assert icc([(301, 3, line[::-1])]) is None
    assert icc([(301, 3, line[:100])]) is None
    assert icc([(318, 5, (1, 0, 1, 0))]) is None
    assert icc([(319, 5, thousandths(*XY[1]))]) is None
    profile = icc([white, primaries])
    assert np.abs(by_lcms(GRID, profile) - srgb(GRID, to_xyz(ADOBE), 13)).max() <= 2
    profile = icc([(301, 3, line), white, primaries])
    assert np.abs(by_lcms(GRID, profile) - srgb(GRID, to_xyz(ADOBE), 8)).max() <= 2
    picture = Picture(GRID, icc([(301, 3, line + square + line)]))
    wanted = srgb(GRID, to_xyz(XY[1]), 8)
    wanted[..., 1] = srgb((GRID / 255.0) ** 2 * 255, to_xyz(XY[1]), 8)[..., 1]
    assert np.abs(colour.to_srgb(picture).samples - wanted).max() <= 0.75
    gray = Picture(GRID[..., :1], icc([(301, 3, line)], channels=1))
    wanted = srgb(GRID[..., [0, 0, 0]], to_xyz(XY[1]), 8)
    assert np.abs(colour.to_srgb(gray).samples - wanted[..., :1]).max() <= 0.75


def bmp(kind: int, points: list[float], gamma: float, icc: bytes = b"") -> bytes:
    """A BMP file of one white pixel with the header of version 5."""
    header = struct.pack("<IiiHHIIiiII", 124, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(16)
    header += struct.pack("<I9i", kind, *(round(value * 2**30) for value in points))
    header += struct.pack("<3I", *[round(65536 * gamma)] * 3)
    header += struct.pack("<4I", 4, 128, len(icc), 0)
    data = header + b"\xff\xff\xff\0" + icc
    return b"BM" + struct.pack("<IHHI", 14 + len(data), 0, 0, 14 + 124) + data


def test_colour_in_the_header_of_a_bmp_becomes_a_profile(tmp_path):
    def icc(*args) -> bytes | None:
        (tmp_path / "x.bmp").write_bytes(bmp(*args))
        picture = read(tmp_path / "x.bmp")
        assert picture.samples.tolist() == [[[255, 255, 255]]]
        return picture.icc

    srgb_kind, embedded = 0x73524742, 0x4D424544
    xyz = to_xyz(ADOBE).T.ravel().tolist()
    xy = [
        value for x, y in zip(ADOBE[::2], ADOBE[1::2], strict=True) for value in (x, y, 1 - x - y)
    ]
    assert icc(srgb_kind, xyz, 1.0) is None
    assert icc(0, [0.0] * 9, 0.0) is None
    assert icc(0, [0.0] * 9, 2.2) is None
    assert icc(embedded, [0.0] * 9, 0.0, SRGB) == SRGB
    assert icc(embedded, [0.0] * 9, 0.0, SRGB[:90]) is None
    for points in (xyz, xy):
        profile = icc(0, points, 1.0)
        assert np.abs(by_lcms(GRID, profile) - srgb(GRID, to_xyz(ADOBE), 8)).max() <= 2


def adobe_in_srgb() -> np.ndarray:
    linear = (GRID / 255) ** (563 / 256) @ to_xyz(ADOBE).T @ np.linalg.inv(to_xyz(XY[1])).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * encoded


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
