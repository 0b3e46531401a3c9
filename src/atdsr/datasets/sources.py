"""The files that a packed set is made of, and what each becomes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atdsr import imaging
from atdsr.datasets import pairs
from atdsr.datasets.index import SIDE_MULTIPLE, DataError, checksum, is_name, part
from atdsr.imaging.resample import crop_to_multiple, downscale

_SAMPLE = 32  # files that are looked into to tell the size of a set

Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds of a file."""


@dataclass(frozen=True)
class Source:
    """A picture to be packed.

    Attributes:
        name: path of its HR file within the packed folder.
        files: the HR file as `hr` and, where LR is given, the LR files as `x2` ...
        stamps: of those files when they were found.
    """

    name: str
    files: Mapping[str, Path]
    stamps: Mapping[str, Stamp]


@dataclass(frozen=True)
class Loaded:
    """The pixels of a picture.

    Attributes:
        samples: of each part, `hr` and `x2` ..., contiguous uint8 `h w 3`.
        checksums: `index.checksum` of each.
    """

    samples: dict[str, NDArray[np.uint8]]
    checksums: dict[str, str]


@pairs.errors_as(DataError)
def find(
    folder: Path, scales: Sequence[int], lr: Path | None = None, template: str = "{}"
) -> list[Source]:
    """The pictures of a folder and of those inside it, with their LR pictures if there are.

    Args:
        folder: with HR pictures.
        scales: of the LR pictures.
        lr: folder of the LR pictures of the one scale, or with a folder `x2`, `X3` ... for each.
        template: of their names, see `pairs.match`.

    Raises:
        DataError: a folder is none or cannot be read, there are no pictures, one has no LR
            picture, or a name cannot be kept.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder.")
    high = pairs.tree(folder)
    if not high:
        raise DataError(f"{folder} holds no pictures.")
    files = [{"hr": path} for path in high]
    for scale in scales if lr is not None else ():
        inside = _lr_folder(Path(lr or ""), scale, alone=len(scales) == 1)
        low = pairs.match(high, folder, pairs.tree(inside), inside, scale, template)
        for each, path in zip(files, low, strict=True):
            each[part(scale)] = path
    sources = []
    for each in files:
        name = each["hr"].relative_to(folder).as_posix()
        if not is_name(name):
            raise DataError(f"{name!r} in {folder} is no name that can be kept; rename it.")
        stamps = {key: _stamp(path) for key, path in each.items()}
        sources.append(Source(name, each, stamps))
    return sources


def _lr_folder(lr: Path, scale: int, *, alone: bool) -> Path:
    inside = pairs.subfolder(lr, part(scale))
    if inside is not None:
        return inside
    if not alone or pairs.scale_of(lr.name) not in (None, scale):
        raise DataError(f"{lr} has no folder X{scale} with the LR pictures of that scale.")
    return lr


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    return status.st_size, status.st_mtime_ns


def estimate(sources: Sequence[Source], scales: Sequence[int]) -> int:
    """About how many bytes the pictures take when they are packed.

    A few files are looked into; the others are taken to be as much compressed as they.
    """
    step = -(-len(sources) // _SAMPLE) or 1
    pixel_count = byte_count = 0
    for source in sources[::step]:
        try:
            frames = imaging.open_frames(source.files["hr"])
        except imaging.PictureError:
            continue  # told when it is packed
        pixel_count += frames.height * frames.width
        byte_count += source.stamps["hr"][0]
    total = sum(source.stamps["hr"][0] for source in sources)
    share = 1 + sum(1 / scale**2 for scale in scales)
    return round(3 * share * pixel_count * total / byte_count) if byte_count else 0


@pairs.errors_as(DataError)
def load(source: Source, scales: Sequence[int]) -> Loaded:
    """Read a picture, cut its sides to a multiple of `SIDE_MULTIPLE`, and make or read its LR.

    Raises:
        DataError: it has transparency, is too small or changed since it was found, or its LR
            picture has not the size of one.
        PictureError: a file cannot be read.
    """
    whole = pairs.read_rgb8(source.files["hr"])
    if min(whole.shape[:2]) < SIDE_MULTIPLE:
        raise DataError(
            f"{source.files['hr']} is smaller than {SIDE_MULTIPLE} pixels; take it out."
        )
    hr = np.ascontiguousarray(crop_to_multiple(whole, SIDE_MULTIPLE))
    samples = {"hr": hr}
    for scale in scales:
        path = source.files.get(part(scale))
        if path is None:
            samples[part(scale)] = downscale(hr, scale)
        else:
            low = pairs.read_rgb8(path)
            _check_sizes(source.files["hr"], whole, path, low, scale)
            height, width = hr.shape[0] // scale, hr.shape[1] // scale
            samples[part(scale)] = np.ascontiguousarray(low[:height, :width])
    for key, path in source.files.items():
        if _stamp(path) != source.stamps[key]:
            raise DataError(f"{path} was changed while it was packed; pack again.")
    return Loaded(samples, {key: checksum(each) for key, each in samples.items()})


def _check_sizes(
    high_path: Path,
    high: NDArray[np.uint8],
    low_path: Path,
    low: NDArray[np.uint8],
    scale: int,
) -> None:
    # MATLAB rounds up what is no multiple of the scale, others cut
    fits = all(
        small in (large // scale, -(-large // scale))
        for small, large in zip(low.shape[:2], high.shape[:2], strict=True)
    )
    if not fits:
        raise DataError(
            f"{low_path} is {low.shape[1]}x{low.shape[0]} and {high_path} is "
            f"{high.shape[1]}x{high.shape[0]}, which is no pair for scale {scale}; put the right "
            "picture there, or let atdsr make LR."
        )


def usable_cpus() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
