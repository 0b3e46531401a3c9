"""Metadata of a picture, made fit for a picture of another size.

EXIF and XMP describe one particular picture: its orientation, its number of pixels, a thumbnail,
and in a maker's note offsets into the file that it came from. Repeated for another picture all of
this would be wrong, so `clean_metadata` is applied to whatever is read and whatever is written.

Source: EXIF 2.32, section 4.6.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from atdsr.imaging.metadata import tags, xmp
from atdsr.imaging.metadata.tags import Entry, Layout, Table, TagError
from atdsr.imaging.picture import Metadata

PREFIX = b"Exif\0\0"
"""What EXIF begins with in JPEG; other formats do without, but some writers put it there too."""

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
# what thumbnailers and ImageMagick write about the file as it was
_STALE_TEXTS = ("Thumb::", "exif:", "icc:", "jpeg:", "png:", "tiff:")


def clean_metadata(metadata: Metadata, width: int, height: int) -> Metadata:
    """Return the metadata for an upright picture of that size, without what is malformed."""
    if not (metadata.exif or metadata.xmp or metadata.text):
        return Metadata(dpi=metadata.dpi)
    size, old_size = (width, height), metadata.size or (width, height)
    turned = orientation(metadata.exif, metadata.xmp) > 1
    exif = metadata.exif and _clean_exif(metadata, size, old_size, turned)
    packet = metadata.xmp and xmp.rewrite(metadata.xmp, size, old_size, turned=turned)
    text = tuple(pair for pair in metadata.text if not pair[0].startswith(_STALE_TEXTS))
    described_size = size if exif or packet else None
    return Metadata(exif or None, packet or None, metadata.dpi, text, described_size)


def without_exif_prefix(exif: bytes | None) -> bytes:
    """Return EXIF without the prefix of JPEG; b"" for None."""
    return (exif or b"").removeprefix(PREFIX)


def with_text_in_exif(metadata: Metadata) -> tuple[Metadata, tuple[str, ...]]:
    """Move the texts of PNG to EXIF, for formats without texts, where their tags are free.

    Author, description, copyright and software go into the tags for these; the parameters of
    picture generators become the user comment, in the way such generators write it.

    Returns:
        The metadata without texts, and the keywords of the texts that have no place in EXIF.
    """
    layout = Layout(">", big=False)  # generators expect the comment in this order
    main, inner = _tables_in_order(metadata.exif or b"", layout)
    texts = {
        keyword: text.replace("\0", "")
        for keyword, text in reversed(metadata.text)
        if len(text) < _LARGEST // 4  # fits into EXIF whatever its letters
    }
    placed = set()
    for tag, keywords in _TAG_OF_TEXT.items():
        keyword = next((keyword for keyword in keywords if keyword in texts), None)
        if keyword is not None:
            entry = Entry(tags.ASCII, texts[keyword].encode() + b"\0")
            if main.setdefault(tag, entry).data == entry.data:
                placed.add(keyword)
    if _PARAMETERS in texts:
        comment = Entry(tags.UNDEFINED, b"UNICODE\0" + texts[_PARAMETERS].encode("utf-16-be"))
        photo = inner.setdefault(tags.EXIF, {})
        if photo.setdefault(_USER_COMMENT, comment).data == comment.data:
            placed.add(_PARAMETERS)
    left = tuple(dict.fromkeys(keyword for keyword, _ in metadata.text if keyword not in placed))
    if not placed:
        return replace(metadata, text=()), left
    exif = _pack(main | _dpi_entries(metadata.dpi, layout), inner, layout)
    return replace(metadata, exif=exif, text=()), left


def is_adobe_rgb(exif: bytes | None) -> bool:
    """Whether EXIF states Adobe RGB (DCF 2.0, the optional colour space)."""
    try:
        data = without_exif_prefix(exif)
        layout = tags.layout_of(data)
        table, _ = tags.read_table(data, tags.first(data, layout), layout)
        for tag in (tags.EXIF, _INTEROPERABILITY):
            table, _ = tags.read_table(data, table[tag].numbers(layout)[0], layout)
            if tag == tags.EXIF and table[_COLOUR_SPACE].numbers(layout)[0] == 2:
                return True  # in no standard, but written by many cameras
        return bytes(table[1].data[:3]) == b"R03"
    except (TagError, KeyError, IndexError):
        return False


def exif_of_page(data: bytes, offset: int) -> bytes | None:
    """Return the EXIF of the page of a TIFF file whose tag table is at that offset."""
    try:
        layout = tags.layout_of(data)
        return _pack(*_collect(data, offset, layout), layout)
    except (TagError, OverflowError):
        return None


def tiff_tags_from_exif(
    exif: bytes, table: Table, layout: Layout
) -> tuple[Table, dict[int, Table]]:
    """Return a page's table with the tags of EXIF added, and the tables that these point to."""
    main, inner = _tables_in_order(exif, layout)
    return {tag: entry for tag, entry in main.items() if tag in _KEPT} | table, inner


def orientation(exif: bytes | None, packet: bytes | None = None) -> int:
    """Return the orientation, 1 (upright) to 8, by EXIF, or by XMP where EXIF does not say."""
    if not exif and not packet:
        return 1
    numbers = _first_table(exif).get(_ORIENTATION)
    if numbers and 1 <= numbers[0] <= 8:
        return numbers[0]
    return xmp.orientation(packet) or 1


def resolution(exif: bytes | None) -> tuple[float, float] | None:
    """Return dots per inch along x and y, if EXIF states them."""
    if not exif:
        return None
    main = _first_table(exif)
    x, y, unit = main.get(_X, ()), main.get(_Y, ()), main.get(_UNIT, (2,))
    if len(x) != 2 or len(y) != 2 or 0 in (x[1], y[1]):
        return None
    factor = 2.54 if unit[:1] == (3,) else 1.0
    return plausible_dpi(factor * x[0] / x[1], factor * y[0] / y[1])


def plausible_dpi(x: float, y: float) -> tuple[float, float] | None:
    """Return a resolution that somebody may have meant.

    72 dots per inch and 1 dot per millimetre are what software writes for none.
    """
    if not all(math.isfinite(dots) and 1 <= dots <= 1e6 for dots in (x, y)):
        return None
    is_default = any(abs(x - dots) < 0.05 and abs(y - dots) < 0.05 for dots in (72.0, 25.4))
    return None if is_default else (x, y)


def _first_table(exif: bytes | None) -> dict[int, tuple[int, ...]]:
    """Return orientation and resolution from the first table."""
    try:
        data = without_exif_prefix(exif)
        layout = tags.layout_of(data)
        wanted = (_ORIENTATION, _X, _Y, _UNIT)
        table, _ = tags.read_table(data, tags.first(data, layout), layout, wanted)
        return {tag: entry.numbers(layout) for tag, entry in table.items()}
    except TagError:
        return {}


def _collect(data: bytes, offset: int, layout: Layout) -> tuple[Table, dict[int, Table]]:
    """Return what is worth keeping of the table at `offset`, and of its EXIF and GPS tables."""
    kept = _KEPT | {tags.EXIF, tags.GPS, _ORIENTATION, _X, _Y, _UNIT}
    main, _ = tags.read_table(data, offset, layout, kept)
    inner: dict[int, Table] = {}
    for tag in (tags.EXIF, tags.GPS):
        if tag in main:
            try:
                table, _ = tags.read_table(data, main[tag].numbers(layout)[0], layout)
            except TagError:
                continue
            inner[tag] = {t: entry for t, entry in table.items() if t not in _DROPPED}
    return {tag: main[tag] for tag in main.keys() - {tags.EXIF, tags.GPS}}, inner


def _pack(main: Table, inner: dict[int, Table], layout: Layout) -> bytes | None:
    """Return EXIF with these tables, without the longest values if it would be too large."""
    inner = {tag: table for tag, table in inner.items() if table}
    if not main and not inner:
        return None
    layout = Layout(layout.order, big=False)
    _drop_longest(main, inner, layout)
    packed, offset = tags.pack(main, inner, _HEADER, layout)
    magic = b"II*\0" if layout.order == "<" else b"MM\0*"
    return magic + layout.offset.pack(offset) + packed


def _drop_longest(main: Table, inner: dict[int, Table], layout: Layout) -> None:
    """Remove the longest values from these tables until they fit into a segment of JPEG."""
    pointers = layout.entry.itemsize * len(inner)
    sizes = [tags.packed_size(table, layout) for table in (main, *inner.values())]
    excess = _HEADER + pointers + sum(sizes) - _LARGEST
    by_length = [(table, tag) for table in (main, *inner.values()) for tag in table]
    by_length.sort(key=lambda table_and_tag: len(table_and_tag[0][table_and_tag[1]].data))
    while excess > 0:
        table, tag = by_length.pop()
        excess -= tags.entry_size(table.pop(tag), layout)


def _clean_exif(
    metadata: Metadata, size: tuple[int, int], old_size: tuple[int, int], turned: bool
) -> bytes | None:
    try:
        data = without_exif_prefix(metadata.exif)
        layout = tags.layout_of(data)
        main, inner = _collect(data, tags.first(data, layout), layout)
    except TagError:
        return None
    main = {tag: entry for tag, entry in main.items() if tag in _KEPT}
    photo = inner.get(tags.EXIF, {})
    for tag, side in ((_PIXEL_WIDTH, size[0]), (_PIXEL_HEIGHT, size[1])):
        if tag in photo:
            photo[tag] = Entry.of(tags.LONG, layout, side)
    if turned or size != old_size:
        factors = (Fraction(size[0], old_size[0]), Fraction(size[1], old_size[1]))
        for tag in (_SUBJECT_AREA, _SUBJECT_PLACE, *_FOCAL_PLANE):
            entry = photo.pop(tag, None)
            if entry is not None and not turned:
                photo |= _scaled(tag, entry, factors, layout)
    if main or any(inner.values()):
        main |= _dpi_entries(metadata.dpi, layout)
    return _pack(main, inner, layout)


def _scaled(tag: int, entry: Entry, factors: Sequence[Fraction], layout: Layout) -> Table:
    """Scale an entry in pixels to a picture of another size; empty where it cannot be scaled."""
    numbers = entry.numbers(layout)
    if tag not in _FOCAL_PLANE:  # x and y, with a diameter, or with width and height
        scaled = [round(number * factors[k % 2]) for k, number in enumerate(numbers)]
        fits = entry.kind == tags.SHORT and all(number < 2**16 for number in scaled)
        return {tag: Entry.of(tags.SHORT, layout, *scaled)} if fits else {}
    if entry.kind != tags.RATIONAL or len(numbers) != 2 or numbers[1] == 0:
        return {}
    value = Fraction(*numbers) * factors[_FOCAL_PLANE[tag]]
    numerator, denominator = value.limit_denominator(1000).as_integer_ratio()
    fits = numerator < 2**32
    return {tag: Entry.of(tags.RATIONAL, layout, numerator, denominator)} if fits else {}


def _tables_in_order(exif: bytes, layout: Layout) -> tuple[Table, dict[int, Table]]:
    """Return the tables of EXIF in a byte order; empty ones if there is no EXIF."""
    try:
        old_layout = tags.layout_of(exif)
        main, inner = _collect(exif, tags.first(exif, old_layout), old_layout)
    except TagError:
        return {}, {}
    inner = {tag: tags.swap(table, old_layout, layout) for tag, table in inner.items()}
    return tags.swap(main, old_layout, layout), inner


def exif_from_dpi(dpi: tuple[float, float]) -> bytes:
    """Return EXIF that states only the resolution, for formats with no other place for it."""
    layout = Layout("<", big=False)
    return _pack(_dpi_entries(dpi, layout), {}, layout) or b""


def _dpi_entries(dpi: tuple[float, float] | None, layout: Layout) -> Table:
    """Return the entries for a resolution."""
    if dpi is None:
        return {}
    x, y = (Fraction(value).limit_denominator(1000) for value in dpi)
    return {
        _X: Entry.of(tags.RATIONAL, layout, *x.as_integer_ratio()),
        _Y: Entry.of(tags.RATIONAL, layout, *y.as_integer_ratio()),
        _UNIT: Entry.of(tags.SHORT, layout, 2),
    }
