"""TIFF files with several pages, and EXIF in each, neither of which libvips writes.

A page is encoded as a TIFF file of its own. The file is appended to the others as a whole, and a
new table of its tags, with corrected offsets, joins the chain of pages.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from atdsr.imaging import vips
from atdsr.imaging.codecs import libvips
from atdsr.imaging.metadata import tags, tiff_tags_from_exif
from atdsr.imaging.metadata.tags import Entry, Layout, Table
from atdsr.imaging.picture import Picture

_MOST_BYTES = 2**32 - 2**26  # offsets of a plain TIFF end at 4 GiB
_SAVE_OPTIONS = {"compression": "deflate", "predictor": "horizontal"}


def write(picture: Picture, path: Path, _quality: int | None) -> None:
    """Write a picture losslessly, with its profile, EXIF and XMP.

    Raises:
        TagError: EXIF does not fit.
        OSError: The disk refuses.
    """
    metadata = libvips.metadata_for(picture, "tiff")
    image, keep = libvips.prepare(picture, "tiff", metadata)
    bigtiff = picture.samples.nbytes > _MOST_BYTES
    image.tiffsave(str(path), keep=keep, bigtiff=bigtiff, **_SAVE_OPTIONS)
    if not metadata.exif:
        return
    with path.open("rb+") as file:
        layout = tags.layout_of(file.read(16))
        with tags.mapped(file) as data:
            table, _ = tags.read_table(data, tags.first(data, layout), layout)
        _append_table(file, table, metadata.exif, layout, layout.pointer_at)


def write_pages(pictures: Iterator[Picture], path: Path, subject: Path) -> None:
    """Write pages, which may differ in size, as one TIFF file.

    Args:
        pictures: The pages.
        path: Where they are written.
        subject: The path that error messages name.

    Raises:
        PictureError: The format cannot hold the pages, as when there are more than 4 GiB.
        OSError: The disk refuses.
    """
    with path.open("wb+") as file:
        pointer = None
        for picture in pictures:
            with vips.named_errors(subject, "the page cannot be written"):
                pointer = _append_page(file, picture, pointer)


def _append_page(file: BinaryIO, picture: Picture, pointer: int | None) -> int:
    """Append a page.

    Args:
        file: The file.
        picture: The page.
        pointer: Where the offset of the page's table is to be written; None for the header.

    Returns:
        Where that of the next page is to be written.
    """
    metadata = libvips.metadata_for(picture, "tiff")
    image, keep = libvips.prepare(picture, "tiff", metadata)
    page = image.tiffsave_buffer(keep=keep, bigtiff=False, **_SAVE_OPTIONS)
    layout = tags.layout_of(page)
    table, _ = tags.read_table(page, tags.first(page, layout), layout)
    base = _even_end(file)
    file.write(page)
    for tag in (tags.STRIPS, tags.TILES):
        if base and tag in table:
            offsets = (base + offset for offset in table[tag].numbers(layout))
            table[tag] = Entry.of(tags.LONG, layout, *offsets)
    pointer = layout.pointer_at if pointer is None else pointer
    return _append_table(file, table, metadata.exif, layout, pointer)


def _append_table(
    file: BinaryIO, table: Table, exif: bytes | None, layout: Layout, pointer: int
) -> int:
    """Append a table, and write its offset at `pointer`; return where that of the next goes."""
    inner: dict[int, Table] = {}
    if exif:
        table, inner = tiff_tags_from_exif(exif, table, layout)
    packed, offset = tags.pack(table, inner, _even_end(file), layout)
    file.write(packed)
    file.seek(pointer)
    file.write(layout.offset.pack(offset))
    return offset + layout.count.size + len(table | inner) * (layout.head.size + layout.offset.size)


def _even_end(file: BinaryIO) -> int:
    """Go to the end of a file, after making its length even, and return the offset."""
    end = file.seek(0, 2)
    return end + file.write(bytes(end % 2))
