"""Random crops of a packed set, each a pure function of the seed and its number."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atdsr.base import units
from atdsr.datasets.index import DataError, part
from atdsr.datasets.packed import PackedSet

_ORDERS = 4  # epochs whose orders are kept
_COPIED = 1 << 26  # bytes that are brought to a device at once
_FLIP_LEFT_RIGHT, _FLIP_UP_DOWN, _TRANSPOSE = 1, 2, 4

_Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Squares:
    """Squares in a file of pixels: pixel (i, j) of one is `origin + i * down + j * right`.

    Flips and transposition are in the steps. Each is an array, an item a square.
    """

    origin: _Integers
    down: _Integers
    right: _Integers


class Crops:
    """Random crops, each a pure function of (seed, number).

    Crops are counted over the whole run from 0. Every picture gives one an epoch, in an order
    drawn anew for each epoch; a crop is flipped and transposed at random. There is no hidden
    state: asking again, in another process, after a restart, or in other shares of a batch, gives
    the same crops.

    With `candidates` above 1 that many places are drawn for a crop, and the one with the most
    detail is taken: a step then spends itself less on skies and blurred backgrounds, from which
    there is little to learn.

    Random numbers are raw words of Philox generators, a counter of which is the number of a crop
    or of an epoch, so that no release of a library changes them.

    Args:
        pictures: where crops come from.
        seed: of everything random here.
        hflip: mirror half of the crops left to right.
        rot: mirror half of them upside down, and transpose half.
        candidates: places in the picture that are drawn for each crop.
        device: where to copy all pixels once; crops are then made and stay there. None draws
            them from the mapped files into main memory. Both give the same bits.

    Raises:
        DataError: the pixels do not fit into the memory of the device.
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
    ) -> None:
        self._pictures = pictures
        self._candidates = candidates
        entries = pictures.entries
        self._scale = pictures.scale
        # of the LR pictures, from which all follows
        self._heights = np.array([entry.height // self._scale for entry in entries], np.int64)
        self._widths = np.array([entry.width // self._scale for entry in entries], np.int64)
        starts = [entry.span(part(self._scale))[0] for entry in entries]
        self._starts = np.array(starts, np.int64)
        self._smallest = int(np.minimum(self._heights, self._widths).argmin())
        self._mask = (_FLIP_LEFT_RIGHT if hflip else 0) | (_FLIP_UP_DOWN | _TRANSPOSE if rot else 0)
        self._order_key, self._crop_key = (
            np.random.SeedSequence([seed, stream]).generate_state(2, np.uint64) for stream in (0, 1)
        )
        self._order = lru_cache(_ORDERS)(self._draw_order)
        sides = (pictures.lr, pictures.hr)
        self._cut: tuple[Callable[[_Squares, int], Tensor], ...] = tuple(
            _Mapped(side) if device is None else _Resident(side, device) for side in sides
        )

    @property
    def nbytes(self) -> int:
        """Bytes that all pixels take, which a copy on a device would."""
        return self._pictures.lr.nbytes + self._pictures.hr.nbytes

    def check(self, patch: int) -> None:
        """See whether every picture holds a crop.

        Args:
            patch: side of the LR crop in pixels.

        Raises:
            DataError: one does not.
        """
        entry = self._pictures.entries[self._smallest]
        side = patch * self._scale
        if min(entry.height, entry.width) < side:
            raise DataError(
                f"{entry.name} is {entry.width}x{entry.height}, smaller than a crop of "
                f"{side}x{side}; take it out and pack anew, or choose smaller crops."
            )

    def batch(self, numbers: range, patch: int) -> tuple[Tensor, Tensor]:
        """Some crops.

        Args:
            numbers: of the crops.
            patch: side of the LR crops in pixels.

        Returns:
            LR `b 3 patch patch` and HR `b 3 patch*scale patch*scale`, uint8, contiguous.

        Raises:
            DataError: a picture is smaller than a crop.
        """
        self.check(patch)
        places = np.arange(numbers.start, numbers.stop, numbers.step)
        # all first candidates, all second ones, ...
        pictures = np.tile(self._pictures_of(places), self._candidates)
        random = np.concatenate([self._words(places, turn) for turn in range(self._candidates)])
        top = _below(random[:, 0], self._heights[pictures] - patch + 1)
        left = _below(random[:, 1], self._widths[pictures] - patch + 1)
        orientation = random[:, 2].astype(np.int64) & self._mask
        lr, hr = (
            cut(self._squares(pictures, top, left, orientation, patch, scale), patch * scale)
            for cut, scale in zip(self._cut, (1, self._scale), strict=True)
        )
        if self._candidates == 1:
            return lr, hr
        chosen = self._most_detailed(hr)
        return lr.index_select(0, chosen), hr.index_select(0, chosen)

    def _most_detailed(self, hr: Tensor) -> Tensor:
        """Which of the candidates of each crop to take, exact and so the same on every device.

        Detail is what a reduction loses: how far pixels are from the mean of their square of
        `scale x scale`, which is one pixel in LR.

        Args:
            hr: `candidates*b 3 p p`, uint8.

        Returns:
            Indices `b` into the first dimension.
        """
        blocks = hr.unflatten(2, (-1, self._scale)).unflatten(4, (-1, self._scale)).int()
        sums = blocks.sum((3, 5), keepdim=True, dtype=torch.int32)
        detail = (blocks * self._scale**2 - sums).abs_().sum((1, 2, 3, 4, 5))
        detail = detail.view(self._candidates, -1)
        turns = torch.arange(self._candidates, device=hr.device)
        # of equal ones the first, which argmax does not promise
        best = (detail * self._candidates - turns[:, None]).argmax(0)
        return best * detail.shape[1] + torch.arange(detail.shape[1], device=hr.device)

    # -------------------------------------------------------------------------- what is random

    def _pictures_of(self, places: _Integers) -> _Integers:
        """Which picture each crop is of."""
        epochs, positions = np.divmod(places, len(self._starts))
        pictures = np.empty_like(places)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            pictures[inside] = self._order(int(epoch))[positions[inside]]
        return pictures

    def _draw_order(self, epoch: int) -> _Integers:
        generator = np.random.Philox(key=self._order_key, counter=[0, epoch, 0, 0])
        return generator.random_raw(len(self._starts)).argsort(kind="stable")

    def _words(self, places: _Integers, turn: int) -> NDArray[np.uint64]:
        """Four random words for each crop's candidate of that turn, `b 4`."""
        if not places.size:
            return np.empty((0, 4), np.uint64)
        first, last = int(places.min()), int(places.max())
        generator = np.random.Philox(key=self._crop_key, counter=[first, turn, 0, 0])
        return generator.random_raw(4 * (last - first + 1)).reshape(-1, 4)[places - first]

    def _squares(
        self,
        pictures: _Integers,
        top: _Integers,
        left: _Integers,
        orientation: _Integers,
        patch: int,
        scale: int,
    ) -> _Squares:
        """The crops among the LR pixels (`scale` 1) or the HR ones."""
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


def _below(words: NDArray[np.uint64], limits: _Integers) -> _Integers:
    """A number from 0 on below each limit, from the upper 32 bits of a random word."""
    upper = words >> np.uint64(32)
    return ((upper * limits.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


# --------------------------------------------------------------------------- from where they come


class _Mapped:
    """Squares of mapped pixels `n 3`, copied into main memory."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __call__(self, squares: _Squares, side: int) -> Tensor:
        """The squares as `b 3 side side`."""
        batch = torch.empty((len(squares.origin), 3, side, side), dtype=torch.uint8)
        steps = zip(
            (3 * squares.origin).tolist(),
            (3 * squares.down).tolist(),
            (3 * squares.right).tolist(),
            strict=True,
        )
        for copy, (origin, down, right) in zip(batch.numpy(), steps, strict=True):
            # numpy checks that all of it lies in the buffer
            copy[...] = np.ndarray(
                (3, side, side), np.uint8, self._pixels, origin, (1, down, right)
            )
        return batch


class _Resident:
    """Squares of pixels that were copied to a device."""

    def __init__(self, pixels: NDArray[np.uint8], device: torch.device) -> None:
        try:
            self._pixels = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
        except torch.OutOfMemoryError:
            raise DataError(
                f"the pictures do not fit into the memory of {device}, "
                f"{units.byte_size(pixels.nbytes)} more are needed; leave them in their "
                "files (residence: mapped)."
            ) from None
        count = _COPIED // 3
        for start in range(0, len(pixels), count):
            chunk = np.array(pixels[start : start + count])  # torch wants what can be written
            self._pixels[start : start + count] = torch.from_numpy(chunk)

    def __call__(self, squares: _Squares, side: int) -> Tensor:
        """The squares as `b 3 side side`, on the device."""
        steps = torch.from_numpy(np.stack((squares.origin, squares.down, squares.right)))
        if self._pixels.is_cuda:  # from other memory a copy waits for the device
            steps = steps.pin_memory()
        steps = steps.to(self._pixels.device, non_blocking=True)
        origin, down, right = steps[..., None, None]
        along = torch.arange(side, device=self._pixels.device)
        index = origin + down * along[:, None] + right * along  # b side side
        gathered = self._pixels.index_select(0, index.flatten())
        return gathered.view(*index.shape, 3).permute(0, 3, 1, 2).contiguous()
