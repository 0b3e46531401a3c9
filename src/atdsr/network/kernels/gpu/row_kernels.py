"""Maps of rows and sums of maps, which forward and backward passes are made of, in Triton."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu.blocks import dot, gelu

NARROW = 64
"""Rows up to this width stay whole in registers, and so do sums over pairs of their channels."""


@dataclass(frozen=True)
class Launch:
    """How a kernel over rows is cut.

    Attributes:
        rows: of a program's block, or of a round's where it goes over several blocks.
        columns: of a block along the side that is gone through in rounds.
        warps: of a program.
        stages: how many rounds of a loop load ahead.
    """

    rows: int
    columns: int
    warps: int
    stages: int = 2


Table = Mapping[tuple[torch.dtype, int], Launch]
"""A kernel's launches by the products' dtype and the widest side of the whole rows."""

SPREAD: Table = {
    (torch.bfloat16, 64): Launch(128, 64, 4, 1),
    (torch.bfloat16, 256): Launch(64, 64, 4),
    (torch.bfloat16, 512): Launch(32, 64, 8),
    (torch.float32, 64): Launch(64, 32, 4, 1),
    (torch.float32, 256): Launch(32, 32, 8),
    (torch.float32, 512): Launch(16, 32, 8),
}
GATHER: Table = {
    (torch.bfloat16, 64): Launch(128, 64, 4, 1),
    (torch.bfloat16, 256): Launch(64, 64, 8),
    (torch.float32, 64): Launch(64, 32, 4, 1),
    (torch.float32, 256): Launch(32, 32, 8),
}


def chosen(table: Table, dtype: torch.dtype, side: int) -> Launch:
    """The launch for the narrowest rows of the table that are not narrower than these."""
    return table[dtype, min(key for of, key in table if of == dtype and key >= side)]


def block_side(size: int) -> int:
    """The power of two, from 16 on, that a block needs for this many."""
    return max(16, 1 << (size - 1).bit_length())


def block_count(size: int, block: int) -> int:
    """How many blocks hold this many."""
    return -(-size // block)


def packed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight as the kernels read it: its rows a multiple of 16 bytes where they are many.

    What is read once by each of a few programs they convert themselves.
    """
    # Loads of 16 bytes need rows that begin at a multiple of 16 bytes; those of width 210 do not.
    m, c = weight.shape
    if weight.dtype == dtype or c <= NARROW:
        return weight.contiguous()
    out = weight.new_zeros(m, c + -c % 8, dtype=dtype)
    out[:, :c] = weight
    return out


@triton.jit
def places(block, n, BLOCK_N: tl.constexpr):
    """The rows of a block of them, and which are there."""
    rows = block * BLOCK_N + tl.arange(0, BLOCK_N)
    # int64, since a row times its width exceeds 2^31 for large pictures
    return rows.to(tl.int64), rows < n


@triton.jit
def load_rows(x, at, start, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Channels from `start` on of rows `n WIDTH`; zeros where there are none."""
    columns = start + tl.arange(0, BLOCK)
    rows, inside = at
    mask = inside[:, None] & (columns < WIDTH)[None, :]
    return tl.load(x + rows[:, None] * WIDTH + columns[None, :], mask=mask, other=0.0)


@triton.jit
def store_rows(block, out, at, start, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Put a block where `load_rows` would take it from, in the dtype of what is there."""
    columns = start + tl.arange(0, BLOCK)
    rows, inside = at
    mask = inside[:, None] & (columns < WIDTH)[None, :]
    block = block.to(out.dtype.element_ty)
    tl.store(out + rows[:, None] * WIDTH + columns[None, :], block, mask=mask)


@triton.jit
def load_weight(
    weight,
    row,
    column,
    ROWS: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """A block of a weight `ROWS PITCH` from there on; zeros beyond."""
    rows = row + tl.arange(0, BLOCK_ROWS)
    columns = column + tl.arange(0, BLOCK_COLUMNS)
    mask = (rows < ROWS)[:, None] & (columns < PITCH)[None, :]
    return tl.load(weight + rows[:, None] * PITCH + columns[None, :], mask=mask, other=0.0)


@triton.jit
def load_vector(vector, start, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Numbers from `start` on, in float32; zeros beyond."""
    places = start + tl.arange(0, BLOCK)
    return tl.load(vector + places, mask=places < SIZE, other=0.0).to(tl.float32)


@triton.jit
def unit_rows(x, at, eps, C: tl.constexpr, BLOCK_C: tl.constexpr):
    """Rows with mean 0 and variance 1 in float32, zeros beyond, and 1 / their deviations."""
    real = tl.arange(0, BLOCK_C) < C
    block = load_rows(x, at, 0, C, BLOCK_C).to(tl.float32)
    mean = tl.sum(block, 1) / C
    # columns of padding would count with the distance of a zero from the mean
    centred = tl.where(real[None, :], block - mean[:, None], 0.0)
    # the mean of squared distances, since the row is in registers: the difference of two means
    # would lose the digits of a small variance
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / C + eps)
    return centred * scale[:, None], scale


@triton.jit
def normed(unit, norm_weight, norm_bias, C: tl.constexpr, BLOCK_C: tl.constexpr):
    """What the norm makes of `unit_rows`, in float32; zeros in columns beyond."""
    weight = load_vector(norm_weight, 0, C, BLOCK_C)
    return unit * weight[None, :] + load_vector(norm_bias, 0, C, BLOCK_C)[None, :]


@triton.jit
def _spread(
    x,
    norm_weight,
    norm_bias,
    copy,
    weight0,
    bias0,
    out0,
    weight1,
    bias1,
    out1,
    n,
    eps,
    C: tl.constexpr,
    M0: tl.constexpr,
    M1: tl.constexpr,
    PITCH0: tl.constexpr,
    PITCH1: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M0: tl.constexpr,
    BLOCK_M1: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One or two maps of a block of rows, which are read once and normed where there is a norm."""
    # All columns of a row in one block: the norm needs them all, and both maps use the block
    # without loading it again.
    at = places(tl.program_id(0), n, BLOCK_N)
    if norm_weight is None:
        block = load_rows(x, at, 0, C, BLOCK_C).to(out0.dtype.element_ty)
    else:
        unit, _ = unit_rows(x, at, eps, C, BLOCK_C)
        block = normed(unit, norm_weight, norm_bias, C, BLOCK_C).to(out0.dtype.element_ty)
    if copy is not None:
        store_rows(block, copy, at, 0, C, BLOCK_C)
    _map(
        *(block, weight0, bias0, out0, at, C, M0, PITCH0),
        *(TRANSPOSED, GELU, BLOCK_C, BLOCK_M0, PRECISION),
    )
    if M1 > 0:
        _map(
            *(block, weight1, bias1, out1, at, C, M1, PITCH1),
            *(TRANSPOSED, GELU, BLOCK_C, BLOCK_M1, PRECISION),
        )


@triton.jit
def _map(
    block,
    weight,
    bias,
    out,
    at,
    C: tl.constexpr,
    M: tl.constexpr,
    PITCH: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Store block @ weight^T or, transposed, block @ weight, in rounds over its columns."""
    # in rounds, since a whole weight would not fit in shared memory; the next part is loaded while
    # this one is multiplied
    for start in range(0, M, BLOCK_M):
        if TRANSPOSED:
            part = load_weight(weight, 0, start, C, PITCH, BLOCK_C, BLOCK_M)
        else:
            part = tl.trans(load_weight(weight, start, 0, M, PITCH, BLOCK_M, BLOCK_C))
        mapped = dot(block, part.to(block.dtype), PRECISION)
        if bias is not None:
            mapped += load_vector(bias, start, M, BLOCK_M)[None, :]
        if GELU:
            mapped = gelu(mapped)
        store_rows(mapped, out, at, start, M, BLOCK_M)


@triton.jit
def _gather(
    x,
    mixed,
    rows0,
    weight0,
    bias0,
    rows1,
    weight1,
    bias1,
    out,
    n,
    C: tl.constexpr,
    K0: tl.constexpr,
    K1: tl.constexpr,
    PITCH0: tl.constexpr,
    PITCH1: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K0: tl.constexpr,
    BLOCK_K1: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A block of columns of a block of rows: x, mixed and one or two maps, in one sum."""
    at = places(tl.program_id(0), n, BLOCK_N)
    first = tl.program_id(1) * BLOCK_C
    # One sum in registers: separate additions would read and write the rows once for each term.
    total = load_rows(x, at, first, C, BLOCK_C).to(tl.float32)
    if mixed is not None:
        total += load_rows(mixed, at, first, C, BLOCK_C).to(tl.float32)
    total += load_vector(bias0, first, C, BLOCK_C)[None, :]
    if K1 > 0:
        total += load_vector(bias1, first, C, BLOCK_C)[None, :]
    total = _add_map(
        *(total, rows0, weight0, at, first, C, K0, PITCH0),
        *(BLOCK_C, BLOCK_K0, PRECISION),
    )
    if K1 > 0:
        total = _add_map(
            *(total, rows1, weight1, at, first, C, K1, PITCH1),
            *(BLOCK_C, BLOCK_K1, PRECISION),
        )
    store_rows(total, out, at, first, C, BLOCK_C)


@triton.jit
def _add_map(
    total,
    x,
    weight,
    at,
    first,
    C: tl.constexpr,
    K: tl.constexpr,
    PITCH: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The sum of a block and x @ weight^T, in rounds over x's columns."""
    for start in range(0, K, BLOCK_K):
        block = load_rows(x, at, start, K, BLOCK_K)
        part = load_weight(weight, first, start, C, PITCH, BLOCK_C, BLOCK_K)
        total += dot(block, tl.trans(part.to(block.dtype)), PRECISION)
    return total


def spread(
    x: Tensor,
    norm: tuple[Tensor, Tensor, float] | None,
    maps: Sequence[tuple[Tensor, Tensor | None, Tensor]],
    *,
    copy: Tensor | None = None,
    transposed: bool = False,
    with_gelu: bool = False,
) -> None:
    """Fill the results of one or two maps of the rows of x.

    Args:
        x: `... c`, contiguous, as all are.
        norm: weight, bias and eps of the norm that comes first.
        maps: weight, bias and the result of each.
        copy: filled with what is mapped, in its own dtype.
        transposed: take x @ weight rather than x @ weight^T.
        with_gelu: of what is mapped.
    """
    c, dtype = x.shape[-1], maps[0][2].dtype
    n, side = x.numel() // c, block_side(c)
    how = chosen(SPREAD, dtype, side)
    parts = [(packed(weight, dtype), bias, out) for weight, bias, out in maps]
    widths = [out.shape[-1] for _, _, out in maps]
    second = len(maps) > 1
    norm_weight, norm_bias, eps = norm or (None, None, 0.0)
    gpu.launch(
        _spread,
        (block_count(n, how.rows),),
        *(x, norm_weight, norm_bias, copy),
        *parts[0],
        *(parts[1] if second else (None, None, None)),
        *(n, eps),
        warps=how.warps,
        stages=how.stages,
        C=c,
        M0=widths[0],
        M1=widths[1] if second else 0,
        PITCH0=parts[0][0].shape[1],
        PITCH1=parts[-1][0].shape[1],
        TRANSPOSED=transposed,
        GELU=with_gelu,
        BLOCK_N=how.rows,
        BLOCK_C=side,
        BLOCK_M0=min(how.columns, block_side(widths[0])),
        BLOCK_M1=min(how.columns, block_side(widths[-1])),
        PRECISION=gpu.precision(dtype),
    )


def gather(
    x: Tensor, mixed: Tensor | None, maps: list[tuple[Tensor, Tensor, Tensor]], out: Tensor
) -> None:
    """Fill out with the sum of x, of mixed and of one or two maps of rows.

    Args:
        x: `... c`, contiguous, as all are.
        mixed: like x.
        maps: rows `... k`, weight `c k` and bias `c` of each.
        out: like x.
    """
    c, dtype = x.shape[-1], maps[0][0].dtype
    n, side = x.numel() // c, min(256, block_side(c))
    how = chosen(GATHER, dtype, side)
    parts = [(rows, packed(weight, dtype), bias) for rows, weight, bias in maps]
    widths = [rows.shape[-1] for rows, _, _ in maps]
    second = len(maps) > 1
    gpu.launch(
        _gather,
        (block_count(n, how.rows), block_count(c, side)),
        *(x, mixed),
        *parts[0],
        *(parts[1] if second else (None, None, None)),
        *(out, n),
        warps=how.warps,
        stages=how.stages,
        C=c,
        K0=widths[0],
        K1=widths[1] if second else 0,
        PITCH0=parts[0][1].shape[1],
        PITCH1=parts[-1][1].shape[1],
        BLOCK_N=how.rows,
        BLOCK_C=side,
        BLOCK_K0=min(how.columns, block_side(widths[0])),
        BLOCK_K1=min(how.columns, block_side(widths[-1])),
        PRECISION=gpu.precision(dtype),
    )
