"""Attention inside groups of tokens on CPUs, forward and backward, by `attention.c`.

The functions have the signatures of the operators in `atdsr.network.operators`. In addition, `out`
may say where the result goes, and `into` to what the gradient of qkv is added. `out` may have more
channels than the result, which then goes to those from `first` on. `rounded` rounds the factors of
all products to bf16, whatever the dtype of the tensors; sums, exponentials and what is added to
scores stay float32. A processor with AVX512-BF16 then multiplies twice as many numbers at a time;
the library of AVX-512 must not be asked for it on one that has no AVX512-BF16.
"""

import ctypes
import math
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor

from atdsr.network import windows
from atdsr.network.kernels import cpu

SIDE_MULTIPLE = 8
"""Sides of windows must be a multiple of this, as in `attention.c`."""

_LOG2_E = math.log2(math.e)
_BACKWARD_CHUNKS = 64  # a fixed number, so that sums over chunks do not depend on the threads


class _AttentionArguments(cpu.KernelArguments):
    """`struct attention` of `attention.h`."""

    FLOATS = (torch.float32, torch.bfloat16, torch.float64)
    _fields_ = (
        *cpu.pointers("qkv", "order", "table", "penalties", "kinds", "out", "log_sums"),
        *cpu.pointers("grad_out", "grad_qkv", "grad_table", "grad_scale"),
        *cpu.integers("pictures", "tokens", "heads", "width", "group", "side", "order_pitch"),
        *cpu.integers("chunks", "out_pitch", "out_first"),
        ("bf16", ctypes.c_int32),
        ("rounds", ctypes.c_int32),
        ("adds", ctypes.c_int32),
        ("scale", ctypes.c_float),
        *cpu.KernelArguments.SHARED,
    )


@dataclass(frozen=True)
class _Groups:
    """How the tokens of `qkv` are grouped, and what is added to their scores.

    Attributes:
        qkv: Contiguous queries, keys and values, `b n 3c`.
        order: Tokens, group by group, int64 `b n`, or `n` for all pictures.
        group: Tokens in a group.
        heads: Number of heads.
        scale: Factor of the scores.
        biases: float32 `heads (2 side - 1)^2` in units of log2, for windows.
        side: Side of the windows, 0 for runs of sorted tokens.
        penalties: float32 `kinds group group` in units of log2, for windows at the edge.
        kinds: uint8, the penalties that each group of a picture has, 0 for none.
        rounded: Whether factors of products are rounded to bf16.
    """

    qkv: Tensor
    order: Tensor
    group: int
    heads: int
    scale: float
    biases: Tensor | None = None
    side: int = 0
    penalties: Tensor | None = None
    kinds: Tensor | None = None
    rounded: bool = False

    @property
    def tasks(self) -> int:
        """Number of heads of all groups; each is a piece of work."""
        b, n, _ = self.qkv.shape
        return b * math.ceil(n / self.group) * self.heads

    def run(
        self,
        name: str,
        chunks: int,
        *,
        first: int = 0,
        adds: bool = False,
        out: Tensor,
        **tensors: Tensor | None,
    ) -> None:
        """Run a pass, its tasks cut into so many chunks."""
        b, n, c3 = self.qkv.shape
        arguments = _AttentionArguments.of(
            qkv=self.qkv,
            order=self.order,
            table=self.biases,
            penalties=self.penalties,
            kinds=self.kinds,
            out=out,
            **tensors,
            pictures=b,
            tokens=n,
            heads=self.heads,
            width=c3 // 3 // self.heads,
            group=self.group,
            side=self.side,
            order_pitch=n if self.order.dim() == 2 else 0,
            chunks=chunks,
            out_pitch=out.shape[-1],
            out_first=first,
            bf16=self.qkv.dtype == torch.bfloat16,
            rounds=self.rounded,
            adds=adds,
            scale=self.scale * _LOG2_E,
        )
        cpu.run(name, arguments, chunks)


def _forward(groups: _Groups, keep: bool, out: Tensor | None, first: int) -> tuple[Tensor, Tensor]:
    """Return the result `b n c` and, if they are to be kept, the logarithms of softmax's sums."""
    b, n, c3 = groups.qkv.shape
    if out is None:
        out = groups.qkv.new_empty(b, n, c3 // 3)
    log_sums = groups.qkv.new_empty((b, groups.heads, n) if keep else 0, dtype=torch.float32)
    # neighbours in the order of tasks share rows, so a thread takes several at a time
    chunks = min(groups.tasks, 8 * torch.get_num_threads())
    log_sums_kept = log_sums if keep else None
    groups.run("attention_forward", chunks, first=first, out=out, log_sums=log_sums_kept)
    return out, log_sums


def _backward(
    groups: _Groups,
    grad_out: Tensor,
    out: Tensor,
    log_sums: Tensor,
    scale_is_learned: bool,
    into: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of qkv, of the biases and of the scale's logarithm.

    The scores are computed again. Each chunk sums the gradient of the biases on its own.
    """
    chunks = min(groups.tasks, _BACKWARD_CHUNKS)
    grad_qkv = torch.empty_like(groups.qkv) if into is None else into
    grad_biases = grad_scales = None
    if groups.biases is not None:
        heads, size = groups.biases.shape
        grad_biases = groups.biases.new_zeros(chunks, heads, size + 1)
    if scale_is_learned:
        grad_scales = groups.qkv.new_zeros(groups.tasks, dtype=torch.float64)
    groups.run(
        "attention_backward",
        chunks,
        adds=into is not None,
        out=out,
        log_sums=log_sums,
        grad_out=grad_out,
        grad_qkv=grad_qkv,
        grad_table=grad_biases,
        grad_scale=grad_scales,
    )
    if grad_biases is not None:
        grad_biases = cpu.add_parts(grad_biases[None])[0, :, :-1]
    return grad_qkv, grad_biases, grad_scales


# ---------------------------------------------------------------------------- window attention


def window_attention(
    qkv: Tensor,
    table: Tensor,
    side: int,
    shifted: bool,
    keep: bool,
    out: Tensor | None = None,
    first: int = 0,
    *,
    rounded: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run the operator `atdsr::window_attention` on contiguous `b h w 3c`."""
    groups = _windows(qkv, table, side, shifted, rounded)
    result, log_sums = _forward(groups, keep, None if out is None else out.flatten(1, 2), first)
    return result.view(*qkv.shape[:3], -1), log_sums


def window_attention_backward(
    grad_out: Tensor,
    qkv: Tensor,
    table: Tensor,
    out: Tensor,
    log_sums: Tensor,
    side: int,
    shifted: bool,
    learned: bool,
    into: Tensor | None = None,
    *,
    rounded: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run the operator `atdsr::window_attention_backward`.

    The gradient of qkv is added to `into`, contiguous `b h w 3c`, where it is given.
    """
    # the kernel walks queries, not keys, and so finds biases in the order of the reversed table
    groups = _windows(qkv, table.flip(0), side, shifted, rounded)
    grad_qkv, grad_biases, _ = _backward(groups, grad_out, out, log_sums, False, into)
    assert grad_biases is not None, "windows have biases"
    grad_table = grad_biases.flip(1).T.contiguous() if learned else table.new_empty(0)
    return grad_qkv.view(qkv.shape), grad_table


def _windows(qkv: Tensor, table: Tensor, side: int, shifted: bool, rounded: bool) -> _Groups:
    _, h, w, c3 = qkv.shape
    heads = table.shape[1]
    order, kinds = _window_order(h, w, side, shifted)
    return _Groups(
        qkv=qkv.flatten(1, 2),
        order=order,
        group=side**2,
        heads=heads,
        scale=(c3 // 3 // heads) ** -0.5,
        biases=(table.float() * _LOG2_E).T.contiguous(),
        side=side,
        penalties=_penalties(side) if shifted else None,
        kinds=kinds,
        rounded=rounded,
    )


@lru_cache(maxsize=16)
def _window_order(
    height: int, width: int, side: int, shifted: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the tokens of a picture window by window and, if shifted, each window's kind."""
    tokens = torch.arange(height * width, device="cpu").view(1, height, width, 1)
    if not shifted:
        return windows.partition(tokens, side).flatten(), None
    rows, columns = (torch.arange(size // side, device="cpu") for size in (height, width))
    kinds = 2 * (rows == rows[-1]).byte()[:, None] + (columns == columns[-1]).byte()
    return windows.partition(windows.shift(tokens, side), side).flatten(), kinds.flatten()


@cache
def _penalties(side: int) -> Tensor:
    return windows.shift_penalties(side, torch.device("cpu")).flatten(0, 1) * _LOG2_E


# -------------------------------------------------------------------------- category attention


def category_attention(
    qkv: Tensor,
    order: Tensor,
    log_scale: Tensor,
    heads: int,
    group: int,
    keep: bool,
    out: Tensor | None = None,
    first: int = 0,
    *,
    rounded: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run the operator `atdsr::category_attention` on contiguous `b n 3c`."""
    return _forward(_runs(qkv, order, log_scale, heads, group, rounded), keep, out, first)


def category_attention_backward(
    grad_out: Tensor,
    qkv: Tensor,
    order: Tensor,
    log_scale: Tensor,
    out: Tensor,
    log_sums: Tensor,
    heads: int,
    group: int,
    learned: bool,
    into: Tensor | None = None,
    *,
    rounded: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run the operator `atdsr::category_attention_backward`.

    The gradient of qkv is added to `into`, contiguous `b n 3c`, where it is given.
    """
    groups = _runs(qkv, order, log_scale, heads, group, rounded)
    grad_qkv, _, grad_scales = _backward(groups, grad_out, out, log_sums, learned, into)
    if grad_scales is None:
        return grad_qkv, log_scale.new_empty(0)
    return grad_qkv, log_scale.new_tensor(math.fsum(grad_scales.tolist()))


def _runs(
    qkv: Tensor, order: Tensor, log_scale: Tensor, heads: int, group: int, rounded: bool
) -> _Groups:
    return _Groups(qkv, order.long(), group, heads, math.exp(log_scale.item()), rounded=rounded)
