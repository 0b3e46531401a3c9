"""Attention to the dictionary, its refinement, and sorting by category on CPUs, in float32.

By `dictionary.c` and, backward, by `dictionary_backward.c`; each function makes a pass or two over
the tokens.
"""

import ctypes
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from atdsr.network.kernels import cpu

_LOG2_E = math.log2(math.e)
_EPSILON = 1e-5  # of the instance norm


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


class _BackwardArguments(cpu.KernelArguments):
    """`struct dictionary_backward` of `dictionary_backward.h`."""

    _fields_ = (
        *cpu.integers("pictures", "tokens", "entries", "chunk", "wide_entries"),
        *cpu.pointers("attention", "grad_attention", "sums"),
        *cpu.pointers("q", "keys", "mean", "of_variance", "grad_q"),
        *cpu.integers("reduced", "wide_reduced"),
        *cpu.pointers("x", "factor", "reference", "per_total", "grad", "grad_columns", "along"),
        *cpu.pointers("through", "grad_x"),
        *cpu.integers("width", "wide"),
        *cpu.KernelArguments.SHARED,
    )

    @classmethod
    def run(cls, name: str, attention: Tensor, *shape: int, **fields: Any) -> Tensor:
        """Run a pass over the tokens of a map A, `b n m`.

        Returns:
            The sums over the tokens, `b m *shape`.
        """
        b, n, m = attention.shape
        chunk, chunks = cpu.chunks(n)
        sums = attention.new_empty(b, chunks, m, *shape)
        arguments = cls.of(
            pictures=b,
            tokens=n,
            entries=m,
            chunk=chunk,
            wide_entries=m + -m % cpu.WIDTH_MULTIPLE,
            attention=attention,
            sums=sums,
            **fields,
        )
        cpu.run(name, arguments, b * chunks)
        return cpu.add_parts(sums)


class CPUStatistics(NamedTuple):
    """Statistics of the shares that the tokens of a picture give to each entry of the dictionary.

    Attributes:
        mean: `b m`.
        variance: `b m`, biased.
        smallest: `b m`.
        largest: `b m`.
    """

    mean: Tensor
    variance: Tensor
    smallest: Tensor
    largest: Tensor


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
    chunk, chunks = cpu.chunks(n)
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
        return CPUStatistics(mean[:, 0], squares[:, 0] / n, smallest[:, 0], largest[:, 0])
    sizes = mean.new_tensor([min(chunk, n - first) for first in range(0, n, chunk)])[:, None]
    # the parallel algorithm for variances (Chan et al.): squares are around each chunk's own mean
    means = mean.double()
    total_mean = (means * sizes).sum(1, keepdim=True) / n
    variance = (squares.double() + sizes * (means - total_mean) ** 2).sum(1) / n
    return CPUStatistics(
        total_mean[:, 0].float(), variance.float(), smallest.amin(1), largest.amax(1)
    )


def gather_tokens(
    attention: Tensor, x: Tensor, weight: Tensor, statistics: CPUStatistics
) -> tuple[Tensor, Tensor]:
    """Compute `attention.gather_tokens`.

    Args:
        attention: The map A, `b n m`.
        x: `b n c`.
        weight: `m`, of the instance norm.
        statistics: Statistics of A.

    Returns:
        `b m c`, and what the softmax over the tokens divides by, `b m`, in the scale of its largest
        exponential.
    """
    (b, n, m), c = attention.shape, x.shape[2]
    chunk, chunks = cpu.chunks(n)
    factor, reference = _factor_and_reference(weight, statistics)
    x = x.contiguous()
    totals, mixed = x.new_zeros(b, chunks, m), x.new_empty(b, chunks, m, c)
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
    total = cpu.add_parts(totals)
    return cpu.add_parts(mixed) / total[..., None], total


def gather_tokens_backward(
    grad: Tensor,
    attention: Tensor,
    x: Tensor,
    weight: Tensor,
    statistics: CPUStatistics,
    totals: Tensor,
    gathered: Tensor,
    through: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the gradients of `gather_tokens`.

    Args:
        grad: With respect to what was gathered, `b m c`.
        attention: As `gather_tokens` took it, as x, the weight and the statistics.
        x: Contiguous.
        weight: See there.
        statistics: See there.
        totals: What it returned, with what was gathered.
        gathered: See there.
        through: `b n c`, a gradient with respect to x from elsewhere, which is added.

    Returns:
        Gradients with respect to A, `b n m`, but for what comes through its variance; x, `b n c`;
        the weight, `m`; the variance of A, `b m`.
    """
    factor, reference = _factor_and_reference(weight, statistics)
    grad_attention, grad_x = torch.empty_like(attention), torch.empty_like(x)
    rows, columns = cpu.padded(grad), cpu.padded(grad.mT)
    grad_factor = _BackwardArguments.run(
        "gather_shares_backward",
        attention,
        grad_attention=grad_attention,
        x=x,
        factor=factor,
        reference=reference,
        per_total=1 / totals,
        grad=rows,
        grad_columns=columns,
        along=(grad * gathered).sum(-1),
        through=through.contiguous(),
        grad_x=grad_x,
        width=x.shape[2],
        wide=rows.shape[2],
    )
    deviation = (statistics.variance + _EPSILON).rsqrt()
    grad_variance = -0.5 * grad_factor * weight * deviation**3
    return grad_attention, grad_x, (grad_factor * deviation).sum(0), grad_variance


def _factor_and_reference(weight: Tensor, statistics: CPUStatistics) -> tuple[Tensor, Tensor]:
    """Return the exponent's factor, in units of log2, and what is subtracted from A, `b m` each."""
    factor = weight * (statistics.variance + _EPSILON).rsqrt()
    # the share with the largest exponent, which is subtracted so that none overflows
    reference = torch.where(factor > 0, statistics.largest, statistics.smallest)
    return factor * _LOG2_E, reference


def look_up_backward(
    grad: Tensor,
    q: Tensor,
    keys: Tensor,
    attention: Tensor,
    statistics: CPUStatistics | None,
    grad_variance: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of `look_up`.

    Args:
        grad: With respect to the map A, `b n m`.
        q: As `look_up` took it, contiguous, as the keys.
        keys: See there.
        attention: A, as it returned it, and the statistics; None where nothing is refined.
        statistics: See there.
        grad_variance: With respect to the variance of A, `b m`; None where nothing is refined.

    Returns:
        Gradients with respect to q, `b n d`, and the keys, `b m d`.
    """
    grad_q, rows = torch.empty_like(q), cpu.padded(keys)
    of_variance = None if grad_variance is None else grad_variance * (2 / q.shape[1])
    grad_keys = _BackwardArguments.run(
        "look_up_backward",
        attention,
        keys.shape[2],
        grad_attention=grad.contiguous(),
        q=q,
        keys=rows,
        mean=None if statistics is None else statistics.mean.contiguous(),
        of_variance=of_variance,
        grad_q=grad_q,
        reduced=keys.shape[2],
        wide_reduced=rows.shape[2],
    )
    return grad_q, grad_keys


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
