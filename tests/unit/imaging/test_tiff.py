"""TIFF of every flavour: its samples are what an independent reader or the specification says."""

import lzma
import zlib
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms, ImageOps

from atdsr import imaging
from atdsr.imaging import PictureError, read
from helpers.pictures import noise, saved, smooth
from tiff_files import Tiff, cut, packed

H, W = 21, 35
DEPTHS = [1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 24, 32]


def stored(tmp_path, file: Tiff, name: str = "x.tif"):
    path = tmp_path / name
    path.write_bytes(file.bytes())
    return path


def values(bits: int, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(bits)
    samples = rng.integers(0, 2**bits, (H, W, channels), np.uint64)
    samples[0, 0], samples[0, 1] = 0, 2**bits - 1
    return samples


def spread(samples: np.ndarray, bits: int) -> np.ndarray:
    """Over the full range of 8 or 16 bits, half up, by exact integers of Python."""
    top, white = 2**bits - 1, 255 if bits <= 8 else 65535
    return np.vectorize(lambda v: (2 * int(v) * white + top) // (2 * top))(samples).astype(
        np.uint8 if bits <= 8 else np.uint16
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", DEPTHS)
def test_depths(tmp_path, bits, channels):
    samples = values(bits, channels)
    rows = samples.reshape(H, -1)
    strips = [packed(rows[y : y + 8], bits) for y in range(0, H, 8)]
    kind = 2 if channels == 3 else 1
    file = Tiff(strips, W, H, kind, [bits] * channels, rows=8)
    assert np.array_equal(read(stored(tmp_path, file)).samples, spread(samples, bits))
    tiles = [packed(tile.reshape(16, -1), bits) for tile in cut(samples, 16, 16)]
    file = Tiff(
        [zlib.compress(t) for t in tiles], W, H, kind, [bits] * channels, 8, tile=(16, 16), big=True
    )
    assert np.array_equal(read(stored(tmp_path, file)).samples, spread(samples, bits))


@pytest.mark.parametrize("bits", [8, 12, 16, 24, 32])
def test_byte_orders_agree(tmp_path, bits):
    samples = values(bits)
    for order in "<>":
        file = Tiff([packed(samples[..., 0], bits, order)], W, H, 1, [bits], order=order)
        found = read(stored(tmp_path, file)).samples
        assert np.array_equal(found, spread(samples, bits))
        assert found.dtype.isnative


@pytest.mark.parametrize("compression", [1, 8])
def test_bits_the_other_way_round(tmp_path, compression):
    samples = values(4)
    turned = {k: int(f"{k:08b}"[::-1], 2) for k in range(256)}
    data = packed(samples[..., 0], 4)
    data = bytes(turned[k] for k in (zlib.compress(data) if compression == 8 else data))
    file = Tiff([data], W, H, 1, [4], compression, more={266: (3, [2])})
    assert np.array_equal(read(stored(tmp_path, file)).samples, spread(samples, 4))


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_planes(tmp_path, bits, compression, tiled):
    samples = values(bits, 3)
    parts = []
    for k in range(3):
        plane = samples[..., k : k + 1]
        pieces = cut(plane, 16, 32) if tiled else [plane[y : y + 5] for y in range(0, H, 5)]
        parts += [packed(piece[..., 0], bits) for piece in pieces]
    parts = [zlib.compress(part) for part in parts] if compression == 8 else parts
    shape: dict[str, Any] = {"tile": (16, 32)} if tiled else {"rows": 5}
    file = Tiff(parts, W, H, 2, [bits] * 3, compression, planar=True, **shape)
    assert np.array_equal(read(stored(tmp_path, file)).samples, spread(samples, bits))


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_become_16_bits(tmp_path, kind, order):
    samples = np.random.default_rng(0).random((H, W)).astype(kind)
    samples[0, :2] = 0, 1
    want = np.floor(samples.astype(np.float64) * 65535 + 0.5).astype(np.uint16)[..., None]
    bits = 8 * samples.itemsize
    data = samples.astype(order + kind).tobytes()
    for compression, part in ((1, data), (8, zlib.compress(data))):
        file = Tiff([part], W, H, 1, [bits], compression, order=order, more={339: (3, [3])})
        assert np.array_equal(read(stored(tmp_path, file)).samples, want)
    differences = samples.astype(">" + kind).view(np.uint8).reshape(H, W, -1)
    differences = np.diff(
        differences.transpose(0, 2, 1).reshape(H, -1), axis=1, prepend=np.uint8(0)
    )
    more = {339: (3, [3]), 317: (3, [3])}
    for compression, pack in ((8, zlib.compress), (34925, lzma.compress)):
        part = pack(differences.tobytes())
        file = Tiff([part], W, H, 1, [bits], compression, order=order, more=more)
        assert np.array_equal(read(stored(tmp_path, file)).samples, want)


@pytest.mark.parametrize("wrong", [-0.01, 1.01, np.nan, np.inf])
def test_floats_outside_0_to_1_are_refused(tmp_path, wrong):
    samples = np.full((H, W), 0.5, np.float32)
    samples[3, 4] = wrong
    with pytest.raises(PictureError, match=r"x\.tif: .*outside 0 to 1; scale them"):
        read(saved(Image.fromarray(samples), tmp_path / "x.tif"))


@pytest.mark.parametrize(("compression", "pack"), [(8, zlib.compress), (34925, lzma.compress)])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_predictor_of_differences(tmp_path, bits, compression, pack):
    samples = values(bits, 3).astype(f"u{bits // 8}")
    first = np.zeros((H, 1, 3), samples.dtype)
    part = pack(np.diff(samples, axis=1, prepend=first).tobytes())
    file = Tiff([part], W, H, 2, [bits] * 3, compression, more={317: (3, [2])})
    assert np.array_equal(read(stored(tmp_path, file)).samples, spread(samples, bits))


@pytest.mark.parametrize("name", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma"])
def test_compressions(tmp_path, name):
    samples = smooth(3)
    path = saved(Image.fromarray(samples), tmp_path / "x.tif", compression=name)
    assert np.array_equal(read(path).samples, samples)
    bitmap = samples[..., :1] > 100
    if name == "packbits":
        for fax in ("group3", "group4", "tiff_ccitt"):
            path = saved(Image.fromarray(bitmap[..., 0]), tmp_path / "x.tif", compression=fax)
            assert np.array_equal(read(path).samples, bitmap * np.uint8(255))


@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize(("quality", "channels"), [(75, 3), (95, 3), (90, 1)])
def test_jpeg_inside(tmp_path, quality, channels, tile):
    path = tmp_path / "x.tif"
    image = pyvips.Image.new_from_array(smooth(channels, 70, 90))
    size: dict[str, Any] = {"tile_width": 32, "tile_height": 32 if tile else 16}
    image.tiffsave(str(path), compression="jpeg", Q=quality, tile=tile, **size)
    with Image.open(path) as other:
        want = np.array(other.convert("L" if channels == 1 else "RGB")).reshape(70, 90, -1)
    assert np.array_equal(read(path).samples, want)


def test_webp_inside(tmp_path):
    path = tmp_path / "x.tif"
    samples = noise(4, h=70, w=90)
    samples[..., 3] |= 1  # what is fully transparent has no colour in WebP
    image = pyvips.Image.new_from_array(samples)
    image.tiffsave(str(path), compression="webp", lossless=True, tile=True, tile_width=32)
    assert np.array_equal(read(path).samples, samples)


def test_white_is_zero(tmp_path):
    for bits in (1, 4, 8, 12, 16):
        samples = values(bits)
        file = Tiff([packed(samples[..., 0], bits)], W, H, 0, [bits])
        want = spread(2**bits - 1 - samples, bits)
        assert np.array_equal(read(stored(tmp_path, file)).samples, want)


PALETTE = np.random.default_rng(3).integers(0, 256, (16, 3), np.uint16)


@pytest.mark.parametrize(
    ("palette", "want"),
    [
        (PALETTE * 257, PALETTE.astype(np.uint8)),
        (PALETTE << 8, PALETTE.astype(np.uint8)),
        (PALETTE, PALETTE.astype(np.uint8)),
        (PALETTE * 250 + 3, PALETTE * 250 + 3),
        ((PALETTE * 257)[:, [0, 0, 0]], PALETTE[:, :1].astype(np.uint8)),
    ],
)
def test_palettes_of_8_and_16_bits(tmp_path, palette, want):
    numbers = values(4)[..., 0]
    more = {320: (3, palette.T.ravel().tolist())}
    for part, compression in ((packed(numbers, 4), 1), (zlib.compress(packed(numbers, 4)), 8)):
        file = Tiff([part], W, H, 3, [4], compression, more=more)
        found = read(stored(tmp_path, file)).samples
        assert found.dtype == want.dtype
        assert np.array_equal(found, want[numbers])


def test_palette_with_alpha(tmp_path):
    numbers, alpha = values(4)[..., 0], noise(1, h=H, w=W)[..., 0]
    data = np.stack((numbers, alpha), 2).astype(np.uint8).tobytes()
    wide = np.pad(PALETTE * 250 + 3, ((0, 240), (0, 0)))
    more = {320: (3, wide.T.ravel().tolist()), 338: (3, [2])}
    found = read(stored(tmp_path, Tiff([data], W, H, 3, [8, 8], more=more))).samples
    assert np.array_equal(found[..., :3], wide[numbers])
    assert np.array_equal(found[..., 3], alpha.astype(np.uint16) * 257)


def test_ycbcr_becomes_rgb(tmp_path):
    samples = noise(3, h=H, w=W)
    samples[0, 0] = 76, 85, 255
    path = stored(tmp_path, Tiff([samples.tobytes()], W, H, 6, [8] * 3, more={530: (3, [1, 1])}))
    found = read(path).samples
    assert found[0, 0].tolist() == [254, 0, 0]
    want = np.array(Image.frombytes("YCbCr", (W, H), samples.tobytes()).convert("RGB"), np.int16)
    assert np.abs(found - want).max() <= 1


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize(("along_x", "along_y"), [(2, 1), (2, 2), (4, 2), (4, 4)])
def test_subsampled_ycbcr(tmp_path, along_x, along_y, tiled):
    luma = noise(1, h=32, w=48)[..., 0]
    colour = noise(3, h=32 // along_y, w=48 // along_x)[..., 1:]

    def blocks(y: int, x: int, h: int, w: int) -> bytes:
        part = luma[y : y + h, x : x + w].reshape(h // along_y, along_y, w // along_x, along_x)
        part = part.transpose(0, 2, 1, 3).reshape(h // along_y, w // along_x, -1)
        shared = colour[y // along_y : (y + h) // along_y, x // along_x : (x + w) // along_x]
        return np.concatenate((part, shared), 2).tobytes()

    more = {530: (3, [along_x, along_y])}
    corners = [(y, x) for y in (0, 16) for x in (0, 16, 32)] if tiled else [(0, 0), (16, 0)]
    parts = [blocks(y, x, 16, 16 if tiled else 48) for y, x in corners]
    whole = np.dstack((luma, colour.repeat(along_y, 0).repeat(along_x, 1)))[:H, :W]
    plain = Tiff([whole.tobytes()], W, H, 6, [8] * 3, more={530: (3, [1, 1])})
    want = read(stored(tmp_path, plain, "plain.tif")).samples
    shape: dict[str, Any] = {"tile": (16, 16)} if tiled else {"rows": 16}
    for pack, compression in ((bytes, 1), (zlib.compress, 8)):
        packs, size = [pack(part) for part in parts], (W, H) if tiled else (48, 32)
        file = Tiff(packs, *size, 6, [8] * 3, compression, more=more, **shape)
        assert np.array_equal(read(stored(tmp_path, file)).samples[:H, :W], want)


def test_ycbcr_of_the_files_own_range_and_coefficients(tmp_path):
    more = {530: (3, [1, 1]), 532: (5, [v for n in (16, 235, 128, 240, 128, 240) for v in (n, 1)])}
    more[529] = (5, [2126, 10000, 7152, 10000, 722, 10000])
    data = bytes([235, 128, 128, 16, 128, 128, 63, 102, 240])  # white, black, red of BT.709
    found = read(stored(tmp_path, Tiff([data], 3, 1, 6, [8] * 3, more=more))).samples[0]
    assert np.abs(found - np.array([[255] * 3, [0] * 3, [255, 0, 0]])).max() <= 2


def test_rgb_of_the_files_own_range(tmp_path):
    more = {532: (5, [v for n in (16, 235) * 3 for v in (n, 1)])}
    data = bytes([16, 235, 126, 0, 255, 20])
    found = read(stored(tmp_path, Tiff([data], 2, 1, 2, [8] * 3, more=more))).samples[0]
    assert found.tolist() == [[0, 255, 128], [0, 255, 5]]


@pytest.mark.parametrize("extra", [(), (0,)])
@pytest.mark.parametrize("bits", [8, 16])
def test_an_unspecified_sample_is_dropped(tmp_path, bits, extra):
    more = {338: (3, extra)} if extra else {}
    for colours, kind in ((1, 1), (3, 2)):
        samples = values(bits, colours + 1)
        file = Tiff([packed(samples, bits)], W, H, kind, [bits] * (colours + 1), more=more)
        assert np.array_equal(read(stored(tmp_path, file)).samples, samples[..., :colours])


def test_alpha_stays_wherever_it_is(tmp_path):
    samples = values(8, 5)
    for extra, order in (((2, 0), [0, 1, 2, 3]), ((0, 2), [0, 1, 2, 4])):
        file = Tiff([packed(samples, 8)], W, H, 2, [8] * 5, more={338: (3, extra)})
        assert np.array_equal(read(stored(tmp_path, file)).samples, samples[..., order])
    for extra in ((0, 0), (2, 2), (1, 2)):
        file = Tiff([packed(samples, 8)], W, H, 2, [8] * 5, more={338: (3, extra)})
        with pytest.raises(PictureError, match=r"5 channels, of which 3 are colour, are not supp"):
            read(stored(tmp_path, file))


@pytest.mark.parametrize("bits", [8, 16])
def test_premultiplied_alpha_is_divided(tmp_path, bits):
    white = 2**bits - 1
    straight = values(bits, 4).astype(np.float64)
    alpha = straight[..., 3:]
    stored_colour = np.floor(straight[..., :3] * alpha / white + 0.5)
    samples = np.concatenate((stored_colour, alpha), 2).astype(np.uint64)
    file = Tiff([packed(samples, bits)], W, H, 2, [bits] * 4, more={338: (3, [1])})
    found = read(stored(tmp_path, file)).samples
    exact = np.where(alpha > 0, np.minimum(stored_colour * white / np.maximum(alpha, 1), white), 0)
    assert np.array_equal(found[..., :3], np.floor(exact + 0.5))
    assert np.array_equal(found[..., 3:], alpha)


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_with_and_without_alpha(tmp_path, bits):
    inks = smooth(4).astype(np.uint16) * (257 if bits == 16 else 1)
    h, w = inks.shape[:2]
    path = stored(tmp_path, Tiff([packed(inks, bits)], w, h, 5, [bits] * 4))
    found = read(path).samples
    want = imaging.from_pil(Image.fromarray(smooth(4), "CMYK")).samples
    assert found.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(found / (257 if bits == 16 else 1) - want).max() <= 1
    alpha = smooth(1)[..., ::-1, :].astype(np.uint16) * (257 if bits == 16 else 1)
    five = np.concatenate((inks, alpha), 2)
    path = stored(tmp_path, Tiff([packed(five, bits)], w, h, 5, [bits] * 5, more={338: (3, [2])}))
    assert np.array_equal(read(path).samples, np.concatenate((found, alpha), 2))


def srgb_of_lab(lab: np.ndarray) -> np.ndarray:
    """By the formulas of CIE 15 and IEC 61966-2-1, from D50 to D65 by Bradford, in 0..255."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack((y + lab[..., 1] / 500, y, y - lab[..., 2] / 200), 2)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.9642, 1, 0.8249)
    matrix = [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540]]
    linear = np.clip(xyz @ np.array([*matrix, [0.0719453, -0.2289914, 1.4052427]]).T, 0, 1)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def test_lab_becomes_srgb(tmp_path):
    srgb, d50 = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(srgb, d50, "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.fromarray(smooth(3)), to_lab)
    assert lab is not None
    light, green_red, blue_yellow = np.array(lab).transpose(2, 0, 1)
    signed = np.dstack((light, green_red.view(np.int8), blue_yellow.view(np.int8))).astype(np.int32)
    want = srgb_of_lab(signed * (100 / 255, 1, 1))
    assert np.abs(want - smooth(3)).max() < 5  # what 8 bits of L*a*b* leave
    found = read(saved(lab, tmp_path / "x.tif")).samples
    assert found.dtype == np.uint8
    assert np.abs(found - want).max() <= 1
    h, w = light.shape
    wide = (signed * (257, 256, 256)) & 0xFFFF
    path = stored(tmp_path, Tiff([packed(wide, 16)], w, h, 8, [16] * 3))
    assert np.abs(read(path).samples / 257 - want).max() < 0.5
    # ICC has a* and b* from 128 on
    icc = np.add(signed, (0, 128, 128))
    path = stored(tmp_path, Tiff([packed(icc, 8)], w, h, 9, [8] * 3))
    assert np.array_equal(read(path).samples, found)
    path = stored(tmp_path, Tiff([packed(icc * 256, 16)], w, h, 9, [16] * 3))
    assert np.abs(read(path).samples / 257 - want).max() < 0.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, orientation):
    file = Tiff([noise(3, h=H, w=W).tobytes()], W, H, 2, [8] * 3, more={274: (3, [orientation])})
    path = stored(tmp_path, file)
    frames = imaging.open_frames(path)
    found = read(path).samples
    assert (frames.height, frames.width) == found.shape[:2]
    assert np.array_equal(found, upright(noise(3, h=H, w=W), orientation))


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(samples)
    image.info["exif"] = exif.tobytes()
    return np.array(ImageOps.exif_transpose(image))


def test_only_resolutions_with_a_unit_count(tmp_path):
    for unit, dpi in ((1, None), (2, (300.0, 300.0)), (3, (762.0, 762.0))):
        more = {282: (5, [300, 1]), 283: (5, [300, 1]), 296: (3, [unit])}
        path = stored(tmp_path, Tiff([bytes(12)], 2, 2, 2, [8] * 3, more=more))
        assert read(path).metadata.dpi == dpi


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"compression": 6}, r"old-style JPEG \(TIFF compression 6\).*save it with LZW"),
        ({"compression": 34887}, r"LERC \(TIFF compression 34887\)"),
        ({"compression": 50000}, r"Zstandard \(TIFF compression 50000\)"),
        ({"compression": 777}, r"its compression is of an unknown kind \(TIFF compression 777\)"),
        ({"photometric": 32803}, "raw data of a camera's sensor"),
        ({"photometric": 4}, "a mask of transparency"),
        ({"photometric": 99}, "colours of an unknown kind"),
        ({"bits": [5, 6, 5]}, "its channels differ in depth"),
        ({"bits": [8, 8]}, "2 channels, of which 3 are colour"),
        ({"bits": [40] * 3}, "unsigned samples of 40 bits"),
        ({"more": {339: (3, [2, 2, 2])}}, "signed samples of 8 bits"),
        ({"more": {339: (3, [6, 6, 6])}}, "complex samples of 8 bits"),
        ({"photometric": 5, "bits": [8] * 4, "more": {332: (3, [2])}}, "not those of CMYK"),
        ({"photometric": 3, "bits": [8]}, "its palette is missing"),
        ({"photometric": 6, "more": {530: (3, [3, 1])}}, "subsampled YCbCr has an unknown layout"),
        (
            {"photometric": 8, "bits": [32] * 3, "more": {339: (3, [3] * 3)}},
            r"L\*a\*b\* of 32 bits",
        ),
        ({"photometric": 8, "more": {338: (3, [1])}, "bits": [8] * 4}, "premultiplied alpha"),
        ({"tile": (65536, 65536)}, "tiles of 65536x65536 are too large"),
        ({"tile": (0, 16)}, "damaged or cut short"),
        ({"compression": 8, "more": {317: (3, [3])}}, "its predictor 3 is not supported"),
    ],
)
def test_what_is_not_read_is_a_sentence(tmp_path, changed, sentence):
    settings: dict[str, Any] = {"photometric": 2, "bits": [8] * 3} | changed
    path = stored(tmp_path, Tiff([bytes(4 * W * H)], W, H, **settings))
    with pytest.raises(PictureError, match=rf"x\.tif: .*{sentence}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("x.tif", {50706: (1, [1, 7, 0, 0])}),  # DNGVersion
        ("x.tif", {254: (4, [1]), 330: (4, [8])}),  # a preview, and a table beyond it
        ("x.NEF", {}),
        ("x.dng", {}),
    ],
)
def test_the_preview_of_a_camera_raw_is_not_the_picture(tmp_path, name, more):
    path = stored(tmp_path, Tiff([bytes(3 * W * H)], W, H, 2, [8] * 3, more=more), name)
    with pytest.raises(
        imaging.UnsupportedError, match=r"x\..*: camera raw is not read; develop it"
    ):
        read(path)


@pytest.mark.parametrize("more", [{254: (4, [1])}, {254: (4, [0]), 330: (4, [8])}])
def test_small_pictures_and_pyramids_are_no_camera_raws(tmp_path, more):
    path = stored(tmp_path, Tiff([bytes(3 * W * H)], W, H, 2, [8] * 3, more=more))
    assert read(path).width == W
