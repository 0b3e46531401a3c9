"""Mutations that follow the structure of a file: lengths, counts, offsets and whole parts."""

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MOST_BYTES = 2**20
"""A mutated file grows to no more than about this."""

_CONTAINERS = (b"meta", b"iprp", b"ipco", b"iinf", b"iref", b"moov", b"trak", b"mdia", b"minf")
_CONTAINERS += (b"stbl", b"edts", b"dinf", b"jp2h")


@dataclass(frozen=True)
class Part:
    """A part of a file.

    Attributes:
        start: where it begins.
        end: where the next begins.
        fields: the numbers in it that say a length, a count or a place: the format as in
            `struct`, and where it is.
    """

    start: int
    end: int
    fields: tuple[tuple[str, int], ...]


def parts(data: bytes) -> list[Part]:
    """The parts of a file of a known format, up to where it is damaged; none of another."""
    found: list[Part] = []
    for part in _walk(data):
        if part.end > len(data) or part.end <= part.start:
            break
        found.append(part)
        if len(found) == 1000:
            break
    return found


def _walk(data: bytes) -> Iterator[Part]:
    """Parts one after another, until a number lies outside of the file."""
    try:
        if data.startswith(b"\x89PNG"):
            yield from _chunks(data, 8, ">I", 0, 12, 1)
        elif data[:4] == b"RIFF":
            yield from _chunks(data, 12, "<I", 4, 8, 2)
        elif data.startswith(b"\xff\xd8"):
            yield from _segments(data)
        elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            yield from _entries(data)
        elif data[4:8] in (b"ftyp", b"jP  "):
            yield from _boxes(data, 0, len(data))
        elif data.startswith(b"GIF"):
            yield from _blocks(data)
        elif data.startswith(b"\0\0\1\0"):
            for at in range(6, 6 + 16 * min(data[4], 20), 16):
                yield Part(at, at + 16, (("<I", at + 8), ("<I", at + 12)))
        elif data.startswith(b"BM"):
            fields = ("<I", 2), ("<I", 10), ("<I", 14), ("<H", 28), ("<I", 34), ("<I", 46)
            yield Part(0, 54, fields)
    except (struct.error, IndexError, OverflowError):
        return


def _chunks(
    data: bytes, at: int, form: str, field: int, around: int, multiple: int
) -> Iterator[Part]:
    """Those of PNG or RIFF: a length, a name, and something of that length."""
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(form, data, at + field)
        yield Part(at, at + around + size + size % multiple, ((form, at + field),))
        at += around + size + size % multiple


def _segments(data: bytes) -> Iterator[Part]:
    """Those of JPEG up to its first scan; of EXIF in one the places, too."""
    at = 2
    while data[at + 1] != 0xDA:
        (size,) = struct.unpack_from(">H", data, at + 2)
        yield Part(at, at + 2 + size, ((">H", at + 2),))
        if data[at + 4 : at + 10] == b"Exif\0\0":
            for part in _entries(data[at + 10 : at + 2 + size]):
                moved = tuple((form, at + 10 + place) for form, place in part.fields)
                yield Part(at + 10 + part.start, at + 10 + part.end, moved)
        at += 2 + size


def _entries(data: bytes) -> Iterator[Part]:
    """The entries of all tables of TIFF or EXIF, and the places of the tables."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    wide = order + ("Q" if big else "I")
    many, room, step = (order + "Q", 8, 20) if big else (order + "H", 4, 12)
    pointer = 8 if big else 4
    yield Part(pointer, pointer + room, ((wide, pointer),))
    waiting, seen = [struct.unpack_from(wide, data, pointer)[0]], set[int]()
    while waiting:
        at = waiting.pop()
        if at in seen or at == 0:
            continue
        seen.add(at)
        (count,) = struct.unpack_from(many, data, at)
        start = at + struct.calcsize(many)
        for entry in range(start, start + step * min(count, 500), step):
            tag, kind = struct.unpack_from(order + "HH", data, entry)
            value = entry + step - room
            fields = (order + "H", entry), (order + "H", entry + 2), (wide, entry + 4)
            yield Part(entry, entry + step, (*fields, (wide, value)))
            if tag in (0x8769, 0x8825, 0xA005, 330) and kind in (4, 13):
                waiting.append(struct.unpack_from(wide, data, value)[0])
        end = start + step * count
        yield Part(at, end + room, ((many, at), (wide, end)))
        waiting.append(struct.unpack_from(wide, data, end)[0])


def _boxes(data: bytes, at: int, end: int, level: int = 0) -> Iterator[Part]:
    """Those of AVIF, HEIC and JPEG 2000, and in them what looks like counts and places."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        size = size or end - at
        fields = [(">I", at)]
        inside = 4 if kind in (b"meta", b"iref") else 6 if kind == b"iinf" else 0
        if kind not in _CONTAINERS:
            places = range(at + 8, min(at + size, at + 120) - 3, 2)
            fields += [(form, place) for place in places for form in (">H", ">I")]
        yield Part(at, at + size, tuple(fields))
        if kind in _CONTAINERS and level < 10:
            yield from _boxes(data, at + 8 + inside, min(end, at + size), level + 1)
        at += size


def _blocks(data: bytes) -> Iterator[Part]:
    """Those of GIF behind its head."""
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while data[at] != 0x3B:
        start = at
        if data[at] == 0x21:
            fields = [("B", at + 2)]
            at += 2
        else:
            fields = [("<H", place) for place in range(at + 1, at + 9, 2)]
            at += 11 + (3 << ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0)
        while data[at]:
            at += 1 + data[at]
        at += 1
        yield Part(start, at, tuple(fields))


def renumber(rng: random.Random, data: bytes) -> bytes:
    """Other lengths, counts and places: none, nearly right, huge, or those of another part."""
    made, found = bytearray(data), parts(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5)) if found else 0):
        fields = rng.choice(found).fields
        form, at = rng.choice(fields)
        most = 2 ** (8 * struct.calcsize(form)) - 1
        (old,) = struct.unpack_from(form, made, at)
        other = rng.choice(found)
        near = (old - 1, old + 1, old + 2, old // 2, 2 * old, old ^ 1 << rng.randrange(16))
        far = (0, 1, 2, most, most // 2, most // 2 + 1, len(data), len(data) - 1, 2**16)
        chosen = rng.choice((*near, *far, other.start, other.end, at))
        struct.pack_into(form, made, at, min(max(chosen, 0), most))
    return bytes(made)


def repeat(rng: random.Random, data: bytes) -> bytes:
    """A part several times, up to a hundred."""
    found = parts(data)
    if not found:
        return data
    part = rng.choice(found)
    content = data[part.start : part.end]
    times = min(rng.choice((2, 3, 20, 100)), max(2, MOST_BYTES // len(content)))
    return data[: part.start] + content * times + data[part.end :]


def swap(rng: random.Random, data: bytes) -> bytes:
    """Two parts, each in the other's place."""
    found = parts(data)
    if len(found) < 2:
        return data
    first, second = sorted(rng.sample(found, 2), key=lambda part: part.start)
    if second.start < first.end:  # one is inside the other, which takes its place
        return data[: first.start] + data[second.start : second.end] + data[first.end :]
    return b"".join(
        (
            data[: first.start],
            data[second.start : second.end],
            data[first.end : second.start],
            data[first.start : first.end],
            data[second.end :],
        )
    )


def drop(rng: random.Random, data: bytes) -> bytes:
    """A part less."""
    found = parts(data)
    if not found:
        return data
    part = rng.choice(found)
    return data[: part.start] + data[part.end :]


def spoil(rng: random.Random, data: bytes) -> bytes:
    """A few bits of one part, whose length stays right."""
    found = parts(data)
    made = bytearray(data)
    if found:
        part = rng.choice(found)
        for _ in range(rng.choice((1, 2, 8))):
            made[rng.randrange(part.start, part.end)] ^= 1 << rng.randrange(8)
    return bytes(made)


STRUCTURAL: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(renumber, renumber, renumber),
    *(repeat, swap, drop, spoil),
)
