"""Kernels of blurs and of resizes, and correlations of noise, computed in float64."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from atdsr.datasets.degradations.config import Blur, BlurKernel, ResizeKernel
from atdsr.datasets.degradations.random_words import CropRandom

_CACHED_TAPS = 512
_SMALL = 13  # pixels: below, the cutoff of "sinc" is drawn from a narrower range

_Floats = NDArray[np.float64]


# ---------------------------------------------------------------------------------------- blurs


def blur_kernel(blur: Blur, random: CropRandom) -> tuple[_Floats, str]:
    """Draw a kernel.

    Returns:
        The kernel `k k`, whose sum is 1, and what it is, for people.
    """
    names: list[BlurKernel] = list(blur.kernels)
    name = names[random.index([blur.kernels[name] for name in names])]
    size = 2 * random.integer(blur.size[0] // 2, blur.size[1] // 2) + 1
    if name == "sinc":
        least = 1 / 3 if size < _SMALL else 1 / 5
        cutoff = random.uniform(blur.cutoff or (least, 1.0))
        return sinc(size, cutoff * math.pi), f"sinc {cutoff:.2f}"
    shape, _, symmetry = name.rpartition("_")
    if symmetry == "aniso":
        variances = (
            tuple(random.uniform(blur.sigma) ** 2 for _ in range(2))
            if blur.variance is None
            else tuple(random.uniform(blur.variance) for _ in range(2))
        )
        angle = random.uniform((0, math.pi))
        sigmas = "/".join(f"{math.sqrt(variance):.1f}" for variance in variances)
        text = f"blur {sigmas}"
    else:
        sigma = random.uniform(blur.sigma)
        variances, angle, text = (sigma**2, sigma**2), 0.0, f"blur {sigma:.1f}"
    q = _quadratic(size, variances[0], variances[1], angle)
    if shape == "generalized":
        kernel = np.exp(-0.5 * q ** random.uniform(blur.generalized))
    elif shape == "plateau":
        kernel = 1 / (1 + q ** random.uniform(blur.plateau))
    else:
        kernel = np.exp(-0.5 * q)
    return kernel / kernel.sum(), f"{shape} {text}".strip()


def _quadratic(size: int, across: float, along: float, angle: float) -> _Floats:
    """Return C' S^-1 C for the pixels C of a kernel.

    S has the variances `across` in the direction of the angle (from the x axis towards y), and
    `along` at right angles to it.
    """
    reach = size // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    u = math.cos(angle) * x + math.sin(angle) * y
    v = math.cos(angle) * y - math.sin(angle) * x
    return u**2 / across + v**2 / along


def sinc(size: int, cutoff: float) -> _Floats:
    """Return the circular low-pass filter of a cutoff frequency in radians per pixel.

    Equation 6 of "Real-ESRGAN" (arXiv 2107.10833), divided by its sum.
    """
    reach = size // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    radius = np.hypot(x, y)
    radius[reach, reach] = 1  # where the limit is taken instead
    bessel = torch.special.bessel_j1(torch.from_numpy(cutoff * radius)).numpy()
    kernel = cutoff * bessel / (2 * math.pi * radius)
    kernel[reach, reach] = cutoff**2 / (4 * math.pi)
    return kernel / kernel.sum()


# ---------------------------------------------------------------------------------------- noise


def correlation(random: CropRandom) -> _Floats:
    """Draw how three channels of noise are correlated.

    Returns:
        A matrix `3 3` whose product with its transpose is a covariance with eigenvalues in 0..1
        and axes in random directions.
    """
    uniform = np.array([random.unit() for _ in range(9)]).reshape(3, 3)
    axes, _ = np.linalg.qr(uniform + 1e-3 * np.eye(3))  # never singular
    eigenvalues = np.array([random.unit() for _ in range(3)])
    return axes * np.sqrt(eigenvalues)


# --------------------------------------------------------------------------------------- resizes


@lru_cache(_CACHED_TAPS)
def taps(length: int, new_length: int, kernel: ResizeKernel) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which samples make each new sample, and their weights.

    Returns:
        Indices `new t`, int64, and weights `new t`, float32, with a sum of 1.
    """
    indices, weights = (
        _area(length, new_length) if kernel == "area" else _kernel_taps(length, new_length, kernel)
    )
    weights = weights / weights.sum(axis=1, keepdims=True)
    used = weights.any(axis=0)
    return (
        torch.from_numpy(np.ascontiguousarray(indices[:, used])),
        torch.from_numpy(np.ascontiguousarray(weights[:, used])).float(),
    )


def _area(length: int, new_length: int) -> tuple[NDArray[np.int64], _Floats]:
    """Return the taps of the mean over whole samples, as PyTorch's adaptive pooling takes it."""
    first = np.arange(new_length) * length // new_length
    end = -(-np.arange(1, new_length + 1) * length // new_length)
    indices = first[:, None] + np.arange((end - first).max())
    weights = (indices < end[:, None]).astype(np.float64)
    return np.minimum(indices, length - 1), weights


def _kernel_taps(
    length: int, new_length: int, kernel: ResizeKernel
) -> tuple[NDArray[np.int64], _Floats]:
    ratio = length / new_length
    centre = (np.arange(new_length) + 0.5) * ratio - 0.5
    is_antialiased = kernel in ("antialiased_bilinear", "antialiased_bicubic", "lanczos")
    stretch = max(1.0, ratio) if is_antialiased else 1.0
    reach = {"nearest": 0.5, "bilinear": 1, "antialiased_bilinear": 1, "lanczos": 3}.get(kernel, 2)
    first = np.floor(centre - reach * stretch).astype(np.int64)
    positions = first[:, None] + np.arange(2 * math.ceil(reach * stretch) + 2)
    if kernel == "nearest":
        nearest = (2 * np.arange(new_length) + 1) * length // (2 * new_length)
        weights = (positions == nearest[:, None]).astype(np.float64)
    else:
        weights = _kernel_value((positions - centre[:, None]) / stretch, kernel)
    if kernel in ("antialiased_bilinear", "lanczos"):  # Pillow leaves out what lies outside
        weights = weights * ((positions >= 0) & (positions < length))
    if kernel == "antialiased_bicubic":  # MATLAB mirrors
        mirrored = positions % (2 * length)
        return np.minimum(mirrored, 2 * length - 1 - mirrored), weights
    return positions.clip(0, length - 1), weights


def _kernel_value(x: _Floats, kernel: ResizeKernel) -> _Floats:
    """Evaluate a resampling kernel at distances in (stretched) samples."""
    x = np.abs(x)
    if kernel in ("bilinear", "antialiased_bilinear"):
        return np.maximum(0, 1 - x)
    if kernel == "lanczos":
        return np.sinc(x) * np.sinc(x / 3) * (x < 3)
    a = -0.75 if kernel == "bicubic" else -0.5  # OpenCV's and PyTorch's; MATLAB's
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return near * (x <= 1) + far * ((x > 1) & (x < 2))
