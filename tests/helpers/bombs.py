"""Small files that cost time, memory or output out of all proportion to their size."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image

from helpers.pictures import chunk

Rows = list[tuple[int, int, int, int]]
"""Tag, kind, count and value of the entries of a TIFF table."""

_EXIF_POINTERS = {0x927C, 0xA005, 0x8769, 0x8825}
_SHORT, _LONG, _BYTES = 3, 4, 7


def picture(form: str, **options) -> bytes:
    """A small sound picture."""
    samples = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(samples).save(file, form, **options)
    return file.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with chunks in front of its pixels."""
    base = picture("PNG")
    return base[:33] + b"".join(chunk(*each) for each in chunks) + base[33:]


def jpeg(exif: bytes) -> bytes:
    base, segment = picture("JPEG"), b"Exif\0\0" + exif
    return base[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + base[2:]


def exif(entries: int, size: int) -> bytes:
    """EXIF of `size` bytes with entries that are all about as long as the whole, and overlap."""
    tags = [tag for tag in range(1, 65535) if tag not in _EXIF_POINTERS][:entries]
    pointer = struct.pack("<HHHIII", 1, 0x8769, _LONG, 1, 26, 0)
    rows = b"".join(struct.pack("<HHII", tag, _BYTES, size - 1, 1) for tag in tags)
    table = struct.pack("<H", entries) + rows + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + pointer + table).ljust(size, b"\0")


def _table(rows: Rows, following: int) -> bytes:
    packed = (
        struct.pack(
            "<HHIHxx" if kind == _SHORT and count == 1 else "<HHII", tag, kind, count, value
        )
        for tag, kind, count, value in sorted(rows)
    )
    return struct.pack("<H", len(rows)) + b"".join(packed) + struct.pack("<I", following)


def tiff(
    pages: int = 1,
    side: int = 16,
    *,
    more: Rows | None = None,
    tail: bytes = b"",
    xmp: bytes = b"",
    loop: bool = False,
) -> bytes:
    """A TIFF of pages that share one strip, with more entries in each table."""
    samples = bytes(side * side * 3)
    head = struct.pack("<HHH", 8, 8, 8) + samples + xmp + bytes(len(xmp) % 2)
    rows: Rows = [
        *((256, _LONG, 1, side), (257, _LONG, 1, side), (258, _SHORT, 3, 8)),
        *((259, _SHORT, 1, 1), (262, _SHORT, 1, 2), (273, _LONG, 1, 14), (277, _SHORT, 1, 3)),
        *((278, _LONG, 1, side), (279, _LONG, 1, len(samples)), *(more or [])),
    ]
    if xmp:
        rows.append((700, 1, len(xmp), 14 + len(samples)))
    first, step = 8 + len(head), 6 + 12 * len(rows)
    last = first if loop else 0
    places = [*(first + step * (page + 1) for page in range(pages - 1)), last]
    tables = b"".join(_table(rows, following) for following in places)
    return b"II*\0" + struct.pack("<I", first) + head + tables + tail


def _nested_tables(tables: int) -> bytes:
    """Tables that begin inside one another, each as long as the file allows."""
    body = bytearray(14 * tables + 600_000)
    entries = 40_000
    for number in range(tables):
        at, end = 8 + 14 * number, 8 + 14 * number + 2 + 12 * entries
        struct.pack_into("<H", body, at, entries)
        struct.pack_into("<I", body, end, 8 + 14 * (number + 1) if number + 1 < tables else 0)
    body[:8] = b"II*\0" + struct.pack("<I", 8)
    return bytes(body)


def _zeros(megabytes: int) -> bytes:
    pack = zlib.compressobj(9)
    return b"".join(pack.compress(bytes(2**20)) for _ in range(megabytes)) + pack.flush()


def _png_of(width: int, height: int, idat: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", idat), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def gif(frames: Iterable[tuple[int, int]], screen: tuple[int, int] = (1, 1)) -> bytes:
    """A GIF of frames of these sizes, whose data do not fill them."""
    out = [b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)]
    for size in frames:
        out.append(b"\x21\xf9\x04\0\1\0\0\0\x2c" + struct.pack("<HHHHB", 0, 0, *size, 0))
        out.append(b"\x02\x02\x44\x01\0")
    return b"".join([*out, b";"])


def _bmp(width: int, height: int, *, coded: bool = False) -> bytes:
    bits, compression = (8, 1) if coded else (24, 0)
    start = 14 + 40 + 1024 * coded
    about = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + 4, 0, 0, start) + about + bytes(1024 * coded + 4)


_PACKET = b"XML:com.adobe.xmp\0\0\0\0\0"
_OPEN = (b"<xmp:Thumbnails " * 5000)[:64_900]
_DEEP = b"<a>" * 20_000
_ENTITIES = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 10) for k in range(9))
    + b"]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&j;</x:xmpmeta>"
)


def _gif_extension(blocks: bytes) -> bytes:
    """A GIF with extensions, or blocks of one, in front of its picture."""
    base = picture("GIF")
    at = 13 + (3 << ((base[10] & 7) + 1) if base[10] & 0x80 else 0)
    return base[:at] + blocks + base[at:]


def _webp_chunks(count: int) -> bytes:
    pixels, side = picture("WEBP", lossless=True)[12:], (15).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<II", 10, 0) + side * 2 + pixels + (b"abcd" + bytes(4)) * count
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _avif_boxes(count: int, *, front: bool) -> bytes:
    base, boxes = picture("AVIF"), struct.pack(">I4s", 8, b"free") * count
    at = struct.unpack(">I", base[:4])[0] if front else len(base)
    return base[:at] + boxes + base[at:]


def _jpeg_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan, of next to no data, comes again and again."""
    file = io.BytesIO()
    Image.new("RGB", (4096, 4096)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * count + data[-2:]


BOMBS: dict[str, Callable[[], bytes]] = {
    "exif-overlap.jpg": lambda: jpeg(exif(5300, 65_000)),
    "exif-overlap-600.jpg": lambda: jpeg(exif(600, 65_000)),
    "exif-overlap.png": lambda: png((b"eXIf", exif(60_000, 1_000_000))),
    "exif-overlap.webp": lambda: picture("WEBP", exif=exif(60_000, 1_000_000), lossless=True),
    "xmp-open.png": lambda: png((b"iTXt", _PACKET + _OPEN)),
    "xmp-spaces.png": lambda: png((b"iTXt", _PACKET + b"tiff:ImageWidth" + b" " * 64_000)),
    "xmp-deep.png": lambda: png((b"iTXt", _PACKET + _DEEP)),
    "xmp-entities.png": lambda: png((b"iTXt", _PACKET + _ENTITIES)),
    "xmp-300MB.png": lambda: png((b"iTXt", _PACKET[:-4] + b"\1\0\0\0" + _zeros(300))),
    "text-300MB.png": lambda: png((b"zTXt", b"Comment\0\0" + _zeros(300))),
    "text-20x12MB.png": lambda: png(*[(b"zTXt", b"C%d\0\0" % k + _zeros(12)) for k in range(20)]),
    "text-20000.png": lambda: png(*[(b"tEXt", b"k%d\0v" % k) for k in range(20_000)]),
    "profile-300MB.png": lambda: png((b"iCCP", b"icc\0\0" + _zeros(300))),
    "size-2G.png": lambda: _png_of(2**31 - 1, 2**31 - 1, zlib.compress(b"\0")),
    "size-16384.png": lambda: _png_of(16_384, 16_384, zlib.compress(b"\0")),
    "circle.tif": lambda: tiff(loop=True),
    "circle-60000.tif": lambda: tiff(more=[(t, 4, 1, 7) for t in range(1000, 61_000)], loop=True),
    "overlap.tif": lambda: tiff(
        more=[(tag, _BYTES, 900_000, 0) for tag in range(1000, 61_000)], tail=bytes(200_000)
    ),
    "nested.tif": lambda: _nested_tables(9000),
    "pages-2000.tif": lambda: tiff(2000, 2),
    "pages-10000.tif": lambda: tiff(10_000, 1),
    "pages-100-xmp.tif": lambda: tiff(100, xmp=_OPEN),
    "pages-10000-profile.tif": lambda: tiff(
        10_000, 1, more=[(34_675, _BYTES, 800_000, 8)], tail=bytes(10)
    ),
    "frames-10000.gif": lambda: gif([(1, 1)] * 10_000),
    "frame-65535.gif": lambda: gif([(1, 1)] * 9_999 + [(65_535, 65_535)]),
    "screen-65535.gif": lambda: gif([(1, 1)] * 2, (65_535, 65_535)),
    "blocks.gif": lambda: _gif_extension(b"\x21\xfe" + b"\x01a" * 500_000 + b"\0"),
    "extensions.gif": lambda: _gif_extension(b"\x21\xfe\0" * 300_000),
    "chunks.png": lambda: png(*[(b"abCd", b"")] * 80_000),
    "chunks.webp": lambda: _webp_chunks(120_000),
    "boxes.avif": lambda: _avif_boxes(120_000, front=False),
    "boxes-front.avif": lambda: _avif_boxes(120_000, front=True),
    "markers.jpg": lambda: picture("JPEG")[:2] + b"\xff\xe5\0\2" * 250_000 + picture("JPEG")[2:],
    "scans.jpg": lambda: _jpeg_scans(90),
    "numbers.pgm": lambda: b"P2\n400 400\n255\n" + b"1 " * 160_000,
    "comments.ppm": lambda: b"P6\n" + b"#a\n" * 300_000 + b"1 1\n255\n...",
    "first-16000.gif": lambda: gif([(16_000, 16_000)]),
    "size-16000.bmp": lambda: _bmp(16_000, 16_000),
    "size-negative.bmp": lambda: _bmp(16, -(2**31)),
    "coded-16000.bmp": lambda: _bmp(16_000, 16_000, coded=True),
}
"""A name with the suffix of its format, and what makes the file."""
