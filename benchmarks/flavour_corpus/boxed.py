"""Formats made of boxes: AVIF, HEIC, JPEG XL and JPEG 2000."""

import io
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pyjpegxl

import avif_files
from avif_files import box, described
from flavour_corpus.basics import (
    LAID,
    PANORAMA,
    PROFILE,
    XMP,
    XMP_LAID,
    Flavour,
    animation,
    carried,
    exif,
    exif_bytes,
    full_range,
    image,
    lossy,
    moving,
    noise,
    said,
    saved,
    smooth,
)

_POINTS = {"P3": (12, 13), "BT.2020": (9, 14), "PQ": (9, 16), "HLG": (9, 18)}


def _avifs() -> Iterator[Flavour]:
    """Depths, subsampling, gray, alpha, grids, animations."""
    rgb, rgba = image(smooth(3)), image(np.dstack((smooth(3), smooth(1) | 1)))
    whole: dict[str, Any] = {"quality": 90, "subsampling": "4:4:4"}
    yield lossy("AVIF 4:4:4", ".avif", saved(rgb, "AVIF", **whole))
    for what in ("4:2:0", "4:2:2"):
        data = saved(rgb, "AVIF", quality=90, subsampling=what)
        yield lossy(f"AVIF {what}", ".avif", data, 8)
    yield lossy("AVIF alpha", ".avif", saved(rgba, "AVIF", **whole))
    yield lossy("AVIF limited range", ".avif", saved(rgb, "AVIF", **whole, range="limited"), 3)
    for limits in ("full", "limited"):
        data = saved(rgb, "AVIF", quality=95, range=limits, subsampling="4:0:0")
        luma = np.asarray(rgb.convert("L"))[..., None]
        yield Flavour(f"AVIF gray, {limits} range", ".avif", data, (luma,), near=6)
    flat = np.full((16, 16, 4), (200, 100, 50, 128), np.uint8)
    data = avif_files.encoded(flat, alpha_premultiplied=True)
    yield Flavour("AVIF alpha multiplied in", ".avif", data, (flat,), near=3)
    for bits in (10, 12):
        for channels, what in ((1, "gray"), (3, "RGB"), (4, "RGBA")):
            white = 2**bits - 1
            wide = (smooth(channels).astype(np.uint32) * white // 255).astype(np.uint16)
            form = {"pixelformat": "400" if channels == 1 else "444", "matrix": 6, "speed": 9}
            data = imagecodecs.avif_encode(
                wide[..., 0] if channels == 1 else wide, level=100, bitspersample=bits, **form
            )
            shown = full_range(wide, bits)
            name = f"AVIF {what} {bits} bits"
            yield Flavour(name, ".avif", bytes(data), (shown,), near=3 * 65535 // white)
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (64, 1, 3))
    av1c, first = avif_files.cell(ramp)
    cells = first, avif_files.cell(ramp[:, ::-1].copy())[1]
    shown = np.concatenate((ramp, ramp[:, ::-1]), axis=1)
    for hidden in (False, True):
        data = avif_files.grid(av1c, cells, hidden=hidden)
        name = f"AVIF grid of {'hidden' if hidden else 'open'} cells"
        yield Flavour(name, ".avif", data, (shown,), near=3)
    for channels, what in ((3, ""), (4, " with alpha")):
        frames = tuple(animation(channels))
        data = moving("AVIF", frames, quality=100, subsampling="4:4:4")
        name = f"AVIF animation{what}"
        yield Flavour(name, ".avif", data, frames, near=6, others=("png", "webp"))


def _described_avifs() -> Iterator[Flavour]:
    rgb = image(smooth(3))
    whole: dict[str, Any] = {"quality": 90, "subsampling": "4:4:4"}
    for what, options in said().items():
        yield carried(lossy(f"AVIF {what}", ".avif", saved(rgb, "AVIF", **whole, **options)))
    plain = saved(rgb, "AVIF", **whole)
    for what, points in _POINTS.items():
        right = lossy("", ".avif", plain).frames
        name = f"AVIF nclx of {what}"
        yield carried(Flavour(name, ".avif", described(plain, *points), right, near=2))
    for turn in (2, 3, 6, 8):
        laid = image(np.ascontiguousarray(LAID[turn](smooth(3))))
        data = saved(laid, "AVIF", **whole, exif=exif(turn))
        yield Flavour(f"AVIF orientation {turn}", ".avif", data, (smooth(3),), near=8)
    data = saved(rgb, "AVIF", **whole, xmp=XMP_LAID)  # boxes alone say how it lies
    yield lossy("AVIF orientation in XMP", ".avif", data)
    place = struct.pack(">IIIIiIiI", 20, 1, 10, 1, 4, 1, -3, 1)  # right of the middle, and above
    data = avif_files.with_property(plain, box(b"clap", place))
    yield Flavour("AVIF clean aperture", ".avif", data, (smooth(3)[4:14, 10:30],), near=8)


def _heic(samples: np.ndarray, mode: str = "", **options: Any) -> bytes:
    deep = ";16" if samples.dtype == np.uint16 else ""
    mode = mode or {1: "L", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
    file = io.BytesIO()
    height, width = samples.shape[:2]
    made = pillow_heif.from_bytes(mode + deep, (width, height), samples.tobytes())
    made.save(file, **{"quality": 100, "chroma": 444} | options)
    return file.getvalue()


def _heics() -> Iterator[Flavour]:
    """HEIC: depths, alpha, gray, what boxes say. It is written as PNG."""
    one = partial(Flavour, suffix=".heic")
    for channels, what in ((1, "gray"), (3, "RGB"), (4, "RGBA")):
        for dtype in (np.uint8, np.uint16):
            samples = smooth(channels) * np.array(1 if dtype == np.uint8 else 257, dtype)
            name = f"HEIC {what} {8 if dtype == np.uint8 else 10} bits"
            near = 8 if dtype == np.uint8 else 8 * 257
            yield one(name, data=_heic(samples), frames=(samples,), near=near)
    mixed = np.full((32, 32, 4), (100, 50, 25, 128), np.uint8)
    straight = np.full((32, 32, 4), (199, 100, 50, 128), np.uint8)
    data = _heic(mixed, "RGBa")
    yield one("HEIC alpha multiplied in", data=data, frames=(straight,), near=4)
    narrow = np.tile(np.arange(16, 236, dtype=np.uint8)[None, :, None], (32, 1, 1))
    right = np.rint((narrow - 16.0) * 255 / 219).astype(np.uint8)
    data = described(_heic(narrow), 1, 13, full=0)
    yield one("HEIC gray, limited range", data=data, frames=(right,), near=4)
    samples = smooth(3)
    laid = np.ascontiguousarray(LAID[6](samples))
    data = _heic(laid, xmp=XMP_LAID)  # libheif makes a box of it
    yield one("HEIC orientation 6", data=data, frames=(samples,), near=8)
    upright = _heic(samples, xmp=XMP_LAID.replace(b'"6"', b'"1"'))
    data = upright.replace(b'tiff:Orientation="1"', b'tiff:Orientation="6"')  # does not count
    yield one("HEIC orientation in XMP", data=data, frames=(samples,), near=8)
    entry = struct.pack(">HHIH", 0x0112, 3, 1, 1)
    data = _heic(samples, exif=exif_bytes()).replace(entry, entry[:-1] + b"\6")  # nor does this
    yield one("HEIC orientation in EXIF", data=data, frames=(samples,), near=8)
    told: dict[str, Any] = {"exif": exif_bytes()}
    for what, options in (said() | {"EXIF": told}).items():
        data = _heic(samples, "RGB", **options)
        yield carried(one(f"HEIC {what}", data=data, frames=(samples,), near=8))
    for what, points in _POINTS.items():
        data = described(_heic(samples), *points)
        yield carried(one(f"HEIC nclx of {what}", data=data, frames=(samples,), near=8))


def _jxls() -> Iterator[Flavour]:
    """JPEG XL: depths, alpha, gray, fractions, metadata."""
    one = partial(Flavour, suffix=".jxl")
    for channels, what in ((1, "gray"), (2, "gray and alpha"), (3, "RGB"), (4, "RGBA")):
        for dtype in (np.uint8, np.uint16):
            samples = noise(channels, dtype)
            data = imagecodecs.jpegxl_encode(
                samples[..., 0] if channels == 1 else samples, lossless=True
            )
            name = f"JPEG XL {what} {8 * samples.itemsize} bits"
            yield one(name, data=bytes(data), frames=(samples,))
    for bits in (10, 12):
        samples = noise(3, np.uint16) >> (16 - bits)
        data = imagecodecs.jpegxl_encode(samples, lossless=True, bitspersample=bits)
        frames = (full_range(samples, bits),)
        yield one(f"JPEG XL RGB {bits} bits", data=bytes(data), frames=frames, near=1)
    fractions = noise(3).astype(np.float32) / 255
    data = imagecodecs.jpegxl_encode(fractions, lossless=True)
    yield one("JPEG XL fractions", data=bytes(data), frames=(noise(3) * np.uint16(257),), near=1)
    samples = smooth(3)
    bare = bytes(imagecodecs.jpegxl_encode(samples, lossless=True))
    for what, content in (
        ("EXIF", box(b"Exif", bytes(4) + exif_bytes())),
        ("XMP", box(b"xml ", XMP)),
        ("panorama", box(b"xml ", PANORAMA)),
    ):
        yield carried(one(f"JPEG XL {what}", data=_contained(bare, content), frames=(samples,)))
    data = pyjpegxl.encode_from_numpy(samples, lossless=True, icc=PROFILE)
    yield carried(one("JPEG XL profile", data=data, frames=(samples,)))
    # its own header says how it lies, and nothing else
    for what, content in (
        ("EXIF", box(b"Exif", bytes(4) + exif_bytes(6))),
        ("XMP", box(b"xml ", XMP_LAID)),
    ):
        data = _contained(bare, content)
        yield one(f"JPEG XL orientation in {what}", data=data, frames=(samples,))


def _contained(codestream: bytes, content: bytes) -> bytes:
    head = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    return head + content + box(b"jxlc", codestream)


def _jp2s() -> Iterator[Flavour]:
    """JPEG 2000: gray of any depth, 8 bits of colour and alpha, profile."""
    one = partial(Flavour, suffix=".jp2")
    for bits in (1, 4, 8, 10, 12, 16):
        samples = noise(1, np.uint16) >> (16 - bits)
        samples = samples.astype("u2" if bits > 8 else "u1")
        options: dict[str, Any] = {"reversible": True, "codecformat": "jp2", "level": 0}
        data = imagecodecs.jpeg2k_encode(samples[..., 0], bitspersample=bits, **options)
        shown = full_range(samples, bits)
        yield one(f"JPEG 2000 gray {bits} bits", data=bytes(data), frames=(shown,))
    for channels, what in ((2, "gray and alpha"), (3, "RGB"), (4, "RGBA")):
        samples = noise(channels)
        data = saved(image(samples), "JPEG2000", mct=0)
        yield one(f"JPEG 2000 {what}", data=data, frames=(samples,))
    tiled = noise(3, h=40, w=50)
    data = saved(image(tiled), "JPEG2000", tile_size=(32, 32))
    yield one("JPEG 2000 tiles", data=data, frames=(tiled,))
    bare = saved(image(noise(3)), "JPEG2000", no_jp2=True)
    yield one("JPEG 2000 without boxes", data=bare, suffix=".j2k", frames=(noise(3),))
    plain = saved(image(noise(3)), "JPEG2000")
    yield one("JPEG 2000 profile", data=_with_profile(plain), frames=(noise(3),))


def _with_profile(data: bytes) -> bytes:
    """A JP2 file whose colour box has a profile instead of a number."""
    at = data.find(b"colr") - 4
    (size,) = struct.unpack_from(">I", data, at)
    made = box(b"colr", b"\2\0\0" + PROFILE)
    changed = bytearray(data)
    changed[at : at + size] = made
    header = data.find(b"jp2h") - 4
    (long,) = struct.unpack_from(">I", data, header)
    struct.pack_into(">I", changed, header, long + len(made) - size)
    return bytes(changed)


FORMATS = (_avifs, _described_avifs, _heics, _jxls, _jp2s)
