"""Unusual AVIF files, built from files that Pillow writes."""

import io
import struct

import numpy as np
from PIL import Image


def encoded(samples: np.ndarray, **options) -> bytes:
    """A still picture as Pillow writes it."""
    file = io.BytesIO()
    settings = {"quality": 100, "subsampling": "4:4:4", "speed": 8} | options
    Image.fromarray(samples).save(file, "AVIF", **settings)
    return file.getvalue()


def box(kind: bytes, content: bytes) -> bytes:
    """A box of ISO base media."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full(kind: bytes, content: bytes, version: int = 0, flags: int = 0) -> bytes:
    """A box with a version and flags."""
    return box(kind, struct.pack(">I", (version << 24) | flags) + content)


def described(data: bytes, primaries: int, transfer: int, **more: int) -> bytes:
    """A file with other code points in each of its descriptions; `full` is the range."""
    changed, at = bytearray(data), 0
    while (at := data.find(b"colrnclx", at) + 8) > 7:
        struct.pack_into(">HH", changed, at, primaries, transfer)
        if "full" in more:
            changed[at + 6] = 0x80 * more["full"]
        if "matrix" in more:
            struct.pack_into(">H", changed, at + 4, more["matrix"])
    return bytes(changed)


def descriptions(data: bytes) -> set[tuple[int, ...]]:
    """Primaries, transfer and matrix of each description in a file."""
    found, at = set(), 0
    while (at := data.find(b"colrnclx", at) + 8) > 7:
        found.add(struct.unpack_from(">HHH", data, at))
    return found


def with_property(data: bytes, added: bytes) -> bytes:
    """A file of one item with another property, such as `clap`."""
    start = data.find(b"ipco") - 4
    (size,) = struct.unpack_from(">I", data, start)
    count = data[start:].count(b"colr") and len(list(_children(data, start + 8, start + size)))
    changed = bytearray(data)
    ipma = data.find(b"ipma")
    entry = ipma + 4 + 4 + 4 + 2  # behind version, count of entries, and the item
    changed[entry] += 1
    changed.insert(entry + 1 + data[entry], 0x80 | (count + 1))
    changed[start + size : start + size] = added
    for kind, grown in ((b"ipma", 1), (b"ipco", len(added))):
        _grow(changed, kind, grown)
    for kind in (b"iprp", b"meta"):
        _grow(changed, kind, len(added) + 1)
    place = changed.find(b"iloc")  # one extent behind: offset of 4 bytes
    (at,) = struct.unpack_from(">I", changed, place + 4 + 4 + 2 + 2 + 6)
    struct.pack_into(">I", changed, place + 4 + 4 + 2 + 2 + 6, at + len(added) + 1)
    return bytes(changed)


def _children(data: bytes, start: int, end: int):
    while start < end:
        yield start
        start += struct.unpack_from(">I", data, start)[0]


def _grow(data: bytearray, kind: bytes, grown: int) -> None:
    at = data.find(kind) - 4
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + grown)


def cell(samples: np.ndarray, **options) -> tuple[bytes, bytes]:
    """The `av1C` box and the AV1 data of a picture."""
    data = encoded(samples, **options)
    return _whole(data, b"av1C"), _whole(data, b"mdat")[8:]


def _whole(data: bytes, kind: bytes) -> bytes:
    at = data.find(kind) - 4
    return data[at : at + struct.unpack_from(">I", data, at)[0]]


def grid(av1c: bytes, cells: tuple[bytes, bytes], *, bits: int = 8, hidden: bool = False) -> bytes:
    """Two cells of 64 x 64 beside each other."""
    size = [full(b"ispe", struct.pack(">II", width, 64)) for width in (64, 128)]
    pixi = full(b"pixi", bytes([3, bits, bits, bits]))
    colr = box(b"colr", b"nclx" + struct.pack(">HHHB", 1, 13, 6, 0x80))
    ipco = box(b"ipco", av1c + size[0] + size[1] + pixi + colr)
    rows = [(1, b"\x81\2\4\5"), (2, b"\x81\2\4\5"), (3, b"\3\4\5")]
    linked = b"".join(struct.pack(">HB", item, len(row)) + row for item, row in rows)
    ipma = full(b"ipma", struct.pack(">I", 3) + linked)
    infe = b"".join(
        full(b"infe", struct.pack(">HH4s", item, 0, kind) + b"\0", 2, hidden and item < 3)
        for item, kind in ((1, b"av01"), (2, b"av01"), (3, b"grid"))
    )
    parts = full(b"hdlr", struct.pack(">I4s12x", 0, b"pict") + b"\0")
    parts += full(b"pitm", struct.pack(">H", 3))
    rest = full(b"iinf", struct.pack(">H", 3) + infe)
    rest += full(b"iref", box(b"dimg", struct.pack(">HHHH", 3, 2, 1, 2)))
    rest += box(b"iprp", ipco + ipma)
    rest += box(b"idat", struct.pack(">BBBBHH", 0, 0, 0, 1, 128, 64))
    ftyp = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")

    def meta(at: int) -> bytes:
        places = (at, at + len(cells[0]))
        rows = b"".join(
            struct.pack(">HHHHII", k + 1, 0, 0, 1, places[k], len(cells[k])) for k in (0, 1)
        )
        rows += struct.pack(">HHHHII", 3, 1, 0, 1, 0, 8)
        return full(
            b"meta", parts + full(b"iloc", b"\x44\0" + struct.pack(">H", 3) + rows, 1) + rest
        )

    at = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(at) + box(b"mdat", b"".join(cells))
