"""Attention to the dictionary, its refinement, and sorting by category on CPUs, by `dictionary.c`.

Each function makes one pass or two over the tokens, for float32 without gradients.
"""

import ctypes
import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from atdsr.network.kernels import cpu

_LOG2_E = math.log2(math.e)
_MAX_CHUNKS = 32  # sums over chunks are small, and do not depend on the number of threads
_MIN_CHUNK = 512  # tokens


class _DictionaryArguments(cpu.KernelArguments):
    """`struct dictionary` of `dictionary.h`."""

    _fields_ = (
        *cpu.integers("pictures", "tokens", "entries", "chunk"),
        *cpu.pointers("attention", "q", "keys", "categories", "statistics"),
        *cpu.integers("reduced"),
        *cpu.pointers("x", "factor", "reference", "totals", "mixed"),
        *cpu.integers("width"),
        *cpu.KernelArguments.SHARED,
    )

    @classmethod
    def on(cls, attention: Tensor, chunk: int, **fields: Any) -> cpu.KernelArguments:
        """Fill in the arguments for a map A, `b n m`, in chunks of so many tokens."""
        b, n, m = attention.shape
        return cls.of(pictures=b, tokens=n, entries=m, chunk=chunk, attention=attention, **fields)


@dataclass(frozen=True)
class CPUStatistics:
    """Statistics of the shares that the tokens of a picture give to each entry of the dictionary.

    Attributes:
        variance: `b m`, biased.
        smallest: `b m`.
        largest: `b m`.
    """

    variance: Tensor
    smallest: Tensor
    largest: Tensor


def _chunks(tokens: int) -> tuple[int, int]:
    """Return the tokens in a piece of work, and the number of pieces."""
    chunk = max(_MIN_CHUNK, math.ceil(tokens / _MAX_CHUNKS))
    return chunk, math.ceil(tokens / chunk)


def look_up(
    q: Tensor, keys: Tensor, out: Tensor | None = None, *, refines: bool = True
) -> tuple[Tensor, Tensor, CPUStatistics | None]:
    """Return the map A of `attention.attention_map`, its categories and its statistics.

    Args:
        q: `b n d`, queries, not normalised.
        keys: `b m d`, unit vectors times the temperature.
        out: Where A goes.
        refines: Whether the dictionary is refined afterwards, which needs the statistics.

    Returns:
        A, `b n m`; the first entry of the largest share, int32 `b n`; statistics of A, if the
        dictionary is refined.
    """
    (b, n, d), m = q.shape, keys.shape[1]
    chunk, chunks = _chunks(n)
    attention = q.new_empty(b, n, m) if out is None else out
    categories = q.new_empty(b, n, dtype=torch.int32)
    per_chunk = q.new_empty(b, chunks, 4, m) if refines else None
    q, keys = q.contiguous(), keys.contiguous()
    arguments = _DictionaryArguments.on(
        attention, chunk, q=q, keys=keys, categories=categories, statistics=per_chunk, reduced=d
    )
    cpu.run("look_up", arguments, b * chunks)
    statistics = None if per_chunk is None else _statistics(per_chunk, n, chunk)
    return attention, categories, statistics


def _statistics(per_chunk: Tensor, n: int, chunk: int) -> CPUStatistics:
    """Return the statistics of n tokens, where chunks have `b chunks 4 m`."""
    mean, squares, smallest, largest = per_chunk.unbind(2)
    if n <= chunk:  # a small picture, for which the sums below would take as long as its pixels
        return CPUStatistics(squares[:, 0] / n, smallest[:, 0], largest[:, 0])
    sizes = mean.new_tensor([min(chunk, n - first) for first in range(0, n, chunk)])[:, None]
    # the parallel algorithm for variances (Chan et al.): squares are around each chunk's own mean
    means = mean.double()
    total_mean = (means * sizes).sum(1, keepdim=True) / n
    variance = (squares.double() + sizes * (means - total_mean) ** 2).sum(1) / n
    return CPUStatistics(variance.float(), smallest.amin(1), largest.amax(1))


def gather_tokens(
    attention: Tensor, x: Tensor, weight: Tensor, statistics: CPUStatistics
) -> Tensor:
    """Compute `attention.gather_tokens`.

    Args:
        attention: The map A, `b n m`.
        x: `b n c`.
        weight: `m`, of the instance norm.
        statistics: Statistics of A.

    Returns:
        `b m c`.
    """
    (b, n, m), c = attention.shape, x.shape[2]
    chunk, chunks = _chunks(n)
    factor = weight * (statistics.variance + 1e-5).rsqrt()  # b m
    # the share with the largest exponent, which is subtracted so that none overflows
    reference = torch.where(factor > 0, statistics.largest, statistics.smallest)
    factor, x = factor * _LOG2_E, x.contiguous()
    totals, mixed = x.new_zeros(b, chunks, m), x.new_zeros(b, chunks, m, c)
    arguments = _DictionaryArguments.on(
        attention,
        chunk,
        x=x,
        factor=factor,
        reference=reference,
        totals=totals,
        mixed=mixed,
        width=c,
    )
    cpu.run("gather_shares", arguments, b * chunks)
    # one chunk after the other: the order of a parallel sum would depend on the threads
    total, sums = (reduce(torch.add, per_chunk.unbind(1)) for per_chunk in (totals, mixed))
    return sums / total[..., None]


def sort_by_category(categories: Tensor, count: int) -> Tensor:
    """Return the tokens sorted by category, ties by position.

    Args:
        categories: int32 `b n`, each from 0 to count - 1.
        count: Number of categories.

    Returns:
        int64 `b n`.
    """
    b, n = categories.shape
    categories = categories.contiguous()
    order = categories.new_empty(b, n, dtype=torch.int64)
    ends = categories.new_empty(count, dtype=torch.int64)
    sort = cpu.function("sort_by_category")
    for of_picture, sorted_tokens in zip(categories, order, strict=True):
        sort(
            ctypes.c_void_p(of_picture.data_ptr()),
            ctypes.c_int64(n),
            ctypes.c_int64(count),
            ctypes.c_void_p(ends.data_ptr()),
            ctypes.c_void_p(sorted_tokens.data_ptr()),
        )
    return order
