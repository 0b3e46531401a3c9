"""Pages of a TIFF file one after another, and EXIF in each: what libvips does not write.

A page is first a TIFF file of its own. It is copied whole behind the others, and a new table of
its tags, with the places put right, joins the chain.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from atdsr.imaging import metadata, saving, tags, vips
from atdsr.imaging.picture import Picture
from atdsr.imaging.tags import Entry, Layout, Table


def add_exif(path: Path, exif: bytes) -> None:
    """Give a TIFF file of one page EXIF.

    Raises:
        TagError: it would not fit.
        OSError: the disk refuses.
    """
    with path.open("rb+") as file:
        layout = tags.layout_of(file.read(16))
        with tags.mapped(file) as data:
            table, _ = tags.read_table(data, tags.first(data, layout), layout)
        _join(file, table, exif, layout, layout.pointer_at)


def write(pictures: Iterator[Picture], path: Path, subject: Path) -> None:
    """Write pages, of any sizes, as one TIFF file; sentences name the subject.

    Raises:
        PictureError: what the format cannot hold, as more than 4 GiB.
        OSError: the disk refuses.
    """
    with path.open("wb+") as file:
        pointer = None
        for picture in pictures:
            with vips.as_sentence(subject, "the page cannot be written"):
                pointer = _append(file, picture, pointer)


def _append(file: BinaryIO, picture: Picture, pointer: int | None) -> int:
    """Append a page; `pointer` is the place that shall point to it, and so is what returns."""
    said = saving.said_in(picture, "tiff")
    image, options = saving.prepared(picture, "tiff", said, None)
    page = image.tiffsave_buffer(**options | {"bigtiff": False})
    layout = tags.layout_of(page)
    table, _ = tags.read_table(page, tags.first(page, layout), layout)
    base = _even_end(file)
    file.write(page)
    for tag in (tags.STRIPS, tags.TILES):
        if base and tag in table:
            places = (base + place for place in table[tag].numbers(layout))
            table[tag] = Entry.of(tags.LONG, layout, *places)
    return _join(file, table, said.exif, layout, layout.pointer_at if pointer is None else pointer)


def _join(file: BinaryIO, table: Table, exif: bytes | None, layout: Layout, pointer: int) -> int:
    """Write a table at the end, and its place at `pointer`; where the next one's goes returns."""
    inner: dict[int, Table] = {}
    if exif:
        table, inner = metadata.into_tiff(exif, table, layout)
    packed, at = tags.pack(table, inner, _even_end(file), layout)
    file.write(packed)
    file.seek(pointer)
    file.write(layout.offset.pack(at))
    return at + layout.count.size + len(table | inner) * (layout.head.size + layout.offset.size)


def _even_end(file: BinaryIO) -> int:
    """Go to the end of a file, which is made even."""
    end = file.seek(0, 2)
    return end + file.write(bytes(end % 2))
