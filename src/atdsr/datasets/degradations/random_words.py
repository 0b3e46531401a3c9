"""Random numbers of one crop, from raw words of a Philox generator."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BITS = 53  # of a double
_STREAM = 2  # of a run's seed; 0 and 1 are those of `Crops`, 3 is that of mixup


def key_of(seed: int, stream: int = _STREAM) -> NDArray[np.uint64]:
    """Return the key of the generators of all crops of a run, by default of their degradations."""
    return np.random.SeedSequence([seed, stream]).generate_state(2, np.uint64).astype(np.uint64)


class CropRandom:
    """The random numbers of one crop, a pure function of a key and the number of the crop.

    Everything is made of raw words, so that no release of a library changes it.

    Args:
        key: See `key_of`.
        number: Number of the crop.
    """

    def __init__(self, key: NDArray[np.uint64], number: int) -> None:
        # no crop draws 2^128 words, with which it would reach those of the next one
        self._generator = np.random.Philox(key=key, counter=[0, 0, number, 0])

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return words of 64 random bits."""
        return self._generator.random_raw(count)

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        return int(self.words(1)[0] >> np.uint64(64 - _BITS)) / 2**_BITS

    def uniform(self, bounds: Sequence[float]) -> float:
        """Return a number between two bounds."""
        low, high = bounds
        return low + (high - low) * self.unit()

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return low + int(self.unit() * (high - low + 1))

    def happens(self, probability: float) -> bool:
        """Return true with this probability."""
        return self.unit() < probability

    def index(self, weights: Sequence[float]) -> int:
        """Return an index, drawn by weights."""
        share = self.unit() * sum(weights)
        for index, weight in enumerate(weights):
            share -= weight
            if share < 0:
                return index
        return max(index for index, weight in enumerate(weights) if weight > 0)

    def shuffled(self, count: int) -> list[int]:
        """Return the numbers from 0 in random order."""
        return self.words(count).argsort(kind="stable").tolist()


def normal(words: Tensor) -> Tensor:
    """Return two standard normal numbers for each word, by Box and Muller.

    The longest tail is at 5.9.

    Args:
        words: Random words `b n`, int64.

    Returns:
        `b 2n`, float64.
    """
    bits = (1 << 24) - 1
    radius = (-2 * ((((words >> 40) & bits) + 0.5) / (bits + 1)).log()).sqrt()
    angle = (words & bits) * (2 * torch.pi / (bits + 1))
    return torch.cat((radius * angle.cos(), radius * angle.sin()), dim=1)


def unit(words: Tensor) -> Tensor:
    """Return a number in (0, 1), float64, for each of the words, int64."""
    return (((words >> (64 - _BITS)) & ((1 << _BITS) - 1)) + 0.5) / 2**_BITS
