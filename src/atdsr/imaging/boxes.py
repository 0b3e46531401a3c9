"""The boxes of AVIF, HEIC, JPEG XL and JPEG 2000 files, and what those of AVIF say of a picture.

Every box is looked at once, and one that reaches out of its parent or of the file is an error.

Sources: ISO/IEC 14496-12 (boxes, 4.2; items, 8.11; tracks, 8.3 to 8.7), 23008-12 (properties, 6.5;
image sequences, 7), AV1-ISOBMFF, section 2.3 (`av1C`); repetition as in AVIF, section 3.
"""

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from atdsr.imaging import av1
from atdsr.imaging.av1 import Colour
from atdsr.imaging.picture import PictureError

_BT601 = 6  # of matrices, what is usual for still pictures
_HEADERS = 4096  # bytes of AV1 data that are searched for a sequence header


@dataclass(frozen=True)
class Box:
    """A box: its kind, where it starts, and where its content begins and ends."""

    kind: bytes
    start: int
    content: int
    end: int


def damaged() -> PictureError:
    """The error for a file whose boxes contradict each other."""
    return PictureError("the file is damaged or cut short.")


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes between two places, by default of the whole file.

    Raises:
        PictureError: one reaches further than `end`.
    """
    end = len(data) if end is None else end
    while start < end:
        if start + 8 > end:
            raise damaged()
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1 and content + 8 <= end:  # a size of 64 bits follows
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        elif size == 0:  # to the end
            size = end - start
        if start + size < content or start + size > end:
            raise damaged()
        yield Box(kind, start, content, start + size)
        start += size


def top(data: bytes) -> dict[bytes, Box]:
    """The first box of each kind of a file; what follows the last whole box is left aside.

    Whether anything is missing shows when the picture is decoded.
    """
    found: dict[bytes, Box] = {}
    with contextlib.suppress(PictureError):
        for box in boxes(data):
            found.setdefault(box.kind, box)
    return found


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Turn what happens while damaged boxes are taken apart into a PictureError."""
    try:
        yield
    except (struct.error, IndexError, KeyError, StopIteration, ZeroDivisionError) as error:
        raise damaged() from error


def inside(data: bytes, parent: Box, skip: int = 0) -> dict[bytes, list[Box]]:
    """The boxes in a box, by kind; `skip` is how many bytes of its own stand before them."""
    found: dict[bytes, list[Box]] = {}
    for box in boxes(data, parent.content + skip, parent.end):
        found.setdefault(box.kind, []).append(box)
    return found


def path(data: bytes, parent: Box, *kinds: bytes) -> Box:
    """The first box at a path of kinds below a box.

    Raises:
        PictureError: there is none.
    """
    for kind in kinds:
        found = inside(data, parent).get(kind)
        if not found:
            raise damaged()
        parent = found[0]
    return parent


def nclx(data: bytes, box: Box) -> Colour | None:
    """What a `colr` box says in code points; None if it holds an ICC profile."""
    if data[box.content : box.content + 4] != b"nclx" or box.end < box.content + 11:
        return None
    primaries, transfer, matrix, flags = struct.unpack_from(">HHHB", data, box.content + 4)
    return Colour(primaries, transfer, matrix, bool(flags & 0x80))


@dataclass(frozen=True)
class Still:
    """What boxes say of the primary picture of a file.

    Attributes:
        bits: of a sample.
        monochrome: whether it has no colour.
        premultiplied: whether alpha is multiplied into the colours.
        aperture: width, height, and offsets of the centre along x and y, that a part of the
            picture has (`clap`), each a fraction; None is the whole.
        colour: its description by code points, of a box or else of the AV1 data.
        cells: the items that it is put together of, as a grid is.
    """

    bits: int = 8
    monochrome: bool = False
    premultiplied: bool = False
    aperture: tuple[int, ...] | None = None
    colour: Colour | None = None
    cells: tuple[int, ...] = ()


@reading()
def still(data: bytes) -> Still:
    """What a file says of its primary picture.

    Raises:
        PictureError: it is damaged or cut short.
    """
    meta = top(data).get(b"meta")
    if meta is None:
        return Still()
    parts = {kind: found[0] for kind, found in inside(data, meta, 4).items()}
    wide = data[parts[b"pitm"].content] > 0
    (primary,) = struct.unpack_from(">I" if wide else ">H", data, parts[b"pitm"].content + 4)
    links = _links(data, parts[b"iref"]) if b"iref" in parts else {}
    own = _properties(data, parts[b"iprp"])
    # a grid has the depth of its cells
    cells = dict.fromkeys(links.get((b"dimg", primary), ()))
    items = (primary, *cells)
    configured = ((item, box) for item in items for box in own.get(item, ()) if box.kind == b"av1C")
    coded, av1c = next(configured, (primary, None))
    flags = data[av1c.content + 2] if av1c else 0
    bits = (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    aperture = colour = None
    for box in own.get(primary, ()):
        if box.kind == b"clap":
            aperture = struct.unpack_from(">IIIIiIiI", data, box.content)
        elif box.kind == b"colr":
            colour = colour or nclx(data, box)
    if colour is None and av1c is not None:
        place = _places(data, parts[b"iloc"]).get(coded)
        colour = place and av1.colour(data[place.start : place.start + min(place.size, _HEADERS)])
    return Still(
        bits, bool(flags & 0x10), (b"prem", primary) in links, aperture, colour, tuple(cells)
    )


@reading()
def coded(data: bytes, configuration: bytes) -> list[bytes]:
    """The data, of several pieces the first, of each item with such a configuration box.

    Raises:
        PictureError: items overlap so much that together they are larger than the file.
    """
    parts = inside(data, top(data)[b"meta"], 4)
    places = _places(data, parts[b"iloc"][0])
    properties = _properties(data, parts[b"iprp"][0])
    found = [
        places[item]
        for item, own in properties.items()
        if item in places and any(box.kind == configuration for box in own)
    ]
    if sum(place.size for place in found) > len(data):
        raise damaged()
    return [data[place.start : place.start + place.size] for place in found]


@reading()
def shown(data: bytes, item: int) -> bytes:
    """A file of which another item, which may have been hidden, is the picture to be shown."""
    changed = bytearray(data)
    parts = inside(data, top(data)[b"meta"], 4)
    pitm, iinf = parts[b"pitm"][0], parts[b"iinf"][0]
    struct.pack_into(">I" if data[pitm.content] else ">H", changed, pitm.content + 4, item)
    for infe in inside(data, iinf, 8 if data[iinf.content] else 6).get(b"infe", []):
        kind = ">I" if data[infe.content] > 2 else ">H"
        if struct.unpack_from(kind, data, infe.content + 4)[0] == item:
            changed[infe.content + 3] &= 0xFE
    return bytes(changed)


@dataclass(frozen=True)
class Place:
    """Where an item lies in the file.

    Attributes:
        start: where its first piece starts.
        size: of that piece in bytes.
        said: where the numbers stand that move with the data.
        width: of each of these numbers in bytes.
    """

    start: int
    size: int
    said: tuple[int, ...]
    width: int


def _places(data: bytes, iloc: Box) -> dict[int, Place]:
    """Where the items are, but for those inside of other boxes and items."""
    version, sizes = data[iloc.content], data[iloc.content + 4 : iloc.content + 6]
    offset, length, base = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
    index = sizes[1] & 15 if version else 0
    wide = 4 if version == 2 else 2
    piece = index + offset + length
    at = iloc.content + 6 + wide
    places: dict[int, Place] = {}
    for _ in range(int.from_bytes(data[at - wide : at])):
        if at >= iloc.end:
            raise damaged()
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
            if not base + piece:  # nothing says where the item is
                raise damaged()
            said = (at + 2,) if base else tuple(range(first, end, piece))
            places[item] = Place(start, size, said, base or offset)
        at = end
    return places


def _links(data: bytes, iref: Box) -> dict[tuple[bytes, int], tuple[int, ...]]:
    """The items that others refer to, by the kind of reference and the item that refers."""
    letter = "I" if data[iref.content] else "H"
    width = struct.calcsize(letter)
    links: dict[tuple[bytes, int], tuple[int, ...]] = {}
    for box in boxes(data, iref.content + 4, iref.end):
        source, count = struct.unpack_from(f">{letter}H", data, box.content)
        links[box.kind, source] = struct.unpack_from(
            f">{count}{letter}", data, box.content + width + 2
        )
    return links


def _properties(data: bytes, iprp: Box) -> dict[int, list[Box]]:
    """The properties of each item."""
    parts = inside(data, iprp)
    container = parts[b"ipco"][0]
    known = list(boxes(data, container.content, container.end))
    found: dict[int, list[Box]] = {}
    for box in parts.get(b"ipma", []):
        for item, at, place, end in _entries(data, box):
            for (index,) in place.iter_unpack(data[at:end]):
                number = index & (0x7FFF if place.size == 2 else 0x7F)
                if 0 < number <= len(known):
                    found.setdefault(item, []).append(known[number - 1])
    return found


def _entries(data: bytes, ipma: Box) -> Iterator[tuple[int, int, struct.Struct, int]]:
    """Of each item in a list of properties: where its row begins, of what numbers, and ends."""
    head = struct.Struct(">IB" if data[ipma.content] else ">HB")
    place = struct.Struct(">H" if data[ipma.content + 3] & 1 else ">B")
    (count,) = struct.unpack_from(">I", data, ipma.content + 4)
    at = ipma.content + 8
    for _ in range(count):
        if at >= ipma.end:
            raise damaged()
        item, number = head.unpack_from(data, at)
        at += head.size
        yield item, at, place, at + number * place.size
        at += number * place.size


@dataclass(frozen=True)
class Track:
    """The frames of an image sequence.

    Attributes:
        width: of every frame, in pixels.
        height: likewise.
        durations: milliseconds that each frame is shown for.
        loop: how often all are shown; 0 is for ever.
        colour: its description by code points.
    """

    width: int
    height: int
    durations: tuple[int, ...]
    loop: int
    colour: Colour | None = None


@reading()
def track(data: bytes) -> Track:
    """The frames of the first track of pictures; the samples of all tracks must be there.

    Raises:
        PictureError: it is damaged or cut short.
    """
    first: Track | None = None
    for box in inside(data, top(data)[b"moov"]).get(b"trak", []):
        media = path(data, box, b"mdia")
        table = inside(data, path(data, media, b"minf", b"stbl"))
        count = _check_samples(data, {kind: found[0] for kind, found in table.items()})
        handler = path(data, media, b"hdlr").content
        if first is None and data[handler + 8 : handler + 12] == b"pict":
            durations = _durations(data, table[b"stts"][0], path(data, media, b"mdhd"), count)
            entry = next(boxes(data, table[b"stsd"][0].content + 8, table[b"stsd"][0].end))
            width, height = struct.unpack_from(">HH", data, entry.content + 24)
            said = (nclx(data, colr) for colr in inside(data, entry, 78).get(b"colr", []))
            colour = next((found for found in said if found is not None), None)
            first = Track(width, height, durations, _loop(data, box), colour)
    if first is None:
        raise damaged()
    return first


def _check_samples(data: bytes, table: dict[bytes, Box]) -> int:
    """See that all samples of a track lie in the file; how many there are is returned."""
    same, count = struct.unpack_from(">II", data, table[b"stsz"].content + 4)
    if count * (same or 4) > len(data):
        raise damaged()
    place = table[b"stsz"].content + 12
    sizes = iter([same] * count if same else struct.unpack_from(f">{count}I", data, place))
    wide = table.get(b"co64")
    chunks = wide or table[b"stco"]
    (number,) = struct.unpack_from(">I", data, chunks.content + 4)
    if 4 * number > len(data):
        raise damaged()
    places = struct.unpack_from(f">{number}{'Q' if wide else 'I'}", data, chunks.content + 8)
    (number,) = struct.unpack_from(">I", data, table[b"stsc"].content + 4)
    if 12 * number > len(data):
        raise damaged()
    runs = struct.unpack_from(f">{3 * number}I", data, table[b"stsc"].content + 8)
    samples_of = dict(zip(runs[::3], runs[1::3], strict=True))  # from a chunk on
    done = each = 0
    for chunk, start in enumerate(places, 1):
        each = samples_of.get(chunk, each)
        held = min(each, count - done)
        if start + sum(next(sizes) for _ in range(held)) > len(data):
            raise damaged()
        done += held
    if done != count or not count:
        raise damaged()
    return count


def _durations(data: bytes, stts: Box, mdhd: Box, count: int) -> tuple[int, ...]:
    """Milliseconds of each frame."""
    wide = data[mdhd.content] == 1
    (scale,) = struct.unpack_from(">I", data, mdhd.content + (20 if wide else 12))
    (number,) = struct.unpack_from(">I", data, stts.content + 4)
    if not scale or 8 * number > len(data):
        raise damaged()
    durations: list[int] = []
    entries = struct.unpack_from(f">{2 * number}I", data, stts.content + 8)
    for repeated, ticks in zip(entries[::2], entries[1::2], strict=True):
        durations += [round(1000 * ticks / scale)] * min(repeated, count - len(durations))
    if len(durations) != count:
        raise damaged()
    return tuple(durations)


def _loop(data: bytes, trak: Box) -> int:
    """How often a track is shown: its length in pieces of the edit that it repeats."""
    parts = inside(data, trak)
    if b"edts" not in parts or b"tkhd" not in parts:
        return 0  # nothing is said; viewers go on for ever
    elst = path(data, parts[b"edts"][0], b"elst")
    if not data[elst.content + 3] & 1:
        return 1
    at, kind = _length(data, parts[b"tkhd"][0])
    (total,) = kind.unpack_from(data, at)
    (piece,) = struct.unpack_from(">Q" if data[elst.content] else ">I", data, elst.content + 8)
    endless = 2 ** (8 * kind.size) - 1
    return 0 if total == endless or not piece else max(1, -(-total // piece))


def _length(data: bytes, head: Box) -> tuple[int, struct.Struct]:
    """Where the head of a track (`tkhd`) says how long it is, and in what kind of number."""
    wide = data[head.content] == 1
    return head.content + (28 if wide else 20), struct.Struct(">Q" if wide else ">I")


def described(data: bytes, primaries: int, transfer: int) -> bytes:
    """A file whose colours are described by these code points; matrix and range stay.

    Each description that is there is changed; a still picture without one gets one.
    """
    parts = top(data)
    found: list[Box] = []
    if b"meta" in parts:
        iprp = inside(data, parts[b"meta"], 4)[b"iprp"][0]
        found += inside(data, path(data, iprp, b"ipco")).get(b"colr", [])
    for trak in inside(data, parts[b"moov"]).get(b"trak", []) if b"moov" in parts else []:
        stsd = path(data, trak, b"mdia", b"minf", b"stbl", b"stsd")
        entry = next(boxes(data, stsd.content + 8, stsd.end))
        found += inside(data, entry, 78).get(b"colr", [])
    found = [box for box in found if nclx(data, box) is not None]
    if not found:
        said = still(data).colour or Colour(primaries, transfer, _BT601, full=True)
        content = struct.pack(">HHHB", primaries, transfer, said.matrix, 0x80 * said.full)
        return _with_property(data, struct.pack(">I8s", 19, b"colrnclx") + content)
    changed = bytearray(data)
    for box in found:
        struct.pack_into(">HH", changed, box.content + 4, primaries, transfer)
    return bytes(changed)


def _with_property(data: bytes, added: bytes) -> bytes:
    """A file whose primary picture has one property more; its media data come last."""
    changed, meta = bytearray(data), top(data)[b"meta"]
    parts = {kind: found[0] for kind, found in inside(data, meta, 4).items()}
    wide = data[parts[b"pitm"].content] > 0
    (primary,) = struct.unpack_from(">I" if wide else ">H", data, parts[b"pitm"].content + 4)
    ipco = path(data, parts[b"iprp"], b"ipco")
    ipma = path(data, parts[b"iprp"], b"ipma")
    index = 1 + len(list(boxes(data, ipco.content, ipco.end)))
    rows = _entries(data, ipma)
    begin, place, end = next(row[1:] for row in rows if row[0] == primary)
    grown = len(added) + place.size
    for item in _places(data, parts[b"iloc"]).values():
        for at in item.said:
            moved = int.from_bytes(data[at : at + item.width]) + grown
            changed[at : at + item.width] = moved.to_bytes(item.width)
    for box, more in (
        (meta, grown),
        (parts[b"iprp"], grown),
        (ipco, len(added)),
        (ipma, place.size),
    ):
        struct.pack_into(">I", changed, box.start, box.end - box.start + more)
    changed[begin - 1] += 1  # how many there are
    for at, content in sorted(((end, place.pack(index)), (ipco.end, added)), reverse=True):
        changed[at:at] = content
    return bytes(changed)


def repeated(data: bytes, loop: int) -> bytes:
    """An image sequence whose tracks, which are repeated for ever, are shown `loop` times."""
    changed = bytearray(data)
    for trak in inside(data, top(data)[b"moov"])[b"trak"]:
        elst = path(data, trak, b"edts", b"elst")
        (piece,) = struct.unpack_from(">Q" if data[elst.content] else ">I", data, elst.content + 8)
        at, kind = _length(data, path(data, trak, b"tkhd"))
        kind.pack_into(changed, at, min(piece * loop, 2 ** (8 * kind.size) - 2))
        changed[elst.content + 3] = loop > 1  # whether the edit is repeated
    return bytes(changed)
