"""Find the region of a picture that is worth a look: where methods differ most."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from atdsr.imaging import metrics


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, samples: np.ndarray, scale: int = 1) -> np.ndarray:
        """Return this region of a picture `h w ...` whose sides are `scale` times shorter."""
        top, left = self.top // scale, self.left // scale
        height, width = self.height // scale, self.width // scale
        return samples[top : top + height, left : left + width]


def error_maps(
    original: np.ndarray, enlarged: Sequence[np.ndarray], border: int
) -> list[np.ndarray]:
    """Return |SR - HR| on Y of each picture, in 8-bit steps; 0 in the border, which is not scored.

    Args:
        original: The HR picture, uint8 `h w 3`.
        enlarged: The enlarged pictures, of the same shape and dtype.
        border: Width of the border in pixels.

    Returns:
        One map `h w` for each picture, in float32, which is exact enough for display.
    """
    truth = metrics.y_channel(original)
    maps = []
    for samples in enlarged:
        error_map = np.zeros(truth.shape, np.float32)
        inner = metrics.shave(error_map, border)
        inner[...] = np.abs(metrics.shave(metrics.y_channel(samples) - truth, border))
        maps.append(error_map)
    return maps


def most_different_region(maps: Iterable[np.ndarray], size: tuple[int, int], step: int) -> Region:
    """Return the region in which the sums of squared errors lie furthest apart.

    Args:
        maps: Error maps `h w`, one for each method. For a single map, the region with the largest
            error is returned.
        size: Height and width of the region, at most those of the maps.
        step: Top and left are multiples of it, so that the region is made of whole pixels of LR.
    """
    height, width = size
    least = most = None
    for error_map in maps:
        squares = np.square(error_map, dtype=np.float64)
        sums = metrics.window_sums(squares, height, width)[::step, ::step]
        most = sums if most is None else np.maximum(most, sums)
        # a single method is compared with a perfect one, whose error is 0
        least = np.zeros_like(sums) if least is None else np.minimum(least, sums)
    assert most is not None
    assert least is not None
    top, left = np.unravel_index((most - least).argmax(), most.shape)
    return Region(int(top) * step, int(left) * step, height, width)


def fit_region_size(size: tuple[int, int], original: np.ndarray, scale: int) -> tuple[int, int]:
    """Reduce a height and width to at most a picture's own, in whole pixels of LR."""
    height, width = (
        max(min(length, available) // scale, 1) * scale
        for length, available in zip(size, original.shape[:2], strict=True)
    )
    return height, width
