"""Which part of a picture is worth a look: where methods differ most, or one errs most."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from atdsr.imaging import metrics


@dataclass(frozen=True)
class Place:
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, samples: np.ndarray, reduced: int = 1) -> np.ndarray:
        """That part of a picture `h w ...` whose sides are `reduced` times shorter."""
        top, left = self.top // reduced, self.left // reduced
        height, width = self.height // reduced, self.width // reduced
        return samples[top : top + height, left : left + width]


def errors(original: np.ndarray, enlarged: Sequence[np.ndarray], border: int) -> list[np.ndarray]:
    """|SR - HR| on Y of each picture, in steps of 8 bits; 0 in the border, which is not scored.

    Args:
        original: uint8 `h w 3`.
        enlarged: the same.
        border: pixels at each side.

    Returns:
        Planes `h w`, float32, which is exact enough to be looked at.
    """
    truth = metrics.luma(original)
    planes = []
    for samples in enlarged:
        plane = np.zeros(truth.shape, np.float32)
        inner = metrics.shave(plane, border)
        inner[...] = np.abs(metrics.shave(metrics.luma(samples) - truth, border))
        planes.append(plane)
    return planes


def most_different(planes: Iterable[np.ndarray], size: tuple[int, int], step: int) -> Place:
    """The rectangle in which the sums of squared errors lie furthest apart.

    Args:
        planes: at least one, `h w`, one a method; of a single one it is where the error is largest.
        size: height and width of the rectangle, at most the planes'.
        step: top and left are multiples of it, so that the same part of LR is whole pixels.
    """
    height, width = size
    least = most = None
    for plane in planes:
        squares = np.square(plane, dtype=np.float64)
        sums = metrics.window_sums(squares, height, width)[::step, ::step]
        most = sums if most is None else np.maximum(most, sums)
        # Beside a single method stands a perfect one, whose error is 0.
        least = np.zeros_like(sums) if least is None else np.minimum(least, sums)
    assert most is not None
    assert least is not None
    top, left = np.unravel_index((most - least).argmax(), most.shape)
    return Place(int(top) * step, int(left) * step, height, width)


def whole_pixels(size: tuple[int, int], original: np.ndarray, scale: int) -> tuple[int, int]:
    """Height and width of a part of a picture: at most its own, and whole pixels of LR."""
    height, width = (
        max(min(wanted, there) // scale, 1) * scale
        for wanted, there in zip(size, original.shape[:2], strict=True)
    )
    return height, width
