"""The pictures that a packed set is made from: finding and reading them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atdsr import imaging
from atdsr.base.errors import AtdsrError, no_folder, unreadable
from atdsr.base.scales import RESTORING, SCALES, list_scales
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
_PLACES = 6  # that a crop is chosen from

Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds of a file."""


@dataclass(frozen=True)
class Teacher:
    """A network whose results are packed in the place of the HR pictures.

    Attributes:
        name: Name of the network, for the name of a set.
        identity: What tells it from others, such as its name and SHA-256.
        scale: How many times the sides grow.
        enlarge: Turns an LR picture into the target, both uint8 `h w 3`.
    """

    name: str
    identity: str
    scale: int
    enlarge: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass(frozen=True)
class PackConfig:
    """What is packed of a folder of pictures.

    Attributes:
        scales: Scales of the LR pictures to store, out of `base.scales`, each once; or 1 alone, for
            HR pictures without LR.
        lr: Folder of the LR pictures of a single scale, or with a folder `x2`, `X3` ... for each;
            None makes them by MATLAB's bicubic.
        template: Name of an LR picture without its suffix; `{}` stands for the HR picture's. With
            the plain `{}`, names may also have marks such as `x2`.
        crop: Side in HR pixels of a square that is packed in the place of a whole picture: of six
            places, which the picture's name decides, the one with the most detail. A multiple of
            `SIDE_MULTIPLE`; a smaller picture is packed as far as it goes.
        teacher: A network whose results are packed in the place of HR; it has the only scale.
        min_side: Side in HR pixels that smaller pictures are extended to at the bottom and the
            right, by their mirror image. A multiple of `SIDE_MULTIPLE`; None leaves them.

    Raises:
        DataError: There are no such scales, or what else is given does not go with them.
    """

    scales: tuple[int, ...] = (2,)
    lr: Path | None = None
    template: str = "{}"
    crop: int | None = None
    teacher: Teacher | None = None
    min_side: int | None = None

    def __post_init__(self) -> None:
        scales = self.scales
        known = SCALES if scales != (RESTORING,) else scales
        if not scales or not set(known).issuperset(scales) or len(set(scales)) < len(scales):
            raise DataError(f"scales {scales} must be among {list_scales('and')}, each once.")
        for name, side in (("crop", self.crop), ("min_side", self.min_side)):
            if side is not None and (side < 1 or side % SIDE_MULTIPLE):
                raise DataError(
                    f"a {name} of {side} pixels is not a multiple of {SIDE_MULTIPLE}; name one, "
                    f"such as {max(round(side / SIDE_MULTIPLE), 1) * SIDE_MULTIPLE}."
                )
        if self.lr is not None and (self.min_side is not None or scales == (RESTORING,)):
            raise DataError(
                f"{self.lr} holds LR pictures, which go neither with scale 1 nor with a min_side; "
                "take it out."
            )
        if self.teacher is not None and scales != (self.teacher.scale,):
            raise DataError(
                f"{self.teacher.name} enlarges by {self.teacher.scale}, so it makes no targets for "
                f"scale {' and '.join(str(scale) for scale in scales)}; name another network, or "
                "pack for its scale."
            )


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
def find(folder: Path, config: PackConfig) -> list[SourceImage]:
    """Find the pictures of a folder and its subfolders, with their LR pictures if given.

    Args:
        folder: Folder with HR pictures.
        config: What is packed of it.

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
    for scale in config.scales if config.lr is not None else ():
        lr_folder = _lr_folder(config.lr or Path(), scale, is_only_scale=len(config.scales) == 1)
        lr_paths = pairs.match(
            hr_paths, folder, pairs.tree(lr_folder), lr_folder, scale, config.template
        )
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


def estimate_bytes(sources: Sequence[SourceImage], config: PackConfig) -> int:
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
    resolutions = sum(1 / scale**2 for scale in {RESTORING, *config.scales})
    pixels = pixel_count * total / byte_count if byte_count else 0
    if config.crop is not None:
        pixels = min(pixels, len(sources) * config.crop**2)
    return round(3 * resolutions * pixels)


@pairs.errors_as(DataError)
def load(source: SourceImage, config: PackConfig) -> LoadedImage:
    """Read a picture, cut its sides to a multiple of `SIDE_MULTIPLE`, and make or read its LR.

    Raises:
        DataError: It has transparency, is too small or changed since it was found, its LR picture
            does not have the right size, or the teacher fails.
        PictureError: A file cannot be read.
    """
    full_hr = pairs.read_rgb8(source.files["hr"])
    if min(full_hr.shape[:2]) < SIDE_MULTIPLE:
        raise DataError(
            f"{source.files['hr']} has a side of fewer than {SIDE_MULTIPLE} pixels; take it out."
        )
    hr = _extended(crop_to_multiple(full_hr, SIDE_MULTIPLE), config.min_side or 0)
    place = _place(hr, config.crop, source.name)
    samples = {"hr": _cut(hr, place)}
    for scale in (scale for scale in config.scales if scale != RESTORING):
        path = source.files.get(lr_resolution(scale))
        if path is None:
            lr = downscale(hr, scale)
        else:
            full_lr = pairs.read_rgb8(path)
            _check_sizes(source.files["hr"], full_hr, path, full_lr, scale)
            lr = full_lr
        samples[lr_resolution(scale)] = _cut(lr, tuple(number // scale for number in place))
    if config.teacher is not None:
        lr = samples[lr_resolution(config.teacher.scale)]
        try:
            samples["hr"] = np.ascontiguousarray(config.teacher.enlarge(lr))
        except AtdsrError as error:
            raise DataError(f"{source.files['hr']}: {error}") from None
    for key, path in source.files.items():
        if _stamp(path) != source.stamps[key]:
            raise DataError(f"{path} was changed while it was packed; pack again.")
    return LoadedImage(samples, {key: checksum(array) for key, array in samples.items()})


_Place = tuple[int, ...]
"""Top, left, height and width of the part of a picture that is packed, in pixels."""


def _extended(hr: NDArray[np.uint8], min_side: int) -> NDArray[np.uint8]:
    """Return a picture whose sides are extended to a length by its mirror image, edge included."""
    missing = [(0, max(0, min_side - side)) for side in hr.shape[:2]]
    if not any(after for _, after in missing):
        return hr
    return np.pad(hr, [*missing, (0, 0)], mode="symmetric")


def _cut(samples: NDArray[np.uint8], place: _Place) -> NDArray[np.uint8]:
    top, left, height, width = place
    return np.ascontiguousarray(samples[top : top + height, left : left + width])


def _place(hr: NDArray[np.uint8], crop: int | None, name: str) -> _Place:
    """Choose what is packed of an HR picture whose sides are multiples of `SIDE_MULTIPLE`."""
    height, width = hr.shape[:2]
    if crop is None or max(height, width) <= crop:
        return (0, 0, height, width)
    sides = min(crop, height), min(crop, width)
    limits = [
        (length - side) // SIDE_MULTIPLE + 1
        for length, side in zip((height, width), sides, strict=True)
    ]
    digest = hashlib.blake2b(name.encode(), digest_size=8 * _PLACES).digest()
    numbers = np.frombuffer(digest, np.dtype("<u4")).reshape(_PLACES, 2)
    corners = (numbers % np.array(limits, np.uint32) * SIDE_MULTIPLE).tolist()
    places = [(top, left, *sides) for top, left in corners]
    return max(places, key=lambda place: _detail(_cut(hr, place)))


def _detail(samples: NDArray[np.uint8]) -> int:
    """Return how far samples lie from the mean of their 2x2 block, summed and times four."""
    height, width, channels = samples.shape
    blocks = samples.reshape(height // 2, 2, width // 2, 2, channels).astype(np.int32)
    return int(np.abs(4 * blocks - blocks.sum((1, 3), keepdims=True)).sum(dtype=np.int64))


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
