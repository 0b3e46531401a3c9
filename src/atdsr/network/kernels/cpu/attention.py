"""Attention inside groups of tokens on CPUs, forward and backward, by `attention.c`."""

import ctypes
import math
from dataclasses import dataclass
from functools import cache, lru_cache, reduce

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from atdsr.network import windows
from atdsr.network.kernels import cpu

_LOG2_E = math.log2(math.e)
_SIDE_UNIT = 16  # sides of windows that fill vectors of every variant
_BACKWARD_CHUNKS = 64  # a fixed number, since sums over chunks shall not follow the threads


class _Attention(cpu.Job):
    """`struct attention` of `attention.h`."""

    FLOATS = (torch.float32, torch.bfloat16, torch.float64)
    _fields_ = (
        *cpu.pointers("qkv", "order", "table", "penalties", "kinds", "out", "log_sums"),
        *cpu.pointers("grad_out", "grad_qkv", "grad_table", "grad_scale"),
        *cpu.integers("pictures", "tokens", "heads", "width", "group", "side", "order_pitch"),
        *cpu.integers("chunks"),
        ("bf16", ctypes.c_int32),
        ("scale", ctypes.c_float),
        *cpu.Job.THREADS,
    )


def takes(qkv: Tensor) -> bool:
    """Whether the kernels run on these queries, keys and values."""
    return qkv.dtype in (torch.float32, torch.bfloat16) and cpu.run_on(qkv)


def takes_windows(qkv: Tensor, side: int) -> bool:
    """Whether they do in windows of this side, which must fill vectors."""
    return side % _SIDE_UNIT == 0 and takes(qkv)


@dataclass(frozen=True)
class _Groups:
    """What of an attention is no tensor of the network.

    Attributes:
        order: int64 tokens, group by group, `b n` or `n` for all pictures.
        group: tokens in a group.
        heads: number of heads.
        scale: of the scores.
        side: of the windows, 0 for runs of sorted tokens.
        penalties: float32 `kinds group group` in units of log2, for windows at the edge.
        kinds: uint8, which penalties each group of a picture has, 0 for none.
    """

    order: Tensor
    group: int
    heads: int
    scale: float
    side: int = 0
    penalties: Tensor | None = None
    kinds: Tensor | None = None

    def job(
        self, qkv: Tensor, table: Tensor | None, chunks: int, **tensors: Tensor | None
    ) -> cpu.Job:
        """The struct of a pass."""
        b, n, c3 = qkv.shape
        return _Attention.of(
            qkv=qkv,
            order=self.order,
            table=table,
            penalties=self.penalties,
            kinds=self.kinds,
            **tensors,
            pictures=b,
            tokens=n,
            heads=self.heads,
            width=c3 // 3 // self.heads,
            group=self.group,
            side=self.side,
            order_pitch=n if self.order.dim() == 2 else 0,
            chunks=chunks,
            bf16=qkv.dtype == torch.bfloat16,
            scale=self.scale * _LOG2_E,
        )

    def tasks(self, qkv: Tensor) -> int:
        """How many heads of groups there are."""
        return qkv.shape[0] * math.ceil(qkv.shape[1] / self.group) * self.heads


def _forward(
    qkv: Tensor, table: Tensor | None, groups: _Groups, keep: bool
) -> tuple[Tensor, Tensor | None]:
    b, n, c3 = qkv.shape
    name = "categories" if table is None else "windows"
    out = cpu.room(name, b, n, c3 // 3, dtype=qkv.dtype)
    log_sums = qkv.new_empty(b, groups.heads, n, dtype=torch.float32) if keep else None
    # neighbours in the order of tasks share rows, so a thread takes several at a time
    chunks = min(groups.tasks(qkv), 8 * torch.get_num_threads())
    cpu.run("attention_forward", groups.job(qkv, table, chunks, out=out, log_sums=log_sums), chunks)
    return out, log_sums


class _Attend(torch.autograd.Function):
    """Attention inside groups; scores are computed again in the backward pass.

    `log_scale` is a number that is not used, but gets the gradient of log(scale).
    """

    @staticmethod
    def forward(ctx, qkv: Tensor, table: Tensor | None, log_scale: Tensor | None, groups: _Groups):
        out, log_sums = _forward(qkv, table, groups, keep=True)
        ctx.save_for_backward(qkv, table, out, log_sums)
        ctx.groups = groups
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        qkv, table, out, log_sums = ctx.saved_tensors
        groups: _Groups = ctx.groups
        tasks = groups.tasks(qkv)
        chunks = min(tasks, _BACKWARD_CHUNKS)
        grad_out, grad_qkv = grad_outputs[0].contiguous(), torch.empty_like(qkv)
        grad_tables = grad_scales = None
        if table is not None:
            grad_tables = table.new_zeros(chunks, groups.heads, table.shape[1] + 1)
        if ctx.needs_input_grad[2]:
            grad_scales = qkv.new_zeros(tasks, dtype=torch.float64)
        job = groups.job(
            qkv,
            table,
            chunks,
            out=out,
            log_sums=log_sums,
            grad_out=grad_out,
            grad_qkv=grad_qkv,
            grad_table=grad_tables,
            grad_scale=grad_scales,
        )
        cpu.run("attention_backward", job, chunks)
        grad_table = grad_scale = None
        if grad_tables is not None:
            # one after the other, for the order of a parallel sum would follow the threads
            grad_table = reduce(torch.add, grad_tables.unbind())[:, :-1] / _LOG2_E
        if grad_scales is not None:
            grad_scale = qkv.new_tensor(math.fsum(grad_scales.tolist()), dtype=torch.float32)
        return grad_qkv, grad_table, grad_scale, None


def _attend(qkv: Tensor, table: Tensor | None, log_scale: Tensor | None, groups: _Groups) -> Tensor:
    qkv = qkv.contiguous()
    learned = (qkv, table, log_scale)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in learned):
        return _Attend.apply(qkv, table, log_scale, groups)
    return _forward(qkv, table, groups, keep=False)[0]


@lru_cache(maxsize=16)
def _windows(height: int, width: int, side: int, shifted: bool) -> tuple[Tensor, Tensor | None]:
    """The tokens of a picture window by window, and the kind of each window where shifted."""
    tokens = torch.arange(height * width, device="cpu").view(1, height, width, 1)
    if not shifted:
        return windows.partition(tokens, side).flatten(), None
    rows, columns = (torch.arange(size // side, device="cpu") for size in (height, width))
    kinds = 2 * (rows == rows[-1]).byte()[:, None] + (columns == columns[-1]).byte()
    return windows.partition(windows.shift(tokens, side), side).flatten(), kinds.flatten()


@cache
def _penalties(side: int) -> Tensor:
    with torch.device("cpu"):
        return windows.shift_penalties(side).flatten(0, 1).float() * _LOG2_E


def window_attention(qkv: Tensor, table: Tensor, side: int, shifted: bool) -> Tensor:
    """`attention.window_attention` of `b h w 3c` under a table of biases `(2 side - 1)^2 heads`."""
    b, h, w, c3 = qkv.shape
    heads = table.shape[1]
    order, kinds = _windows(h, w, side, shifted)
    scale = (c3 // 3 // heads) ** -0.5
    penalties = _penalties(side) if shifted else None
    groups = _Groups(order, side**2, heads, scale, side, penalties, kinds)
    biases = (table.float() * _LOG2_E).T.contiguous()
    return _attend(qkv.reshape(b, h * w, c3), biases, None, groups).view(b, h, w, -1)


def category_attention(
    qkv: Tensor, order: Tensor, log_scale: Tensor, heads: int, group: int
) -> Tensor:
    """`attention.category_attention` of `b n 3c` in a given order of tokens.

    Args:
        qkv: `b n 3c`.
        order: int64 `b n`, tokens sorted by category.
        log_scale: one number, the logarithm of the scale of scores.
        heads: number of heads.
        group: tokens in a run, at most n.
    """
    groups = _Groups(order, group, heads, math.exp(log_scale.item()))
    return _attend(qkv, None, log_scale.reshape(()), groups)
