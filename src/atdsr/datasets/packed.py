"""A packed training set, open for reading.

A packed set is a folder: `hr.bin` with the pixels of every picture one after another (uint8, HWC,
sides cut to a multiple of 12), `lr_x2.bin` and so on with their LR pictures in the same order, and
`index.json`, which is written last. The files are mapped into memory, so a crop costs one small
copy and opening costs nothing.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atdsr.datasets.index import DataError, Index, file_name, part


class PackedSet:
    """A packed training set.

    Args:
        folder: what `pack` made.
        scale: which LR pictures to pair the HR ones with.

    Attributes:
        folder: as given.
        scale: as given.
        entries: the pictures.
        hr: pixels of all HR pictures, uint8 `n 3`, mapped.
        lr: of all LR pictures.

    Raises:
        DataError: no packed set, damaged, cut short, or without that scale.
    """

    def __init__(self, folder: str | Path, scale: int) -> None:
        self.folder = Path(folder)
        self.scale = scale
        index = Index.read(self.folder)
        if scale not in index.scales:
            held = ", ".join(map(str, index.scales))
            raise DataError(f"{folder} is packed for the scales {held}, not {scale}; pack anew.")
        self.entries = index.pictures
        self.hr = _mapped(self.folder, "hr", index)
        self.lr = _mapped(self.folder, part(scale), index)

    def pair(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """LR `h/scale w/scale 3` and HR `h w 3` of a picture, uint8, mapped and not copied."""
        entry = self.entries[number]
        height, width = entry.height // self.scale, entry.width // self.scale
        start, count = entry.span(part(self.scale))
        lr = self.lr[start : start + count].reshape(height, width, 3)
        start, count = entry.span("hr")
        return lr, self.hr[start : start + count].reshape(entry.height, entry.width, 3)


def _mapped(folder: Path, part: str, index: Index) -> NDArray[np.uint8]:
    path = folder / file_name(part)
    wanted = index.nbytes(part)
    try:
        size = path.stat().st_size
        if size == wanted:
            # a plain array: the class memmap makes every slice slow
            return np.asarray(np.memmap(path, np.uint8, mode="r")).reshape(-1, 3)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; pack anew.") from None
    raise DataError(
        f"{path} has {size} bytes where the index says {wanted}; `atdsr data check {folder}` tells "
        "which pictures are damaged, packing anew mends them."
    )
