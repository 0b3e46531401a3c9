"""WebP, GIF, BMP, Netpbm, ICO, and unusual suffixes."""

import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from flavour_corpus.basics import (
    LAID,
    P3,
    PROFILE,
    SHOWN_SPRITE,
    XMP_LAID,
    Flavour,
    animation,
    carried,
    exif,
    flat,
    image,
    look,
    lossy,
    moving,
    noise,
    said,
    saved,
    smooth,
    sprite,
)


def _webps() -> Iterator[Flavour]:
    """Lossless, lossy, alpha, what chunks say, animations."""
    one = partial(Flavour, suffix=".webp")
    rgb, rgba = noise(3), noise(4)
    exact: dict[str, Any] = {"lossless": True, "exact": True}
    yield one("WebP lossless", data=saved(image(rgb), "WEBP", **exact), frames=(rgb,))
    yield one("WebP lossless, alpha", data=saved(image(rgba), "WEBP", **exact), frames=(rgba,))
    data = saved(image(sprite()), "WEBP", **exact)
    yield one("WebP sprite", data=data, frames=(SHOWN_SPRITE,))
    for what, options in said().items():
        data = saved(image(smooth(3)), "WEBP", **exact, **options)
        yield carried(one(f"WebP {what}", data=data, frames=(smooth(3),)))
    for turn in (3, 6):
        laid = image(np.ascontiguousarray(LAID[turn](rgb)))
        data = saved(laid, "WEBP", exif=exif(turn), **exact)
        yield one(f"WebP orientation {turn}", data=data, frames=(rgb,))
    laid = image(np.ascontiguousarray(LAID[6](rgb)))
    data = saved(laid, "WEBP", xmp=XMP_LAID, **exact)
    yield one("WebP orientation in XMP", data=data, frames=(rgb,))
    yield lossy("WebP lossy", ".webp", saved(image(smooth(3)), "WEBP", quality=90))
    for channels, what in ((3, ""), (4, " with alpha")):
        frames = tuple(animation(channels))
        data = moving("WEBP", frames, lossless=True)
        others = ("png", "gif", "avif")
        yield one(f"WebP animation{what}", data=data, frames=frames, others=others)


def _gifs() -> Iterator[Flavour]:
    """Palettes, transparency, interlacing, animations."""
    one = partial(Flavour, suffix=".gif")
    still = image(noise(3, h=5, w=6)).quantize(64)
    shown = np.asarray(still.convert("RGB"))
    yield one("GIF", data=saved(still, "GIF", interlace=0), frames=(shown,))
    yield one("GIF interlaced", data=saved(still, "GIF", interlace=1), frames=(shown,))
    yield one("GIF sprite", data=saved(image(sprite()), "GIF"), frames=(SHOWN_SPRITE,))
    for channels, what in ((3, ""), (4, " with alpha")):
        frames = tuple(animation(channels))
        data = moving("GIF", frames, disposal=2 if channels == 4 else 0)
        others = ("png", "webp", "avif")
        yield one(f"GIF animation{what}", data=data, frames=frames, others=others)


def bmp(
    samples: bytes,
    width: int,
    height: int,
    bits: int,
    *,
    compression: int = 0,
    masks: tuple[int, ...] = (0, 0, 0, 0),
    palette: bytes = b"",
    space: bytes = b"BGRs",
    colour: bytes = bytes(48),
    profile: bytes = b"",
) -> bytes:
    """A BMP file with the header of version 5.

    Args:
        samples: rows from below, each filled up to four bytes.
        width: in pixels.
        height: likewise.
        bits: of a pixel.
        compression: 0 none, 1 RLE of 8 bits, 2 of 4, 3 bit fields.
        masks: of red, green, blue and alpha.
        palette: blue, green, red and nothing of each colour.
        space: kind of the colour space; reversed, as the number is stored.
        colour: end points and gamma.
        profile: behind the samples.
    """
    start = 14 + 124 + len(palette)
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, bits, compression, len(samples), 0, 0,
                       len(palette) // 4, 0)  # fmt: skip
    head += struct.pack("<4I", *masks) + space + colour
    head += struct.pack("<4I", 4, 124 + len(palette) + len(samples), len(profile), 0)
    size = start + len(samples) + len(profile)
    file = b"BM" + struct.pack("<IHHI", size, 0, 0, start)
    return file + head + palette + samples + profile


def _bmps() -> Iterator[Flavour]:
    """1 bit, gray, palette, RGB, bit fields, run lengths, resolution, colour."""
    one = partial(Flavour, suffix=".bmp")
    rgb, gray = noise(3), noise(1)
    paletted = image(rgb).quantize(64)
    bits = (gray > 127).astype(np.uint8) * 255
    yield one("BMP RGB", data=saved(image(rgb), "BMP"), frames=(rgb,))
    yield one("BMP gray", data=saved(image(gray), "BMP"), frames=(gray,))
    yield one("BMP 1 bit", data=saved(image(bits).convert("1"), "BMP"), frames=(bits,))
    shown = np.asarray(paletted.convert("RGB"))
    yield one("BMP palette", data=saved(paletted, "BMP"), frames=(shown,))
    yield one("BMP resolution", data=saved(image(rgb), "BMP", dpi=(300, 300)), frames=(rgb,))
    parts = noise(3, h=8, w=10) >> np.array([3, 2, 3], np.uint8)
    words = (parts.astype("<u2") << np.array([11, 5, 0], "<u2")).sum(2, dtype="<u2")[::-1]
    right = np.rint(parts * 255.0 / np.array([31, 63, 31])).astype(np.uint8)
    masks = (0xF800, 0x07E0, 0x001F, 0)
    data = bmp(words.tobytes(), 10, 8, 16, compression=3, masks=masks)
    yield one("BMP bit fields of 5, 6 and 5", data=data, frames=(right,), near=1)
    rgba = noise(4, h=8, w=10)
    stored = np.ascontiguousarray(rgba[::-1, :, [2, 1, 0, 3]])
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    data = bmp(stored.tobytes(), 10, 8, 32, compression=3, masks=masks)
    yield one("BMP alpha", data=data, frames=(rgba,), own=False)
    indices = np.arange(80, dtype=np.uint8).reshape(8, 10) // 3
    runs = b"".join(bytes(v for i in row for v in (1, i)) + b"\0\0" for row in indices[::-1])
    table = np.pad(noise(3, h=256, w=1)[:, 0], ((0, 0), (0, 1)))
    data = bmp(runs + b"\0\1", 10, 8, 8, compression=1, palette=table[:, [2, 1, 0, 3]].tobytes())
    yield one("BMP run lengths", data=data, frames=(table[indices, :3],))
    rows = flat()[..., ::-1].tobytes()
    smoothed = smooth(3, h=8, w=8)
    stored = np.ascontiguousarray(smoothed[::-1, :, ::-1]).tobytes()
    data = bmp(stored, 8, 8, 24, space=b"DEBM", profile=PROFILE)
    yield carried(one("BMP profile", data=data, frames=(smoothed,)))
    fixed = [round(2**30 * v) for x, y in P3[:3] for v in (x, y, 1 - x - y)]
    ends = struct.pack("<9i3I", *fixed, 65536, 65536, 65536)
    data = bmp(rows, 8, 8, 24, space=bytes(4), colour=ends)
    told = one("BMP end points and gamma", data=data, frames=(flat(),), looks=look(P3, 1))
    yield carried(told)


def _netpbms() -> Iterator[Flavour]:
    """PPM, PGM, PBM, PAM and PFM. What is not written again becomes PNG."""
    for kind, suffix, channels in ((b"P5", ".pgm", 1), (b"P6", ".ppm", 3), (b"P6", ".pnm", 3)):
        for dtype in (np.uint8, np.uint16):
            samples, high = noise(channels, dtype), np.iinfo(dtype).max
            data = b"%s\n14 9\n%d\n" % (kind, high)
            data += samples.astype(f">u{samples.itemsize}").tobytes()
            name = f"Netpbm {8 * samples.itemsize} bits as {suffix}"
            yield Flavour(name, suffix, data, (samples,))
    for kind, suffix, channels in ((b"P2", ".pgm", 1), (b"P3", ".ppm", 3)):
        samples = noise(channels)
        words = " ".join(map(str, samples.ravel().tolist())).encode()
        data = b"%s 14 9 255\n" % kind + words
        yield Flavour(f"Netpbm in words as {suffix}", suffix, data, (samples,))
    bits = noise(1) > 127
    data = b"P4 14 9\n" + np.packbits(~bits[..., 0], axis=1).tobytes()
    yield Flavour("PBM", ".pbm", data, (bits * np.uint8(255),))
    for channels, what in ((1, "GRAYSCALE"), (2, "GRAYSCALE_ALPHA"), (3, "RGB"), (4, "RGB_ALPHA")):
        for dtype, order in ((np.uint8, "u1"), (np.uint16, ">u2")):
            samples = noise(channels, dtype)
            head = f"P7\nWIDTH 14\nHEIGHT 9\nDEPTH {channels}\nMAXVAL {np.iinfo(dtype).max}\n"
            data = f"{head}TUPLTYPE {what}\nENDHDR\n".encode() + samples.astype(order).tobytes()
            yield Flavour(f"PAM {what} {8 * samples.itemsize} bits", ".pam", data, (samples,))
    for kind, channels in ((b"Pf", 1), (b"PF", 3)):
        fractions = np.random.default_rng(0).random((9, 14, channels)).astype("<f4")
        shown = np.floor(fractions.astype(float) * 65535 + 0.5).astype(np.uint16)
        for scale, order in ((b"-1.0", "<f4"), (b"1.0", ">f4")):
            data = b"%s\n14 9\n%s\n" % (kind, scale) + fractions[::-1].astype(order).tobytes()
            name = f"PFM of {channels} channels, {'little' if order == '<f4' else 'big'}-endian"
            yield Flavour(name, ".pfm", data, (shown,))


def _icons() -> Iterator[Flavour]:
    large = noise(4, h=32, w=32)
    data = saved(image(large), "ICO", sizes=[(16, 16), (32, 32)])
    yield Flavour("ICO", ".ico", data, (large,))
    data = saved(image(large), "ICO", sizes=[(16, 16), (32, 32)], bitmap_format="bmp")
    yield Flavour("ICO of bitmaps", ".ico", data, (large,))


def _suffixes() -> Iterator[Flavour]:
    for suffix, kind in ((".jpe", "JPEG"), (".jfif", "JPEG"), (".dib", "BMP"), (".apng", "PNG")):
        data = saved(image(smooth(3)), kind, quality=95)
        yield Flavour(f"{kind} as {suffix}", suffix, data, (smooth(3),), near=8)
    data = saved(image(smooth(3)), "DIB")
    yield Flavour("BMP without a head", ".dib", data, (smooth(3),))
    data = saved(image(smooth(3)), "WEBP", lossless=True)
    yield Flavour("WebP as .png", ".png", data, (smooth(3),))


FORMATS = (_webps, _gifs, _bmps, _netpbms, _icons, _suffixes)
