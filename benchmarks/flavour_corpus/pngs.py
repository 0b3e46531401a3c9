"""PNG and animated PNG."""

import struct
import zlib
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyvips

from flavour_corpus.basics import (
    LAID,
    P3,
    PANORAMA,
    PROFILE,
    SHOWN_SPRITE,
    XMP,
    XMP_LAID,
    Flavour,
    animation,
    carried,
    exif,
    exif_bytes,
    flat,
    full_range,
    image,
    look,
    moving,
    noise,
    saved,
    smooth,
    sprite,
)
from tiff_files import packed

_one = partial(Flavour, suffix=".png")


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of PNG."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png(
    samples: np.ndarray, bits: int, kind: int, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG file of a colour type, with chunks before and behind its samples."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    raw = b"".join(b"\0" + packed(row[None], bits, ">") for row in rows)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + head + before + body + after + chunk(b"IEND", b"")


def _kinds() -> Iterator[Flavour]:
    """Colour types, depths, palettes, interlacing."""
    for bits in (1, 2, 4):
        few = noise(1) >> (8 - bits)
        yield _one(f"PNG gray {bits} bits", data=png(few, bits, 0), frames=(full_range(few, bits),))
    for kind, what in ((0, "gray"), (2, "RGB"), (4, "gray and alpha"), (6, "RGBA")):
        for dtype in (np.uint8, np.uint16):
            samples = noise({0: 1, 2: 3, 4: 2, 6: 4}[kind], dtype)
            bits = 8 * samples.itemsize
            yield _one(f"PNG {what} {bits} bits", data=png(samples, bits, kind), frames=(samples,))
    for bits in (1, 2, 4, 8):
        index = noise(1) >> (8 - bits)
        palette = noise(3, h=2**bits, w=1)[:, 0]
        plte = chunk(b"PLTE", palette.tobytes())
        shown = palette[index[..., 0]]
        yield _one(f"PNG palette {bits} bits", data=png(index, bits, 3, plte), frames=(shown,))
        clear = np.full(2**bits, 255, np.uint8)
        clear[0] = 128
        mixed = np.dstack((shown, clear[index[..., 0]]))
        data = png(index, bits, 3, plte + chunk(b"tRNS", b"\x80"))
        yield _one(f"PNG palette {bits} bits, alpha", data=data, frames=(mixed,))
    interlaced = pyvips.Image.new_from_array(noise(3)).pngsave_buffer(interlace=True)
    yield _one("PNG interlaced", data=interlaced, frames=(noise(3),))


def _transparent() -> Iterator[Flavour]:
    """What is hidden takes the colour of what is seen, which is one here."""
    alpha = np.where(noise(1) < 64, 0, 255).astype(np.uint8)
    for what, tone, kind in (("gray", (200,), 0), ("RGB", (200, 100, 50), 2)):
        for bits in (8, 16):
            white = 255 if bits == 8 else 65535
            colour = np.array(tone) * (white // 255)
            samples = np.where(alpha > 0, colour, colour // 3)
            clear = chunk(b"tRNS", (colour // 3).astype(">u2").tobytes())
            right = np.dstack(
                (np.broadcast_to(colour, samples.shape), alpha.astype(int) * (white // 255))
            )
            yield _one(
                f"PNG {what} {bits} bits, one colour clear",
                data=png(samples, bits, kind, clear),
                frames=(right.astype(f"u{bits // 8}"),),
            )
    yield _one("PNG sprite", data=png(sprite(), 8, 6), frames=(SHOWN_SPRITE,), others=("webp",))


def _said() -> Iterator[Flavour]:
    """Metadata before and behind the samples, and texts."""
    samples = smooth(3)
    raw = exif().tobytes()
    hexadecimal = b"\nexif\n%8d\n%s\n" % (len(raw), raw.hex().encode())
    contents = {
        "EXIF": chunk(b"eXIf", exif_bytes()),
        "EXIF as ImageMagick wrote it": chunk(
            b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hexadecimal)
        ),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP),
        "panorama": chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + PANORAMA),
        "tEXt": chunk(b"tEXt", b"Author\0Somebody")
        + chunk(b"tEXt", b"parameters\0a tree, seed: 1"),
        "zTXt": chunk(b"zTXt", b"Description\0\0" + zlib.compress("a café".encode("latin-1"))),
        "iTXt": chunk(b"iTXt", b"Description\0\0\0en\0\0" + "a \N{SNOWMAN}".encode()),
        "iTXt, compressed": chunk(
            b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress("\N{SNOWMAN}, seed: 2".encode())
        ),
    }
    for what, content in contents.items():
        for place in ("before", "behind"):
            data = png(samples, 8, 2, **{"before" if place == "before" else "after": content})
            name = f"PNG {what} {place} the samples"
            yield carried(_one(name, data=data, frames=(samples,)))
    dots = chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1))
    yield carried(_one("PNG resolution", data=png(samples, 8, 2, dots), frames=(samples,)))
    rgb = noise(3)
    for turn, laid in LAID.items():
        data = saved(image(np.ascontiguousarray(laid(rgb))), "PNG", exif=exif(turn))
        yield _one(f"PNG orientation {turn}", data=data, frames=(rgb,))
    content = chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP_LAID)
    data = png(np.ascontiguousarray(LAID[6](rgb)), 8, 2, content)
    yield _one("PNG orientation in XMP", data=data, frames=(rgb,))


def _coloured() -> Iterator[Flavour]:
    """What colours mean."""
    samples = smooth(3)
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(PROFILE))
    told = carried(_one("PNG profile", data=png(samples, 8, 2, icc), frames=(samples,)))
    yield told
    yield _one("PNG sRGB", data=png(samples, 8, 2, chunk(b"sRGB", b"\0")), frames=(samples,))
    for what, points in (("P3", (12, 13)), ("BT.2020", (9, 14)), ("PQ", (9, 16)), ("HLG", (9, 18))):
        data = png(samples, 8, 2, chunk(b"cICP", bytes([*points, 0, 1])))
        yield carried(_one(f"PNG cICP of {what}", data=data, frames=(samples,)))
    narrow = (noise(1) % 220 + 16).astype(np.uint8)
    right = np.clip((narrow.astype(int) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)
    data = png(narrow, 8, 0, chunk(b"cICP", bytes([1, 13, 0, 0])))
    yield _one("PNG cICP of narrow range", data=data, frames=(right,))
    gamma, srgb_gamma = (chunk(b"gAMA", struct.pack(">I", v)) for v in (100000, 45455))
    ends = struct.pack(">8I", *(round(100000 * v) for x in (P3[3], *P3[:3]) for v in x))
    primaries = chunk(b"cHRM", ends)
    bt709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), P3[3])
    for what, content, seen in (
        ("gAMA of 1", gamma, look(bt709, 1)),
        ("gAMA and cHRM of P3", srgb_gamma + primaries, look(P3, None)),
        ("gAMA of 1, cHRM of P3", gamma + primaries, look(P3, 1)),
    ):
        data = png(flat(), 8, 2, content)
        others = (*told.others, "gif", "bmp", "ppm")
        yield _one(f"PNG {what}", data=data, frames=(flat(),), others=others, looks=seen)


def _moving() -> Iterator[Flavour]:
    for channels, what in ((3, ""), (4, " with alpha")):
        frames = tuple(animation(channels))
        yield _one(
            f"PNG animation{what}",
            data=moving("PNG", frames),
            frames=frames,
            others=("gif", "webp", "avif"),
        )


FORMATS = (_kinds, _transparent, _said, _coloured, _moving)
