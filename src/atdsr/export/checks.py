"""Whether an exported file computes what the network does."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atdsr.export.config import ExportError
from atdsr.imaging import resample
from atdsr.network import kernels
from atdsr.network.model import ATD

LEAST_PSNR = 55.0
"""Decibels at which an exported file counts as the network."""

_SIZES = ((40, 56), (61, 83), (16, 33))  # height, width


@dataclass(frozen=True)
class Check:
    """How close an exported file comes to the network on one picture.

    Attributes:
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        psnr: Peak signal-to-noise ratio of the two results in dB; infinite where they are equal.
    """

    width: int
    height: int
    psnr: float


def check(model: ATD, run: Callable[[Tensor], Tensor]) -> list[Check]:
    """Compare what an exported file computes with the network in plain PyTorch, at three sizes.

    Two numbers that rounding makes equal can put a token into another category, which moves a few
    pixels by a visible amount. So the mean over the picture counts, not the largest difference.

    Args:
        model: The network, in float32.
        run: Runs the exported file: `1 3 h w` -> `1 3 h*scale w*scale`.

    Raises:
        ExportError: The results are less than 55 dB alike at one of the sizes.
    """
    checks = []
    for height, width in _SIZES:
        image = _picture(height, width)
        with torch.inference_mode(), kernels.plain():
            expected = model(image).clamp(0, 1)
        result = run(image).clamp(0, 1)
        error = float((result - expected).double().square().mean())
        psnr = -10 * math.log10(error) if error > 0 else math.inf
        if not psnr >= LEAST_PSNR:  # nor is NaN
            raise ExportError(
                f"the exported file differs from the network: {psnr:.1f} dB at {width}x{height}, "
                f"where {LEAST_PSNR:g} dB are the least; nothing was written."
            )
        checks.append(Check(width, height, psnr))
    return checks


def _picture(height: int, width: int) -> Tensor:
    """Return a picture with shapes and a little noise, `1 3 h w` in [0, 1]."""
    random = np.random.default_rng(0)
    coarse = random.random((-(-height // 8), -(-width // 8), 3))
    smooth = resample.resize(coarse, height, width) + random.normal(0, 0.01, (height, width, 3))
    return torch.from_numpy(smooth.clip(0, 1).astype(np.float32)).permute(2, 0, 1)[None]
