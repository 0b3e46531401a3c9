"""The pixel work of a degradation on batches of crops, on any device.

Sums are taken in a fixed order, crop by crop independent of the others, so that a crop has the
same bits in any batch.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from atdsr.datasets.degradations.kernels import taps
from atdsr.datasets.degradations.planning import (
    BlurTask,
    GaussianTask,
    PoissonTask,
    ResizeTask,
)
from atdsr.datasets.degradations.random_words import normal, unit

_LUMA = (0.299, 0.587, 0.114)
_LEVELS = 256
_POISSON_REACH = 8  # standard deviations


def blurred(x: Tensor, tasks: Sequence[BlurTask]) -> Tensor:
    """Blur crops `b 3 h w` by kernels of one size, the border mirrored without the edge pixel."""
    batch, channels, height, width = x.shape
    kernels = np.stack([task.kernel for task in tasks])
    size = kernels.shape[-1]
    weights = torch.from_numpy(kernels).to(x.device, x.dtype)
    rows, columns = (_mirrored(side, size // 2).to(x.device) for side in (height, width))
    padded = x.index_select(2, rows).index_select(3, columns)
    weights = weights[:, None].expand(batch, channels, size, size)
    return F.conv2d(
        padded.reshape(1, batch * channels, *padded.shape[2:]),
        weights.reshape(batch * channels, 1, size, size),
        groups=batch * channels,
    ).view(x.shape)


@lru_cache(128)
def _mirrored(length: int, pad: int) -> Tensor:
    """Return the indices of samples with a mirrored border, iterated where it is wide."""
    period = max(1, 2 * length - 2)
    positions = np.arange(-pad, length + pad) % period
    return torch.from_numpy(np.minimum(positions, period - positions) % length)


def resized(x: Tensor, task: ResizeTask) -> Tensor:
    """Resize crops `b 3 h w`, rows first, then columns."""
    for axis, new_length in ((2, task.height), (3, task.width)):
        if new_length == x.shape[axis]:
            continue
        indices, weights = (
            part.to(x.device) for part in taps(x.shape[axis], new_length, task.kernel)
        )
        shape = (-1, 1) if axis == 2 else (-1,)
        total = torch.zeros((), device=x.device)
        for tap in range(indices.shape[1]):
            total = total + x.index_select(axis, indices[:, tap]) * weights[:, tap].view(shape)
        x = total
    return x


def with_gaussian_noise(x: Tensor, tasks: Sequence[GaussianTask]) -> Tensor:
    """Add Gaussian noise to crops `b c h w`; a gray crop gets that of the first channel."""
    batch, channels, height, width = x.shape
    numbers = 3 * height * width
    words = _words([task.random.words(-(-numbers // 2)) for task in tasks], x.device)
    drawn = normal(words)[:, :numbers].view(batch, 3, height, width)
    mixing = torch.from_numpy(np.stack([task.mixing for task in tasks])).to(x.device)
    mixing = mixing.view(batch, 3, 3, 1, 1)[:, :channels]
    red, green, blue = (mixing[:, :, number] * drawn[:, number : number + 1] for number in range(3))
    noise = red + green + blue
    return x + noise.to(x.dtype)


def with_poisson_noise(x: Tensor, tasks: Sequence[PoissonTask]) -> Tensor:
    """Add Poisson noise to crops `b c h w`, all gray or none."""
    is_gray = tasks[0].is_gray and x.shape[1] == 3
    levels = (x * (_LEVELS - 1)).round().clamp(0, _LEVELS - 1)
    if is_gray:
        red, green, blue = (
            weight * levels[:, number : number + 1] for number, weight in enumerate(_LUMA)
        )
        levels = (red + green + blue).round()
    flat = levels.long().flatten(1)
    present = torch.zeros((len(x), _LEVELS), device=x.device).scatter(1, flat, 1.0)
    peaks = torch.exp2(present.sum(1).log2().ceil()).double()  # b
    counts = _poisson_counts(
        flat, peaks, _words([t.random.words(flat.shape[1]) for t in tasks], x.device)
    )
    noise = counts / peaks[:, None] - flat / (_LEVELS - 1)
    strengths = torch.tensor([task.strength for task in tasks], dtype=torch.float64)
    noise = noise * strengths.to(x.device)[:, None]
    return x + noise.view(levels.shape).to(x.dtype)


def _poisson_counts(levels: Tensor, peaks: Tensor, words: Tensor) -> Tensor:
    """Return Poisson numbers by inversion of the distribution function, which is tabulated.

    Args:
        levels: Levels of brightness `b n`, 0 to 255.
        peaks: What the brightest level means in counts, `b`, float64; at most 256.
        words: A random word for each number, `b n`.

    Returns:
        Numbers `b n`, float64.
    """
    means = torch.arange(_LEVELS, device=levels.device) / (_LEVELS - 1) * peaks[:, None]  # b l
    reach = int(_POISSON_REACH * _LEVELS**0.5)
    first = (means.floor() - reach).clamp(min=0)
    counts = first[:, :, None] + torch.arange(2 * reach + 2, device=levels.device)  # b l k
    logarithms = torch.special.xlogy(counts, means[:, :, None]) - torch.lgamma(counts + 1)
    table = (logarithms - means[:, :, None]).exp().cumsum(2)
    # made to increase from level to level, so that one search finds the count of any of them
    rows = torch.arange(_LEVELS, device=levels.device)
    table = table / table[:, :, -1:] + rows[:, None]
    found = torch.searchsorted(table.flatten(1), levels + unit(words))
    return counts.flatten(1).gather(1, found.clamp(max=table[0].numel() - 1))


def _words(words: Sequence[NDArray[np.uint64]], device: torch.device) -> Tensor:
    """Return words `b n` on a device, as int64 with the same bits."""
    return torch.from_numpy(np.stack(words).view(np.int64)).to(device)
