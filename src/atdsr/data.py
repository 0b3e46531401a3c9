"""Packed training sets, and the batches drawn from them.

A packed set is a folder: `hr.bin` with the pixels of every picture one after another (uint8, HWC,
sides cut to a multiple of 12), `lr_x2.bin` and so on with their MATLAB-bicubic reductions in the
same order, and `index.json`, which is written last and makes the set whole. The files are mapped
into memory, so a crop costs one small copy and opening costs nothing.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atdsr import pixels
from atdsr.errors import AtdsrError
from atdsr.resample import crop_to_multiple, downscale

SIDE_MULTIPLE = 12
"""HR sides are cut to a multiple of this, so that every scale (2, 3, 4) divides them."""

_FORMAT = 1


class DataError(AtdsrError):
    """A training set that cannot be made, read or used."""


@dataclass(frozen=True)
class Entry:
    """One picture of a packed set.

    Attributes:
        name: path of the file it came from, within the packed folder.
        height: of the HR picture in pixels.
        width: likewise.
        offset: pixels of all HR pictures before it.
    """

    name: str
    height: int
    width: int
    offset: int


class PackedSet:
    """A packed training set, open for reading.

    Args:
        folder: what `pack` made.
        scale: which reduction to pair the pictures with.

    Raises:
        DataError: no packed set, cut short, or without that scale.
    """

    def __init__(self, folder: str | Path, scale: int) -> None:
        self.folder = Path(folder)
        self.scale = scale
        try:
            index = json.loads((self.folder / "index.json").read_text())
            if index["format"] != _FORMAT:
                raise DataError(f"{folder} was packed by another version; pack anew.")
            self.entries = [Entry(**entry) for entry in index["pictures"]]
            scales = index["scales"]
        except OSError:
            raise DataError(
                f"{folder} is no packed set (no index.json); make one with `atdsr data pack`."
            ) from None
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{folder}/index.json is damaged; pack the pictures anew.") from None
        if scale not in scales:
            raise DataError(f"{folder} holds the scales {scales}, not {scale}; pack anew.")
        pixel_count = sum(entry.height * entry.width for entry in self.entries)
        self._hr = self._map("hr.bin", pixel_count)
        self._lr = self._map(f"lr_x{scale}.bin", pixel_count // scale**2)

    def _map(self, name: str, pixel_count: int) -> NDArray[np.uint8]:
        path = self.folder / name
        size = path.stat().st_size if path.exists() else 0
        if size != 3 * pixel_count:
            raise DataError(
                f"{path} has {size} bytes where its index says {3 * pixel_count}; pack anew."
            )
        return np.memmap(path, np.uint8, mode="r").reshape(-1, 3)

    def pair(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """LR `h/scale w/scale 3` and HR `h w 3` of a picture, uint8, mapped and not copied."""
        entry, area = self.entries[number], self.scale**2
        count = entry.height * entry.width
        hr = self._hr[entry.offset : entry.offset + count]
        lr = self._lr[entry.offset // area : (entry.offset + count) // area]
        return (
            lr.reshape(entry.height // self.scale, entry.width // self.scale, 3),
            hr.reshape(entry.height, entry.width, 3),
        )


class CropSampler:
    """Random crops, each a pure function of (seed, iteration, index in the batch).

    Every picture gives one crop an epoch, in an order drawn anew for each epoch; a crop is
    flipped and transposed to one of its eight orientations. There is no hidden state: asking
    again, in another process or after a restart, gives the same crops.

    Args:
        pictures: where crops come from.
        patch: side of the LR crop in pixels.
        seed: of everything random here.

    Raises:
        DataError: a picture is smaller than the crop.
    """

    def __init__(self, pictures: PackedSet, patch: int, seed: int) -> None:
        for entry in pictures.entries:
            if min(entry.height, entry.width) < patch * pictures.scale:
                raise DataError(
                    f"{entry.name} is {entry.width}x{entry.height}, smaller than a crop of "
                    f"{patch * pictures.scale}x{patch * pictures.scale}; remove it or choose "
                    "smaller crops."
                )
        self._pictures = pictures
        self._patch = patch
        self._seed = seed

    def batch(self, iteration: int, size: int) -> tuple[Tensor, Tensor]:
        """LR `size 3 patch patch` and HR, float32 in [0, 1], of the iteration (from 0 on)."""
        crops = [self._crop(iteration * size + index) for index in range(size)]
        lr, hr = (np.stack(side) for side in zip(*crops, strict=True))
        return _to_float(lr), _to_float(hr)

    def _crop(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        epoch, position = divmod(number, len(self._pictures.entries))
        order = np.random.default_rng([self._seed, 0, epoch]).permutation(
            len(self._pictures.entries)
        )
        lr, hr = self._pictures.pair(int(order[position]))
        random = np.random.default_rng([self._seed, 1, number])
        top, left = (int(random.integers(side - self._patch + 1)) for side in lr.shape[:2])
        orientation = int(random.integers(8))
        scale = self._pictures.scale
        return (
            _orient(_square(lr, top, left, self._patch), orientation),
            _orient(_square(hr, top * scale, left * scale, self._patch * scale), orientation),
        )


def _square(samples: NDArray[np.uint8], top: int, left: int, side: int) -> NDArray[np.uint8]:
    return samples[top : top + side, left : left + side]


def _orient(samples: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """One of the eight orientations of a square: flip left-right, flip up-down, transpose."""
    if orientation & 1:
        samples = samples[:, ::-1]
    if orientation & 2:
        samples = samples[::-1]
    return samples.swapaxes(0, 1) if orientation & 4 else samples


def _to_float(samples: NDArray[np.uint8]) -> Tensor:
    """Uint8 `b h w 3` -> float32 `b 3 h w` in [0, 1]."""
    return torch.from_numpy(samples).permute(0, 3, 1, 2).contiguous().float() / 255


# ------------------------------------------------------------------------------------- packing


def pack(
    folder: str | Path,
    out: str | Path,
    scales: Sequence[int] = (2,),
    progress: Callable[[Sequence[Path]], Iterable[Path]] = lambda paths: paths,
) -> PackedSet:
    """Make a packed set from the pictures of a folder and its subfolders.

    Gray pictures are replicated to RGB and 16-bit ones rounded to 8; a picture with transparency
    is refused, since it has no colours where nothing shows. The set appears whole or not at all.

    Args:
        folder: where pictures of known suffixes are looked for, in sorted order.
        out: the packed set to make; must not exist.
        scales: reductions to store, of 2, 3 and 4.
        progress: wraps the list of pictures, for a progress bar.

    Raises:
        DataError: no picture, one that cannot be used, or `out` exists.
        PictureError: a picture cannot be read.
    """
    folder, out = Path(folder), Path(out)
    if out.exists():
        raise DataError(f"{out} exists; name another place for the packed set or remove it.")
    if not scales or any(SIDE_MULTIPLE % scale or scale < 2 for scale in scales):
        raise DataError(f"scales {tuple(scales)} must be among 2, 3 and 4.")
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder.")
    paths = [path for path in sorted(folder.rglob("*")) if pixels.is_picture_file(path)]
    if not paths:
        raise DataError(f"{folder} holds no pictures.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".tmp", dir=out.parent))
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}.") from None
    try:
        entries = _write_pixels(paths, folder, temporary, scales, progress)
        index = {
            "format": _FORMAT,
            "scales": list(scales),
            "pictures": [asdict(entry) for entry in entries],
        }
        (temporary / "index.json").write_text(json.dumps(index, indent=1))
        temporary.chmod(0o755)
        temporary.rename(out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return PackedSet(out, scales[0])


def _write_pixels(
    paths: Sequence[Path],
    folder: Path,
    out: Path,
    scales: Sequence[int],
    progress: Callable[[Sequence[Path]], Iterable[Path]],
) -> list[Entry]:
    entries: list[Entry] = []
    offset = 0
    with ExitStack() as stack:
        hr_file = stack.enter_context((out / "hr.bin").open("wb"))
        reductions = {
            scale: stack.enter_context((out / f"lr_x{scale}.bin").open("wb")) for scale in scales
        }
        for path in progress(paths):
            hr = _read_rgb8(path)
            hr_file.write(np.ascontiguousarray(hr).data)
            for scale, file in reductions.items():
                file.write(np.ascontiguousarray(downscale(hr, scale)).data)
            height, width, _ = hr.shape
            entries.append(Entry(path.relative_to(folder).as_posix(), height, width, offset))
            offset += height * width
    return entries


def _read_rgb8(path: Path) -> NDArray[np.uint8]:
    """A training picture as uint8 `h w 3`, sides cut to a multiple of `SIDE_MULTIPLE`."""
    picture = pixels.read(path)
    if picture.has_alpha:
        raise DataError(f"{path} has transparency; flatten it or take it out of the folder.")
    samples = pixels.replicate_gray(pixels.to_uint8(picture.samples))
    if min(samples.shape[:2]) < SIDE_MULTIPLE:
        raise DataError(f"{path} is smaller than {SIDE_MULTIPLE} pixels; take it out.")
    return crop_to_multiple(samples, SIDE_MULTIPLE)
