"""TIFF: depths, sample types, compressions, layouts, metadata, pages."""

import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyvips
from PIL import Image, ImageCms

from flavour_corpus.basics import (
    LAID,
    P3,
    PANORAMA,
    PROFILE,
    SHOWN_SPRITE,
    XMP,
    XMP_LAID,
    Flavour,
    carried,
    flat,
    full_range,
    image,
    look,
    lossy,
    noise,
    saved,
    shown_inks,
    smooth,
    sprite,
)
from tiff_files import Tiff, cut, packed

_one = partial(Flavour, suffix=".tif")
_Tags = Mapping[int, tuple[int, Sequence[int]]]

PREMULTIPLIED, STRAIGHT = {338: (3, [1])}, {338: (3, [2])}


_LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {},
    "tiles": {"tile": 16, "compression": 8},
    "big-endian": {"order": ">"},
    "planes": {"planar": True},
    "planes, tiles": {"planar": True, "tile": 16, "compression": 8},
}


def tiff(
    samples: np.ndarray,
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    tile: int = 0,
    planar: bool = False,
    compression: int = 1,
    big: bool = False,
    more: _Tags | None = None,
) -> bytes:
    """A TIFF file: strips of four rows or tiles, with more tags (number: type, values).

    Args:
        samples: of unsigned integers, or the bits of fractions as such.
        bits: of a sample.
        photometric: what samples mean.
        order: of bytes.
        tile: pixels of a side, 0 for strips.
        planar: whether each channel lies apart.
        compression: 1, 8 (deflate), 32773 (PackBits), 34925 (LZMA).
        big: whether it is BigTIFF.
        more: other tags; FillOrder turns the bits around, too.
    """
    height, width, channels = samples.shape
    planes = np.split(samples, channels, axis=2) if planar else [samples]
    blocks = [
        packed(block.reshape(len(block), -1), bits, order)
        for plane in planes
        for block in (
            cut(plane, tile, tile) if tile else [plane[y : y + 4] for y in range(0, height, 4)]
        )
    ]
    shrink = {1: bytes, 8: zlib.compress, 32773: _packbits, 34925: lzma.compress}[compression]
    blocks = [shrink(block) for block in blocks]
    if (more or {}).get(266) == (3, [2]):
        blocks = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in block) for block in blocks]
    return Tiff(
        blocks,
        width,
        height,
        photometric,
        [bits] * channels,
        compression,
        tile=(tile, tile) if tile else None,
        rows=4,
        planar=planar,
        order=order,
        big=big,
        more=more or {},
    ).bytes()


def _packbits(block: bytes) -> bytes:
    parts = [block[at : at + 128] for at in range(0, len(block), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def _integers() -> Iterator[Flavour]:
    """Depths, layouts and byte orders of gray and RGB, with and without alpha."""
    for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32):
        samples = noise(1, np.uint32).astype(np.uint64) >> (32 - bits)
        shown, name = full_range(samples, bits), f"TIFF gray {bits} bits"
        yield _one(name, data=tiff(samples, bits, 1), frames=(shown,))
        white = shown.dtype.type(np.iinfo(shown.dtype).max) - shown
        yield _one(f"{name}, 0 is white", data=tiff(samples, bits, 0), frames=(white,))
    deep = noise(3, np.uint16) >> 4
    for what, options in _LAYOUTS.items():
        name, shown = f"TIFF RGB 12 bits, {what}", full_range(deep, 12)
        yield _one(name, data=tiff(deep, 12, 2, **options), frames=(shown,))
    for channels, what in ((1, "gray"), (2, "gray and alpha"), (3, "RGB"), (4, "RGBA")):
        for dtype in (np.uint8, np.uint16):
            samples = noise(channels, dtype)
            alpha = STRAIGHT if channels in (2, 4) else {}
            bits, kind = 8 * samples.itemsize, 1 if channels < 3 else 2
            for layout, options in _LAYOUTS.items():
                data = tiff(samples, bits, kind, more=alpha, **options)
                yield _one(f"TIFF {what} {bits} bits, {layout}", data=data, frames=(samples,))


def _fractions() -> Iterator[Flavour]:
    for kind in ("f2", "f4", "f8"):
        for channels, photometric in ((1, 1), (3, 2)):
            samples = np.random.default_rng(0).random((9, 14, channels)).astype(kind)
            shown = np.floor(samples.astype(float) * 65535 + 0.5).astype(np.uint16)
            bits = 8 * samples.itemsize
            for order in "<>":
                name = f"TIFF {'RGB' if channels == 3 else 'gray'} fractions of {bits} bits"
                data = tiff(
                    samples.view(f"u{bits // 8}"),
                    bits,
                    photometric,
                    order=order,
                    more={339: (3, [3] * channels)},
                )
                end = ", big-endian" if order == ">" else ""
                yield _one(f"{name}{end}", data=data, frames=(shown,))


def _kinds() -> Iterator[Flavour]:
    """Palettes, alpha, and colours other than RGB."""
    for bits in (2, 4, 8):
        palette, index = noise(3, h=2**bits, w=1)[:, 0], noise(1) >> (8 - bits)
        more = {320: (3, (palette.T.astype(int) * 257).ravel().tolist())}
        data, shown = tiff(index, bits, 3, more=more), palette[index[..., 0]]
        yield _one(f"TIFF palette {bits} bits", data=data, frames=(shown,))
    wide = noise(3, np.uint16, h=256, w=1)[:, 0]
    data = tiff(noise(1), 8, 3, more={320: (3, wide.T.ravel().tolist())})
    yield _one("TIFF palette of 16-bit colours", data=data, frames=(wide[noise(1)[..., 0]],))
    data = tiff(sprite(), 8, 2, more=STRAIGHT)
    yield _one("TIFF sprite", data=data, frames=(SHOWN_SPRITE,))
    data = tiff(noise(4), 8, 2, more={338: (3, [0])})
    yield _one("TIFF fourth channel unspecified", data=data, frames=(noise(4)[..., :3],))
    for dtype in (np.uint8, np.uint16):
        bits, white = 8 * np.dtype(dtype).itemsize, np.iinfo(dtype).max
        alpha = noise(1, dtype) // 2 + white // 2
        straight = np.dstack((noise(3, dtype), alpha))
        mixed = np.rint(straight[..., :3].astype(float) * alpha / white)
        data = tiff(np.dstack((mixed, alpha)).astype(dtype), bits, 2, more=PREMULTIPLIED)
        name = f"TIFF alpha multiplied in, {bits} bits"
        yield _one(name, data=data, frames=(straight,), near=2)
        lab = _lab(wide=bits == 16)
        shown = smooth(3) * np.array(white // 255, dtype)
        yield _one(f"TIFF L*a*b* {bits} bits", data=lab, frames=(shown,), near=5 * (white // 255))
        inks = np.full((9, 14, 4), (0, 0, 0, 0), dtype)
        data = tiff(inks, bits, 5)
        right = np.full((9, 14, 3), white, dtype)
        yield _one(f"TIFF no inks {bits} bits", data=data, frames=(right,), near=white // 255)
    yield from _luma()
    yield from _inks()
    narrow = noise(3) % 220 + 16
    more = {532: (5, [v for n in (16, 235) * 3 for v in (n, 1)])}
    right = np.clip((narrow - 16.0) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)
    yield _one("TIFF RGB of narrow range", data=tiff(narrow, 8, 2, more=more), frames=(right,))


def _inks() -> Iterator[Flavour]:
    """CMYK without a profile, with and without alpha; LittleCMS says what it looks like."""
    inks, alpha = smooth(4) // 2, smooth(1) | 1
    right = shown_inks(Image.fromarray(inks, "CMYK"))
    yield _one("TIFF CMYK 8 bits", data=tiff(inks, 8, 5), frames=(right,), near=1)
    wide, shown = inks.astype(np.uint16) * 257, right.astype(np.uint16) * 257
    yield _one("TIFF CMYK 16 bits", data=tiff(wide, 16, 5), frames=(shown,), near=300)
    data = tiff(np.dstack((inks, alpha)), 8, 5, more=STRAIGHT)
    yield _one("TIFF CMYK and alpha", data=data, frames=(np.dstack((right, alpha)),), near=1)


def _lab(*, wide: bool) -> bytes:
    """A smooth picture as L*a*b*, by LittleCMS."""
    srgb, d50 = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(srgb, d50, "RGB", "LAB")
    lab = ImageCms.applyTransform(image(smooth(3)), to_lab)
    assert lab is not None
    samples = np.asarray(lab)
    if not wide:
        return tiff(samples, 8, 8)
    signed = np.dstack((samples[..., :1], samples[..., 1:].view(np.int8))).astype(np.int32)
    return tiff((signed * (257, 256, 256)) & 0xFFFF, 16, 8)


def _luma() -> Iterator[Flavour]:
    """YCbCr, with colour for each pixel and for 2 x 2 together; Pillow says what it means."""
    luma, shared = noise(1, h=8, w=16)[..., 0], noise(2, h=4, w=8)
    whole = np.dstack((luma, shared.repeat(2, 0).repeat(2, 1)))
    right = np.asarray(Image.frombytes("YCbCr", (16, 8), whole.tobytes()).convert("RGB"))
    data = tiff(whole, 8, 6, more={530: (3, [1, 1])})
    yield _one("TIFF YCbCr 4:4:4", data=data, frames=(right,), near=1)
    blocks = luma.reshape(4, 2, 8, 2).transpose(0, 2, 1, 3).reshape(4, 8, 4)
    part = np.dstack((blocks, shared)).tobytes()
    for name, number, pack in (("", 1, bytes), (", deflate", 8, zlib.compress)):
        file = Tiff([pack(part)], 16, 8, 6, [8] * 3, number, more={530: (3, [2, 2])})
        yield _one(f"TIFF YCbCr 4:2:0{name}", data=file.bytes(), frames=(right,), near=1)


def _compressions() -> Iterator[Flavour]:
    rgb = noise(3)
    for number, what in ((8, "deflate"), (32773, "PackBits"), (34925, "LZMA")):
        data = tiff(rgb, 8, 2, compression=number)
        yield _one(f"TIFF {what}", data=data, frames=(rgb,))
    for samples in (rgb, noise(3, np.uint16)):
        bits = 8 * samples.itemsize
        steps = np.diff(samples, axis=1, prepend=samples[:, :1] * 0)
        data = tiff(steps, bits, 2, compression=8, more={317: (3, [2])})
        yield _one(f"TIFF differences of {bits} bits", data=data, frames=(samples,))
    few = noise(1) >> 4
    data = tiff(few, 4, 1, more={266: (3, [2])})
    yield _one("TIFF bits the other way round", data=data, frames=(few * 17,))
    yield _one("TIFF LZW", data=saved(image(rgb), "TIFF", compression="tiff_lzw"), frames=(rgb,))
    bits = noise(1) > 127
    for fax in ("group3", "group4", "tiff_ccitt"):
        data = saved(Image.fromarray(bits[..., 0]), "TIFF", compression=fax)
        yield _one(f"TIFF fax, {fax}", data=data, frames=(bits.astype(np.uint8) * 255,))
    for channels, what in ((1, "gray"), (3, "colour")):
        for tile in (False, True):
            picture = pyvips.Image.new_from_array(smooth(channels, 48, 64))
            options: dict[str, Any] = {"tile": tile, "tile_width": 32, "tile_height": 16}
            data = picture.tiffsave_buffer(compression="jpeg", Q=95, **options)
            name = f"TIFF JPEG, {what}{', tiles' if tile else ''}"
            yield lossy(name, ".tif", data)
    picture = pyvips.Image.new_from_array(rgb)
    data = picture.tiffsave_buffer(compression="webp", lossless=True, tile=True, tile_width=16)
    yield _one("TIFF WebP", data=data, frames=(rgb,))
    yield _one("TIFF BigTIFF", data=tiff(rgb, 8, 2, big=True), frames=(rgb,))
    data = tiff(rgb, 8, 2, big=True, order=">", tile=16)
    yield _one("TIFF BigTIFF, tiles, big-endian", data=data, frames=(rgb,))


def _said() -> Iterator[Flavour]:
    rgb, wide = noise(3), smooth(3)
    for what, more in (
        ("resolution", {282: (5, [300, 1]), 283: (5, [300, 1]), 296: (3, [2])}),
        ("profile", {34675: (7, list(PROFILE))}),
        ("author", {315: (2, list(b"Somebody\0"))}),
        ("XMP", {700: (1, list(XMP))}),
        ("panorama", {700: (1, list(PANORAMA))}),
    ):
        yield carried(_one(f"TIFF {what}", data=tiff(wide, 8, 2, more=more), frames=(wide,)))
    for turn, laid in LAID.items():
        data = tiff(laid(rgb), 8, 2, more={274: (3, [turn])})
        yield _one(f"TIFF orientation {turn}", data=data, frames=(rgb,))
    data = tiff(LAID[6](rgb), 8, 2, more={700: (1, list(XMP_LAID))})
    yield _one("TIFF orientation in XMP", data=data, frames=(rgb,))
    ends = [v for x in P3 for part in x for v in (round(100000 * part), 100000)]
    linear = [round(65535 * n / 255) for n in range(256)]
    more = {319: (5, ends[:12]), 318: (5, ends[12:]), 301: (3, linear * 3)}
    others = ("png", "jpg", "webp", "gif")
    yield _one(
        "TIFF primaries and curve",
        data=tiff(flat(), 8, 2, more=more),
        frames=(flat(),),
        others=others,
        looks=look(P3, 1),
    )


def _pages() -> Iterator[Flavour]:
    pages = (noise(3), noise(3, h=7, w=20), noise(1))
    first, *others = map(image, pages)
    data = saved(first, "TIFF", save_all=True, append_images=others)
    yield _one("TIFF pages", data=data, frames=pages, others=())
    deep = noise(1, np.uint16)
    second = Image.fromarray(deep[..., 0])
    data = saved(image(noise(4)), "TIFF", save_all=True, append_images=[second])
    yield _one("TIFF pages of different kinds", data=data, frames=(noise(4), deep), others=())


FORMATS = (_integers, _fractions, _kinds, _compressions, _said, _pages)
