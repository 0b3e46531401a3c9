"""Damaged picture files: small valid files of all formats, mutated by a seed."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from PIL import Image

from hostile_seeds import checked, seeds
from hostile_structure import STRUCTURAL


@dataclass(frozen=True)
class Case:
    """A file to try: its name, content, and the format of the output (None is that of the name)."""

    number: int
    kind: str
    name: str
    content: bytes
    format_name: str | None


# ----------------------------------------------------------------------------------- mutations

SMALL = (0, 1, 2, 255, 500)
HUGE = (16385, 32768, 65535, 65536, 2**24 - 1, 2**31 - 1, 2**32 - 1)


def flip(rng: random.Random, data: bytes) -> bytes:
    """A few bits, anywhere or near the begin."""
    made = bytearray(data)
    reach = rng.choice((64, 200, len(made)))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        made[rng.randrange(min(reach, len(made)))] ^= 1 << rng.randrange(8)
    return bytes(made)


def overwrite(rng: random.Random, data: bytes) -> bytes:
    """A run of bytes by noise, zeros or ones."""
    made, length = bytearray(data), rng.choice((1, 2, 4, 8, 64))
    at = rng.randrange(max(1, len(made) - length))
    made[at : at + length] = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length))
    return bytes(made)


def truncate(rng: random.Random, data: bytes) -> bytes:
    """Cut short, perhaps filled up with zeros."""
    kept = data[: rng.randrange(len(data))]
    return kept + bytes(len(data) - len(kept)) if rng.random() < 0.25 else kept


def cut_out(rng: random.Random, data: bytes) -> bytes:
    """A run of bytes taken out or put in twice."""
    begin = rng.randrange(len(data))
    end = min(len(data), begin + rng.choice((1, 2, 7, 50)))
    return data[:begin] + data[begin:end] * rng.choice((0, 2, 20)) + data[end:]


def join(rng: random.Random, data: bytes) -> bytes:
    """Two files in one, the second whole or from its middle on."""
    other = rng.choice(list(seeds().values()))[1]
    return rng.choice(
        (data + other, data + data, data[: len(data) // 2] + other[len(other) // 2 :])
    )


def append(rng: random.Random, data: bytes) -> bytes:
    """Something behind the end."""
    return data + rng.randbytes(rng.choice((1, 100, 5000)))


def masquerade(rng: random.Random, data: bytes) -> bytes:
    """The first bytes of another format."""
    other = rng.choice(list(seeds().values()))[1]
    length = rng.choice((4, 12, 32))
    return other[:length] + data[length:]


def lie(rng: random.Random, data: bytes) -> bytes:
    """Another width or height than the samples have, in the place where the format says it."""
    made = bytearray(data)
    huge = rng.random() < 0.6
    # in JPEG and animations, one huge side is no lie but a long and mostly empty picture
    honest = data.startswith((b"\xff\xd8", b"GIF")) or b"acTL" in data or b"ANIM" in data
    some = 1.0 if huge and honest else 0.6
    with suppress(struct.error):  # an earlier mutation took the place away
        for form, at, bias in _sides_of(data):
            if rng.random() < some:
                most = {"H": 2**16 - 1, "I": 2**32 - 1}[form[-1]]
                sides = [side for side in (HUGE if huge else SMALL) if bias <= side <= most]
                struct.pack_into(form, made, at, rng.choice(sides) - bias)
        if data.startswith(b"\x89PNG"):  # else libpng stops at the checksum
            struct.pack_into(">I", made, 29, zlib.crc32(bytes(made[12:29])))
    return bytes(made)


def _sides_of(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Where a file says its width and height: format of the number, place, what 0 stands for."""
    if data.startswith(b"\x89PNG"):
        yield from ((">I", 16, 0), (">I", 20, 0))
    elif data.startswith(b"\xff\xd8"):
        at = 2
        while at + 9 < len(data) and data[at + 1] not in (0xC0, 0xC1, 0xC2):
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
        yield from ((">H", at + 5, 0), (">H", at + 7, 0))
    elif data.startswith((b"II*\0", b"MM\0*")):
        order = "<" if data.startswith(b"II") else ">"
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", data, at)
            if tag in (256, 257, 258, 277, 278, 279):  # sides, depth, channels, rows and bytes
                yield order + ("H" if kind == 3 else "I"), at + 8, 0
    elif data[8:16] == b"WEBPVP8X":
        yield from (("<H", 24, 1), ("<H", 27, 1))
    elif data[8:16] == b"WEBPVP8 ":
        yield from (("<H", 26, 0), ("<H", 28, 0))
    elif data[8:16] == b"WEBPVP8L":
        yield "<I", 21, 0
    elif data.startswith(b"BM"):
        yield from (("<I", 18, 0), ("<I", 22, 0))
    elif data.startswith(b"GIF"):
        yield from (("<H", 6, 0), ("<H", 8, 0))
    elif (at := data.find(b"ispe")) > 0:
        yield from ((">I", at + 8, 0), (">I", at + 12, 0))


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(flip, flip, flip, overwrite, overwrite, truncate, truncate),
    *(cut_out, join, append, masquerade, lie, lie, lie),
    *STRUCTURAL * 2,
)


# --------------------------------------------------------------------------------- whole files


def zeros_png(width: int, height: int, bits: int = 8, kind: int = 0) -> bytes:
    """A PNG that is what it says: so many samples, all zero, in a file a thousandth as long."""
    packed = _zeros(height * (1 + width * bits // 8))
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    made = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        made += struct.pack(">I", len(body)) + name + body
        made += struct.pack(">I", zlib.crc32(name + body))
    return made


def _zeros(length: int) -> bytes:
    """So many zeros, deflated."""
    packer, some = zlib.compressobj(1), bytes(2**20)
    packed = [packer.compress(some) for _ in range(length >> 20)]
    return b"".join((*packed, packer.compress(bytes(length % 2**20)), packer.flush()))


def zeros_tiff(width: int, height: int) -> bytes:
    """A gray TIFF of one deflated strip that is what it says."""
    strip = _zeros(height * width)
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: height}
    tags[279] = len(strip)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    body = strip + bytes(len(strip) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + _directory(tags, entries)


def _directory(tags: dict[int, int], entries: bytes) -> bytes:
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def strip_of(width: int, height: int, kind: str) -> bytes:
    """A picture of one row or column."""
    file = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(file, kind)
    return file.getvalue()


# twice as long as JPEG and WebP can be, and what takes a few seconds
LONG = {"PNG": 6_000, "TIFF": 6_000, "JPEG": 40_000, "WEBP": 9_000, "BMP": 4_000}

ODDITIES: tuple[tuple[str, str, Callable[[], bytes]], ...] = (
    ("empty", ".png", lambda: b""),
    ("one byte", ".jpg", lambda: b"\xff"),
    ("only a magic number", ".png", lambda: b"\x89PNG\r\n\x1a\n"),
    ("only a magic number", ".tif", lambda: b"II*\0"),
    ("only a magic number", ".webp", lambda: b"RIFF\xff\xff\xff\xffWEBP"),
    ("only a magic number", ".avif", lambda: b"\0\0\0\x20ftypavif"),
    ("only a magic number", ".bmp", lambda: b"BM"),
    ("only a magic number", ".gif", lambda: b"GIF89a"),
    ("a directory that is its own next", ".tif", lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0"),
    ("svg", ".png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
    ("script", ".jpg", lambda: b"%!PS\nshowpage\n"),
    ("bomb", ".png", lambda: zeros_png(20_000, 20_000, bits=1)),
    ("bomb", ".png", lambda: zeros_png(17_000, 17_000)),
    ("bomb", ".png", lambda: zeros_png(65_535, 5_000)),
    ("bomb", ".tif", lambda: zeros_tiff(17_000, 17_000)),
    *(
        (f"{width}x{height}", f".{kind.lower()}", partial(strip_of, width, height, kind))
        for kind, side in LONG.items()
        for width, height in ((1, 1), (side, 1), (1, side), (3, 700))
    ),
)
"""Whole files that no mutation would find: what they are, their suffix, their content."""


NAMES = ("a b", "猫", "a\nb", "\x1b[2J", "-n", "%s%n", "[strip]", "a" * 240, ".x", "\udcff", "a;b'")


def case(seed: int, number: int) -> Case:
    """The case of that number; the same for the same seed."""
    rng = random.Random(f"{seed} {number}")
    formats = (None, None, None, "png", "tiff", "jpg", "webp", "avif", "bmp")
    format_name = rng.choice(formats)
    if number < len(ODDITIES):
        kind, suffix, make = ODDITIES[number]
        content, format_name = make(), None
    elif rng.random() < 0.02:
        kind, suffix, content = "noise", rng.choice((".png", ".tif", "")), rng.randbytes(999)
    else:
        kind = rng.choice(sorted(seeds()))
        suffix, content = seeds()[kind]
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            mutate = rng.choice(MUTATIONS)
            content, kind = mutate(rng, content) or b"\0", f"{kind}, {mutate.__name__}"
        if rng.random() < 0.7:  # else libpng and libvips stop at the first check that is wrong
            content = checked(content)
    if number >= len(ODDITIES) and rng.random() < 0.1:
        suffix = rng.choice((".png", ".JPG", ".tiff", ".webp", ".avif", ".bmp", ".txt", ""))
    stem = rng.choice(NAMES) if rng.random() < 0.1 else f"{number}"
    return Case(number, kind, stem + suffix, content, format_name)
