"""What stands between the attentions of a layer in use on CPUs: `rows.c` and its neighbours.

Each function is one or two passes over the tokens, for float32 without gradients.
"""

import ctypes
import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network.kernels import cpu

_LOG2_E = math.log2(math.e)
_UNIT = 16  # what the weights' rows are rounded up to, the longest vector of all variants
_MOST_CHUNKS = 32  # sums over chunks are small, and do not follow the number of threads


def takes(x: Tensor) -> bool:
    """Whether the kernels run on these tokens."""
    return (
        x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and cpu.run_on(x)
    )


# ------------------------------------------------------------------------------------ linear maps


class _Rows(cpu.Job):
    """`struct rows` of `rows.h`."""

    INPUTS = 3
    _fields_ = (
        ("inputs", ctypes.c_void_p * INPUTS),
        ("widths", ctypes.c_int64 * INPUTS),
        *cpu.pointers("weight", "bias", "norm_weight", "norm_bias", "residual", "out"),
        *cpu.integers("out_width", "wide", "pictures", "rows", "weight_pitch"),
        ("gelu", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        *cpu.Job.THREADS,
    )


def linear(
    inputs: tuple[Tensor, ...],
    weight: Tensor,
    bias: Tensor,
    *,
    norm: torch.nn.LayerNorm | None = None,
    gelu: bool = False,
    residual: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """A linear map of up to three inputs side by side, with what stands around it.

    Args:
        inputs: `b n k_i` each.
        weight: `k m` for all pictures or `b k m`, k the sum of all k_i.
        bias: `m`.
        norm: a LayerNorm of the only input, before the map.
        gelu: whether a GELU follows the map.
        residual: `b n m`, added in the end.
        out: where the result goes, contiguous; it may be the residual.

    Returns:
        `b n m`.
    """
    b, n, _ = inputs[0].shape
    m = weight.shape[-1]
    spare = -m % _UNIT
    inputs = tuple(x.contiguous() for x in inputs)
    weight, bias = F.pad(weight, (0, spare)).contiguous(), F.pad(bias, (0, spare))
    residual = None if residual is None else residual.contiguous()
    out = inputs[0].new_empty(b, n, m) if out is None else out
    job = _Rows.of(
        inputs=inputs,
        widths=tuple(x.shape[2] for x in inputs),
        weight=weight,
        bias=bias,
        norm_weight=None if norm is None else norm.weight,
        norm_bias=None if norm is None else norm.bias,
        residual=residual,
        out=out,
        out_width=m,
        wide=m + spare,
        pictures=b,
        rows=n,
        weight_pitch=weight[0].numel() if weight.dim() == 3 else 0,
        gelu=gelu,
        epsilon=0 if norm is None else norm.eps,
    )
    cpu.run("rows_linear", job, b * n)
    return out


# -------------------------------------------------------------------------------------- dictionary


class _Dictionary(cpu.Job):
    """`struct dictionary` of `dictionary.h`."""

    _fields_ = (
        *cpu.integers("pictures", "tokens", "entries", "chunk"),
        *cpu.pointers("attention", "q", "keys", "categories", "statistics"),
        *cpu.integers("reduced"),
        *cpu.pointers("x", "factor", "reference", "totals", "mixed"),
        *cpu.integers("width"),
        *cpu.Job.THREADS,
    )

    @classmethod
    def on(cls, attention: Tensor, chunk: int, **fields: Any) -> cpu.Job:
        """The job on a map A, `b n m`, in chunks of so many tokens."""
        b, n, m = attention.shape
        return cls.of(pictures=b, tokens=n, entries=m, chunk=chunk, attention=attention, **fields)


@dataclass(frozen=True)
class Statistics:
    """Of the shares that the tokens of a picture give to each entry of the dictionary.

    Attributes:
        variance: `b m`, biased.
        smallest: `b m`.
        largest: `b m`.
    """

    variance: Tensor
    smallest: Tensor
    largest: Tensor


def _chunks(tokens: int) -> tuple[int, int]:
    """Tokens in a piece of work, and pieces."""
    chunk = max(512, math.ceil(tokens / _MOST_CHUNKS))
    return chunk, math.ceil(tokens / chunk)


def look_up(q: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Statistics]:
    """The map A of `attention.look_up`, its categories and its statistics.

    Args:
        q: `b n d`, queries as they come.
        keys: `b m d`, unit vectors times the temperature.

    Returns:
        A, `b n m`; the first entry of the largest share, int32 `b n`; statistics of A.
    """
    (b, n, d), m = q.shape, keys.shape[1]
    chunk, chunks = _chunks(n)
    attention = cpu.room("shares", b, n, m)
    categories = q.new_empty(b, n, dtype=torch.int32)
    found = q.new_empty(b, chunks, 4, m)
    q, keys = q.contiguous(), keys.contiguous()
    job = _Dictionary.on(
        attention, chunk, q=q, keys=keys, categories=categories, statistics=found, reduced=d
    )
    cpu.run("look_up", job, b * chunks)
    mean, squares, smallest, largest = found.unbind(2)
    sizes = mean.new_tensor([min(chunk, n - first) for first in range(0, n, chunk)])[:, None]
    means = mean.double()
    whole = (means * sizes).sum(1, keepdim=True) / n
    variance = (squares.double() + sizes * (means - whole) ** 2).sum(1) / n
    return attention, categories, Statistics(variance.float(), smallest.amin(1), largest.amax(1))


def gather_shares(attention: Tensor, x: Tensor, weight: Tensor, statistics: Statistics) -> Tensor:
    """The tokens gathered by a map A: softmax(norm(A^T)) x, `attention.LookUp.gather`.

    Args:
        attention: A, `b n m`.
        x: `b n c`.
        weight: `m`, of the instance norm.
        statistics: of A.

    Returns:
        `b m c`.
    """
    (b, n, m), c = attention.shape, x.shape[2]
    chunk, chunks = _chunks(n)
    factor = weight * (statistics.variance + 1e-5).rsqrt()  # b m
    # the share whose exponent is largest
    reference = torch.where(factor > 0, statistics.largest, statistics.smallest)
    factor, x = factor * _LOG2_E, x.contiguous()
    totals, mixed = x.new_zeros(b, chunks, m), x.new_zeros(b, chunks, m, c)
    job = _Dictionary.on(
        attention,
        chunk,
        x=x,
        factor=factor,
        reference=reference,
        totals=totals,
        mixed=mixed,
        width=c,
    )
    cpu.run("gather_shares", job, b * chunks)
    total, sums = (reduce(torch.add, part.unbind(1)) for part in (totals, mixed))
    return sums / total[..., None]


def sort_by_category(categories: Tensor, count: int) -> Tensor:
    """The tokens sorted by category, ties by position.

    Args:
        categories: int32 `b n`, each from 0 to count - 1.
        count: number of categories.

    Returns:
        int64 `b n`.
    """
    b, n = categories.shape
    categories = categories.contiguous()
    order = categories.new_empty(b, n, dtype=torch.int64)
    ends = categories.new_empty(count, dtype=torch.int64)
    sort = cpu.function("sort_by_category")
    for given, sorted_ in zip(categories, order, strict=True):
        sort(
            ctypes.c_void_p(given.data_ptr()),
            ctypes.c_int64(n),
            ctypes.c_int64(count),
            ctypes.c_void_p(ends.data_ptr()),
            ctypes.c_void_p(sorted_.data_ptr()),
        )
    return order


# ------------------------------------------------------------------------------------ feed-forward


class _Depthwise(cpu.Job):
    """`struct depthwise` of `depthwise.h`."""

    _fields_ = (
        *cpu.pointers("x", "weight", "bias", "out"),
        *cpu.integers("pictures", "height", "width", "channels", "kernel"),
        *cpu.Job.THREADS,
    )


def depthwise_gelu(x: Tensor, convolution: torch.nn.Conv2d) -> Tensor:
    """The sum of x and the GELU of its depthwise convolution, zeros around the picture.

    Args:
        x: `b h w c`.
        convolution: c channels, each for itself, with an odd kernel, padding and a bias.
    """
    b, h, w, c = x.shape
    x = x.contiguous()
    out = cpu.room("windows", b, h, w, c)  # what attended to them has been added by now
    taps = convolution.weight[:, 0].permute(1, 2, 0).contiguous()  # k k c
    job = _Depthwise.of(
        x=x,
        weight=taps,
        bias=convolution.bias,
        out=out,
        pictures=b,
        height=h,
        width=w,
        channels=c,
        kernel=taps.shape[0],
    )
    cpu.run("depthwise_gelu", job, b * h * w)
    return out
