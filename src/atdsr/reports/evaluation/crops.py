"""The pixels of the report: maps of the error, pictures as text."""

import io

import numpy as np
from PIL import Image

from atdsr.reports import pages

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
    return pages.data_address(buffer.getvalue(), "image/webp")
