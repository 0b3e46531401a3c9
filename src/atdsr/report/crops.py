"""The pixels of the report: where methods differ most, maps of the error, pictures as text."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from atdsr import metrics

FULL_ERROR = 32.0
"""The error on Y, in steps of 8 bits, at which the colours of an error map end."""

ERROR_COLOURS = (
    "#000004",
    "#1b0c41",
    "#4a0c6b",
    "#781c6d",
    "#a52c60",
    "#cf4446",
    "#ed6925",
    "#fb9b06",
    "#f7d13d",
    "#fcffa4",
)
"""Evenly spaced stops of matplotlib's `inferno` (CC0): its lightness grows evenly to the eye."""

_LEVELS = 64  # of an error map: finer steps nobody sees, and they would double its bytes
_THUMBNAIL = 320  # pixels of the longer side


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


def error_map(plane: np.ndarray) -> np.ndarray:
    """Colours uint8 `h w 3` for an error `h w`, from 0 to `FULL_ERROR` and what is above."""
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in ERROR_COLOURS])
    at = np.linspace(0, len(stops) - 1, _LEVELS)
    table = np.stack([np.interp(at, np.arange(len(stops)), channel) for channel in stops.T], axis=1)
    index = np.rint(np.clip(plane / FULL_ERROR, 0, 1) * (_LEVELS - 1)).astype(np.intp)
    return np.rint(table).astype(np.uint8)[index]


def thumbnail(samples: np.ndarray) -> str:
    """The whole picture, small, as a `data:` address."""
    picture = Image.fromarray(samples)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    return _data_address(picture, quality=72, method=4)


def exact(samples: np.ndarray) -> str:
    """A picture uint8 `h w 3`, sample by sample, as a `data:` address."""
    return _data_address(Image.fromarray(samples), lossless=True, quality=60, method=4)


def _data_address(picture: Image.Image, **options: int | bool) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
