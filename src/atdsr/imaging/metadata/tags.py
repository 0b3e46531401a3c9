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
"""Tags of a picture: its size in pixels, and the offsets of its data."""

ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 2, 3, 4, 5, 7, 16
"""Types of values: text, 16 bits, 32 bits, a fraction of two 32-bit numbers, bytes, 64 bits."""

_UNIT = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
_UNIT |= {16: 8, 17: 8, 18: 8}  # BigTIFF
_PAIRS = (5, 10)  # fractions
_SIZES = np.zeros(20, np.int64)  # bytes of one value of each type; 0 for unknown types
for _kind, _unit in _UNIT.items():
    _SIZES[_kind] = _unit * (2 if _kind in _PAIRS else 1)
_MOST_ENTRIES = 2**16  # a tag has 16 bits
_COMMENT = 0x9286  # bytes by its type, but text of 16 bits where it begins like this:
_WIDE_TEXT = b"UNICODE\0"


class TagError(ValueError):
    """A table of tags points out of its file or to itself, or is malformed otherwise."""


@dataclass(frozen=True)
class Layout:
    """How a file stores numbers.

    Attributes:
        order: Byte order as in `struct`, "<" or ">".
        big: Whether the file is BigTIFF, with offsets of 64 bits.
    """

    order: str
    big: bool

    @property
    def offset(self) -> struct.Struct:
        """Format of an offset in the file."""
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def head(self) -> struct.Struct:
        """Format of an entry without its value: tag, type, count."""
        return struct.Struct(self.order + ("HHQ" if self.big else "HHI"))

    @property
    def entry(self) -> np.dtype:
        """Format of an entry with its value, or the offset of its value where that is longer."""
        wide = self.order + ("u8" if self.big else "u4")
        short = self.order + "u2"
        return np.dtype([("tag", short), ("kind", short), ("count", wide), ("value", wide)])

    @property
    def count(self) -> struct.Struct:
        """Format of the number of entries of a table."""
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def pointer_at(self) -> int:
        """Where the header of the file holds the offset of the first table."""
        return 8 if self.big else 4


@dataclass(frozen=True)
class Entry:
    """The value of a tag.

    Attributes:
        kind: Type of the value, such as `SHORT`.
        data: The bytes as they are in the file: a view, so that a table whose entries all point
            to the same bytes takes no more memory than its entries.
    """

    kind: int
    data: bytes | memoryview

    def numbers(self, layout: Layout) -> tuple[int, ...]:
        """Return the value as integers; a fraction is two of them."""
        letter = {1: "B", 2: "H", 4: "I", 8: "Q"}[_UNIT[self.kind]]
        unit = struct.calcsize(layout.order + letter)
        return struct.unpack(f"{layout.order}{len(self.data) // unit}{letter}", self.data)

    @staticmethod
    def of(kind: int, layout: Layout, *numbers: int) -> "Entry":
        """Return the entry for these integers; the inverse of `numbers`."""
        letter = {1: "B", 2: "H", 4: "I", 8: "Q"}[_UNIT[kind]]
        return Entry(kind, struct.pack(f"{layout.order}{len(numbers)}{letter}", *numbers))


Table = dict[int, Entry]


def layout_of(data: bytes | mmap.mmap) -> Layout:
    """Return the layout that the first bytes announce.

    Raises:
        TagError: They announce none.
    """
    layouts = {b"II*\0": ("<", False), b"MM\0*": (">", False)}
    layouts |= {b"II+\0": ("<", True), b"MM\0+": (">", True)}
    if (layout := layouts.get(data[:4])) is None or len(data) < 16:
        raise TagError("it has no tables of tags")
    return Layout(*layout)


def first(data: bytes | mmap.mmap, layout: Layout) -> int:
    """Return the offset of the first table."""
    return layout.offset.unpack_from(data, layout.pointer_at)[0]


def read_table(
    data: bytes | mmap.mmap, offset: int, layout: Layout, wanted: Collection[int] | None = None
) -> tuple[Table, int]:
    """Read the table at an offset, and the offset of the next table (0 for none).

    Entries of unknown types, and those whose value lies outside the file, are left out. The cost
    depends only on the length of the table, whatever its entries say.

    Args:
        data: The file.
        offset: Where the table is.
        layout: Layout of the file.
        wanted: Tags to read; None reads all.

    Raises:
        TagError: The table lies outside the file, has more entries than there are tags, or its
            values together are longer than the file, so that they overlap.
    """
    if not 0 < offset <= len(data) - layout.count.size:
        raise TagError("it is damaged or cut short")
    (count,) = layout.count.unpack_from(data, offset)
    start, inline_size = offset + layout.count.size, layout.offset.size
    step = layout.entry.itemsize
    end = start + count * step
    if end + inline_size > len(data) or count > _MOST_ENTRIES:
        raise TagError("it is damaged or cut short")
    entries = np.frombuffer(data, layout.entry, count, start)
    limit = len(data) + 1  # larger numbers could overflow in sums
    counts = np.minimum(entries["count"], limit).astype(np.int64)
    sizes = counts * _SIZES[np.minimum(entries["kind"], len(_SIZES) - 1)]
    values = np.minimum(entries["value"], limit).astype(np.int64)
    inline = start + step * np.arange(count) + layout.head.size
    offsets = np.where(sizes > inline_size, values, inline)
    usable = (sizes > 0) & (offsets + sizes <= len(data))
    if wanted is not None:
        usable &= _mask_of(frozenset(wanted))[entries["tag"]]
    if sizes[usable & (sizes > inline_size)].sum() > len(data):
        raise TagError("the values of its tags overlap")
    # slices of a memory map are copies, so it can be closed before the table is used
    source = data if isinstance(data, mmap.mmap) else memoryview(data)
    table: Table = {}
    for k in np.flatnonzero(usable).tolist():
        begin, size = int(offsets[k]), int(sizes[k])
        entry = Entry(int(entries["kind"][k]), source[begin : begin + size])
        table[int(entries["tag"][k])] = entry
    return table, layout.offset.unpack_from(data, end)[0]


@functools.cache
def _mask_of(wanted: frozenset[int]) -> np.ndarray:
    """Return for every possible tag whether it is wanted: far faster than `numpy.isin`."""
    mask = np.zeros(_MOST_ENTRIES, bool)
    mask[list(wanted)] = True
    return mask


def tables(data: bytes, most: int, wanted: Collection[int]) -> Iterator[tuple[int, Table]]:
    """Yield the offset and some entries of each table in the chain: the pages of a TIFF file.

    Args:
        data: The file.
        most: How many tables it may have.
        wanted: Tags to read.

    Raises:
        TagError: The file is damaged, has more than `most` tables or tables that overlap, or its
            chain of tables is a circle.
    """
    layout = layout_of(data)
    offset, total = first(data, layout), 0
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise TagError("its list of pages runs in a circle")
        seen.add(offset)
        if len(seen) > most:
            raise TagError(f"it has more than {most:,} pages")
        table, next_offset = read_table(data, offset, layout, wanted)
        (entries,) = layout.count.unpack_from(data, offset)
        total += layout.count.size + entries * layout.entry.itemsize + layout.offset.size
        if total > len(data):
            raise TagError("its pages overlap")
        yield offset, table
        offset = next_offset


def packed_size(table: Table, layout: Layout) -> int:
    """Return how many bytes a packed table takes."""
    fixed = layout.count.size + layout.offset.size
    return fixed + sum(entry_size(entry, layout) for entry in table.values())


def entry_size(entry: Entry, layout: Layout) -> int:
    """Return how many bytes an entry takes in a packed table, its value included."""
    size = len(entry.data)
    return layout.entry.itemsize + (size + size % 2 if size > layout.offset.size else 0)


def _pack_table(table: Table, offset: int, layout: Layout) -> bytes:
    """Pack a table for that offset, followed by its long values, with no next table."""
    inline_size = layout.offset.size
    entries = sorted(table.items())
    end = offset + layout.count.size + len(entries) * (layout.head.size + inline_size)
    value_offset = end + inline_size
    rows, values = [layout.count.pack(len(entries))], []
    for tag, entry in entries:
        unit = _UNIT[entry.kind] * (2 if entry.kind in _PAIRS else 1)
        value = bytes(entry.data)
        if len(value) > inline_size:
            values.append(value + bytes(len(value) % 2))  # values begin at even offsets
            value = layout.offset.pack(value_offset)
            value_offset += len(values[-1])
        rows += [
            layout.head.pack(tag, entry.kind, len(entry.data) // unit),
            value.ljust(inline_size, b"\0"),
        ]
    return b"".join([*rows, bytes(inline_size), *values])


def swap(table: Table, old: Layout, new: Layout) -> Table:
    """Return the table with its numbers in the byte order of another layout."""
    if old.order == new.order:
        return table
    return {tag: replace(entry, data=_swap_entry(tag, entry)) for tag, entry in table.items()}


def _swap_entry(tag: int, entry: Entry) -> bytes:
    data = bytes(entry.data)
    if tag == _COMMENT and data.startswith(_WIDE_TEXT):
        size = len(_WIDE_TEXT)
        return _WIDE_TEXT + _swap_entry(0, Entry(SHORT, data[size : len(data) - len(data) % 2]))
    unit = _UNIT[entry.kind]
    return b"".join(data[k : k + unit][::-1] for k in range(0, len(data), unit))


def pack(table: Table, inner: dict[int, Table], offset: int, layout: Layout) -> tuple[bytes, int]:
    """Pack a table, and those that its tags shall point to, for an offset in a file.

    Args:
        table: The table.
        inner: Further tables, by the tag of `table` that shall point to each.
        offset: Where the bytes will be.
        layout: Layout of the file.

    Returns:
        The bytes, and the offset of the table itself.

    Raises:
        TagError: The offset is larger than the layout can hold.
    """
    table, packed = dict(table), b""
    try:
        for tag, inner_table in inner.items():
            kind = LONG8 if layout.big else LONG
            table[tag] = Entry.of(kind, layout, offset + len(packed))
            packed += _pack_table(inner_table, offset + len(packed), layout)
        return packed + _pack_table(table, offset + len(packed), layout), offset + len(packed)
    except struct.error:
        raise TagError("a TIFF file of more than 4 GiB; write its pages into several") from None


@contextlib.contextmanager
def mapped(file: BinaryIO) -> Iterator[mmap.mmap]:
    """Map an open file into memory: only what is looked at is read."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data
