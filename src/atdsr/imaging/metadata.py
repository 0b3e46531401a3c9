"""What a file says of a picture beside its samples, made fit for a picture of another size.

EXIF and XMP describe one picture: where that one lies turned, how many pixels it has, a thumbnail
of it, and in a maker's note places in the file that it once was in. A result that repeated this
would lie, so what comes in and what goes out passes through `clean`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from atdsr.imaging import tags, xmp
from atdsr.imaging.picture import Metadata
from atdsr.imaging.tags import Entry, Layout, Table, TagError

PREFIX = b"Exif\0\0"
"""What EXIF begins with in JPEG; other formats have none, but some writers put it."""

_ORIENTATION, _X, _Y, _UNIT = 274, 282, 283, 296
_TEXTS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432)  # description, camera, dates, ...
_KEPT = frozenset({*_TEXTS, 18246, 18249, *range(0x9C9B, 0x9CA0)})  # rating; Windows' titles
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
# the maker's note; a table about interoperability; tables that belong in the first only
_DROPPED = frozenset({0x927C, 0xA005, tags.EXIF, tags.GPS})
_HEADER = 8  # bytes before the first table
_LARGEST = 65_000  # a segment of JPEG has 65,533 bytes

_SUBJECT_AREA, _SUBJECT_PLACE = 0x9214, 0xA214  # in pixels
_FOCAL_PLANE = {0xA20E: 0, 0xA20F: 1}  # pixels of the sensor's length along x and y
_COLOUR_SPACE, _INTEROPERABILITY = 0xA001, 0xA005

# the tag of EXIF for the first of these texts of PNG that there is
_TAG_OF_TEXT = {
    270: ("Description", "Title", "Comment"),
    305: ("Software",),
    315: ("Author", "Artist"),
    33432: ("Copyright",),
}
_PARAMETERS, _USER_COMMENT = "parameters", 0x9286  # of picture generators
# what thumbnailers and ImageMagick write of a file as it was
_STALE_TEXTS = ("Thumb::", "exif:", "icc:", "jpeg:", "png:", "tiff:")


def clean(metadata: Metadata, width: int, height: int) -> Metadata:
    """The metadata for an upright picture of that size; what is malformed is left out."""
    size, old = (width, height), metadata.size or (width, height)
    turned = orientation(metadata.exif, metadata.xmp) > 1
    exif = metadata.exif and _exif(metadata, size, old, turned)
    packet = metadata.xmp and xmp.rewritten(metadata.xmp, size, old, turned=turned)
    text = tuple(pair for pair in metadata.text if not pair[0].startswith(_STALE_TEXTS))
    about = size if exif or packet else None
    return Metadata(exif or None, packet or None, metadata.dpi, text, about)


def with_text_in_exif(said: Metadata) -> tuple[Metadata, tuple[str, ...]]:
    """The texts of PNG where formats without them have a place: in EXIF, unless it is taken.

    Author, description, copyright and software go into the tags for these; the parameters of
    picture generators become the user's comment, in the way such generators write it.

    Returns:
        The metadata without texts, and the keywords of what has no place.
    """
    layout = Layout(">", big=False)  # generators expect the comment in this order
    main, inner = _tables(said.exif or b"", layout)
    texts = {
        keyword: text.replace("\0", "")
        for keyword, text in reversed(said.text)
        if len(text) < _LARGEST // 4  # whatever its letters, EXIF has room for it
    }
    placed = set()
    for tag, keywords in _TAG_OF_TEXT.items():
        keyword = next((keyword for keyword in keywords if keyword in texts), None)
        if keyword is not None:
            content = Entry(tags.ASCII, texts[keyword].encode() + b"\0")
            if main.setdefault(tag, content).data == content.data:
                placed.add(keyword)
    if _PARAMETERS in texts:
        comment = Entry(tags.UNDEFINED, b"UNICODE\0" + texts[_PARAMETERS].encode("utf-16-be"))
        of_photo = inner.setdefault(tags.EXIF, {})
        if of_photo.setdefault(_USER_COMMENT, comment).data == comment.data:
            placed.add(_PARAMETERS)
    left = tuple(dict.fromkeys(keyword for keyword, _ in said.text if keyword not in placed))
    if not placed:
        return replace(said, text=()), left
    exif = _packed(main | dots(said.dpi, layout), inner, layout)
    return replace(said, exif=exif, text=()), left


def is_adobe_rgb(exif: bytes | None) -> bool:
    """Whether EXIF says that the colours are of Adobe RGB (DCF 2.0, the optional colour space)."""
    try:
        data = (exif or b"").removeprefix(PREFIX)
        layout = tags.layout_of(data)
        table, _ = tags.read_table(data, tags.first(data, layout), layout)
        for tag in (tags.EXIF, _INTEROPERABILITY):
            table, _ = tags.read_table(data, table[tag].numbers(layout)[0], layout)
            if tag == tags.EXIF and table[_COLOUR_SPACE].numbers(layout)[0] == 2:
                return True  # of no standard, but of many cameras
        return bytes(table[1].data[:3]) == b"R03"
    except (TagError, KeyError, IndexError):
        return False


def of_tiff(data: bytes, at: int) -> bytes | None:
    """The EXIF of the page of a TIFF file whose table is at a place."""
    try:
        layout = tags.layout_of(data)
        return _packed(*_collect(data, at, layout), layout)
    except (TagError, OverflowError):
        return None


def into_tiff(exif: bytes, table: Table, layout: Layout) -> tuple[Table, dict[int, Table]]:
    """A page's table with the tags of EXIF beside its own, and the tables that it points to."""
    main, inner = _tables(exif, layout)
    return {tag: entry for tag, entry in main.items() if tag in _KEPT} | table, inner


def orientation(exif: bytes | None, packet: bytes | None = None) -> int:
    """How the picture lies in its file: 1 (upright) to 8, by EXIF; where that is silent, by XMP."""
    turned = _main(exif).get(_ORIENTATION)
    if turned and 1 <= turned[0] <= 8:
        return turned[0]
    return xmp.orientation(packet) or 1


def resolution(exif: bytes | None) -> tuple[float, float] | None:
    """Dots per inch along x and y, if EXIF says so."""
    main = _main(exif)
    x, y, unit = main.get(_X, ()), main.get(_Y, ()), main.get(_UNIT, (2,))
    if len(x) != 2 or len(y) != 2 or 0 in (x[1], y[1]):
        return None
    factor = 2.54 if unit[:1] == (3,) else 1.0
    return sensible(factor * x[0] / x[1], factor * y[0] / y[1])


def sensible(x: float, y: float) -> tuple[float, float] | None:
    """A resolution that somebody may have meant; 72 and 1 a millimetre stand for none."""
    if not all(math.isfinite(dots) and 1 <= dots <= 1e6 for dots in (x, y)):
        return None
    none = any(abs(x - dots) < 0.05 and abs(y - dots) < 0.05 for dots in (72.0, 25.4))
    return None if none else (x, y)


def _main(exif: bytes | None) -> dict[int, tuple[int, ...]]:
    """The numbers in the first table."""
    try:
        data = (exif or b"").removeprefix(PREFIX)
        layout = tags.layout_of(data)
        wanted = (_ORIENTATION, _X, _Y, _UNIT)
        table, _ = tags.read_table(data, tags.first(data, layout), layout, wanted)
        return {tag: entry.numbers(layout) for tag, entry in table.items()}
    except TagError:
        return {}


def _collect(data: bytes, at: int, layout: Layout) -> tuple[Table, dict[int, Table]]:
    """The entries worth keeping: of the table at a place, and of EXIF's and GPS's own."""
    kept = _KEPT | {tags.EXIF, tags.GPS, _ORIENTATION, _X, _Y, _UNIT}
    main, _ = tags.read_table(data, at, layout, kept)
    inner: dict[int, Table] = {}
    for tag in (tags.EXIF, tags.GPS):
        if tag in main:
            try:
                content, _ = tags.read_table(data, main[tag].numbers(layout)[0], layout)
            except TagError:
                continue
            inner[tag] = {t: entry for t, entry in content.items() if t not in _DROPPED}
    return {tag: main[tag] for tag in main.keys() - {tags.EXIF, tags.GPS}}, inner


def _packed(main: Table, inner: dict[int, Table], layout: Layout) -> bytes | None:
    """EXIF of these tables, without the longest values if it would be too large."""
    inner = {tag: content for tag, content in inner.items() if content}
    if not main and not inner:
        return None
    layout = Layout(layout.order, big=False)
    _drop_longest(main, inner, layout)
    packed, at = tags.pack(main, inner, _HEADER, layout)
    magic = b"II*\0" if layout.order == "<" else b"MM\0*"
    return magic + layout.offset.pack(at) + packed


def _drop_longest(main: Table, inner: dict[int, Table], layout: Layout) -> None:
    """Leave out the longest values of these tables until they fit into a segment of JPEG."""
    pointers = layout.entry.itemsize * len(inner)
    sizes = [tags.packed_size(table, layout) for table in (main, *inner.values())]
    excess = _HEADER + pointers + sum(sizes) - _LARGEST
    everything = [(table, tag) for table in (main, *inner.values()) for tag in table]
    everything.sort(key=lambda place: len(place[0][place[1]].data))
    while excess > 0:
        table, tag = everything.pop()
        excess -= tags.entry_size(table.pop(tag), layout)


def _exif(
    metadata: Metadata, size: tuple[int, int], old: tuple[int, int], turned: bool
) -> bytes | None:
    try:
        data = (metadata.exif or b"").removeprefix(PREFIX)
        layout = tags.layout_of(data)
        main, inner = _collect(data, tags.first(data, layout), layout)
    except TagError:
        return None
    main = {tag: entry for tag, entry in main.items() if tag in _KEPT}
    photo = inner.get(tags.EXIF, {})
    for tag, side in ((_PIXEL_WIDTH, size[0]), (_PIXEL_HEIGHT, size[1])):
        if tag in photo:
            photo[tag] = Entry.of(tags.LONG, layout, side)
    if turned or size != old:
        factors = (Fraction(size[0], old[0]), Fraction(size[1], old[1]))
        for tag in (_SUBJECT_AREA, _SUBJECT_PLACE, *_FOCAL_PLANE):
            entry = photo.pop(tag, None)
            if entry is not None and not turned:
                photo |= _scaled(tag, entry, factors, layout)
    if main or any(inner.values()):
        main |= dots(metadata.dpi, layout)
    return _packed(main, inner, layout)


def _scaled(tag: int, entry: Entry, factors: Sequence[Fraction], layout: Layout) -> Table:
    """An entry in pixels for a picture of another size; empty where it cannot be."""
    numbers = entry.numbers(layout)
    if tag not in _FOCAL_PLANE:  # x and y, with a diameter, or with width and height
        scaled = [round(number * factors[k % 2]) for k, number in enumerate(numbers)]
        fits = entry.kind == tags.SHORT and all(number < 2**16 for number in scaled)
        return {tag: Entry.of(tags.SHORT, layout, *scaled)} if fits else {}
    if entry.kind != tags.RATIONAL or len(numbers) != 2 or numbers[1] == 0:
        return {}
    value = Fraction(*numbers) * factors[_FOCAL_PLANE[tag]]
    above, below = value.limit_denominator(1000).as_integer_ratio()
    return {tag: Entry.of(tags.RATIONAL, layout, above, below)} if above < 2**32 else {}


def _tables(exif: bytes, layout: Layout) -> tuple[Table, dict[int, Table]]:
    """The tables of EXIF in a byte order; empty ones of none."""
    try:
        old = tags.layout_of(exif)
        main, inner = _collect(exif, tags.first(exif, old), old)
    except TagError:
        return {}, {}
    swapped = {tag: tags.swapped(content, old, layout) for tag, content in inner.items()}
    return tags.swapped(main, old, layout), swapped


def only_dots(dpi: tuple[float, float]) -> bytes:
    """EXIF that says nothing but the resolution, for formats with no other place for it."""
    layout = Layout("<", big=False)
    return _packed(dots(dpi, layout), {}, layout) or b""


def dots(dpi: tuple[float, float] | None, layout: Layout) -> Table:
    """The entries for a resolution."""
    if dpi is None:
        return {}
    x, y = (Fraction(value).limit_denominator(1000) for value in dpi)
    return {
        _X: Entry.of(tags.RATIONAL, layout, *x.as_integer_ratio()),
        _Y: Entry.of(tags.RATIONAL, layout, *y.as_integer_ratio()),
        _UNIT: Entry.of(tags.SHORT, layout, 2),
    }
