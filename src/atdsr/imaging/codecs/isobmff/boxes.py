"""Boxes, and how code points of colour stand in one.

Every box is looked at once, and one that reaches beyond its parent or the file is an error.

Source: ISO/IEC 14496-12, section 4.2.
"""

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from atdsr.imaging.codecs.isobmff.av1 import Nclx
from atdsr.imaging.picture import DamagedError, PictureError


@dataclass(frozen=True)
class Box:
    """A box.

    Attributes:
        kind: Its four characters.
        start: Where the box starts.
        content: Where its content starts.
        end: Where it ends.
    """

    kind: bytes
    start: int
    content: int
    end: int


def iterate_boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes between two offsets, by default those of the whole file.

    Raises:
        PictureError: A box reaches beyond `end`.
    """
    end = len(data) if end is None else end
    while start < end:
        if start + 8 > end:
            raise DamagedError
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1 and content + 8 <= end:  # a size of 64 bits follows
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        elif size == 0:  # up to the end
            size = end - start
        if start + size < content or start + size > end:
            raise DamagedError
        yield Box(kind, start, content, start + size)
        start += size


def top_level(data: bytes) -> dict[bytes, Box]:
    """Return the first box of each kind; what follows the last complete box is ignored.

    Whether anything is missing becomes clear when the picture is decoded.
    """
    by_kind: dict[bytes, Box] = {}
    with contextlib.suppress(PictureError):
        for box in iterate_boxes(data):
            by_kind.setdefault(box.kind, box)
    return by_kind


@contextlib.contextmanager
def unpacking() -> Iterator[None]:
    """Turn what Python raises while damaged boxes are unpacked into a PictureError."""
    try:
        yield
    except (struct.error, IndexError, KeyError, StopIteration, ZeroDivisionError) as error:
        raise DamagedError from error


def children(data: bytes, parent: Box, skip: int = 0) -> dict[bytes, list[Box]]:
    """Return the boxes in a box, by kind.

    Args:
        data: The file.
        parent: The box.
        skip: How many bytes of its own content come before them.
    """
    by_kind: dict[bytes, list[Box]] = {}
    for box in iterate_boxes(data, parent.content + skip, parent.end):
        by_kind.setdefault(box.kind, []).append(box)
    return by_kind


def child(data: bytes, parent: Box, *kinds: bytes) -> Box:
    """Return the first box at a path of kinds below a box.

    Raises:
        PictureError: There is none.
    """
    for kind in kinds:
        boxes = children(data, parent).get(kind)
        if not boxes:
            raise DamagedError
        parent = boxes[0]
    return parent


def read_nclx(data: bytes, box: Box) -> Nclx | None:
    """Return the code points in a `colr` box; None if it holds an ICC profile."""
    if data[box.content : box.content + 4] != b"nclx" or box.end < box.content + 11:
        return None
    primaries, transfer, matrix, flags = struct.unpack_from(">HHHB", data, box.content + 4)
    return Nclx(primaries, transfer, matrix, bool(flags & 0x80))
