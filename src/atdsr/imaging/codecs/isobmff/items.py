"""Still pictures in AVIF and HEIC files: what their items and properties say, and changes to them.

Sources: ISO/IEC 14496-12, section 8.11 (items); ISO/IEC 23008-12, section 6.5 (properties);
AV1-ISOBMFF, section 2.3 (`av1C`).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from atdsr.imaging.codecs.isobmff import av1
from atdsr.imaging.codecs.isobmff.av1 import Nclx
from atdsr.imaging.codecs.isobmff.boxes import (
    Box,
    child,
    children,
    iterate_boxes,
    read_nclx,
    top_level,
    unpacking,
)
from atdsr.imaging.picture import DamagedError

_BT601 = 6  # the usual matrix of still pictures
_SEARCHED = 4096  # bytes of AV1 data in which a sequence header is looked for


@dataclass(frozen=True)
class PrimaryItem:
    """What the boxes say about the primary picture of a file.

    Attributes:
        bits: Bits of a sample.
        is_monochrome: Whether there is no colour.
        is_premultiplied: Whether the colours are multiplied by alpha.
        aperture: Width and height of the part to be shown (`clap`), and the offsets of its centre
            along x and y, each as numerator and denominator; None for the whole picture.
        colour: Code points of a box, or else of the AV1 data.
        cells: Items that the picture is made of, if it is a grid.
    """

    bits: int = 8
    is_monochrome: bool = False
    is_premultiplied: bool = False
    aperture: tuple[int, ...] | None = None
    colour: Nclx | None = None
    cells: tuple[int, ...] = ()


@unpacking()
def primary_item(data: bytes) -> PrimaryItem:
    """Return what a file says about its primary picture.

    Raises:
        PictureError: The file is damaged or cut short.
    """
    meta = top_level(data).get(b"meta")
    if meta is None:
        return PrimaryItem()
    parts = _parts(data, meta)
    primary = _primary_id(data, parts)
    links = _links(data, parts[b"iref"]) if b"iref" in parts else {}
    properties = _properties(data, parts[b"iprp"])
    # a grid has the depth of its cells
    cells = dict.fromkeys(links.get((b"dimg", primary), ()))
    items = (primary, *cells)
    configured = (
        (item, box) for item in items for box in properties.get(item, ()) if box.kind == b"av1C"
    )
    coded_item, av1c = next(configured, (primary, None))
    flags = data[av1c.content + 2] if av1c else 0
    bits = (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    aperture = colour = None
    for box in properties.get(primary, ()):
        if box.kind == b"clap":
            aperture = struct.unpack_from(">IIIIiIiI", data, box.content)
        elif box.kind == b"colr":
            colour = colour or read_nclx(data, box)
    if colour is None and av1c is not None:
        extent = _extents(data, parts[b"iloc"]).get(coded_item)
        if extent is not None:
            size = min(extent.size, _SEARCHED)
            colour = av1.read_colour(data[extent.start : extent.start + size])
    is_premultiplied = (b"prem", primary) in links
    return PrimaryItem(bits, bool(flags & 0x10), is_premultiplied, aperture, colour, tuple(cells))


def _parts(data: bytes, meta: Box) -> dict[bytes, Box]:
    """Return the first box of each kind in a `meta` box."""
    return {kind: boxes[0] for kind, boxes in children(data, meta, 4).items()}


def _primary_id(data: bytes, parts: dict[bytes, Box]) -> int:
    pitm = parts[b"pitm"].content
    return struct.unpack_from(">I" if data[pitm] else ">H", data, pitm + 4)[0]


@unpacking()
def coded_data(data: bytes, configuration: bytes) -> list[bytes]:
    """Return the data of each item with such a configuration box; of several pieces the first.

    Raises:
        PictureError: Items overlap so much that together they are larger than the file.
    """
    parts = _parts(data, top_level(data)[b"meta"])
    extents = _extents(data, parts[b"iloc"])
    coded = [
        extents[item]
        for item, properties in _properties(data, parts[b"iprp"]).items()
        if item in extents and any(box.kind == configuration for box in properties)
    ]
    if sum(extent.size for extent in coded) > len(data):
        raise DamagedError
    return [data[extent.start : extent.start + extent.size] for extent in coded]


@unpacking()
def with_primary_item(data: bytes, item: int) -> bytes:
    """Return the file with another item, which may have been hidden, as its primary picture."""
    changed = bytearray(data)
    parts = children(data, top_level(data)[b"meta"], 4)
    pitm, iinf = parts[b"pitm"][0], parts[b"iinf"][0]
    struct.pack_into(">I" if data[pitm.content] else ">H", changed, pitm.content + 4, item)
    for infe in children(data, iinf, 8 if data[iinf.content] else 6).get(b"infe", []):
        kind = ">I" if data[infe.content] > 2 else ">H"
        if struct.unpack_from(kind, data, infe.content + 4)[0] == item:
            changed[infe.content + 3] &= 0xFE
    return bytes(changed)


@dataclass(frozen=True)
class _Extent:
    """Where the data of an item are.

    Attributes:
        start: Where the first piece starts.
        size: Size of that piece in bytes.
        offset_fields: Where the numbers are that change when the data move.
        field_bytes: Size of each of these numbers.
    """

    start: int
    size: int
    offset_fields: tuple[int, ...]
    field_bytes: int


def _extents(data: bytes, iloc: Box) -> dict[int, _Extent]:
    """Return where the items are, except for those inside other boxes and items."""
    version, sizes = data[iloc.content], data[iloc.content + 4 : iloc.content + 6]
    offset, length, base = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
    index = sizes[1] & 15 if version else 0
    wide = 4 if version == 2 else 2
    piece = index + offset + length
    at = iloc.content + 6 + wide
    extents: dict[int, _Extent] = {}
    for _ in range(int.from_bytes(data[at - wide : at])):
        if at >= iloc.end:
            raise DamagedError
        item, method = int.from_bytes(data[at : at + wide]), 0
        at += wide
        if version:
            method, at = data[at + 1] & 15, at + 2
        origin = int.from_bytes(data[at + 2 : at + 2 + base])
        (count,) = struct.unpack_from(">H", data, at + 2 + base)
        first = at + 4 + base + index
        end = at + 4 + base + count * piece
        if not method and count:
            start = origin + int.from_bytes(data[first : first + offset])
            size = int.from_bytes(data[first + offset : first + offset + length])
            if not base + piece:  # the box does not say where the item is
                raise DamagedError
            fields = (at + 2,) if base else tuple(range(first, end, piece))
            extents[item] = _Extent(start, size, fields, base or offset)
        at = end
    return extents


def _links(data: bytes, iref: Box) -> dict[tuple[bytes, int], tuple[int, ...]]:
    """Return the items that others refer to, by the kind of reference and the referring item."""
    letter = "I" if data[iref.content] else "H"
    width = struct.calcsize(letter)
    links: dict[tuple[bytes, int], tuple[int, ...]] = {}
    for box in iterate_boxes(data, iref.content + 4, iref.end):
        source, count = struct.unpack_from(f">{letter}H", data, box.content)
        links[box.kind, source] = struct.unpack_from(
            f">{count}{letter}", data, box.content + width + 2
        )
    return links


def _properties(data: bytes, iprp: Box) -> dict[int, list[Box]]:
    """Return the properties of each item."""
    parts = children(data, iprp)
    container = parts[b"ipco"][0]
    available = list(iterate_boxes(data, container.content, container.end))
    by_item: dict[int, list[Box]] = {}
    for box in parts.get(b"ipma", []):
        for item, at, index_format, end in _entries(data, box):
            for (index,) in index_format.iter_unpack(data[at:end]):
                number = index & (0x7FFF if index_format.size == 2 else 0x7F)
                if 0 < number <= len(available):
                    by_item.setdefault(item, []).append(available[number - 1])
    return by_item


def _entries(data: bytes, ipma: Box) -> Iterator[tuple[int, int, struct.Struct, int]]:
    """Yield each item of a list of properties, and begin, format and end of its indices."""
    head = struct.Struct(">IB" if data[ipma.content] else ">HB")
    index_format = struct.Struct(">H" if data[ipma.content + 3] & 1 else ">B")
    (count,) = struct.unpack_from(">I", data, ipma.content + 4)
    at = ipma.content + 8
    for _ in range(count):
        if at >= ipma.end:
            raise DamagedError
        item, number = head.unpack_from(data, at)
        at += head.size
        yield item, at, index_format, at + number * index_format.size
        at += number * index_format.size


def with_code_points(data: bytes, primaries: int, transfer: int) -> bytes:
    """Return the file with these code points for its colours; matrix and range stay.

    Every description in the file is changed; a still picture without one gets one.
    """
    parts = top_level(data)
    colr: list[Box] = []
    if b"meta" in parts:
        iprp = children(data, parts[b"meta"], 4)[b"iprp"][0]
        colr += children(data, child(data, iprp, b"ipco")).get(b"colr", [])
    for trak in children(data, parts[b"moov"]).get(b"trak", []) if b"moov" in parts else []:
        stsd = child(data, trak, b"mdia", b"minf", b"stbl", b"stsd")
        entry = next(iterate_boxes(data, stsd.content + 8, stsd.end))
        colr += children(data, entry, 78).get(b"colr", [])
    colr = [box for box in colr if read_nclx(data, box) is not None]
    if not colr:
        old = primary_item(data).colour or Nclx(primaries, transfer, _BT601, full_range=True)
        content = struct.pack(">HHHB", primaries, transfer, old.matrix, 0x80 * old.full_range)
        return _with_property(data, struct.pack(">I8s", 19, b"colrnclx") + content)
    changed = bytearray(data)
    for box in colr:
        struct.pack_into(">HH", changed, box.content + 4, primaries, transfer)
    return bytes(changed)


def _with_property(data: bytes, added: bytes) -> bytes:
    """Return the file with one more property of its primary picture; its media data come last."""
    changed, meta = bytearray(data), top_level(data)[b"meta"]
    parts = _parts(data, meta)
    primary = _primary_id(data, parts)
    ipco = child(data, parts[b"iprp"], b"ipco")
    ipma = child(data, parts[b"iprp"], b"ipma")
    index = 1 + len(list(iterate_boxes(data, ipco.content, ipco.end)))
    entries = _entries(data, ipma)
    begin, index_format, end = next(entry[1:] for entry in entries if entry[0] == primary)
    grown = len(added) + index_format.size
    for extent in _extents(data, parts[b"iloc"]).values():
        for at in extent.offset_fields:
            moved = int.from_bytes(data[at : at + extent.field_bytes]) + grown
            changed[at : at + extent.field_bytes] = moved.to_bytes(extent.field_bytes)
    for box, more in (
        (meta, grown),
        (parts[b"iprp"], grown),
        (ipco, len(added)),
        (ipma, index_format.size),
    ):
        struct.pack_into(">I", changed, box.start, box.end - box.start + more)
    changed[begin - 1] += 1  # the number of indices
    for at, content in sorted(((end, index_format.pack(index)), (ipco.end, added)), reverse=True):
        changed[at:at] = content
    return bytes(changed)
