"""Window attention and category attention on GPUs, forward and backward."""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor

from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu.attention_kernels import (
    add_borrowed_kernel,
    fold_kernel,
    forward_kernel,
    keys_kernel,
    queries_kernel,
)

# ----------------------------------------------------------------------------- launch constants


@dataclass(frozen=True)
class AttentionBlocks:
    """How a kernel is cut.

    Attributes:
        rows: of the score matrix in a program.
        columns: of the score matrix at a time.
        warps: of a program.
        stages: rounds of the loop over groups that load ahead.
        parts: programs among which the columns are divided, where biases have a gradient.
    """

    rows: int
    columns: int
    warps: int = 4
    stages: int = 2
    parts: int = 1


@dataclass(frozen=True)
class _Cut:
    """How the three kernels are cut for one type and padded head width."""

    forward: AttentionBlocks
    queries: AttentionBlocks
    keys: AttentionBlocks


_WINDOWS = {
    (torch.bfloat16, 16): _Cut(
        AttentionBlocks(64, 128), AttentionBlocks(64, 64, parts=2), AttentionBlocks(64, 64)
    ),
    (torch.bfloat16, 64): _Cut(
        AttentionBlocks(128, 64, warps=8),
        AttentionBlocks(128, 32, warps=8, parts=4),
        AttentionBlocks(128, 32, warps=8),
    ),
    (torch.float32, 16): _Cut(
        AttentionBlocks(32, 64, warps=8), AttentionBlocks(32, 32, parts=4), AttentionBlocks(32, 32)
    ),
    (torch.float32, 64): _Cut(
        AttentionBlocks(16, 64, warps=8, stages=1),
        AttentionBlocks(16, 32, warps=8, stages=1, parts=4),
        AttentionBlocks(16, 32, warps=8, stages=1),
    ),
}
_CATEGORIES = {
    (torch.bfloat16, 16): _Cut(
        AttentionBlocks(64, 128), AttentionBlocks(64, 128), AttentionBlocks(64, 128)
    ),
    (torch.bfloat16, 64): _Cut(
        AttentionBlocks(128, 64, warps=8),
        AttentionBlocks(128, 64, warps=8),
        AttentionBlocks(128, 64, warps=8),
    ),
    (torch.float32, 16): _Cut(
        AttentionBlocks(32, 64), AttentionBlocks(32, 32), AttentionBlocks(32, 32)
    ),
    (torch.float32, 64): _Cut(
        AttentionBlocks(16, 64, warps=8, stages=1),
        AttentionBlocks(16, 32, warps=8, stages=1),
        AttentionBlocks(16, 32, warps=8, stages=1),
    ),
}
_ROUNDS = 4
"""Programs wanted for each multiprocessor; fewer share less well, more load more biases."""

_WIDE = 64  # padded head width of the last launch constants
_ROOM = 160 * 1024  # bytes of shared memory that loading wide heads ahead takes
_MULTIPROCESSORS = 132  # of the GPU that is compiled for where none is there


@cache
def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return _MULTIPROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count


@cache
def _roomy(device: torch.device) -> bool:
    """Whether a program may have the shared memory to load wide heads ahead."""
    if device.type != "cuda":
        return True
    properties = torch.cuda.get_device_properties(device)
    return getattr(properties, "shared_memory_per_block_optin", 0) >= _ROOM


@dataclass(frozen=True)
class _Grid:
    """The programs of a kernel.

    Attributes:
        blocks: of rows in a group.
        parts: of the columns of a group.
        tiles: of columns in a part.
        per_program: groups that a program takes.
        chunks: of groups, one a program.
        size: programs in all.
    """

    blocks: int
    parts: int
    tiles: int
    per_program: int
    chunks: int
    size: int


@dataclass(frozen=True)
class _Groups:
    """An attention's groups, and what its kernels are told.

    Attributes:
        qkv: contiguous `b n 3c`.
        heads: number of heads.
        group: tokens in a group.
        order: tokens sorted by category `b n`; None for windows.
        table: float32 biases `(2 side - 1)^2 heads`; None for categories.
        log_scale: float32 logarithm of the scale of scores; None for windows.
        height: of the map in tokens, for windows.
        width: likewise.
        side: of the windows, 0 for categories.
        shift: of the windows, down and to the right.
    """

    qkv: Tensor
    heads: int
    group: int
    order: Tensor | None = None
    table: Tensor | None = None
    log_scale: Tensor | None = None
    height: int = 0
    width: int = 0
    side: int = 0
    shift: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pictures, tokens of a picture and channels."""
        b, n, c3 = self.qkv.shape
        return b, n, c3 // 3

    @property
    def total(self) -> int:
        """Groups of all pictures."""
        b, n, _ = self.shape
        return b * math.ceil(n / self.group)

    @property
    def missing(self) -> int:
        """Tokens that the last run of a picture borrows."""
        return -self.shape[1] % self.group

    @property
    def padded_width(self) -> int:
        """Channels of a head as the kernels have them."""
        return _padded(self.shape[2] // self.heads)

    @property
    def cut(self) -> _Cut:
        """The launch constants."""
        cuts = _CATEGORIES if self.table is None else _WINDOWS
        return cuts[self.qkv.dtype, min(self.padded_width, _WIDE)]

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """The first arguments of every kernel."""
        return self.qkv, self.order, self.table, self.log_scale

    def numbers(self, grid: _Grid) -> tuple[int, ...]:
        """The last arguments of every kernel."""
        return self.total, grid.per_program, self.shape[1], self.height, self.width

    def constants(self, blocks: AttentionBlocks, tiles: int) -> dict[str, Any]:
        """The compile-time parameters of every kernel, and its launch options."""
        width = self.shape[2] // self.heads
        wide = self.padded_width >= _WIDE
        return {
            "HEADS": self.heads,
            "WIDTH": width,
            "GROUP": self.group,
            "SIDE": self.side,
            "SHIFT": self.shift,
            "LARGE": self.qkv[0].numel() > 2**31 - 1,
            "PAIRS": width % 2 == 1 and self.heads % 2 == 0,
            "MASKED": self.missing > 0 or self.group < _padded(self.group),
            "D": self.padded_width,
            "ROWS": blocks.rows,
            "COLUMNS": blocks.columns,
            "TILES": tiles,
            "PRECISION": gpu.precision(self.qkv.dtype),
            "warps": blocks.warps,
            "stages": 1 if wide and not _roomy(self.qkv.device) else blocks.stages,
        }


def _padded(size: int) -> int:
    return max(16, 1 << (size - 1).bit_length())


def _fit(blocks: AttentionBlocks, groups: _Groups, parts: int = 1) -> tuple[AttentionBlocks, _Grid]:
    """Launch constants for groups of this size, and the grid."""
    padded = _padded(groups.group)
    rows, columns = min(blocks.rows, padded), min(blocks.columns, padded)
    parts = min(parts, padded // columns)
    of_group = groups.heads * (padded // rows) * parts
    wanted = _ROUNDS * _multiprocessors(groups.qkv.device)
    per_program = math.ceil(groups.total * of_group / wanted)
    chunks = math.ceil(groups.total / per_program)
    grid = _Grid(
        padded // rows, parts, padded // columns // parts, per_program, chunks, of_group * chunks
    )
    return replace(blocks, rows=rows, columns=columns), grid


# ----------------------------------------------------------------------------------- the passes


def _forward(groups: _Groups, keep: bool) -> tuple[Tensor, Tensor]:
    """The result `b n c`, and the logarithms of the softmax's sums if they are to be kept."""
    b, n, c = groups.shape
    out = groups.qkv.new_empty(b, n, c)
    log_sums = _room_for_log_sums(groups.qkv, n, groups.heads, keep)
    blocks, grid = _fit(groups.cut.forward, groups)
    gpu.launch(
        forward_kernel,
        (grid.size,),
        *groups.inputs,
        out,
        log_sums,
        *groups.numbers(grid),
        BLOCKS=grid.blocks,
        KEEP=keep,
        **groups.constants(blocks, grid.tiles),
    )
    return out, log_sums


def _room_for_log_sums(qkv: Tensor, tokens: int, heads: int, keep: bool) -> Tensor:
    """float32 `b heads n` in group order, or nothing."""
    return qkv.new_empty((qkv.shape[0], heads, tokens) if keep else 0, dtype=torch.float32)


def _backward(
    groups: _Groups, grad_out: Tensor, out: Tensor, log_sums: Tensor, learned: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `b n 3c` and, if it is wanted, of the table or of the scale's logarithm."""
    b, n, c = groups.shape
    grad_qkv, deltas = torch.empty_like(groups.qkv), torch.empty_like(log_sums)
    grad_learned = _backward_of_queries(groups, grad_out, out, log_sums, deltas, grad_qkv, learned)
    borrowed = None
    if groups.missing:
        borrowed = grad_qkv.new_empty(b, groups.missing, 2 * c, dtype=torch.float32)
    blocks, grid = _fit(groups.cut.keys, groups)
    gpu.launch(
        keys_kernel,
        (grid.size,),
        *groups.inputs,
        log_sums,
        deltas,
        grad_out,
        grad_qkv,
        borrowed,
        *groups.numbers(grid),
        BLOCKS=grid.blocks,
        BORROWS=borrowed is not None,
        **groups.constants(blocks, grid.tiles),
    )
    if borrowed is not None:
        gpu.launch(
            add_borrowed_kernel,
            (b * groups.missing,),
            grad_qkv,
            groups.order,
            borrowed,
            n,
            groups.missing,
            C=c,
            BLOCK=triton.next_power_of_2(2 * c),
            warps=1,
        )
    return grad_qkv, grad_learned


def _backward_of_queries(
    groups: _Groups, grad_out: Tensor, out: Tensor, log_sums: Tensor, deltas: Tensor,
    grad_qkv: Tensor, learned: bool,
) -> Tensor:  # fmt: skip
    """Fill `deltas` and the queries' part of `grad_qkv`; return the learned number's gradient."""
    b, n, c = groups.shape
    of_biases = learned and groups.table is not None
    of_scale = learned and groups.log_scale is not None
    cut = groups.cut.queries
    blocks, grid = _fit(cut, groups, cut.parts if of_biases else 1)
    grad_q, pitch = grad_qkv, 3 * c
    if grid.parts > 1:
        grad_q, pitch = grad_qkv.new_empty(grid.parts, b, n, c), c
    sums = (grid.chunks, groups.heads, groups.group, groups.group)
    grad_biases = log_sums.new_empty(sums) if of_biases else None
    grad_scales = log_sums.new_empty(grid.size) if of_scale else None
    gpu.launch(
        queries_kernel,
        (grid.size,),
        *groups.inputs,
        out,
        log_sums,
        grad_out,
        grad_q,
        deltas,
        grad_biases,
        grad_scales,
        b,
        *groups.numbers(grid),
        BLOCKS=grid.blocks,
        PARTS=grid.parts,
        PITCH=pitch,
        BIAS_GRAD=of_biases,
        SCALE_GRAD=of_scale,
        **groups.constants(blocks, grid.tiles),
    )
    if grid.parts > 1:
        torch.sum(grad_q, 0, out=grad_qkv[..., :c])
    if grad_biases is not None:
        return _fold(grad_biases.sum(0), groups.side)
    return log_sums.new_empty(0) if grad_scales is None else grad_scales.sum()


def _fold(grad_biases: Tensor, side: int) -> Tensor:
    """Gradient of the table from that of the biases `heads n n`."""
    span, heads = 2 * side - 1, grad_biases.shape[0]
    grad_table = grad_biases.new_empty(span**2, heads)
    gpu.launch(
        fold_kernel,
        (heads * span,),
        grad_biases,
        grad_table,
        HEADS=heads,
        SIDE=side,
        BLOCK=triton.next_power_of_2(side),
        warps=4,
    )
    return grad_table


# ---------------------------------------------------------------------------- window attention


def window_attention(
    qkv: Tensor, table: Tensor, side: int, shifted: bool, keep: bool
) -> tuple[Tensor, Tensor]:
    """Run the operator `atdsr::window_attention` on contiguous `b h w 3c`.

    The side is even; the table is contiguous, in float32.
    """
    out, log_sums = _forward(_windows(qkv, table, side, shifted), keep)
    return out.view(*qkv.shape[:-1], -1), log_sums


def window_attention_backward(
    grad_out: Tensor,
    qkv: Tensor,
    table: Tensor,
    out: Tensor,
    log_sums: Tensor,
    side: int,
    shifted: bool,
    learned: bool,
) -> tuple[Tensor, Tensor]:
    """Run the operator `atdsr::window_attention_backward`."""
    groups = _windows(qkv, table, side, shifted)
    grad_qkv, grad_table = _backward(groups, grad_out, out, log_sums, learned)
    return grad_qkv.view(qkv.shape), grad_table


def _windows(qkv: Tensor, table: Tensor, side: int, shifted: bool) -> _Groups:
    _, height, width, _ = qkv.shape
    return _Groups(
        qkv=qkv.flatten(1, 2),
        heads=table.shape[1],
        group=side * side,
        table=table,
        height=height,
        width=width,
        side=side,
        shift=side // 2 if shifted else 0,
    )


# -------------------------------------------------------------------------- category attention


def category_attention(
    qkv: Tensor, order: Tensor, log_scale: Tensor, heads: int, group: int, keep: bool
) -> tuple[Tensor, Tensor]:
    """Run the operator `atdsr::category_attention` on contiguous `b n 3c`.

    The order may be int32 too; the scale is in float32.
    """
    groups = _Groups(qkv, heads, group, order=order.contiguous(), log_scale=log_scale)
    return _forward(groups, keep)


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
) -> tuple[Tensor, Tensor]:
    """Run the operator `atdsr::category_attention_backward`."""
    groups = _Groups(qkv, heads, group, order=order.contiguous(), log_scale=log_scale)
    return _backward(groups, grad_out, out, log_sums, learned)
