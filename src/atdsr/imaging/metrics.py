"""The Y channel of BT.601, PSNR, SSIM and PSNR-B as the literature of the field computes them.

Every function is pure and works in float64. `docs/protocol.md` explains each choice.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atdsr.base.errors import AtdsrError

Plane = NDArray[np.float64]
Picture = NDArray[np.uint8]

_PEAK = 255.0
_Y_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255
_BLOCK = 8  # pixels of a side of JPEG's blocks
_WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2


class MetricError(AtdsrError):
    """Two pictures cannot be compared, or one is too small to be measured."""


def y_channel(rgb: Picture) -> Plane:
    """Return Y of ITU-R BT.601 in studio range, not rounded: what MATLAB's `rgb2ycbcr` calls Y.

    Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255

    Args:
        rgb: Picture (h, w, 3), uint8.

    Returns:
        Plane (h, w), float64, from 16 (black) to 235 (white).

    Raises:
        MetricError: The picture does not have three channels of 8 bits.

    >>> y_channel(np.zeros((1, 1, 3), np.uint8)).item()
    16.0
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise MetricError(
            f"Y needs uint8 RGB of shape (h, w, 3), not {rgb.dtype} of shape {rgb.shape}; "
            "replicate a gray picture to three channels and round to 8 bits first."
        )
    return rgb @ _Y_WEIGHTS + 16.0


def shave(samples: NDArray[Any], border: int) -> NDArray[Any]:
    """Cut `border` pixels off each of the four sides of (h, w, ...); a view, not a copy.

    Raises:
        MetricError: The border is negative, or nothing would be left.

    >>> shave(np.zeros((5, 6)), 2).shape
    (1, 2)
    """
    height, width = samples.shape[:2]
    if border < 0 or min(height, width) <= 2 * border:
        raise MetricError(
            f"{border} pixels cannot be shaved off each side of a picture of {width}x{height}; "
            "take it out, or shave fewer."
        )
    return samples[border : height - border, border : width - border]


def psnr(a: Plane, b: Plane) -> float:
    """Return the peak signal-to-noise ratio in dB, 10 log10(255^2 / mean((a - b)^2)).

    Args:
        a: Plane (h, w), or planes (h, w, c), float64, in 0..255.
        b: The same of another picture.

    Returns:
        Decibels; infinite where the planes are identical.

    Raises:
        MetricError: The shapes differ.

    >>> round(psnr(np.full((2, 2), 100.0), np.full((2, 2), 110.0)), 2)  # 20 log10(25.5)
    28.13
    """
    _require_same_shape(a, b)
    mean_square = float(np.mean(np.square(np.subtract(a, b, dtype=np.float64))))
    if mean_square == 0:
        return float("inf")
    return float(10 * np.log10(_PEAK**2 / mean_square))


def ssim(a: Plane, b: Plane) -> float:
    """Return the structural similarity (Wang et al. 2004), averaged over all window positions.

    SSIM = (2 mu_a mu_b + C1) (2 s_ab + C2) / ((mu_a^2 + mu_b^2 + C1) (s_a^2 + s_b^2 + C2))

    with means mu, population variances s^2 and covariance s_ab under a Gaussian window of 11x11
    and sigma 1.5 that lies entirely inside the plane, C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2.

    Args:
        a: Plane (h, w), float64, in 0..255, at least 11x11.
        b: Plane of the same shape and range.

    Returns:
        At most 1, for identical planes; negative where structure is inverted.

    Raises:
        MetricError: The shapes differ, or the planes are smaller than the window.

    Source:
        "Image quality assessment: from error visibility to structural similarity",
        https://doi.org/10.1109/TIP.2003.819861

    >>> plane = np.arange(144.0).reshape(12, 12)
    >>> ssim(plane, plane)
    1.0
    """
    _require_same_shape(a, b)
    if min(a.shape) < _WINDOW:
        raise MetricError(
            f"SSIM needs at least {_WINDOW}x{_WINDOW} pixels after shaving, "
            f"and {a.shape[1]}x{a.shape[0]} are left; take it out."
        )
    mean_a, mean_b = _blur(a), _blur(b)
    product, square_a, square_b = mean_a * mean_b, mean_a**2, mean_b**2
    covariance = _blur(a * b) - product
    variance_a, variance_b = _blur(a * a) - square_a, _blur(b * b) - square_b
    luminance = (2 * product + _C1) / (square_a + square_b + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return float(np.mean(luminance * structure))


def psnr_y(hr: Picture, sr: Picture, border: int) -> float:
    """Return `psnr` on Y of two pictures (h, w, 3), uint8, shaved by `border` pixels.

    >>> picture = np.zeros((9, 9, 3), np.uint8)
    >>> psnr_y(picture, picture, border=2)
    inf
    """
    return psnr(*_shaved_y(hr, sr, border))


def ssim_y(hr: Picture, sr: Picture, border: int) -> float:
    """Return `ssim` on Y of two pictures (h, w, 3), uint8, shaved by `border` pixels.

    >>> picture = np.zeros((15, 15, 3), np.uint8)
    >>> ssim_y(picture, picture, border=2)
    1.0
    """
    return ssim(*_shaved_y(hr, sr, border))


def psnr_b(original: Plane, restored: Plane) -> float:
    """Return PSNR with a penalty for visible edges of JPEG's blocks of 8x8 (Yim and Bovik 2011).

    PSNR-B = 10 log10(255^2 / (mse + max(0, eta (across - inside)))), with the mean squared
    differences of neighbouring pixels of the restored picture across the edges of blocks, and of
    all others, and eta = log2(8) / log2(min(h, w)).

    The number of edges is `w // 8 - 1` for rows and `h // 8 - 1` for columns, as in the code that
    the figures of the field come from (QGAC, and FBCNN and SwinIR after it). Where a side is no
    multiple of 8, there is one edge more, whose differences that code adds all the same.

    Args:
        original: Plane (h, w), float64, in 0..255, at least 16x16.
        restored: Plane of the same shape and range. The two are not interchangeable.

    Returns:
        Decibels, at most `psnr`; infinite where the planes are identical.

    Raises:
        MetricError: The shapes differ, or the planes have less than two blocks a side.

    Source:
        "Quality assessment of deblocked images", https://doi.org/10.1109/TIP.2010.2061859

    >>> blocks = np.kron([[0.0, 50.0], [50.0, 0.0]], np.ones((8, 8)))
    >>> round(psnr_b(np.full((16, 16), 25.0), blocks), 2), round(psnr(blocks, 0 * blocks + 25), 2)
    (14.15, 20.17)
    """
    _require_same_shape(original, restored)
    height, width = restored.shape
    if min(height, width) < 2 * _BLOCK:
        raise MetricError(
            f"PSNR-B needs at least {2 * _BLOCK}x{2 * _BLOCK} pixels, and the picture has "
            f"{width}x{height}; take it out."
        )
    across = all_of_them = 0.0
    for plane in (restored, restored.T):
        squares = np.square(np.diff(plane, axis=1)).sum(axis=0)
        across += float(squares[_BLOCK - 1 :: _BLOCK].sum())
        all_of_them += float(squares.sum())
    edges = height * (width // _BLOCK - 1) + width * (height // _BLOCK - 1)
    others = height * (width - 1) + width * (height - 1) - edges
    excess = across / edges - (all_of_them - across) / others
    penalty = max(0.0, np.log2(_BLOCK) / np.log2(min(height, width)) * excess)
    mean_square = float(np.mean(np.square(original - restored))) + penalty
    return float(10 * np.log10(_PEAK**2 / mean_square)) if mean_square else float("inf")


def window_sums(values: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return the sum over every window that lies entirely inside, in one pass (integral image).

    Args:
        values: Plane (h, w) of numbers.
        height: Height of the window, at most h.
        width: Width of the window, at most w.

    Returns:
        Plane (h - height + 1, w - width + 1) with each window's sum at its top left corner.

    >>> window_sums(np.array([[1, 2, 3], [4, 5, 6]]), 2, 2)
    array([[12, 16]])
    """
    table = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # sums of rectangles from 0, 0
    below, above = table[height:], table[:-height]
    return below[:, width:] - above[:, width:] - below[:, :-width] + above[:, :-width]


def _shaved_y(hr: Picture, sr: Picture, border: int) -> tuple[Plane, Plane]:
    _require_same_shape(hr, sr)  # before shaving, so that the error names the pictures' own sizes
    return y_channel(shave(hr, border)), y_channel(shave(sr, border))


def _require_same_shape(a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise MetricError(
            f"only pictures of the same shape can be compared, not {a.shape} with {b.shape}; "
            "crop HR to a multiple of the scale first."
        )


def _blur(plane: Plane) -> Plane:
    """Apply the Gaussian window of SSIM in valid mode, (h, w) -> (h - 10, w - 10)."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    window = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    window /= window.sum()
    for _ in range(2):  # the window is separable: filter the rows, transpose, filter the columns
        length = plane.shape[0] - _WINDOW + 1
        filtered = np.zeros((length, plane.shape[1]))
        for k, weight in enumerate(window):
            filtered += weight * plane[k : k + length]
        plane = filtered.T
    return plane
