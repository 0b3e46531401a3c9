"""A picture file of every flavour that docs/pictures.md promises to read, and what is in it.

The files are written by Pillow, by libvips where Pillow cannot, and bit by bit where neither can,
so that the right samples are known without asking the reader that is tried.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyvips
from PIL import Image, ImageCms

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:creator="Somebody"/></rdf:RDF></x:xmpmeta>'
)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

# how samples lie in a file whose EXIF says so, from how they are shown
_LAID = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}


@dataclass(frozen=True)
class Flavour:
    """A kind of picture file.

    Attributes:
        name: what it is, the format first.
        suffix: of the file.
        data: its content.
        frames: the samples that a faithful reader finds, h w c of uint8 or uint16, upright; what
            is fully transparent has the colour of what is seen beside it.
        near: how far a sample may be from that, in its own unit; 0 where decoders must agree.
    """

    name: str
    suffix: str
    data: bytes
    frames: tuple[np.ndarray, ...]
    near: int = 0


def noise(channels: int, dtype: type = np.uint8, h: int = 9, w: int = 14) -> np.ndarray:
    """Samples of every value, but never fully transparent: what is not seen may change."""
    high = np.iinfo(dtype).max
    samples = np.random.default_rng(channels).integers(0, high, (h, w, channels), dtype, True)
    if channels in (2, 4):
        samples[..., -1] |= 1
    return samples


def smooth(channels: int, h: int = 24, w: int = 32) -> np.ndarray:
    """A picture that lossy formats keep."""
    y, x = np.mgrid[:h, :w]
    planes = [128 + 100 * np.sin(x / 17 + k) * np.cos(y / 13 - k) for k in range(channels)]
    return np.stack(planes, 2).round().astype(np.uint8)


def image(samples: np.ndarray) -> Image.Image:
    """The same as Pillow has it."""
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """What Pillow writes."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    """An author, a date and how the picture lies."""
    said = Image.Exif()
    said.update({0x0112: orientation, 0x013B: "Somebody", 0x8769: {0x9003: "2024:01:02 03:04:05"}})
    return said


# ------------------------------------------------------------------------------------ bit by bit


def packed(samples: np.ndarray, bits: int, order: str) -> list[bytes]:
    """Rows of samples, as many bits each, whole bytes a row."""
    if bits >= 8:
        rows = samples.astype(f"{order}u{bits // 8}")
        return [row.tobytes() for row in rows]
    single = (samples[..., None] >> np.arange(bits)[::-1]) & 1
    return [np.packbits(row).tobytes() for row in single.reshape(len(samples), -1)]


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of PNG."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png(
    samples: np.ndarray, bits: int, kind: int, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG file of a colour type, with chunks before and behind its samples."""
    height, width = samples.shape[:2]
    raw = b"".join(b"\0" + row for row in packed(samples, bits, ">"))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + head + before + body + after + chunk(b"IEND", b"")


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
    tags: Sequence[tuple[int, int, Sequence[int]]] = (),
) -> bytes:
    """A TIFF file: strips of four rows or tiles, with more tags (number, type, values)."""
    height, width, channels = samples.shape
    step_y, step_x = (tile, tile) if tile else (4, width)
    padded = np.pad(samples, ((0, -height % step_y if tile else 0), (0, -width % step_x), (0, 0)))
    planes = np.split(padded, channels, axis=2) if planar else [padded]
    blocks = [
        b"".join(packed(plane[y : y + step_y, x : x + step_x], bits, order))
        for plane in planes
        for y in range(0, len(padded), step_y)
        for x in range(0, padded.shape[1], step_x)
    ]
    shrink = {1: bytes, 8: zlib.compress, 32773: _packbits}[compression]
    blocks = [shrink(block) for block in blocks]
    head = 16 if big else 8
    places = head + np.cumsum([0, *map(len, blocks)])
    table = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * channels)]
    table += [(259, 3, [compression]), (262, 3, [photometric]), (277, 3, [channels])]
    table += [(284, 3, [2 if planar else 1])]
    if tile:
        table += [(322, 3, [tile]), (323, 3, [tile])]
    else:
        table += [(278, 3, [step_y])]
    at, sizes = (324, 325) if tile else (273, 279)
    table += [(at, 4, places[:-1].tolist()), (sizes, 4, [len(block) for block in blocks])]
    directory = _directory(sorted([*table, *tags]), int(places[-1]), order, big)
    mark = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    where = struct.pack(f"{order}{'HHQ' if big else 'I'}", *((8, 0) if big else ()), places[-1])
    return mark + where + b"".join(blocks) + directory


def _directory(table: list[Any], place: int, order: str, big: bool) -> bytes:
    """The tags of a TIFF file, and behind them what does not fit into their entries."""
    room, offset, count = (8, "Q", "Q") if big else (4, "I", "H")
    entry = 20 if big else 12
    behind = place + struct.calcsize(order + count) + entry * len(table) + room
    entries = extra = b""
    for number, kind, values in table:
        letter = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B"}[kind]
        content = struct.pack(f"{order}{len(values)}{letter}", *values)
        many = len(values) // 2 if kind == 5 else len(values)
        if len(content) > room:
            content, extra = (
                struct.pack(order + offset, behind + len(extra)),
                extra + content + bytes(len(content) % 2),
            )
        entries += struct.pack(f"{order}HH{offset}", number, kind, many) + content.ljust(
            room, b"\0"
        )
    return struct.pack(order + count, len(table)) + entries + bytes(room) + extra


def _packbits(block: bytes) -> bytes:
    parts = [block[at : at + 128] for at in range(0, len(block), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


# -------------------------------------------------------------------------------------- formats


def pngs() -> Iterator[Flavour]:
    """PNG: colour types, depths, transparency by one colour, interlacing, what chunks say."""
    one = partial(Flavour, suffix=".png")
    rgb = noise(3)
    for bits in (1, 2, 4):
        few = noise(1) >> (8 - bits)
        yield one(
            f"PNG gray {bits} bits", data=png(few, bits, 0), frames=(few * (255 // (2**bits - 1)),)
        )
    for kind, what in ((0, "gray"), (2, "RGB"), (4, "gray and alpha"), (6, "RGBA")):
        for dtype in (np.uint8, np.uint16):
            samples = noise({0: 1, 2: 3, 4: 2, 6: 4}[kind], dtype)
            bits = 8 * samples.itemsize
            yield one(f"PNG {what} {bits} bits", data=png(samples, bits, kind), frames=(samples,))
    for bits in (1, 2, 4, 8):
        index = noise(1) >> (8 - bits)
        palette = noise(3, h=2**bits, w=1)[:, 0]
        plte = chunk(b"PLTE", palette.tobytes())
        shown = palette[index[..., 0]]
        yield one(f"PNG palette {bits} bits", data=png(index, bits, 3, plte), frames=(shown,))
        clear = np.full(2**bits, 255, np.uint8)
        clear[0] = 128
        mixed = np.dstack((shown, clear[index[..., 0]]))
        data = png(index, bits, 3, plte + chunk(b"tRNS", b"\x80"))
        yield one(f"PNG palette {bits} bits, alpha", data=data, frames=(mixed,))
    # what is hidden takes the colour of what is seen, which is one here
    alpha = np.where(noise(1) < 64, 0, 255).astype(np.uint8)
    for what, tone, kind in (("gray", (200,), 0), ("RGB", (200, 100, 50), 2)):
        key = np.array(tone) // 3
        data = np.where(alpha > 0, tone, key).astype(np.uint8)
        data = png(data, 8, kind, chunk(b"tRNS", key.astype(">u2").tobytes()))
        right = np.dstack(
            (np.broadcast_to(np.array(tone, np.uint8), (*alpha.shape[:2], len(tone))), alpha)
        )
        yield one(f"PNG {what}, one colour clear", data=data, frames=(right,))
    interlaced = pyvips.Image.new_from_array(rgb).pngsave_buffer(interlace=True)
    yield one("PNG interlaced", data=interlaced, frames=(rgb,))
    said = {
        "profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(PROFILE)),
        "sRGB": chunk(b"sRGB", b"\0"),
        "resolution": chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1)),
        "EXIF": chunk(b"eXIf", exif().tobytes().removeprefix(b"Exif\0\0")),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP),
    }
    for what, content in said.items():
        yield one(f"PNG {what}", data=png(rgb, 8, 2, content), frames=(rgb,))
    for turn, laid in _LAID.items():
        data = saved(image(np.ascontiguousarray(laid(rgb))), "PNG", exif=exif(turn))
        yield one(f"PNG orientation {turn}", data=data, frames=(rgb,))


def tiffs() -> Iterator[Flavour]:
    """TIFF: depths, kinds, strips and tiles, compressions, byte orders, pages."""
    one = partial(Flavour, suffix=".tif")
    rgb = noise(3)
    for bits in (1, 2, 4):
        few = noise(1) >> (8 - bits)
        shown = few * (255 // (2**bits - 1))
        yield one(f"TIFF gray {bits} bits", data=tiff(few, bits, 1), frames=(shown,))
        yield one(
            f"TIFF gray {bits} bits, 0 is white", data=tiff(few, bits, 0), frames=(255 - shown,)
        )
    for channels, what in ((1, "gray"), (2, "gray and alpha"), (3, "RGB"), (4, "RGBA")):
        for dtype in (np.uint8, np.uint16):
            samples, alpha = noise(channels, dtype), [(338, 3, [2])] * (channels in (2, 4))
            write = partial(
                tiff, samples, 8 * samples.itemsize, 1 if channels < 3 else 2, tags=alpha
            )
            name = f"TIFF {what} {8 * samples.itemsize} bits"
            yield one(name, data=write(), frames=(samples,))
            yield one(f"{name}, tiles", data=write(tile=16, compression=8), frames=(samples,))
            yield one(f"{name}, big-endian", data=write(order=">"), frames=(samples,))
    white = 255 - noise(1)
    yield one("TIFF gray 8 bits, 0 is white", data=tiff(255 - white, 8, 0), frames=(white,))
    palette = noise(3, h=256, w=1)[:, 0]
    colours = [(320, 3, (palette.T.astype(int) * 257).ravel().tolist())]
    index = noise(1)
    yield one(
        "TIFF palette", data=tiff(index, 8, 3, tags=colours), frames=(palette[index[..., 0]],)
    )
    for number, what in ((8, "deflate"), (32773, "PackBits")):
        yield one(f"TIFF {what}", data=tiff(rgb, 8, 2, compression=number), frames=(rgb,))
    for samples in (rgb, noise(3, np.uint16)):
        bits = 8 * samples.itemsize
        data = tiff(samples, bits, 2, planar=True)
        yield one(f"TIFF planar {bits} bits", data=data, frames=(samples,))
    yield one("TIFF LZW", data=saved(image(rgb), "TIFF", compression="tiff_lzw"), frames=(rgb,))
    bits = noise(1) > 127
    data = saved(Image.fromarray(bits[..., 0]), "TIFF", compression="group4")
    yield one("TIFF fax", data=data, frames=(bits.astype(np.uint8) * 255,))
    yield one("TIFF BigTIFF", data=tiff(rgb, 8, 2, big=True), frames=(rgb,))
    for what, tags in (
        ("resolution", [(282, 5, [300, 1]), (283, 5, [300, 1]), (296, 3, [2])]),
        ("profile", [(34675, 7, list(PROFILE))]),
        ("author", [(315, 2, list(b"Somebody\0"))]),
        ("XMP", [(700, 1, list(XMP))]),
    ):
        yield one(f"TIFF {what}", data=tiff(rgb, 8, 2, tags=tags), frames=(rgb,))
    yield one(
        "TIFF no inks", data=tiff(np.zeros((9, 14, 4), np.uint8), 8, 5), frames=(rgb | 255,), near=1
    )
    for turn, laid in _LAID.items():
        data = tiff(laid(rgb), 8, 2, tags=[(274, 3, [turn])])
        yield one(f"TIFF orientation {turn}", data=data, frames=(rgb,))
    pages = (rgb, noise(3, h=7, w=20), noise(1))
    first, *others = map(image, pages)
    data = saved(first, "TIFF", save_all=True, append_images=others)
    yield one("TIFF pages", data=data, frames=pages)


def _lossy(name: str, suffix: str, data: bytes, near: int = 2) -> Flavour:
    """A file that only a decoder can tell the samples of: Pillow's."""
    with Image.open(io.BytesIO(data)) as opened:
        samples = np.asarray(opened).copy()
    return Flavour(name, suffix, data, (samples.reshape(*samples.shape[:2], -1),), near)


def jpegs() -> Iterator[Flavour]:
    """JPEG: subsampling, scans, gray, what segments say."""
    rgb = image(smooth(3))
    for what, options in (
        ("4:4:4", {"subsampling": 0}),
        ("progressive", {"subsampling": 0, "progressive": True}),
        ("restarts", {"subsampling": 0, "restart_marker_blocks": 1}),
        ("RGB inside", {"keep_rgb": True}),
        ("profile", {"icc_profile": PROFILE, "subsampling": 0}),
        ("resolution", {"dpi": (300, 300), "subsampling": 0}),
        ("EXIF", {"exif": exif(), "subsampling": 0}),
        ("XMP", {"xmp": XMP, "subsampling": 0}),
    ):
        yield _lossy(f"JPEG {what}", ".jpg", saved(rgb, "JPEG", quality=95, **options))
    for what, number in (("4:2:2", 1), ("4:2:0", 2)):  # decoders smooth colour in their own way
        yield _lossy(f"JPEG {what}", ".jpg", saved(rgb, "JPEG", quality=95, subsampling=number), 8)
    yield _lossy("JPEG gray", ".jpg", saved(image(smooth(1)), "JPEG", quality=95))
    for turn, laid in _LAID.items():
        samples = np.ascontiguousarray(laid(smooth(3)))
        data = saved(image(samples), "JPEG", quality=95, subsampling=0, exif=exif(turn))
        yield Flavour(f"JPEG orientation {turn}", ".jpg", data, (smooth(3),), near=6)


def _said() -> dict[str, dict[str, Any]]:
    return {"profile": {"icc_profile": PROFILE}, "EXIF": {"exif": exif()}, "XMP": {"xmp": XMP}}


def webps() -> Iterator[Flavour]:
    """WebP: lossless, lossy, alpha, what chunks say, animations."""
    one = partial(Flavour, suffix=".webp")
    rgb, rgba = noise(3), noise(4)
    lossless: dict[str, Any] = {"lossless": True, "exact": True}
    yield one("WebP lossless", data=saved(image(rgb), "WEBP", **lossless), frames=(rgb,))
    yield one("WebP lossless, alpha", data=saved(image(rgba), "WEBP", **lossless), frames=(rgba,))
    for what, options in _said().items():
        data = saved(image(rgb), "WEBP", **lossless, **options)
        yield one(f"WebP {what}", data=data, frames=(rgb,))
    for turn in (3, 6):
        laid = image(np.ascontiguousarray(_LAID[turn](rgb)))
        data = saved(laid, "WEBP", exif=exif(turn), **lossless)
        yield one(f"WebP orientation {turn}", data=data, frames=(rgb,))
    yield _lossy("WebP lossy", ".webp", saved(image(smooth(3)), "WEBP", quality=90))
    yield one("WebP animation", data=_moving("WEBP", lossless=True), frames=tuple(_frames()))


def _frames() -> list[np.ndarray]:
    """Three frames of RGB and full alpha, so small that a palette holds what becomes of them."""
    full = np.full((5, 6, 1), 255, np.uint8)
    return [np.dstack((noise(3, h=5, w=6) // (n + 1), full)) for n in range(3)]


def _moving(kind: str, **options: Any) -> bytes:
    first, *others = (image(frame[..., :3]) for frame in _frames())
    many = {"save_all": True, "append_images": others, "duration": [40, 100, 250], "loop": 0}
    return saved(first, kind, **many, **options)


def avifs() -> Iterator[Flavour]:
    """AVIF: depths, subsampling, gray, alpha, what boxes say."""
    rgb, rgba = image(smooth(3)), image(np.dstack((smooth(3), smooth(1) | 1)))
    whole: dict[str, Any] = {"quality": 90, "subsampling": "4:4:4"}
    yield _lossy("AVIF 4:4:4", ".avif", saved(rgb, "AVIF", **whole))
    yield _lossy("AVIF 4:2:0", ".avif", saved(rgb, "AVIF", quality=90, subsampling="4:2:0"), 8)
    yield _lossy("AVIF alpha", ".avif", saved(rgba, "AVIF", **whole))
    for what, options in _said().items():
        yield _lossy(f"AVIF {what}", ".avif", saved(rgb, "AVIF", **whole, **options))
    wide = smooth(3).astype(np.uint16) * 257
    source = pyvips.Image.new_from_array(wide).copy(interpretation="rgb16")
    for bits in (10, 12):
        options = {"compression": "av1", "Q": 95, "bitdepth": bits, "subsample_mode": "off"}
        data = source.heifsave_buffer(**options)
        yield Flavour(f"AVIF {bits} bits", ".avif", data, (wide,), near=1500)


def gifs() -> Iterator[Flavour]:
    """GIF: palettes, transparency, interlacing, animations."""
    few = noise(3, h=5, w=6)
    still = image(few).quantize(64)
    shown = np.asarray(still.convert("RGB"))
    one = partial(Flavour, suffix=".gif")
    yield one("GIF", data=saved(still, "GIF", interlace=0), frames=(shown,))
    yield one("GIF interlaced", data=saved(still, "GIF", interlace=1), frames=(shown,))
    yield one("GIF animation", data=_moving("GIF"), frames=tuple(_frames()))


def bmps() -> Iterator[Flavour]:
    """BMP: 1 bit, gray, palette, RGB, resolution."""
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


def animated_pngs() -> Iterator[Flavour]:
    """Animated PNG."""
    yield Flavour("PNG animation", ".png", _moving("PNG"), tuple(_frames()))


def suffixes() -> Iterator[Flavour]:
    """Names that are less usual."""
    for suffix, kind in ((".jpe", "JPEG"), (".jfif", "JPEG"), (".dib", "BMP"), (".apng", "PNG")):
        yield Flavour(
            f"{kind} as {suffix}",
            suffix,
            saved(image(smooth(3)), kind, quality=95),
            (smooth(3),),
            8,
        )


FORMATS = (pngs, animated_pngs, tiffs, jpegs, webps, avifs, gifs, bmps, suffixes)


def flavours() -> list[Flavour]:
    """All of them."""
    return [flavour for make in FORMATS for flavour in make()]


# --------------------------------------------------------------- what is promised, but not yet kept


def waiting() -> Iterator[Flavour]:
    """Flavours that are known to come out wrong, or are refused: `flavours.py --all` tries them."""
    rgb, rgba, gray = noise(3), noise(4), noise(1)
    sprite = np.zeros((12, 12, 4), np.uint8)
    sprite[3:9, 3:9] = 255
    shown = sprite | np.array([255, 255, 255, 0], np.uint8)
    yield Flavour("PNG sprite", ".png", png(sprite, 8, 6), (shown,))
    data = tiff(sprite, 8, 2, tags=[(338, 3, [2])])
    yield Flavour("TIFF sprite", ".tif", data, (shown,))
    data = saved(image(sprite), "WEBP", lossless=True, exact=True)
    yield Flavour("WebP sprite", ".webp", data, (shown,))
    said = {
        "EXIF behind the samples": chunk(b"eXIf", exif().tobytes().removeprefix(b"Exif\0\0")),
        "XMP behind the samples": chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP),
    }
    for what, content in said.items():
        yield Flavour(f"PNG {what}", ".png", png(rgb, 8, 2, after=content), (rgb,))
    text = chunk(b"tEXt", b"Author\0Somebody") + chunk(b"tEXt", b"parameters\0a tree, seed: 1")
    yield Flavour("PNG texts", ".png", png(rgb, 8, 2, text), (rgb,))
    points = chunk(b"cICP", bytes([12, 13, 0, 1]))
    yield Flavour("PNG code points", ".png", png(rgb, 8, 2, points), (rgb,))
    unknown = tiff(rgba, 8, 2, tags=[(338, 3, [0])])
    yield Flavour("TIFF fourth channel unspecified", ".tif", unknown, (rgba[..., :3],))
    red = np.full((8, 8, 3), (254, 0, 0), np.uint8)
    whole = [(530, 3, [1, 1]), (532, 5, [0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1])]
    ycc = np.full((8, 8, 3), (76, 85, 255), np.uint8)
    yield Flavour("TIFF YCbCr 4:4:4", ".tif", tiff(ycc, 8, 6, tags=whole), (red,), near=1)
    for samples, what in ((rgb, "8"), (noise(3, np.uint16), "16")):
        planes = tiff(samples, int(what), 2, planar=True, tile=16, compression=8)
        yield Flavour(f"TIFF planar {what} bits, tiles", ".tif", planes, (samples,))
    flat = np.full((16, 16, 4), (200, 100, 50, 128), np.uint8)
    options = {"quality": 100, "subsampling": "4:4:4", "alpha_premultiplied": True}
    yield Flavour(
        "AVIF alpha multiplied in", ".avif", saved(image(flat), "AVIF", **options), (flat,), 3
    )
    limited = saved(image(smooth(1)), "AVIF", quality=95, range="limited", subsampling="4:0:0")
    yield Flavour("AVIF gray, limited range", ".avif", limited, (smooth(1).repeat(3, 2),), near=6)
    for suffix, samples in ((".pgm", gray), (".ppm", rgb)):
        yield Flavour(f"PNM as {suffix}", suffix, saved(image(samples), "PPM"), (samples,))
