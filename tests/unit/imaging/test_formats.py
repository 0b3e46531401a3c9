"""HEIC, JPEG XL, JPEG 2000, Netpbm and ICO beside other readers, and what suffixes stand for."""

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pyjpegxl
import pytest
from PIL import Image

import avif_files
from atdsr import imaging
from atdsr.imaging import (
    CodePoints,
    Picture,
    PictureError,
    formats,
    open_frames,
    read,
    write,
)
from atdsr.imaging.codecs.isobmff import items
from atdsr.imaging.codecs.isobmff.boxes import top_level
from helpers.pictures import SRGB, gray_profile, noise, smooth

DEPTHS = {8: np.uint8, 16: np.uint16}
PROFILE = SRGB[:100] + b"\0\1" + SRGB[102:]  # any other one
EXIF = b"II*\0\x08\0\0\0\1\0\x3b\1\2\0\4\0\0\0Ann\0\0\0\0\0"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'


def kept(tmp_path: Path, name: str, data: bytes | bytearray) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


# JPEG XL


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_xl_round_trips_and_others_read_it(tmp_path, channels, bits):
    samples = noise(channels, DEPTHS[bits])
    icc = gray_profile() if channels < 3 else PROFILE
    said = imaging.Metadata(exif=EXIF, xmp=XMP, dpi=(300, 300))
    write(Picture(samples, icc, said), tmp_path / "x.jxl")
    theirs = imagecodecs.jpegxl_decode((tmp_path / "x.jxl").read_bytes())
    assert np.array_equal(theirs.reshape(samples.shape), samples)
    back = read(tmp_path / "x.jxl")
    assert back.samples.dtype == samples.dtype
    assert np.array_equal(back.samples, samples)
    assert back.icc == icc
    assert (back.metadata.xmp, back.metadata.dpi) == (XMP, (300, 300))
    assert b"Ann" in (back.metadata.exif or b"")


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_xl_of_others_is_read(tmp_path, channels, bits):
    white = 2**bits - 1
    samples = (noise(channels, np.uint16) >> (16 - bits)).astype(np.uint8 if bits == 8 else "u2")
    samples[0, 0], samples[0, 1] = 0, white
    shape = samples.shape[: 2 + (channels > 1)]
    data = imagecodecs.jpegxl_encode(samples.reshape(shape), lossless=True, bitspersample=bits)
    path = kept(tmp_path, "x.png", data)
    frames = open_frames(path)
    assert (frames.width, frames.height) == (37, 23)
    back = read(path).samples
    full = 255 if bits == 8 else 65535
    assert np.abs(back - samples * (full / white)).max() < 1
    assert (back.min(), back.max()) == (0, full)
    assert bits != 8 or read(path).icc is None  # the library makes one up for sRGB


def test_jpeg_xl_lies_as_its_header_says(tmp_path):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x112] = 6
    ramp = np.tile(np.arange(0, 240, 5, dtype=np.uint8)[None, :, None], (32, 1, 3))
    Image.fromarray(ramp).save(file, "JPEG", exif=exif, quality=100)
    path = kept(tmp_path, "x.jxl", pyjpegxl.jpeg_to_jxl(file.getvalue()))
    frames = open_frames(path)
    back = read(path).samples
    assert (frames.width, frames.height) == (32, 48)
    assert np.abs(back.astype(int) - np.rot90(ramp, -1)).max() < 4
    write(read(path), tmp_path / "y.jxl")
    assert np.array_equal(read(tmp_path / "y.jxl").samples, back)


@pytest.mark.parametrize("before", [bytes(4), b"\0\0\0\6Exif\0\0", b"\0\0\0\2ab", b"", b"Exif\0\0"])
def test_exif_of_jpeg_xl_stands_behind_an_offset(tmp_path, before):
    data = bytes(imagecodecs.jpegxl_encode(noise(3), lossless=True))
    head = avif_files.box(b"JXL ", b"\r\n\x87\n") + avif_files.box(b"ftyp", b"jxl \0\0\0\0jxl ")
    data = head + avif_files.box(b"Exif", before + EXIF) + avif_files.box(b"jxlc", data)
    back = read(kept(tmp_path, "x.jxl", data))
    assert b"Ann" in (back.metadata.exif or b"")
    write(back, tmp_path / "y.jxl")
    written = pyjpegxl.probe((tmp_path / "y.jxl").read_bytes()).exif or b""
    assert written[:4] == bytes(4)
    exif = Image.Exif()
    exif.load(written[4:])
    assert exif[315] == "Ann"


@pytest.mark.parametrize("exif", [b"\0", b"\0\0\0", b"\xff\xff\xff\xff" + EXIF, bytes(40)])
def test_damaged_exif_of_jpeg_xl_is_left_out(tmp_path, exif):
    data = pyjpegxl.encode_from_numpy(noise(3), lossless=True, exif=exif)
    back = read(kept(tmp_path, "x.jxl", data))
    assert back.metadata.exif is None
    assert np.array_equal(back.samples, noise(3))


def test_jpeg_xl_quality(tmp_path):
    sizes = []
    for quality in (10, 40, 90, 99, 100):
        path = tmp_path / f"{quality}.jxl"
        write(Picture(smooth(3)), path, quality=quality)
        sizes.append(path.stat().st_size)
        apart = np.abs(read(path).samples.astype(int) - smooth(3)).mean()
        assert apart < 0.1 if quality == 100 else apart < 6
    assert sizes == sorted(sizes)


def test_jpeg_xl_with_premultiplied_alpha_is_divided(tmp_path):
    samples = np.full((16, 16, 4), (20000, 10000, 5000, 32768), np.uint16)
    data = bytearray(imagecodecs.jpegxl_encode(samples, lossless=True))
    assert np.array_equal(read(kept(tmp_path, "x.jxl", bytes(data))).samples, samples)
    # size: 1 + 5 + 3 bits (16 x 16); flags: 2; depth of 16 bits: 1 + 2 + 6; 1; one channel: 2;
    # not usual: 1; kind: 2; depth: 9; shift: 2; name: 2; then whether it is multiplied in
    start = 8 * (data.find(b"jxlc") + 4)
    at = start + 16 + 9 + 2 + 9 + 1 + 2 + 1 + 2 + 9 + 2 + 2
    assert not data[at // 8] >> at % 8 & 1
    data[at // 8] |= 1 << at % 8
    back = read(kept(tmp_path, "x.jxl", bytes(data))).samples
    assert np.abs(back[0, 0] - np.array([40000, 20000, 10000, 32768])).max() <= 2


def test_jpeg_xl_that_is_not_one_picture_of_colours(tmp_path):
    several = imagecodecs.jpegxl_encode(np.stack([noise(3)] * 3), lossless=True)
    with pytest.raises(PictureError, match=r"x\.jxl: an animated JPEG XL file is not supported"):
        open_frames(kept(tmp_path, "x.jxl", several))
    fractions = noise(3).astype(np.float32) / 255
    path = kept(tmp_path, "x.jxl", imagecodecs.jpegxl_encode(fractions, lossless=True))
    assert np.array_equal(read(path).samples, noise(3) * np.uint16(257))
    path = kept(tmp_path, "x.jxl", imagecodecs.jpegxl_encode(fractions * 4, lossless=True))
    with pytest.raises(PictureError, match="outside 0 to 1"):
        read(path)


@pytest.mark.parametrize("channels", [1, 4])
def test_cut_jpeg_xl_is_an_error(tmp_path, channels):
    write(Picture(noise(channels), metadata=imaging.Metadata(exif=EXIF)), tmp_path / "x.jxl")
    data = (tmp_path / "x.jxl").read_bytes()
    for cut in (1, 3, 20, len(data) // 2, len(data) - 16):
        with pytest.raises(PictureError, match=r"y\.jxl: ") as caught:
            read(kept(tmp_path, "y.jxl", data[:-cut]))
        assert "\n" not in str(caught.value)


# HEIC


def heic(samples: np.ndarray, mode: str = "", **options) -> bytes:
    wide = ";16" if samples.dtype == np.uint16 else ""
    mode = mode or {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
    size = samples.shape[1], samples.shape[0]
    file = io.BytesIO()
    image = pillow_heif.from_bytes(mode + wide, size, samples.tobytes())
    image.save(file, **{"quality": 100, "chroma": 444} | options)
    return file.getvalue()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_heic_is_read(tmp_path, channels, bits):
    samples = smooth(channels)
    wide = samples if bits == 8 else samples.astype(np.uint16) * 257
    data = heic(wide, icc_profile=PROFILE, exif=EXIF, xmp=XMP)
    path = kept(tmp_path, "x.jpg", data)
    frames, back = open_frames(path), read(path)
    assert (frames.width, frames.height) == (56, 40)
    assert back.samples.dtype == DEPTHS[bits]
    assert back.samples.shape == samples.shape
    apart = np.abs(back.samples / (257 if bits == 16 else 1) - samples)
    assert apart[..., :3].max() < 8
    assert bits == 8 or len(np.unique(back.samples)) > 256 // 2
    assert back.icc == (PROFILE if channels > 1 else None)
    assert b"Ann" in (back.metadata.exif or b"")
    assert back.metadata.xmp == XMP


@pytest.mark.parametrize("bits", [8, 16])
def test_premultiplied_heic_is_divided(tmp_path, bits):
    mixed = np.array([100, 50, 25, 128]) * (1 if bits == 8 else 257)
    data = heic(np.full((32, 32, 4), mixed, DEPTHS[bits]), "RGBa")
    back = read(kept(tmp_path, "x.heic", data)).samples / (1 if bits == 8 else 257)
    assert np.abs(back[5, 5] - [199.2, 99.6, 49.8, 128]).max() < 3


def test_gray_heic_of_limited_range_is_stretched(tmp_path):
    ramp = np.tile(np.arange(16, 236, dtype=np.uint8)[None, :, None], (32, 1, 1))
    data = avif_files.described(heic(ramp), 1, 13, full=0)
    back = read(kept(tmp_path, "x.heic", data)).samples
    assert np.abs(back - (ramp.astype(float) - 16) * (255 / 219)).max() < 3


def test_code_points_of_heic_are_read(tmp_path):
    data = avif_files.described(heic(smooth(3)), 12, 16)
    assert read(kept(tmp_path, "x.heic", data)).code_points == CodePoints(12, 16)
    assert read(kept(tmp_path, "x.heic", heic(smooth(3)))).code_points is None


def test_a_heic_grid_with_a_damaged_cell_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(pillow_heif.options, "GRID_TILE_SIZE", 64)
    data = heic(noise(3, h=128, w=192))
    assert np.abs(read(kept(tmp_path, "x.heic", data)).samples - 128.0).max() > 100
    assert len(items.primary_item(data).cells) == 6
    media = top_level(data)[b"mdat"]
    for part, size in ((0.001, 12000), (0.5, 12000), (0.99, 12000), (0.3, 50)):
        damaged = bytearray(data)
        start = media.content + int(part * (media.end - media.content))
        damaged[start : start + size] = bytes(len(damaged[start : start + size]))
        with pytest.raises(PictureError, match=r"x\.heic: "):
            read(kept(tmp_path, "x.heic", bytes(damaged)))
    cell = items.coded_data(data, b"hvcC")[2]
    noisy = data.replace(cell[4:], noise(1, h=1, w=len(cell) - 4).tobytes())
    for damaged in (noisy, data[:-1], data[:-100], data[:-9000]):
        with pytest.raises(PictureError, match=r"x\.heic: "):
            read(kept(tmp_path, "x.heic", damaged))


def test_heic_is_not_written(tmp_path):
    with pytest.raises(PictureError, match=r"'\.heic' is read but not written; use one of \.png"):
        write(Picture(noise(3)), tmp_path / "x.heic")


# Without the extra


@pytest.fixture
def bare(monkeypatch):
    """As if the extra was not installed."""
    for module in ("pillow_heif", "pyjpegxl"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.setattr(formats, "_is_installed", lambda module: False)


@pytest.mark.parametrize("name", ["x.heic", "x.jxl", "x.png"])
@pytest.mark.parametrize("kind", ["HEIC", "JPEG XL"])
def test_what_lacks_is_named(tmp_path, bare, kind, name):
    head = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" if kind == "HEIC" else b"\xff\x0a"
    path = kept(tmp_path, name, head + bytes(99))
    sentence = rf"{kind} needs an extra of atdsr; .* pip install 'atdsr\[formats\]'"
    with pytest.raises(PictureError, match=rf"{name}: .*{sentence}"):
        read(path)


def test_no_jpeg_xl_is_begun_without_the_extra(tmp_path, bare):
    with pytest.raises(PictureError, match=r"x\.jxl: .*pip install 'atdsr\[formats\]'"):
        imaging.check_target(tmp_path / "x.jxl")


def test_kinds_that_nobody_reads(tmp_path, bare):
    kinds = {"a.HEIC": "HEIC", "a.heif": "HEIF", "a.jxl": "JPEG XL", "a.psd": "PSD"}
    kinds |= {"a.CR2": "camera raw", "a.dng": "camera raw", "a.svg": "SVG", "a.tga": "TGA"}
    for name, kind in kinds.items():
        path = kept(tmp_path, name, b"x")
        assert imaging.unreadable_kind(path) == kind
        assert not imaging.is_picture_file(path)
    for name in ("a.txt", "a", "a.png", "a.pfm"):
        assert imaging.unreadable_kind(Path(name)) is None


def test_with_the_extra_its_kinds_are_read(tmp_path):
    for name in ("a.heic", "a.HIF", "a.jxl"):
        assert imaging.unreadable_kind(Path(name)) is None
        assert imaging.is_picture_file(kept(tmp_path, name, b"x"))


# JPEG 2000


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_2000_round_trips(tmp_path, channels, dtype):
    samples = noise(channels, dtype)
    icc = gray_profile() if channels < 3 else PROFILE
    write(Picture(samples, icc), tmp_path / "x.jp2")
    back = read(tmp_path / "x.jp2")
    kept_depth = channels == 1 or dtype == np.uint8
    wanted = samples if kept_depth else imaging.to_uint8(samples)
    assert back.samples.dtype == wanted.dtype
    assert np.array_equal(back.samples, wanted)
    assert back.icc == icc
    write(Picture(samples), tmp_path / "y.jp2")  # with a profile they would convert gray to RGB
    theirs = imagecodecs.jpeg2k_decode((tmp_path / "y.jp2").read_bytes())
    assert np.array_equal(theirs.reshape(wanted.shape), wanted)


def test_jpeg_2000_without_channels_is_damage(tmp_path):
    data = bytearray(imagecodecs.jpeg2k_encode(noise(3), codecformat="j2k"))
    data[40:42] = bytes(2)
    with pytest.raises(PictureError, match=r"x\.jp2: the file is damaged or cut short"):
        open_frames(kept(tmp_path, "x.jp2", bytes(data)))


@pytest.mark.parametrize("bits", [1, 4, 8, 10, 12, 16])
@pytest.mark.parametrize("form", ["jp2", "j2k"])
def test_jpeg_2000_of_any_depth(tmp_path, form, bits):
    white = 2**bits - 1
    samples = (noise(1, np.uint16)[..., 0] >> (16 - bits)).astype("u2" if bits > 8 else "u1")
    data = imagecodecs.jpeg2k_encode(
        samples, bitspersample=bits, reversible=True, codecformat=form, level=0
    )
    back = read(kept(tmp_path, "x.jp2", data)).samples
    full = 65535 if bits > 8 else 255
    assert np.array_equal(back[..., 0], np.floor(samples * (full / white) + 0.5))


def test_jpeg_2000_of_more_than_pillow_keeps_is_refused(tmp_path):
    data = imagecodecs.jpeg2k_encode(noise(3, np.uint16), reversible=True, codecformat="jp2")
    with pytest.raises(PictureError, match=r"x\.jp2: it has 16 bits a channel, of which only 8"):
        open_frames(kept(tmp_path, "x.jp2", data))
    data = bytearray(
        (write(Picture(noise(3)), tmp_path / "y.jp2"), (tmp_path / "y.jp2"))[1].read_bytes()
    )
    at = data.find(b"colr")
    struct.pack_into(">I", data, at + 7, 14)  # CIELab
    with pytest.raises(PictureError, match="the colour space 14 is not supported"):
        read(kept(tmp_path, "x.jp2", bytes(data)))


def test_cut_and_damaged_jpeg_2000_is_an_error(tmp_path):
    file = io.BytesIO()
    Image.fromarray(noise(3, h=128, w=128)).save(file, "JPEG2000", tile_size=(64, 64))
    data = file.getvalue()
    for cut in (3, 100, len(data) // 2, len(data) - 60):
        with pytest.raises(PictureError, match=r"x\.jp2: "):
            read(kept(tmp_path, "x.jp2", data[:-cut]))


@pytest.mark.parametrize("bare", [False, True])
def test_jpeg_2000_without_one_of_its_tiles_is_an_error(tmp_path, bare):
    samples, file = noise(3, h=100, w=130), io.BytesIO()
    Image.fromarray(samples).save(file, "JPEG2000", tile_size=(64, 64), no_jp2=bare)
    data = file.getvalue()
    assert np.array_equal(read(kept(tmp_path, "x.j2k", data)).samples, samples)
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"\xff\x90\0\x0a"]
    assert len(starts) == 6
    for start, end in zip(starts, [*starts[1:], len(data) - 2], strict=True):
        with pytest.raises(PictureError, match=r"x\.j2k: "):
            read(kept(tmp_path, "x.j2k", data[:start] + data[end:]))


# Netpbm


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("suffix", "channels"), [(".pgm", 1), (".ppm", 3), (".pnm", 1), (".pnm", 3)]
)
def test_netpbm_round_trips(tmp_path, suffix, channels, dtype):
    samples = noise(channels, dtype)
    path = tmp_path / f"x{suffix}"
    write(Picture(samples), path)
    assert path.read_bytes()[:2] == (b"P5" if channels == 1 else b"P6")
    back = read(path).samples
    assert back.dtype == dtype
    assert np.array_equal(back, samples)
    if dtype == np.uint8 or channels == 1:
        theirs = np.array(Image.open(path)).reshape(samples.shape)
        assert np.array_equal(theirs, samples)
    else:
        raw = np.frombuffer(path.read_bytes()[-2 * samples.size :], ">u2")
        assert np.array_equal(raw.reshape(samples.shape), samples)


def test_ppm_has_colours_and_pgm_has_none(tmp_path):
    write(Picture(noise(1)), tmp_path / "x.ppm")
    assert np.array_equal(read(tmp_path / "x.ppm").samples, noise(1).repeat(3, 2))
    with pytest.raises(PictureError, match=r"x\.pgm: PGM holds gray only; write PPM"):
        write(Picture(noise(3)), tmp_path / "x.pgm")
    with pytest.raises(PictureError, match="no transparency in ppm"):
        write(Picture(noise(4)), tmp_path / "y.ppm")
    write(Picture(smooth(1), gray_profile()), tmp_path / "y.pgm")
    back = read(tmp_path / "y.pgm").samples
    assert back.shape == (40, 56, 1)
    assert 0 < np.abs(back.astype(int) - smooth(1)).max() < 16  # gamma 2.2 became that of sRGB


@pytest.mark.parametrize(
    ("data", "samples"),
    [
        (b"P1\n# a\n3 2\n101\n0 1 0", [[0, 255, 0], [255, 0, 255]]),
        (b"P1 3 2 1 0 1 0 1 0\n", [[0, 255, 0], [255, 0, 255]]),
        (b"P4 3 2\n\xa0\x40", [[0, 255, 0], [255, 0, 255]]),
        (b"P2\n2 2 # width\n# white:\n4\n0 1\n2 4", [[0, 64], [128, 255]]),
        (b"P2 2 1 1023 0 1023", [[0, 65535]]),
        (b"P5 2 1 100\n\x00\x64", [[0, 255]]),
        (b"P5\t2\r\n1 1000 \x00\x00\x03\xe8", [[0, 65535]]),
        (b"P5 2 1 255\n#\x20", [[35, 32]]),  # a sample, not a comment
        (b"P3 1 1 255 1 2 3", [[[1, 2, 3]]]),
        (b"P6 1 1 255\n\1\2\3", [[[1, 2, 3]]]),
        (b"P6 1 1 65535\n\1\2\3\4\5\6", [[[258, 772, 1286]]]),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 1\nTUPLTYPE BLACKANDWHITE\nENDHDR\n\1", [[255]]),
        (
            b"P7\n# a\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\n"
            b"ENDHDR\n\1\2\3\4",
            [[[1, 2, 3, 4]]],
        ),
        (b"Pf 1 2 -1.0\n" + struct.pack("<2f", 0, 1), [[65535], [0]]),
        (b"PF 1 1 1.0\n" + struct.pack(">3f", 0, 0.5, 1), [[[0, 32768, 65535]]]),
    ],
)
def test_netpbm_of_every_kind(tmp_path, data, samples):
    path = kept(tmp_path, "x", data)
    back = read(path).samples
    assert np.array_equal(back.squeeze(), np.array(samples).squeeze())
    assert open_frames(path).width == len(samples[0])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"P5 2 2 255\n\0\0\0", "damaged or cut short"),
        (b"P2 2 2 255 1 2 3", "damaged or cut short"),
        (b"P2 2 2 255 1 2 3 x", "damaged or cut short"),
        (b"P5 2 1 100\n\x00\x65", "damaged or cut short"),
        (b"P5 0 1 255\n", "damaged or cut short"),
        (b"P5 1 1 65536\n\0\0", "damaged or cut short"),
        (b"P5 1 1\n", "damaged or cut short"),
        (b"P5 " + b"9" * 5000 + b" 1 255\n", "damaged or cut short"),
        (b"P6 99999 99999 255\n\0", "more than the limit"),
        (b"P5 1 1 255\n\0P5 1 1 255\n\0", "several pictures"),
        (b"Pf 1 1 -1\n" + struct.pack("<f", 1.5), "outside 0 to 1"),
        (b"Pf 1 1 -1\n" + struct.pack("<f", float("nan")), "outside 0 to 1"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE CMYK\nENDHDR\n\1\2\3\4", "unknown"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\n\1\2\3\4", "damaged or cut short"),
    ],
)
def test_damaged_netpbm_is_an_error(tmp_path, data, sentence):
    with pytest.raises(PictureError, match=rf"x\.ppm: .*{sentence}"):
        read(kept(tmp_path, "x.ppm", data))


# ICO, bitmaps without a head, and suffixes


def test_the_largest_icon_is_read(tmp_path):
    Image.fromarray(noise(4, h=64, w=64)).save(tmp_path / "x.ico", sizes=[(16, 16), (64, 64)])
    assert np.array_equal(read(tmp_path / "x.ico").samples, noise(4, h=64, w=64))
    with pytest.raises(PictureError, match=r"'\.ico' is read but not written"):
        write(Picture(noise(4)), tmp_path / "y.ico")


def test_bitmaps_without_a_head_are_read(tmp_path):
    Image.fromarray(noise(3)).save(tmp_path / "x.dib")
    assert (tmp_path / "x.dib").read_bytes()[:2] != b"BM"
    assert np.array_equal(read(tmp_path / "x.dib").samples, noise(3))


@pytest.mark.parametrize(
    ("suffix", "form"),
    [(".jpe", "JPEG"), (".jfif", "JPEG"), (".mpo", "JPEG"), (".apng", "PNG"), (".dib", "BMP")],
)
def test_other_suffixes_of_known_formats(tmp_path, suffix, form):
    path = tmp_path / f"x{suffix}"
    write(Picture(smooth(3)), path)
    assert imaging.is_picture_file(path)
    with Image.open(path) as image:
        assert image.format == form
    assert np.abs(read(path).samples.astype(int) - smooth(3)).max() < 12


def test_the_first_picture_of_a_stereo_pair_is_read(tmp_path):
    first, second = Image.fromarray(smooth(3)), Image.fromarray(255 - smooth(3))
    first.save(tmp_path / "x.mpo", save_all=True, append_images=[second], quality=100)
    assert np.abs(read(tmp_path / "x.mpo").samples.astype(int) - smooth(3)).max() < 12
