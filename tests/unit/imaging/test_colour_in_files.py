"""Colour as PNG chunks, EXIF, TIFF tags and BMP headers describe it."""

import struct

import numpy as np
import pytest
from PIL import Image

from atdsr.imaging import CodePoints, Picture, colour, read, write
from helpers.colours import (
    ADOBE,
    GRID,
    P3,
    PQ,
    XY,
    by_lcms,
    chrm,
    cicp,
    gama,
    iccp,
    loaded,
    srgb,
    to_xyz,
)
from helpers.pictures import SRGB, chunk, chunks_in, gray_profile, noise, png, saved


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


def adobe_in_srgb() -> np.ndarray:
    linear = (GRID / 255) ** (563 / 256) @ to_xyz(ADOBE).T @ np.linalg.inv(to_xyz(XY[1])).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * encoded


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


def test_primaries_that_no_profile_can_hold_are_passed_over():
    """Numbers of a profile end at 32767; headers can hold some from which larger ones follow."""
    rng = np.random.default_rng(0)
    for _ in range(3000):
        points = 10 ** rng.uniform(-5, 5, (4, 2)) * rng.choice((-1, 1), (4, 2))
        icc = colour.icc_from_gamma(1.0, tuple(map(tuple, points)), gray=False)
        assert icc is not None
        assert len(icc) == int.from_bytes(icc[:4])


def test_a_bmp_with_a_white_that_no_profile_can_hold(tmp_path):
    points = [0.41, 0.71, 0.02, 0.36, 0.56375, 1.1e-7, 1.1046, 0.0911, 0.0]
    (tmp_path / "x.bmp").write_bytes(bmp(0, points, 4.0))
    profile = read(tmp_path / "x.bmp").icc
    wanted = srgb((GRID / 255.0) ** 4 * 255, to_xyz(XY[1]), 8)
    assert np.abs(by_lcms(GRID, profile) - wanted).max() <= 2
