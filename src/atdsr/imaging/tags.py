"""The tag tables of TIFF files and of EXIF, which is a TIFF file without a picture.

Source: TIFF 6.0, section 2; BigTIFF as in https://www.awaresystems.be/imaging/tiff/bigtiff.html;
EXIF 2.32, section 4.6.
"""

import contextlib
import functools
import mmap
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

EXIF, GPS = 0x8769, 0x8825
"""Tags that point to a table of their own."""

WIDTH, HEIGHT, STRIPS, TILES = 256, 257, 273, 324
"""Tags of a picture: its size in pixels, and where its data are."""

ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 2, 3, 4, 5, 7, 16
"""Kinds of values: text, 16 bits, 32 bits, two of 32 bits that make a fraction, bytes, 64 bits."""

_UNIT = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
_UNIT |= {16: 8, 17: 8, 18: 8}  # BigTIFF
_PAIRS = (5, 10)  # fractions
_SIZES = np.zeros(20, np.int64)  # bytes of one value of each kind; 0 for kinds that are unknown
for _kind, _unit in _UNIT.items():
    _SIZES[_kind] = _unit * (2 if _kind in _PAIRS else 1)
_MOST_ENTRIES = 2**16  # a tag has 16 bits
_COMMENT = 0x9286  # bytes by kind, but text of 16 bits where it begins so:
_WIDE_TEXT = b"UNICODE\0"


class TagError(ValueError):
    """A table that points out of its file, or to itself."""


@dataclass(frozen=True)
class Layout:
    """How a file writes numbers: `order` as in `struct`, and whether it is BigTIFF."""

    order: str
    big: bool

    @property
    def offset(self) -> struct.Struct:
        """A place in the file."""
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def head(self) -> struct.Struct:
        """An entry without its value: tag, kind, count."""
        return struct.Struct(self.order + ("HHQ" if self.big else "HHI"))

    @property
    def entry(self) -> np.dtype:
        """An entry with its value, or the place of its value where that is longer."""
        wide = self.order + ("u8" if self.big else "u4")
        short = self.order + "u2"
        return np.dtype([("tag", short), ("kind", short), ("count", wide), ("value", wide)])

    @property
    def count(self) -> struct.Struct:
        """How many entries a table has."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def pointer_at(self) -> int:
        """Where the file says where its first table is."""
        return 8 if self.big else 4


@dataclass(frozen=True)
class Entry:
    """The value of a tag: kind, and the bytes as they stand in the file.

    The bytes are a view of the file, so that a table whose entries all point to the same place
    takes no more memory than its entries.
    """

    kind: int
    data: bytes | memoryview

    def numbers(self, layout: Layout) -> tuple[int, ...]:
        """The value as whole numbers; a fraction is two of them."""
        letter = {1: "B", 2: "H", 4: "I", 8: "Q"}[_UNIT[self.kind]]
        unit = struct.calcsize(layout.order + letter)
        return struct.unpack(f"{layout.order}{len(self.data) // unit}{letter}", self.data)

    @staticmethod
    def of(kind: int, layout: Layout, *numbers: int) -> "Entry":
        """The inverse of `numbers`."""
        letter = {1: "B", 2: "H", 4: "I", 8: "Q"}[_UNIT[kind]]
        return Entry(kind, struct.pack(f"{layout.order}{len(numbers)}{letter}", *numbers))


Table = dict[int, Entry]


def layout_of(data: bytes | mmap.mmap) -> Layout:
    """The layout that the first bytes announce.

    Raises:
        TagError: they announce none.
    """
    layouts = {b"II*\0": ("<", False), b"MM\0*": (">", False)}
    layouts |= {b"II+\0": ("<", True), b"MM\0+": (">", True)}
    if (found := layouts.get(data[:4])) is None or len(data) < 16:
        raise TagError("it has no tables of tags")
    return Layout(*found)


def first(data: bytes | mmap.mmap, layout: Layout) -> int:
    """Where the first table is."""
    return layout.offset.unpack_from(data, layout.pointer_at)[0]


def read_table(
    data: bytes | mmap.mmap, at: int, layout: Layout, wanted: Collection[int] | None = None
) -> tuple[Table, int]:
    """The table at a place, and the place of the next (0 for none).

    Entries of unknown kinds, and those whose value lies outside the file, are left out. The cost
    is that of the table's own bytes, whatever its entries say.

    Args:
        data: the file.
        at: where the table is.
        layout: of the file.
        wanted: the tags to read; None reads all.

    Raises:
        TagError: the table does not lie in the file, has more entries than there are tags, or its
            values are together longer than the file, so that they overlap.
    """
    if not 0 < at <= len(data) - layout.count.size:
        raise TagError("it is damaged or cut short")
    (count,) = layout.count.unpack_from(data, at)
    start, room = at + layout.count.size, layout.offset.size
    step = layout.entry.itemsize
    end = start + count * step
    if end + room > len(data) or count > _MOST_ENTRIES:
        raise TagError("it is damaged or cut short")
    entries = np.frombuffer(data, layout.entry, count, start)
    limit = len(data) + 1  # of numbers that may be too large for sums
    counts = np.minimum(entries["count"], limit).astype(np.int64)
    sizes = counts * _SIZES[np.minimum(entries["kind"], len(_SIZES) - 1)]
    values = np.minimum(entries["value"], limit).astype(np.int64)
    inside = start + step * np.arange(count) + layout.head.size
    places = np.where(sizes > room, values, inside)
    usable = (sizes > 0) & (places + sizes <= len(data))
    if wanted is not None:
        usable &= _among(frozenset(wanted))[entries["tag"]]
    if sizes[usable & (sizes > room)].sum() > len(data):
        raise TagError("the values of its tags overlap")
    # slices of a map are copies: it can be closed before the table is used
    source = data if isinstance(data, mmap.mmap) else memoryview(data)
    table: Table = {}
    for number in np.flatnonzero(usable).tolist():
        place, size = int(places[number]), int(sizes[number])
        entry = Entry(int(entries["kind"][number]), source[place : place + size])
        table[int(entries["tag"][number])] = entry
    return table, layout.offset.unpack_from(data, end)[0]


@functools.cache
def _among(wanted: frozenset[int]) -> np.ndarray:
    """Whether a tag is wanted, for every tag there can be: far quicker than `numpy.isin`."""
    mask = np.zeros(_MOST_ENTRIES, bool)
    mask[list(wanted)] = True
    return mask


def tables(data: bytes, most: int, wanted: Collection[int]) -> Iterator[tuple[int, Table]]:
    """The place and some entries of each table in the chain: the pages of a TIFF file.

    Raises:
        TagError: damage, more than `most` tables, tables that overlap, or a chain that is a circle.
    """
    layout = layout_of(data)
    at, total = first(data, layout), 0
    seen: set[int] = set()
    while at:
        if at in seen:
            raise TagError("its list of pages runs in a circle")
        seen.add(at)
        if len(seen) > most:
            raise TagError(f"it has more than {most:,} pages")
        table, following = read_table(data, at, layout, wanted)
        (entries,) = layout.count.unpack_from(data, at)
        total += layout.count.size + entries * layout.entry.itemsize + layout.offset.size
        if total > len(data):
            raise TagError("its pages overlap")
        yield at, table
        at = following


def packed_size(table: Table, layout: Layout) -> int:
    """Bytes that `pack` makes of a table."""
    fixed = layout.count.size + layout.offset.size
    return fixed + sum(entry_size(entry, layout) for entry in table.values())


def entry_size(entry: Entry, layout: Layout) -> int:
    """Bytes that an entry takes in a packed table, its value included."""
    size, room = len(entry.data), layout.offset.size
    return layout.entry.itemsize + (size + size % 2 if size > room else 0)


def _pack_table(table: Table, at: int, layout: Layout) -> bytes:
    """A table to stand at a place, its long values behind it, and no next."""
    room = layout.offset.size
    entries = sorted(table.items())
    here = at + layout.count.size + len(entries) * (layout.head.size + room) + room
    rows, values = [layout.count.pack(len(entries))], []
    for tag, entry in entries:
        unit = _UNIT[entry.kind] * (2 if entry.kind in _PAIRS else 1)
        value = bytes(entry.data)
        if len(value) > room:
            values.append(value + bytes(len(value) % 2))  # values begin at even places
            value = layout.offset.pack(here)
            here += len(values[-1])
        rows += [
            layout.head.pack(tag, entry.kind, len(entry.data) // unit),
            value.ljust(room, b"\0"),
        ]
    return b"".join([*rows, bytes(room), *values])


def swapped(table: Table, old: Layout, new: Layout) -> Table:
    """The table with its numbers in the byte order of another file."""
    if old.order == new.order:
        return table
    return {tag: replace(entry, data=_swap(tag, entry)) for tag, entry in table.items()}


def _swap(tag: int, entry: Entry) -> bytes:
    data = bytes(entry.data)
    if tag == _COMMENT and data.startswith(_WIDE_TEXT):
        size = len(_WIDE_TEXT)
        return _WIDE_TEXT + _swap(0, Entry(SHORT, data[size : len(data) - len(data) % 2]))
    unit = _UNIT[entry.kind]
    return b"".join(data[k : k + unit][::-1] for k in range(0, len(data), unit))


def pack(table: Table, inner: dict[int, Table], at: int, layout: Layout) -> tuple[bytes, int]:
    """A table and those that tags of it shall point to, to stand at a place.

    Returns:
        The bytes, and the place of the table itself.

    Raises:
        TagError: the place is further on than the layout can say.
    """
    table, packed = dict(table), b""
    try:
        for tag, content in inner.items():
            kind = LONG8 if layout.big else LONG
            table[tag] = Entry.of(kind, layout, at + len(packed))
            packed += _pack_table(content, at + len(packed), layout)
        return packed + _pack_table(table, at + len(packed), layout), at + len(packed)
    except struct.error:
        raise TagError("a TIFF file of more than 4 GiB; write its pages into several") from None


@contextlib.contextmanager
def mapped(file: BinaryIO) -> Iterator[mmap.mmap]:
    """The content of an open file, of which only what is looked at is read."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data
