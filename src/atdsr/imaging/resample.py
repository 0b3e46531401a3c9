"""Antialiased bicubic resampling that agrees with MATLAB's `imresize` bit for bit.

The field creates its low-resolution pictures with MATLAB, so a PSNR can be compared with a
published one only where the bicubic is the same. MATLAB's algorithm: the cubic kernel with
a = -0.5 (Keys, "Cubic convolution interpolation for digital image processing", 1981), widened
by the inverse of the scale when shrinking; the border mirrored with the edge sample repeated;
rows first, then columns, with integers rounded half up and clamped after *each* of the two.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from atdsr.base.errors import AtdsrError

Samples = NDArray[Any]

# Samples in a block of rows: the few arrays of this size that are alive at once fit in cache.
_BLOCK_SAMPLES = 1 << 17
# Half a level of 8 bits, relative to 1. What is less visible than this has no usable colour.
_LEAST_ALPHA = 1 / 510
# With fewer rows, the contiguous memory in the pass over columns would be too short.
_BLOCK_ROWS = 32


class Readable(Protocol):
    """Samples h w c that are read in pieces; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape h w c."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples."""
        ...

    def __getitem__(self, rows_and_columns: tuple[slice, slice], /) -> Samples:
        """Return some rows and columns."""
        ...


class ResampleError(AtdsrError):
    """A picture cannot be resampled, or not to that size."""


def crop_to_multiple(samples: Samples, scale: int) -> Samples:
    """Crop (h, w, c) at the bottom and right to multiples of `scale`; a view, not a copy.

    Raises:
        ResampleError: The scale is below 1, or the picture is smaller than the scale.
    """
    height, width = samples.shape[:2]
    if scale < 1 or min(height, width) < scale:
        raise ResampleError(
            f"a picture of {width}x{height} cannot be cropped to a multiple of {scale}; "
            "the scale must be at least 1 and at most the shorter side."
        )
    return samples[: height - height % scale, : width - width % scale]


def downscale(samples: Samples, scale: int) -> Samples:
    """Return the low-resolution picture of a benchmark: `crop_to_multiple`, then 1/`scale`.

    >>> downscale(np.full((5, 7, 3), 9, np.uint8), 2).shape
    (2, 3, 3)
    """
    cropped = crop_to_multiple(samples, scale)
    return resize(cropped, cropped.shape[0] // scale, cropped.shape[1] // scale)


def upscale(samples: Samples, scale: int) -> Samples:
    """Enlarge (h, w, c) to (h * scale, w * scale, c) by bicubic, the baseline of every table."""
    return resize(samples, samples.shape[0] * scale, samples.shape[1] * scale)


def resize(samples: Samples, height: int, width: int) -> Samples:
    """Resample a picture (h, w, c) to (`height`, `width`, c) of the same dtype.

    The scale of an axis is the ratio of its two lengths, so the picture covers the new grid
    exactly. MATLAB, where it is called with a scale, rounds the new length up, and then the two
    differ. They agree on every length that is a multiple of the scale, and the protocol uses only
    those.

    Args:
        samples: uint8 or uint16, or floating point of any range (neither rounded nor clamped).
        height: New height, at least 1.
        width: New width, at least 1.

    Raises:
        ResampleError: The picture is not (h, w, c) of such samples, or the size is below 1.
    """
    if samples.ndim != 3 or 0 in samples.shape:
        raise ResampleError(f"a picture must be (h, w, c) and not empty, not {samples.shape}.")
    if samples.dtype not in (np.uint8, np.uint16) and samples.dtype.kind != "f":
        raise ResampleError(
            f"samples must be uint8, uint16 or floating point, not {samples.dtype}; convert first."
        )
    if min(height, width) < 1:
        raise ResampleError(f"the new size {width}x{height} must be at least 1x1.")
    vertical = _taps(samples.shape[0], height)
    horizontal = _taps(samples.shape[1], width)
    resized = np.empty((height, width, samples.shape[2]), samples.dtype)
    for block in _blocks(samples.shape, height, width):
        resized[block] = _both_ways(samples, vertical.of(block), horizontal)
    return resized


def resize_colours(colours: Readable, alpha: Samples, height: int, width: int) -> Samples:
    """Resample the colours of a picture with alpha, each weighted by its visibility.

    The result is the resampled product of colours and alpha, divided by the resampled alpha. Where
    the latter is almost 0, it is the resampled colours alone. With constant alpha this is the same
    as `resize` with a single rounding at the end.

    Args:
        colours: Colours h w c of a dtype that `resize` accepts; an array, or what returns one for
            two slices.
        alpha: Alpha h w 1 of any of those dtypes.
        height: New height, at least 1.
        width: New width, at least 1.

    Returns:
        (`height`, `width`, c) of the colours' dtype, integers rounded half up and clamped.
    """
    vertical = _taps(alpha.shape[0], height)
    horizontal = _taps(alpha.shape[1], width)
    count = colours.shape[2]
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
    resized = np.empty((height, width, count), colours.dtype)
    for block in _blocks((*alpha.shape[:2], 2 * count + 1), height, width):
        taps = vertical.of(block)
        low, high = taps.indices.min(), taps.indices.max() + 1
        plain = colours[low:high, :].astype(np.float64)
        weight = alpha[low:high].astype(np.float64) / opaque
        stacked = np.concatenate((plain * weight, plain, weight), axis=2)
        stacked = _both_ways(stacked, _Taps(taps.indices - low, taps.weights), horizontal)
        total, plain, weight = np.split(stacked, (count, 2 * count), axis=2)
        divided = np.divide(total, weight, out=plain, where=weight > _LEAST_ALPHA)
        resized[block] = _rounded(divided, resized.dtype)
    return resized


def _blocks(shape: tuple[int, ...], height: int, width: int) -> Iterator[slice]:
    """Yield the rows of a result that are computed at a time from a picture of that shape."""
    row_samples = max(shape[1], width) * shape[2]
    step = max(_BLOCK_ROWS, _BLOCK_SAMPLES // row_samples)
    for top in range(0, height, step):
        yield slice(top, top + step)


class _Taps(NamedTuple):
    """Which source samples (outputs, taps) contribute to each output sample, and their weights."""

    indices: NDArray[np.intp]
    weights: NDArray[np.float64]

    def of(self, outputs: slice) -> "_Taps":
        """Return the taps of some of the output samples."""
        return _Taps(self.indices[outputs], self.weights[outputs])


def _taps(length: int, new_length: int) -> _Taps:
    """Return MATLAB's `contributions`, in its order of operations, with indices from 0."""
    scale = new_length / length
    stretch = min(scale, 1.0)
    reach = 4 / stretch
    centre = np.arange(1, new_length + 1) / scale + 0.5 * (1 - 1 / scale)
    first = np.floor(centre - reach / 2)
    positions = first[:, None] + np.arange(np.ceil(reach) + 2)
    weights = stretch * _cubic(stretch * (centre[:, None] - positions))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = (positions.astype(np.intp) - 1) % (2 * length)
    indices = np.minimum(mirrored, 2 * length - 1 - mirrored)
    used = weights.any(axis=0)
    return _Taps(indices[:, used], weights[:, used])


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate Keys' cubic convolution kernel with a = -0.5, which is zero from |x| = 2 on."""
    x = np.abs(x)
    # Products instead of powers: the last bit of a power may differ from machine to machine.
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return near * (x <= 1) + far * ((x > 1) & (x <= 2))


def _both_ways(samples: Samples, vertical: _Taps, horizontal: _Taps) -> Samples:
    """Resample rows first, then columns."""
    rows = _weigh(samples, vertical)
    columns = np.ascontiguousarray(rows.swapaxes(0, 1))
    return _weigh(columns, horizontal).swapaxes(0, 1)


def _weigh(rows: Samples, taps: _Taps) -> Samples:
    """Sum `rows` (n, ...) to (outputs, ...), tap by tap in the order of MATLAB."""
    working = _working_dtype(rows.dtype, taps.weights)
    weights = taps.weights.astype(working)[:, :, None, None]
    total = np.zeros((len(weights), *rows.shape[1:]), working)
    term = np.empty_like(total)
    for tap, index in enumerate(taps.indices.T):
        np.multiply(rows[index], weights[:, tap], out=term)
        total += term
    return total if rows.dtype.kind == "f" else _rounded(total, rows.dtype)


def _rounded(values: Samples, dtype: np.dtype[Any]) -> Samples:
    """Return floats as samples: integers rounded half up and clamped; `values` is overwritten."""
    if dtype.kind == "f":
        return values.astype(dtype)
    np.floor(np.add(values, 0.5, out=values), out=values)
    return values.clip(0, np.iinfo(dtype).max, out=values).astype(dtype)


def _working_dtype(samples: np.dtype[Any], weights: NDArray[np.float64]) -> type[np.floating[Any]]:
    """Return single precision where it is exact, and double precision elsewhere.

    Weights at scales such as 2 and 4 are multiples of 2^-14, and their magnitudes add up to less
    than 4. With 8-bit samples each partial sum is then such a multiple below 2^10: 24 bits, which
    is just what float32 holds, so nothing is ever rounded.
    """
    fixed = weights * 2**14
    exact = samples == np.uint8 and np.array_equal(fixed, np.rint(fixed))
    return np.float32 if exact else np.float64
