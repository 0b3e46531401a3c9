"""A sheet of pictures that shows what a degradation does."""

from pathlib import Path

import numpy as np

from atdsr import imaging
from atdsr.base.scales import RESTORING
from atdsr.datasets import pairs
from atdsr.datasets.degradations import Degrader
from atdsr.datasets.degraded_folder import hr_tensor, lr_samples
from atdsr.imaging import Picture, montage, resample

_SIDE = 288  # pixels of HR; a multiple of all scales
_COLUMNS = 4


def write(
    source: Path, output: Path, degrader: Degrader, *, count: int, overwrite: bool = False
) -> None:
    """Write a sheet with the middle of a picture, and LR pictures made of it.

    They are the crops with the numbers from 0, so that another sheet with the same seed has the
    same ones.

    Args:
        source: The HR picture.
        output: File of the sheet.
        degrader: What is done.
        count: Number of LR pictures.
        overwrite: Whether an existing file is replaced.

    Raises:
        PairsError: The picture has transparency, or several frames.
        PictureError, ResampleError, FileError: It cannot be read, is smaller than the scale, or the
            sheet cannot be written.
    """
    imaging.check_target(output, overwrite=overwrite)
    hr = hr_tensor(_middle(pairs.read_rgb8(source)), degrader.scale)
    height, width = hr.shape[2:]
    samples = hr[0].permute(1, 2, 0).numpy()
    shown = [montage.captioned(montage.enlarged(samples, 1), "HR", f"{width}x{height}")]
    if degrader.scale != RESTORING:
        clean = montage.enlarged(resample.downscale(samples, degrader.scale), degrader.scale)
        shown.append(montage.captioned(clean, "bicubic", "MATLAB's"))
    shown += [
        montage.captioned(
            montage.enlarged(lr_samples(degrader, hr, number), degrader.scale),
            str(number),
            "\n".join(degrader.describe(height, width, number)),
        )
        for number in range(count)
    ]
    sheet = montage.framed(montage.in_rows(shown, _COLUMNS))
    imaging.write(Picture(np.asarray(sheet)), output, overwrite=overwrite)


def _middle(samples: np.ndarray) -> np.ndarray:
    """Return the middle of a picture, or all of one that is not larger."""
    top, left = (max(0, side - _SIDE) // 2 for side in samples.shape[:2])
    return samples[top : top + _SIDE, left : left + _SIDE]
