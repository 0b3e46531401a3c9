"""Attention to the token dictionary and its refinement, in Triton; the map A is never written.

The softmax over the tokens needs the variance of A over all of them. It is an output of `look_up`
that carries a gradient, so the backward pass of the refinement is one pass over its tokens, and
what comes back through the variance is added where `look_up` makes A for its own gradient.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu import dictionary_kernels as kernels


@dataclass(frozen=True)
class DictionaryBlocks:
    """How the work of a kernel is cut.

    Attributes:
        tokens: of a block.
        width: channels of a block.
        warps: of a program.
        stages: rounds of the loop over blocks that load ahead.
        programs: how many there should be; decides how many blocks a chunk has.
    """

    tokens: int
    width: int
    warps: int
    stages: int
    programs: int


@dataclass(frozen=True)
class GPUStatistics:
    """Of the shares that the tokens of a picture give to each entry of the dictionary.

    Attributes:
        mean: float32 `b m`.
        variance: float32 `b m`, biased; carries a gradient to the queries and keys.
        smallest: float32 `b m`.
        largest: float32 `b m`.
    """

    mean: Tensor
    variance: Tensor
    smallest: Tensor
    largest: Tensor


BLOCKS = {
    ("look_up", 64): DictionaryBlocks(tokens=64, width=64, warps=4, stages=2, programs=528),
    ("look_up", 128): DictionaryBlocks(tokens=16, width=256, warps=8, stages=2, programs=264),
    ("look_up_backward", 64): DictionaryBlocks(
        tokens=64, width=64, warps=4, stages=2, programs=264
    ),
    ("look_up_backward", 128): DictionaryBlocks(
        tokens=16, width=64, warps=4, stages=2, programs=264
    ),
    ("gather", 64): DictionaryBlocks(tokens=64, width=64, warps=4, stages=3, programs=264),
    ("gather", 128): DictionaryBlocks(tokens=32, width=256, warps=8, stages=2, programs=132),
    ("gather_backward", 64): DictionaryBlocks(tokens=64, width=64, warps=4, stages=2, programs=264),
    ("gather_backward", 128): DictionaryBlocks(
        tokens=16, width=64, warps=4, stages=2, programs=264
    ),
}
"""For bfloat16, by the kernel and the most entries; GENERAL is for all else."""

GENERAL = DictionaryBlocks(tokens=16, width=64, warps=8, stages=2, programs=264)

SUMMED = 256
"""Numbers of a program that sums over chunks."""


# --------------------------------------------------------------------------------------- launches


def _side(count: int) -> int:
    """Of a block that holds so many."""
    return max(16, 1 << (count - 1).bit_length())


@dataclass(frozen=True)
class _Plan:
    """How a kernel is launched on a dictionary and its tokens.

    Attributes:
        how: the blocks.
        chunk: tokens in a chunk.
        chunks: of a picture.
        pitch: of the queries' rows.
        entries: m.
        reduced: d.
        width: c.
    """

    how: DictionaryBlocks
    chunk: int
    chunks: int
    pitch: int
    entries: int
    reduced: int
    width: int

    @classmethod
    def of(cls, kernel: str, q: Tensor, entries: int, width: int) -> "_Plan":
        """Chunks of whole blocks, so many that there are programs enough."""
        b, n, reduced = q.shape
        how = GENERAL
        if q.dtype == torch.bfloat16:
            how = BLOCKS.get((kernel, max(64, _side(entries))), GENERAL)
        chunk = math.ceil(n / max(1, how.programs // b))
        chunk = math.ceil(chunk / how.tokens) * how.tokens
        return cls(how, chunk, math.ceil(n / chunk), q.stride(1), entries, reduced, width)

    @property
    def columns(self) -> int:
        """Channels of a block."""
        return min(self.how.width, _side(self.width))

    def launch(self, kernel: Any, q: Tensor, *others: Tensor | None, split: bool, **types: Any):
        """Start a kernel on its tensors, with a program for each block of channels if `split`."""
        b, n, _ = q.shape
        gpu.launch(
            kernel,
            (b * self.chunks, math.ceil(self.width / self.columns) if split else 1),
            q,
            *others,
            n,
            self.chunk,
            self.chunks,
            warps=self.how.warps,
            stages=self.how.stages,
            PITCH=self.pitch,
            ENTRIES=self.entries,
            REDUCED=self.reduced,
            WIDTH=self.width,
            N=self.how.tokens,
            M=_side(self.entries),
            D=_side(self.reduced),
            C=self.columns,
            PRECISION=gpu.precision(torch.float32),
            **types,
        )

    def parts(self, q: Tensor, *shape: int) -> Tensor:
        """Room for what the chunks sum: `b chunks ...`."""
        return q.new_empty(q.shape[0], self.chunks, *shape, dtype=torch.float32)


def _even_rows(q: Tensor) -> Tensor:
    """The same with one pitch for all rows of all pictures, a copy only if need be."""
    b, n, d = q.shape
    pitch = q.stride(1) if n > 1 else d
    even = (d == 1 or q.stride(2) == 1) and pitch >= d and (b == 1 or q.stride(0) == n * pitch)
    return q if even and q.stride(1) == pitch else q.contiguous()


def _summed(parts: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """`b chunks ...` -> `b ...`."""
    out = parts.new_empty(parts.shape[0], *parts.shape[2:], dtype=dtype)
    _sum(parts, None, out, None)
    return out


def _sum(parts: Tensor, totals: Tensor | None, out: Tensor, whole: Tensor | None) -> None:
    b, chunks = parts.shape[:2]
    length = parts[0, 0].numel()
    gpu.launch(
        kernels.sum_chunks,
        (b, math.ceil(length / SUMMED)),
        parts,
        totals,
        out,
        whole,
        chunks,
        warps=4,
        LENGTH=length,
        WIDTH=parts.shape[-1],
        C=SUMMED,
        K=8,
    )


# ---------------------------------------------------------------------------------------- look up


@torch.library.custom_op("atdsr::look_up", mutates_args=())
def _look_up_op(
    q: Tensor, keys: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    q, keys, values = _even_rows(q), keys.contiguous(), values.contiguous()
    (b, n, _), (m, c) = q.shape, values.shape[1:]
    plan = _Plan.of("look_up", q, m, c)
    mixed, categories = values.new_empty(b, n, c), q.new_empty(b, n, dtype=torch.int32)
    parts = plan.parts(q, 4, m)
    plan.launch(kernels.look_up, q, keys, values, mixed, categories, parts, split=False)
    statistics = [keys.new_empty(b, m) for _ in range(4)]
    gpu.launch(
        kernels.merge_statistics,
        (b,),
        parts,
        *statistics,
        n,
        plan.chunk,
        plan.chunks,
        warps=4,
        ENTRIES=m,
        M=_side(m),
        K=8,
    )
    mean, variance, smallest, largest = statistics
    return mixed, categories, mean, variance, smallest, largest


@_look_up_op.register_fake
def _(q, keys, values):
    (b, n, _), (m, c) = q.shape, values.shape[1:]
    mean, variance, smallest, largest = (keys.new_empty(b, m) for _ in range(4))
    categories = q.new_empty(b, n, dtype=torch.int32)
    return values.new_empty(b, n, c), categories, mean, variance, smallest, largest


@torch.library.custom_op("atdsr::look_up_backward", mutates_args=())
def _look_up_backward_op(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    mean: Tensor,
    grad_mixed: Tensor | None,
    grad_variance: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    q, keys, values = _even_rows(q), keys.contiguous(), values.contiguous()
    grad_mixed = None if grad_mixed is None else grad_mixed.contiguous()
    grad_variance = None if grad_variance is None else grad_variance.contiguous()
    (m, d), c = keys.shape[1:], values.shape[2]
    plan = _Plan.of("look_up_backward", q, m, c)
    grad_q, grad_keys = q.new_empty(q.shape), plan.parts(q, m, d)
    fused = grad_mixed is not None and c <= plan.columns
    grad_values = plan.parts(q, m, c) if fused else None
    given, taken = (q, keys, values, mean, grad_mixed, grad_variance), (grad_q, grad_keys)
    plan.launch(kernels.look_up_backward, *given, *taken, grad_values, split=False)
    if grad_mixed is None:
        return grad_q, _summed(grad_keys), torch.zeros_like(values)
    if grad_values is None:
        plan = _Plan.of("gather", q, m, c)
        grad_values = plan.parts(q, m, c)
        factors = (None, None, None, None)
        how = {"split": True, "TYPE": _TYPES[values.dtype]}
        plan.launch(kernels.gather, q, keys, grad_mixed, *factors, grad_values, None, **how)
    return grad_q, _summed(grad_keys), _summed(grad_values, values.dtype)


@_look_up_backward_op.register_fake
def _(q, keys, values, *_):
    return q.new_empty(q.shape), keys.new_empty(keys.shape), values.new_empty(values.shape)


def _keep_looked_up(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    _, categories, mean, _, smallest, largest = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(categories, mean, smallest, largest)
    ctx.save_for_backward(*inputs, mean)


def _look_up_gradients(
    ctx: Any, grad_mixed: Tensor | None, _: Any, __: Any, grad_variance: Tensor | None, *___: Any
) -> tuple[Tensor | None, ...]:
    if grad_mixed is None and grad_variance is None:
        return None, None, None
    return _look_up_backward_op(*ctx.saved_tensors, grad_mixed, grad_variance)


_look_up_op.register_autograd(_look_up_gradients, setup_context=_keep_looked_up)


def look_up(q: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, GPUStatistics]:
    """What tokens find in the dictionary: softmax(normalise(q) @ keys^T) @ values.

    Args:
        q: `b n d`, float32 or bfloat16 queries as they come; rows may lie apart.
        keys: `b m d`, unit vectors times the temperature; taken in float32.
        values: `b m c`, float32 or bfloat16.

    Returns:
        `b n c` in the values' dtype; the first entry of the largest share, int32 `b n` (any where
        the queries are not numbers); statistics of the shares. The first carries gradients, and
        of the statistics the variance.
    """
    mixed, categories, *statistics = _look_up_op(q, keys.float(), values)
    return mixed, categories, GPUStatistics(*statistics)


# ---------------------------------------------------------------------------------------- gather

_TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16}


@torch.library.custom_op("atdsr::gather_shares", mutates_args=())
def _gather_op(
    q: Tensor,
    keys: Tensor,
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    variance: Tensor,
    smallest: Tensor,
    largest: Tensor,
) -> tuple[Tensor, Tensor]:
    q, keys, x = _even_rows(q), keys.contiguous(), x.contiguous()
    b, m, c = *keys.shape[:2], x.shape[2]
    plan = _Plan.of("gather", q, m, c)
    sums, totals = plan.parts(q, m, c), plan.parts(q, m)
    given = (q, keys, x, weight, variance, smallest, largest)
    plan.launch(kernels.gather, *given, sums, totals, split=True, TYPE=_TYPES[q.dtype])
    gathered, whole = keys.new_empty(b, m, c), keys.new_empty(b, m)
    _sum(sums, totals, gathered, whole)
    return gathered, whole


@_gather_op.register_fake
def _(q, keys, x, *_):
    b, m, c = *keys.shape[:2], x.shape[2]
    return keys.new_empty(b, m, c), keys.new_empty(b, m)


@torch.library.custom_op("atdsr::gather_shares_backward", mutates_args=())
def _gather_backward_op(
    q: Tensor,
    keys: Tensor,
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    variance: Tensor,
    smallest: Tensor,
    largest: Tensor,
    totals: Tensor,
    gathered: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    q, keys, x, grad = _even_rows(q), keys.contiguous(), x.contiguous(), grad.contiguous()
    (b, m, d), c = keys.shape, x.shape[2]
    plan = _Plan.of("gather_backward", q, m, c)
    grad_q, grad_x = q.new_empty(q.shape), x.new_empty(x.shape)
    grad_keys, grad_factor = plan.parts(q, m, d), plan.parts(q, m)
    given = (q, keys, x, weight, mean, variance, smallest, largest, totals, gathered, grad)
    taken = (grad_q, grad_keys, grad_x, grad_factor)
    plan.launch(kernels.gather_backward, *given, *taken, split=False, TYPE=_TYPES[q.dtype])
    grad_weights, grad_variance = keys.new_empty(b, m), keys.new_empty(b, m)
    gpu.launch(
        kernels.factor_backward,
        (b,),
        grad_factor,
        weight,
        variance,
        grad_weights,
        grad_variance,
        plan.chunks,
        warps=4,
        ENTRIES=m,
        M=_side(m),
        K=8,
    )
    return grad_q, _summed(grad_keys), grad_x, grad_weights.sum(0), grad_variance


@_gather_backward_op.register_fake
def _(q, keys, x, weight, mean, variance, *_):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (q, keys, x, weight, variance))


def _keep_gathered(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    gathered, totals = output
    ctx.mark_non_differentiable(totals)
    ctx.save_for_backward(*inputs, totals, gathered)


def _gather_gradients(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    q, keys, x, weight, variance = _gather_backward_op(*ctx.saved_tensors, grad)
    return q, keys, x, weight, None, variance, None, None


_gather_op.register_autograd(_gather_gradients, setup_context=_keep_gathered)


def gather_shares(
    q: Tensor, keys: Tensor, x: Tensor, weight: Tensor, statistics: GPUStatistics
) -> Tensor:
    """What each entry of the dictionary gathers from the tokens.

    softmax(A * weight * (variance + 1e-5)^-0.5) over the tokens, times x, A being the map of
    `look_up`. The gradient of A's variance goes through the statistics.

    Args:
        q: `b n d`, as in `look_up`.
        keys: `b m d`, as there.
        x: `b n c`, float32 or bfloat16.
        weight: `m`, of any sign; taken in float32.
        statistics: of `look_up` with the same queries and keys.

    Returns:
        float32 `b m c`.
    """
    s = statistics
    of_map = (s.mean, s.variance, s.smallest, s.largest)
    return _gather_op(q, keys.float(), x, weight.float(), *of_map)[0]
