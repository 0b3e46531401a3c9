"""LR pictures of a folder of HR pictures, made by a degradation once and for all."""

from pathlib import Path

import numpy as np
import torch

from atdsr import imaging
from atdsr.base.reporter import SILENT, Reporter
from atdsr.datasets import pairs
from atdsr.datasets.degradations import Degrader
from atdsr.datasets.degradations.degrader import as_uint8
from atdsr.datasets.packed_set import DataError
from atdsr.imaging import Picture
from atdsr.imaging.resample import crop_to_multiple


@pairs.errors_as(DataError)
def write(
    folder: Path,
    output: Path,
    degrader: Degrader,
    *,
    overwrite: bool = False,
    reporter: Reporter = SILENT,
) -> int:
    """Degrade each picture of a folder as a whole, as the crop of its number in order of names.

    Args:
        folder: Folder with HR pictures.
        output: Folder for the LR pictures, PNG files of the same names.
        degrader: What is done.
        overwrite: Whether existing files are replaced.
        reporter: Receives the progress.

    Returns:
        The number of pictures.

    Raises:
        DataError: The folder holds no pictures, or one has no LR picture because it is too small.
        PictureError, FileError: A picture cannot be read or written.
    """
    sources = pairs.pictures(folder)
    if not sources:
        raise DataError(f"{folder} holds no pictures; name the folder of the HR pictures.")
    targets = [output / f"{source.stem}.png" for source in sources]
    for target in targets:
        imaging.check_target(target, overwrite=overwrite)
    for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
        hr = hr_tensor(pairs.read_rgb8(source), degrader.scale)
        imaging.write(Picture(lr_samples(degrader, hr, number)), target, overwrite=overwrite)
        reporter.progress((number + 1) / len(sources))
    return len(sources)


def lr_samples(degrader: Degrader, hr: torch.Tensor, number: int) -> np.ndarray:
    """Return a picture `1 3 h w`, degraded as the crop of a number: samples uint8 `h w 3`.

    What a degradation without `eight_bits` makes is clamped and rounded here.
    """
    lr = degrader(hr, [number])[0]
    lr = as_uint8(lr) if lr.is_floating_point() else lr
    return np.ascontiguousarray(lr.permute(1, 2, 0).numpy())


def hr_tensor(samples: np.ndarray, scale: int) -> torch.Tensor:
    """Return samples uint8 `h w 3` as HR `1 3 h w`, cropped to multiples of a scale.

    Raises:
        ResampleError: The picture is smaller than the scale.
    """
    cropped = np.ascontiguousarray(crop_to_multiple(samples, scale))
    return torch.from_numpy(cropped).permute(2, 0, 1)[None]
