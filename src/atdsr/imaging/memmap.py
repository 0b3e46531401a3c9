"""Arrays on disk, for results that are larger than memory.

The file is an uncompressed TIFF file whose samples are mapped into memory. So libvips can read it
strip by strip, and need not map it a second time.
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
from atdsr.imaging.metadata import tags
from atdsr.imaging.metadata.tags import Entry, Layout, Table
from atdsr.imaging.picture import MAXIMUM

_HEADER = 16  # bytes of a BigTIFF header before the first samples
_STRIP = 2**20  # bytes of samples that are read at a time
_ZEROS = 2**24  # bytes of zeros that are written at a time where the system cannot reserve space


@contextlib.contextmanager
def temporary_array(
    path: str | os.PathLike[str], shape: tuple[int, ...], dtype: DTypeLike
) -> Iterator[np.memmap]:
    """Yield a writable array of zeros in a hidden file beside `path`, deleted at the end.

    The system moves what has been written to disk when memory is short. `write` reads such an
    array piece by piece, so a result never has to be in memory as a whole.

    Args:
        path: File that the result will be written to; it is not touched.
        shape: Shape of the array; h w c for a picture.
        dtype: Type of its elements.

    Raises:
        FileError: The folder is not writable, or the disk does not have enough space.
    """
    path, dtype = Path(path), np.dtype(dtype)
    table = _tag_table(shape, dtype)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    files.check_target(path, overwrite=True)
    with contextlib.ExitStack() as stack:
        try:
            name, file = stack.enter_context(files.temporary_file(path, files.SCRATCH_SUFFIX))
            _reserve(file, _HEADER + size, table)
            array = np.memmap(name, dtype, "r+", offset=_HEADER, shape=shape)
        except OSError as error:
            raise FileError(
                f"{path}: {units.byte_size(size)} of disk space beside it cannot be reserved: "
                f"{error.strerror or error}."
            ) from error
        yield array


def release_memory(array: np.memmap) -> None:
    """Free the memory that a `temporary_array` takes, of which this is all or a part.

    What was written stays in the file.
    """
    array.flush()
    memory = array.base
    while isinstance(memory, np.ndarray):
        memory = memory.base
    if isinstance(memory, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)


def tiff_file(array: np.memmap) -> Path | None:
    """Return the TIFF file that holds exactly this picture, if it is a whole `temporary_array`."""
    if array.filename is None or array.ndim != 3 or array.dtype not in MAXIMUM:
        return None
    path = Path(array.filename)
    if path.suffix != files.SCRATCH_SUFFIX or not array.flags.c_contiguous:
        return None
    table = _tag_table(array.shape, array.dtype)  # a part or another shape has another table
    with path.open("rb") as file:
        file.seek(_HEADER + array.nbytes)
        if file.read() != table:
            return None
    release_memory(array)
    return path


def _tag_table(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Return the tags that follow the samples of a picture; b"" if the shape is no picture's."""
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
        tags.STRIPS: Entry.of(long, layout, *(_HEADER + row * start for start in starts)),
        277: Entry.of(short, layout, channels),
        278: Entry.of(long, layout, rows),
        279: Entry.of(long, layout, *sizes),
    }
    if channels in (2, 4):
        table[338] = Entry.of(short, layout, 2)  # straight alpha
    return tags.pack(table, {}, _HEADER + row * height, layout)[0]


def _layout() -> Layout:
    return Layout("<" if sys.byteorder == "little" else ">", big=True)


def _reserve(file: BinaryIO, size: int, table: bytes) -> None:
    """Reserve the disk space of a new file: writing to a map without it ends the process."""
    layout = _layout()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size + len(table))
    else:
        for start in range(0, size, _ZEROS):
            file.write(bytes(min(_ZEROS, size - start)))
    file.seek(0)
    magic = b"II+\0\x08\0\0\0" if layout.order == "<" else b"MM\0+\0\x08\0\0"
    file.write(magic + layout.offset.pack(size))
    file.seek(size)
    file.write(table)
    file.flush()
