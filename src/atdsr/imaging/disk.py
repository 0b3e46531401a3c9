"""Room on the disk for a result that is too large for the memory.

The room is an uncompressed TIFF file whose samples are mapped into memory: libvips then reads
them strip by strip, and not by mapping them once more.
"""

import contextlib
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from atdsr.base import files, units
from atdsr.base.files import FileError
from atdsr.imaging import tags
from atdsr.imaging.picture import MAXIMUM
from atdsr.imaging.tags import Entry, Layout, Table

_HEAD = 16  # bytes of BigTIFF before its first samples
_STRIP = 2**20  # bytes of samples that are read at a time
_STEP = 2**24  # bytes of nothing that are written at a time where the system cannot reserve


@contextlib.contextmanager
def scratch(
    path: str | os.PathLike[str], shape: tuple[int, ...], dtype: DTypeLike
) -> Iterator[np.memmap]:
    """Yield a writable array of zeros in a hidden file beside `path`, which goes away at the end.

    The system moves what has been written to the disk when memory is short. `write` reads such
    an array piece by piece, so that a result never has to be in memory as a whole.

    Args:
        path: the file that the result will be written to; it is not touched.
        shape: of the array; h w c for a picture.
        dtype: of the array.

    Raises:
        FileError: the folder may not be written, or the disk has not as much room.
    """
    path, dtype = Path(path), np.dtype(dtype)
    table = _table(shape, dtype)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    files.check_target(path, overwrite=True)
    with contextlib.ExitStack() as stack:
        try:
            name, file = stack.enter_context(files.temporary_file(path, files.SCRATCH_SUFFIX))
            _reserve(file, _HEAD + size, table)
            array = np.memmap(name, dtype, "r+", offset=_HEAD, shape=shape)
        except OSError as error:
            raise FileError(
                f"{path}: {units.byte_size(size)} of room beside it cannot be had: "
                f"{error.strerror or error}."
            ) from error
        yield array


def release(array: np.memmap) -> None:
    """Let go of the memory that an array of `scratch`, of which this is one or a part, takes.

    What was written stays written.
    """
    array.flush()
    memory = array.base
    while isinstance(memory, np.ndarray):
        memory = memory.base
    if isinstance(memory, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)


def stored(array: np.memmap) -> Path | None:
    """The TIFF file that holds exactly the picture in this array, if it is a whole `scratch`."""
    if array.filename is None or array.ndim != 3 or array.dtype not in MAXIMUM:
        return None
    path = Path(array.filename)
    if path.suffix != files.SCRATCH_SUFFIX or not array.flags.c_contiguous:
        return None
    table = _table(array.shape, array.dtype)  # a part, or another shape, has another table
    with path.open("rb") as file:
        file.seek(_HEAD + array.nbytes)
        if file.read() != table:
            return None
    release(array)
    return path


def _table(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The tags of a picture of that shape, to stand behind its samples; b"" for no picture."""
    if len(shape) != 3 or not 1 <= shape[2] <= 4 or dtype not in MAXIMUM:
        return b""
    height, width, channels = shape
    row, layout = width * channels * dtype.itemsize, _layout()
    rows = max(1, _STRIP // row)
    starts = range(0, height, rows)
    sizes = [row * min(rows, height - start) for start in starts]
    short, long = tags.SHORT, tags.LONG8
    table: Table = {
        tags.WIDTH: Entry.of(long, layout, width),
        tags.HEIGHT: Entry.of(long, layout, height),
        258: Entry.of(short, layout, *[8 * dtype.itemsize] * channels),
        259: Entry.of(short, layout, 1),  # no compression
        262: Entry.of(short, layout, 1 if channels < 3 else 2),  # gray or RGB
        tags.STRIPS: Entry.of(long, layout, *(_HEAD + row * start for start in starts)),
        277: Entry.of(short, layout, channels),
        278: Entry.of(long, layout, rows),
        279: Entry.of(long, layout, *sizes),
    }
    if channels in (2, 4):
        table[338] = Entry.of(short, layout, 2)  # straight alpha
    return tags.pack(table, {}, _HEAD + row * height, layout)[0]


def _layout() -> Layout:
    return Layout("<" if sys.byteorder == "little" else ">", big=True)


def _reserve(file: BinaryIO, size: int, table: bytes) -> None:
    """See that a new file surely has its room: writing to a map without ends the process."""
    layout = _layout()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size + len(table))
    else:
        for start in range(0, size, _STEP):
            file.write(bytes(min(_STEP, size - start)))
    file.seek(0)
    magic = b"II+\0\x08\0\0\0" if layout.order == "<" else b"MM\0+\0\x08\0\0"
    file.write(magic + layout.offset.pack(size))
    file.seek(size)
    file.write(table)
    file.flush()
