"""Random crops of a packed set, each a pure function of the seed and its number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atdsr.base import units
from atdsr.datasets.degradations import Degradation, Degrader
from atdsr.datasets.packed_set import DataError, PackedSet, lr_resolution

_CACHED_ORDERS = 4  # epochs
_COPY_BYTES = 1 << 26  # that are copied to a device at once
_FLIP_LEFT_RIGHT, _FLIP_UP_DOWN, _TRANSPOSE = 1, 2, 4

_Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Squares:
    """Squares in a file of pixels: pixel (i, j) of a square is `origin + i * down + j * right`.

    Flips and transposition are expressed by the steps. Each field is an array with one item per
    square.
    """

    origin: _Integers
    down: _Integers
    right: _Integers


class Crops:
    """Random crops, each a pure function of (seed, number).

    Crops are counted over the whole run from 0. Every picture gives one crop per epoch, in an
    order drawn anew for each epoch; a crop is flipped and transposed at random. There is no hidden
    state: the same number gives the same crop again, in another process, after a restart, or in
    other shares of a batch.

    With `candidates` above 1, that many positions are drawn for a crop, and the one with the most
    detail is taken: less of a step is then spent on skies and blurred backgrounds, from which
    there is little to learn.

    Random numbers are raw words of Philox generators, whose counters are the numbers of crops and
    epochs, so that no release of a library changes them.

    Args:
        pictures: The set to cut crops from.
        seed: Seed of everything random here.
        hflip: Mirror half of the crops left to right.
        rot: Mirror half of the crops upside down, and transpose half of them.
        candidates: Positions in the picture that are drawn for each crop.
        device: Device to copy all pixels to once; crops are then cut and stay there. None draws
            them from the mapped files into main memory. Both give the same bits.
        degradation: How LR is made from the HR crop; None takes the LR pictures of the set.
        gray: Whether the crops are made gray, by `gray_from_rgb`, before they are degraded.

    Raises:
        DataError: The pixels do not fit into the memory of the device.
    """

    def __init__(
        self,
        pictures: PackedSet,
        seed: int,
        *,
        hflip: bool = True,
        rot: bool = True,
        candidates: int = 1,
        device: torch.device | None = None,
        degradation: Degradation | None = None,
        gray: bool = False,
    ) -> None:
        self._pictures = pictures
        self._gray = gray
        self._candidates = candidates
        records = pictures.records
        self._scale = pictures.scale
        # sizes and offsets of the LR pictures; those of HR follow from them
        self._heights = np.array([record.height // self._scale for record in records], np.int64)
        self._widths = np.array([record.width // self._scale for record in records], np.int64)
        starts = [record.span(lr_resolution(self._scale))[0] for record in records]
        self._starts = np.array(starts, np.int64)
        self._smallest = int(np.minimum(self._heights, self._widths).argmin())
        self._mask = (_FLIP_LEFT_RIGHT if hflip else 0) | (_FLIP_UP_DOWN | _TRANSPOSE if rot else 0)
        self._order_key, self._crop_key = (
            np.random.SeedSequence([seed, stream]).generate_state(2, np.uint64) for stream in (0, 1)
        )
        self._order = lru_cache(_CACHED_ORDERS)(self._draw_order)
        self._degrader = degradation and Degrader(degradation, self._scale, seed)
        self._cut: tuple[Callable[[_Squares, int], Tensor], ...] = tuple(
            _MappedCutter(side) if device is None else _DeviceCutter(side, device)
            for side in self._sides
        )

    @property
    def _sides(self) -> Sequence[NDArray[np.uint8]]:
        """The pixels that crops are cut from: HR, and LR unless it is made."""
        if self._degrader is not None:
            return (self._pictures.hr,)
        return self._pictures.hr, self._pictures.lr

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels, which a copy on a device would take."""
        return sum(side.nbytes for side in self._sides)

    def check(self, patch: int) -> None:
        """See whether every picture is large enough for a crop.

        Args:
            patch: Side of the LR crop in pixels.

        Raises:
            DataError: A picture is too small.
        """
        record = self._pictures.records[self._smallest]
        side = patch * self._scale
        if min(record.height, record.width) < side:
            raise DataError(
                f"{record.name} is {record.width}x{record.height}, smaller than a crop of "
                f"{side}x{side}; take it out and pack anew, or choose smaller crops."
            )

    def batch(self, numbers: Sequence[int], patch: int) -> tuple[Tensor, Tensor]:
        """Cut crops.

        Args:
            numbers: Numbers of the crops.
            patch: Side of the LR crops in pixels.

        Returns:
            LR `b c patch patch` and HR `b c patch*scale patch*scale`, uint8, contiguous; a
            degradation without `eight_bits` makes LR float32. c is 3, or 1 for gray crops.

        Raises:
            DataError: A picture is smaller than a crop.
        """
        self.check(patch)
        crops = np.asarray(numbers, np.int64)
        # all first candidates, all second ones, ...
        pictures = np.tile(self._pictures_of(crops), self._candidates)
        random = np.concatenate(
            [self._words(crops, candidate) for candidate in range(self._candidates)]
        )
        top = _below(random[:, 0], self._heights[pictures] - patch + 1)
        left = _below(random[:, 1], self._widths[pictures] - patch + 1)
        orientation = random[:, 2].astype(np.int64) & self._mask
        sides = [
            cut(self._squares(pictures, top, left, orientation, patch, scale), patch * scale)
            for cut, scale in zip(self._cut, (self._scale, 1), strict=False)
        ]
        if self._candidates > 1:
            chosen = self._most_detailed(sides[0])
            sides = [side.index_select(0, chosen) for side in sides]
        if self._gray:
            sides = [gray_from_rgb(side) for side in sides]
        if self._degrader is not None:
            sides.append(self._degrader(sides[0], crops.tolist()))
        hr, lr = sides
        return lr, hr

    def _most_detailed(self, hr: Tensor) -> Tensor:
        """Choose one of the candidates of each crop.

        Detail is what downscaling loses: how far pixels are from the mean of their square of
        `scale x scale`, which is one pixel in LR. It is computed in integers, which are exact and
        so the same on every device.

        Args:
            hr: HR crops of all candidates, `candidates*b 3 p p`, uint8.

        Returns:
            Indices `b` into the first dimension.
        """
        blocks = hr.unflatten(2, (-1, self._scale)).unflatten(4, (-1, self._scale)).int()
        sums = blocks.sum((3, 5), keepdim=True, dtype=torch.int32)
        detail = (blocks * self._scale**2 - sums).abs_().sum((1, 2, 3, 4, 5))
        detail = detail.view(self._candidates, -1)
        order = torch.arange(self._candidates, device=hr.device)
        # of equal candidates take the first, which argmax alone does not promise
        best = (detail * self._candidates - order[:, None]).argmax(0)
        return best * detail.shape[1] + torch.arange(detail.shape[1], device=hr.device)

    # -------------------------------------------------------------------------- random numbers

    def _pictures_of(self, crops: _Integers) -> _Integers:
        """Return the number of the picture that each crop is cut from."""
        epochs, positions = np.divmod(crops, len(self._starts))
        pictures = np.empty_like(crops)
        for epoch in np.unique(epochs):
            in_epoch = epochs == epoch
            pictures[in_epoch] = self._order(int(epoch))[positions[in_epoch]]
        return pictures

    def _draw_order(self, epoch: int) -> _Integers:
        """Return the order of the pictures in an epoch."""
        generator = np.random.Philox(key=self._order_key, counter=[0, epoch, 0, 0])
        return generator.random_raw(len(self._starts)).argsort(kind="stable")

    def _words(self, crops: _Integers, candidate: int) -> NDArray[np.uint64]:
        """Return four random words for one candidate of each crop, `b 4`."""
        if not crops.size:
            return np.empty((0, 4), np.uint64)
        first, last = int(crops.min()), int(crops.max())
        generator = np.random.Philox(key=self._crop_key, counter=[first, candidate, 0, 0])
        return generator.random_raw(4 * (last - first + 1)).reshape(-1, 4)[crops - first]

    def _squares(
        self,
        pictures: _Integers,
        top: _Integers,
        left: _Integers,
        orientation: _Integers,
        patch: int,
        scale: int,
    ) -> _Squares:
        """Return the crops as squares of the LR pixels (`scale` 1) or of the HR pixels."""
        last = patch * scale - 1
        width = self._widths[pictures] * scale
        is_left_right = orientation & _FLIP_LEFT_RIGHT != 0
        is_up_down = orientation & _FLIP_UP_DOWN != 0
        is_transposed = orientation & _TRANSPOSE != 0
        first_row = top * scale + np.where(is_up_down, last, 0)
        first_column = left * scale + np.where(is_left_right, last, 0)
        down, right = np.where(is_up_down, -width, width), np.where(is_left_right, -1, 1)
        return _Squares(
            self._starts[pictures] * scale**2 + first_row * width + first_column,
            np.where(is_transposed, right, down),
            np.where(is_transposed, down, right),
        )


def gray_from_rgb(crops: Tensor) -> Tensor:
    """Return RGB pictures `b 3 h w`, uint8, as their full-range BT.601 luma `b 1 h w`, rounded.

    In integers, which are exact and so the same on every device, with the weights of Pillow's mode
    "L". What was gray before stays as it is.
    """
    red, green, blue = crops.int().unbind(1)
    luma = (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16
    return luma.to(torch.uint8)[:, None]


def as_floats(crops: Tensor, dtype: torch.dtype) -> Tensor:
    """Return crops as floats in the range 0..1, which they may be already."""
    floats = crops.to(dtype)
    return floats / 255 if crops.dtype == torch.uint8 else floats


def _below(words: NDArray[np.uint64], limits: _Integers) -> _Integers:
    """Return a number in [0, limit) for each limit, from the upper 32 bits of a random word."""
    upper = words >> np.uint64(32)
    return ((upper * limits.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


# -------------------------------------------------------------------------------- cutting squares


class _MappedCutter:
    """Cuts squares out of mapped pixels `n 3`, into main memory."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __call__(self, squares: _Squares, side: int) -> Tensor:
        """Return the squares as `b 3 side side`."""
        batch = torch.empty((len(squares.origin), 3, side, side), dtype=torch.uint8)
        steps = zip(
            (3 * squares.origin).tolist(),
            (3 * squares.down).tolist(),
            (3 * squares.right).tolist(),
            strict=True,
        )
        for crop, (origin, down, right) in zip(batch.numpy(), steps, strict=True):
            # numpy checks that the whole square lies in the buffer
            crop[...] = np.ndarray(
                (3, side, side), np.uint8, self._pixels, origin, (1, down, right)
            )
        return batch


class _DeviceCutter:
    """Cuts squares out of pixels that are copied to a device first."""

    def __init__(self, pixels: NDArray[np.uint8], device: torch.device) -> None:
        try:
            self._pixels = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
        except torch.OutOfMemoryError:
            raise DataError(
                f"the pictures do not fit into the memory of {device}, "
                f"{units.byte_size(pixels.nbytes)} more are needed; leave them in their files "
                "(residence: mapped)."
            ) from None
        count = _COPY_BYTES // 3
        for start in range(0, len(pixels), count):
            chunk = np.array(pixels[start : start + count])  # torch wants writable memory
            self._pixels[start : start + count] = torch.from_numpy(chunk)

    def __call__(self, squares: _Squares, side: int) -> Tensor:
        """Return the squares as `b 3 side side`, on the device."""
        steps = torch.from_numpy(np.stack((squares.origin, squares.down, squares.right)))
        if self._pixels.is_cuda:  # from unpinned memory a copy waits for the device
            steps = steps.pin_memory()
        steps = steps.to(self._pixels.device, non_blocking=True)
        origin, down, right = steps[..., None, None]
        along = torch.arange(side, device=self._pixels.device)
        index = origin + down * along[:, None] + right * along  # b side side
        gathered = self._pixels.index_select(0, index.flatten())
        return gathered.view(*index.shape, 3).permute(0, 3, 1, 2).contiguous()
