"""The pictures that a packed set is made from: finding and reading them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atdsr import imaging
from atdsr.base.errors import no_folder, unreadable
from atdsr.datasets import pairs
from atdsr.datasets.packed_set import (
    SIDE_MULTIPLE,
    DataError,
    checksum,
    is_printable_name,
    lr_resolution,
)
from atdsr.imaging.resample import crop_to_multiple, downscale

_MAX_OPENED = 32  # files that are opened to estimate the size of a set

Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds of a file."""


@dataclass(frozen=True)
class SourceImage:
    """A picture to be packed.

    Attributes:
        name: Path of its HR file within the packed folder.
        files: The HR file as `hr` and, if LR is given, the LR files as `x2` ...
        stamps: Stamps of those files when they were found.
    """

    name: str
    files: Mapping[str, Path]
    stamps: Mapping[str, Stamp]


@dataclass(frozen=True)
class LoadedImage:
    """The pixels of a picture.

    Attributes:
        samples: Contiguous uint8 `h w 3` of each resolution, `hr` and `x2` ...
        checksums: `packed_set.checksum` of each.
    """

    samples: dict[str, NDArray[np.uint8]]
    checksums: dict[str, str]


@pairs.errors_as(DataError)
def find(
    folder: Path, scales: Sequence[int], lr: Path | None = None, template: str = "{}"
) -> list[SourceImage]:
    """Find the pictures of a folder and its subfolders, with their LR pictures if given.

    Args:
        folder: Folder with HR pictures.
        scales: Scales of the LR pictures.
        lr: Folder of the LR pictures of a single scale, or with a folder `x2`, `X3` ... for each.
        template: Names of the LR pictures, see `pairs.match`.

    Raises:
        DataError: A folder does not exist or cannot be read, there are no pictures, one has no LR
            picture, or a name cannot be stored.
    """
    if not folder.is_dir():
        raise DataError(no_folder(folder))
    hr_paths = pairs.tree(folder)
    if not hr_paths:
        raise DataError(f"{folder} holds no pictures; name the folder of the HR pictures.")
    files_of_images = [{"hr": path} for path in hr_paths]
    for scale in scales if lr is not None else ():
        lr_folder = _lr_folder(Path(lr or ""), scale, is_only_scale=len(scales) == 1)
        lr_paths = pairs.match(hr_paths, folder, pairs.tree(lr_folder), lr_folder, scale, template)
        for image_files, path in zip(files_of_images, lr_paths, strict=True):
            image_files[lr_resolution(scale)] = path
    sources: list[SourceImage] = []
    for image_files in files_of_images:
        name = image_files["hr"].relative_to(folder).as_posix()
        if not is_printable_name(name):
            raise DataError(
                f"{name!r} in {folder} has too long a name, or an unprintable one; rename it."
            )
        stamps = {key: _stamp(path) for key, path in image_files.items()}
        sources.append(SourceImage(name, image_files, stamps))
    return sources


def _lr_folder(lr: Path, scale: int, *, is_only_scale: bool) -> Path:
    subfolder = pairs.subfolder(lr, lr_resolution(scale))
    if subfolder is not None:
        return subfolder
    if not is_only_scale or pairs.scale_of(lr.name) not in (None, scale):
        raise DataError(
            f"{lr} has no folder X{scale} with the LR pictures of that scale; make one, or let "
            "atdsr make LR."
        )
    return lr


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(unreadable(path, error)) from None
    return status.st_size, status.st_mtime_ns


def estimate_bytes(sources: Sequence[SourceImage], scales: Sequence[int]) -> int:
    """Estimate how many bytes the pictures take when they are packed.

    Only a few files are opened; the others are assumed to be compressed as much as these.
    """
    step = -(-len(sources) // _MAX_OPENED) or 1
    pixel_count = byte_count = 0
    for source in sources[::step]:
        try:
            frames = imaging.open_frames(source.files["hr"])
        except imaging.PictureError:
            continue  # the error is raised when the picture is packed
        pixel_count += frames.height * frames.width
        byte_count += source.stamps["hr"][0]
    total = sum(source.stamps["hr"][0] for source in sources)
    resolutions = 1 + sum(1 / scale**2 for scale in scales)
    return round(3 * resolutions * pixel_count * total / byte_count) if byte_count else 0


@pairs.errors_as(DataError)
def load(source: SourceImage, scales: Sequence[int]) -> LoadedImage:
    """Read a picture, cut its sides to a multiple of `SIDE_MULTIPLE`, and make or read its LR.

    Raises:
        DataError: It has transparency, is too small or changed since it was found, or its LR
            picture does not have the right size.
        PictureError: A file cannot be read.
    """
    full_hr = pairs.read_rgb8(source.files["hr"])
    if min(full_hr.shape[:2]) < SIDE_MULTIPLE:
        raise DataError(
            f"{source.files['hr']} has a side of fewer than {SIDE_MULTIPLE} pixels; take it out."
        )
    hr = np.ascontiguousarray(crop_to_multiple(full_hr, SIDE_MULTIPLE))
    samples = {"hr": hr}
    for scale in scales:
        path = source.files.get(lr_resolution(scale))
        if path is None:
            lr = downscale(hr, scale)
        else:
            full_lr = pairs.read_rgb8(path)
            _check_sizes(source.files["hr"], full_hr, path, full_lr, scale)
            height, width = hr.shape[0] // scale, hr.shape[1] // scale
            lr = np.ascontiguousarray(full_lr[:height, :width])
        samples[lr_resolution(scale)] = lr
    for key, path in source.files.items():
        if _stamp(path) != source.stamps[key]:
            raise DataError(f"{path} was changed while it was packed; pack again.")
    return LoadedImage(samples, {key: checksum(array) for key, array in samples.items()})


def _check_sizes(
    hr_path: Path, hr: NDArray[np.uint8], lr_path: Path, lr: NDArray[np.uint8], scale: int
) -> None:
    # if a side is no multiple of the scale, MATLAB rounds up and other programs cut
    fits = all(
        lr_side in (hr_side // scale, -(-hr_side // scale))
        for lr_side, hr_side in zip(lr.shape[:2], hr.shape[:2], strict=True)
    )
    if not fits:
        raise DataError(
            f"{lr_path} is {lr.shape[1]}x{lr.shape[0]} and {hr_path} is "
            f"{hr.shape[1]}x{hr.shape[0]}, which is no pair for scale {scale}; put the right "
            "picture there, or let atdsr make LR."
        )
