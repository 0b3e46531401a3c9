"""What a file says of a picture beside its samples, made fit for a picture of another size.

EXIF and XMP describe one picture: where that one lies turned, how many pixels it has, a thumbnail
of it, and in a maker's note places in the file that it once was in. A result that repeated this
would lie, so what comes in and what goes out passes through `clean`.
"""

import math
import re
from collections.abc import Callable
from fractions import Fraction

from atdsr.pixels import tags
from atdsr.pixels.picture import Metadata
from atdsr.pixels.tags import Entry, Layout, Table, TagError

PREFIX = b"Exif\0\0"
"""What EXIF begins with in JPEG; other formats have none, but some writers put it."""

_ORIENTATION, _X, _Y, _UNIT = 274, 282, 283, 296
_TEXTS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432)  # description, camera, dates, ...
_KEPT = frozenset({*_TEXTS, 18246, 18249, *range(0x9C9B, 0x9CA0)})  # rating; Windows' titles
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
# the maker's note; a table about interoperability; tables that belong in the first only
_DROPPED = frozenset({0x927C, 0xA005, tags.EXIF, tags.GPS})
_LARGEST = 65_000  # a segment of JPEG has 65,533 bytes

_XMP_SIZES = {b"tiff:ImageWidth": 0, b"tiff:ImageLength": 1}
_XMP_SIZES |= {b"exif:PixelXDimension": 0, b"exif:PixelYDimension": 1}
_XMP_THUMBNAILS = re.compile(rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails\s*>", re.DOTALL)


def clean(metadata: Metadata, width: int, height: int) -> Metadata:
    """The metadata for an upright picture of that size; what is malformed is left out."""
    exif = metadata.exif and _exif(metadata.exif, width, height, metadata.dpi)
    xmp = metadata.xmp and _xmp(metadata.xmp, width, height)
    return Metadata(exif or None, xmp or None, metadata.dpi)


def of_tiff(data: bytes, at: int) -> bytes | None:
    """The EXIF of the page of a TIFF file whose table is at a place."""
    try:
        layout = tags.layout_of(data)
        return _packed(*_collect(data, at, layout), layout)
    except (TagError, OverflowError):
        return None


def into_tiff(exif: bytes, table: Table, layout: Layout) -> tuple[Table, dict[int, Table]]:
    """A page's table with the tags of EXIF beside its own, and the tables that it points to."""
    source = tags.layout_of(exif)
    main, inner = _collect(exif, tags.first(exif, source), source)
    added = {tag: entry for tag, entry in main.items() if tag in _KEPT}
    inner = {tag: tags.swapped(content, source, layout) for tag, content in inner.items()}
    return tags.swapped(added, source, layout) | table, inner


def orientation(exif: bytes | None) -> int:
    """How the picture lies in its file: 1 (upright) to 8, as EXIF counts."""
    turned = _main(exif).get(_ORIENTATION)
    return turned[0] if turned and 1 <= turned[0] <= 8 else 1


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
        table, _ = tags.read_table(data, tags.first(data, layout), layout)
        wanted = (_ORIENTATION, _X, _Y, _UNIT)
        return {tag: table[tag].numbers(layout) for tag in wanted if tag in table}
    except TagError:
        return {}


def _collect(data: bytes, at: int, layout: Layout) -> tuple[Table, dict[int, Table]]:
    """The entries worth keeping: of the table at a place, and of EXIF's and GPS's own."""
    main, _ = tags.read_table(data, at, layout)
    inner: dict[int, Table] = {}
    for tag in (tags.EXIF, tags.GPS):
        if tag in main:
            try:
                content, _ = tags.read_table(data, main[tag].numbers(layout)[0], layout)
            except TagError:
                continue
            inner[tag] = {t: entry for t, entry in content.items() if t not in _DROPPED}
    kept = _KEPT | {_ORIENTATION, _X, _Y, _UNIT}
    return {tag: entry for tag, entry in main.items() if tag in kept}, inner


def _packed(main: Table, inner: dict[int, Table], layout: Layout) -> bytes | None:
    """EXIF of these tables, without the longest values if it would be too large."""
    inner = {tag: content for tag, content in inner.items() if content}
    if not main and not inner:
        return None
    layout = Layout(layout.order, big=False)
    while True:
        packed, at = tags.pack(main, inner, 8, layout)
        if len(packed) <= _LARGEST:
            break
        everything = [(table, tag) for table in (main, *inner.values()) for tag in table]
        table, longest = max(everything, key=lambda place: len(place[0][place[1]].data))
        del table[longest]
    magic = b"II*\0" if layout.order == "<" else b"MM\0*"
    return magic + layout.offset.pack(at) + packed


def _exif(data: bytes, width: int, height: int, dpi: tuple[float, float] | None) -> bytes | None:
    try:
        data = data.removeprefix(PREFIX)
        layout = tags.layout_of(data)
        main, inner = _collect(data, tags.first(data, layout), layout)
    except TagError:
        return None
    main = {tag: entry for tag, entry in main.items() if tag in _KEPT}
    for tag, size in ((_PIXEL_WIDTH, width), (_PIXEL_HEIGHT, height)):
        if tag in inner.get(tags.EXIF, {}):
            inner[tags.EXIF][tag] = Entry.of(tags.LONG, layout, size)
    if main or any(inner.values()):
        main |= dots(dpi, layout)
    return _packed(main, inner, layout)


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


def _xmp(data: bytes, width: int, height: int) -> bytes:
    """XMP with its own words about orientation and size put right, and without thumbnails."""
    if len(data) > _LARGEST:
        return b""
    data = _XMP_THUMBNAILS.sub(b"", data)
    values = {name: b"%d" % (width, height)[axis] for name, axis in _XMP_SIZES.items()}
    for name, value in (values | {b"tiff:Orientation": b"1"}).items():
        for pattern in (rb'(%s\s*=\s*["\'])\d+', rb"(<%s\s*>\s*)\d+"):  # attribute or element
            data = re.sub(pattern % name, _put(value), data)
    return data


def _put(value: bytes) -> Callable[[re.Match[bytes]], bytes]:
    return lambda match: match[1] + value
