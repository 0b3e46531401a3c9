"""The backward passes of `rows.py`, in Triton.

Narrow rows take one pass over the tokens: a fixed number of programs go through their share of the
rows, with the weights and the sums for the parameters' gradients in registers and shared memory.
Wide rows take a pass for the gradient of the rows and one for each weight's. Either way sums over
programs are written apart and added in a fixed order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu import row_kernels
from atdsr.network.kernels.gpu import rows_backward_kernels as kernels
from atdsr.network.kernels.gpu.row_kernels import (
    NARROW,
    Launch,
    Table,
    block_count,
    block_side,
    chosen,
    packed,
)

_FUSED: Table = {
    (torch.bfloat16, 64): Launch(32, 64, 4),
    (torch.float32, 64): Launch(32, 64, 8, 1),
}
_FUSED_SUM: Table = {
    (torch.bfloat16, 64): Launch(64, 64, 4),
    (torch.float32, 64): Launch(32, 64, 8, 1),
}
_ROWS: Table = {
    (torch.bfloat16, 256): Launch(64, 64, 8, 1),
    (torch.bfloat16, 512): Launch(32, 64, 8, 1),
    (torch.float32, 256): Launch(32, 32, 8),
    (torch.float32, 512): Launch(16, 32, 8),
}
_WEIGHT: Table = {
    (torch.bfloat16, 128): Launch(64, 128, 8),
    (torch.float32, 128): Launch(32, 64, 8),
}
_PROGRAMS = 264
"""Programs that share the rows where each keeps sums: two for each multiprocessor of an H200."""


def split(sums: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The parts of the sums for the parameters, one after the other, in each one's shape."""
    parts = sums.split([parameter.numel() for parameter in like])
    return [
        part.view(parameter.shape).to(parameter.dtype)
        for part, parameter in zip(parts, like, strict=True)
    ]


@torch.library.custom_op("atdsr::normed_maps_backward", mutates_args=())
def normed_maps_backward_op(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    weights: list[Tensor],
    biases: list[Tensor],
    with_gelu: bool,
    through: Tensor,
    gradients: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """The gradients of `normed_maps` or, with GELU, of `normed_gelu_map`.

    Args:
        x: what was normed, as the rest up to `with_gelu` is what the forward pass took.
        norm_weight: see there.
        norm_bias: see there.
        eps: see there.
        weights: see there.
        biases: see there.
        with_gelu: see there.
        through: gradient with respect to x from where it is used beside, which is added.
        gradients: with respect to each map's result, in the products' dtype.

    Returns:
        Gradient with respect to x, and in float32 those of all weights, all biases, the norm's
        weight and its bias, one after the other.
    """
    x = x.contiguous()
    found = torch.empty_like(x)
    norm = (norm_weight, norm_bias, eps)
    maps = [
        (gradient.contiguous(), weight.contiguous(), bias)
        for gradient, weight, bias in zip(gradients, weights, biases, strict=True)
    ]
    narrow = x.shape[-1] < NARROW and sum(len(weight) for weight in weights) <= 4 * NARROW
    backward = _normed_fused if narrow else _normed_apart
    return found, backward(x, norm, maps, with_gelu, through.contiguous(), found)


@normed_maps_backward_op.register_fake
def _(x, norm_weight, norm_bias, eps, weights, biases, *_) -> tuple[Tensor, Tensor]:
    size = sum(part.numel() for part in (*weights, *biases, norm_weight, norm_bias))
    found = torch.empty_like(x, memory_format=torch.contiguous_format)
    return found, x.new_empty(size, dtype=torch.float32)


def _normed_fused(
    x: Tensor,
    norm: tuple[Tensor, Tensor, float],
    maps: list[tuple[Tensor, Tensor, Tensor]],
    with_gelu: bool,
    through: Tensor,
    found: Tensor,
) -> Tensor:
    """Fill the gradient with respect to narrow rows; returns the parameters', as the op does."""
    c, dtype, widths = x.shape[-1], maps[0][0].dtype, [len(weight) for _, weight, _ in maps]
    n, side, second = x.numel() // c, block_side(c + 1), len(maps) > 1
    how = chosen(_FUSED, dtype, side)
    programs = min(_PROGRAMS, block_count(n, how.rows))
    sums = x.new_empty(programs, sum(widths) * (c + 1) + 2 * c, dtype=torch.float32)
    norm_weight, norm_bias, eps = norm
    gpu.launch(
        kernels.normed_backward_fused,
        (programs,),
        *(x, norm_weight, norm_bias, through),
        *maps[0],
        *(maps[1] if second else (None, None, None)),
        *(found, sums, n, eps),
        warps=how.warps,
        stages=how.stages,
        C=c,
        M0=widths[0],
        M1=widths[1] if second else 0,
        GELU=with_gelu,
        BLOCK_N=how.rows,
        BLOCK_C=side,
        BLOCK_M0=min(how.columns, block_side(widths[0])),
        BLOCK_M1=min(how.columns, block_side(widths[-1])),
        PRECISION=gpu.precision(dtype),
    )
    return sums.sum(0)


def _normed_apart(
    x: Tensor,
    norm: tuple[Tensor, Tensor, float],
    maps: list[tuple[Tensor, Tensor, Tensor]],
    with_gelu: bool,
    through: Tensor,
    found: Tensor,
) -> Tensor:
    """What `_normed_fused` does, for rows of any width."""
    c, dtype, widths = x.shape[-1], maps[0][0].dtype, [len(weight) for _, weight, _ in maps]
    n, side, second = x.numel() // c, block_side(c), len(maps) > 1
    how = chosen(_ROWS, dtype, side)
    programs = block_count(n, how.rows)
    of_norm = x.new_empty(programs, 2 * c, dtype=torch.float32)
    normed_out = torch.empty_like(x, dtype=dtype)
    gradients = [gradient for gradient, _, _ in maps]
    before = torch.empty_like(gradients[0]) if with_gelu else None
    operands = [packed(weight, dtype) for _, weight, _ in maps]
    norm_weight, norm_bias, eps = norm
    gpu.launch(
        kernels.normed_backward,
        (programs,),
        *(x, norm_weight, norm_bias, through),
        *(gradients[0], operands[0], maps[0][2]),
        *((gradients[1], operands[1]) if second else (None, None)),
        *(found, normed_out, before, of_norm, n, eps),
        warps=how.warps,
        stages=how.stages,
        C=c,
        M0=widths[0],
        M1=widths[1] if second else 0,
        PITCH0=operands[0].shape[1],
        PITCH1=operands[-1].shape[1],
        GELU=with_gelu,
        BLOCK_N=how.rows,
        BLOCK_C=side,
        BLOCK_M0=min(how.columns, block_side(widths[0])),
        BLOCK_M1=min(how.columns, block_side(widths[-1])),
        PRECISION=gpu.precision(dtype),
    )
    pairs = [(gradients[0] if before is None else before, normed_out)]
    pairs += [(gradient, normed_out) for gradient in gradients[1:]]
    return torch.cat([_of_weights(pairs, one_bias=False), of_norm.sum(0)])


def _of_weights(pairs: list[tuple[Tensor, Tensor]], *, one_bias: bool) -> Tensor:
    """The sums over rows for gradient^T @ x and the gradient's columns of each pair.

    Args:
        pairs: gradient `... m` and x `... k`, contiguous.
        one_bias: the gradient is the same in all, and its columns are to be summed once.

    Returns:
        All products, then the columns' sums, one after the other, in float32.
    """
    shapes = [(gradient.shape[-1], x.shape[-1]) for gradient, x in pairs]
    dtype = pairs[0][1].dtype
    how = chosen(_WEIGHT, dtype, 16)
    n = pairs[0][1].numel() // shapes[0][1]
    sides = [tuple(min(how.columns, block_side(size)) for size in shape) for shape in shapes]
    grids = [
        tuple(block_count(*pair) for pair in zip(shape, side, strict=True))
        for shape, side in zip(shapes, sides, strict=True)
    ]
    programs = max(1, min(block_count(n, how.rows), _PROGRAMS // max(a * b for a, b in grids)))
    of_bias = sum(m * k for m, k in shapes)
    total = of_bias + (shapes[0][0] if one_bias else sum(m for m, _ in shapes))
    sums = pairs[0][1].new_empty(programs, total, dtype=torch.float32)
    of_weight = 0
    for (gradient, x), (m, k), (block_m, block_k), grid in zip(
        pairs, shapes, sides, grids, strict=True
    ):
        gpu.launch(
            kernels.weight_gradient,
            (*grid, programs),
            *(gradient, x, sums, n),
            warps=how.warps,
            stages=how.stages,
            TOTAL=total,
            OF_WEIGHT=of_weight,
            OF_BIAS=of_bias,
            M=m,
            K=k,
            BLOCK_N=how.rows,
            BLOCK_M=block_m,
            BLOCK_K=block_k,
            PRECISION=gpu.precision(dtype),
        )
        of_weight += m * k
        of_bias += 0 if one_bias else m
    return sums.sum(0)


@torch.library.custom_op("atdsr::add_maps_backward", mutates_args=())
def add_maps_backward_op(
    gradient: Tensor, rows: list[Tensor], weights: list[Tensor], with_copy: bool
) -> tuple[list[Tensor], Tensor]:
    """The gradients of `add_maps`.

    Args:
        gradient: with respect to the sum.
        rows: what the forward pass mapped.
        weights: its weights.
        with_copy: also return the gradient in the rows' dtype.

    Returns:
        Gradients with respect to the rows of each map and, last, the copy; and in float32 those
        of all weights and of a bias, which is the same for all, one after the other.
    """
    gradient, rows = gradient.contiguous(), [part.contiguous() for part in rows]
    found = [torch.empty_like(part) for part in rows]
    copy = torch.empty_like(gradient, dtype=rows[0].dtype) if with_copy else None
    if max(gradient.shape[-1], *(part.shape[-1] for part in rows)) < NARROW:
        sums = _added_fused(gradient, rows, weights, found, copy)
    else:
        maps = [(weight, None, part) for weight, part in zip(weights, found, strict=True)]
        row_kernels.spread(gradient, None, maps, copy=copy, transposed=True)
        given = gradient if copy is None else copy
        sums = _of_weights([(given, part) for part in rows], one_bias=True)
    return found if copy is None else [*found, copy], sums


@add_maps_backward_op.register_fake
def _(gradient, rows, weights, with_copy) -> tuple[list[Tensor], Tensor]:
    found = [torch.empty_like(part, memory_format=torch.contiguous_format) for part in rows]
    if with_copy:
        found.append(gradient.new_empty(gradient.shape, dtype=rows[0].dtype))
    size = sum(weight.numel() for weight in weights) + gradient.shape[-1]
    return found, gradient.new_empty(size, dtype=torch.float32)


def _added_fused(
    gradient: Tensor,
    rows: list[Tensor],
    weights: list[Tensor],
    found: list[Tensor],
    copy: Tensor | None,
) -> Tensor:
    """Fill the gradients with respect to narrow rows; returns the parameters', as the op does."""
    c, dtype, widths = gradient.shape[-1], rows[0].dtype, [part.shape[-1] for part in rows]
    n, side, second = gradient.numel() // c, block_side(c), len(rows) > 1
    how = chosen(_FUSED_SUM, dtype, side)
    programs = min(_PROGRAMS, block_count(n, how.rows))
    sums = gradient.new_empty(programs, (sum(widths) + 1) * c, dtype=torch.float32)
    gpu.launch(
        kernels.added_backward_fused,
        (programs,),
        *(gradient, copy),
        *(rows[0], weights[0].contiguous(), found[0]),
        *((rows[1], weights[1].contiguous(), found[1]) if second else (None, None, None)),
        *(sums, n),
        warps=how.warps,
        stages=how.stages,
        C=c,
        K0=widths[0],
        K1=widths[1] if second else 0,
        BLOCK_N=how.rows,
        BLOCK_C=side,
        BLOCK_K0=block_side(widths[0] + 1),
        BLOCK_K1=block_side(widths[-1]),
        PRECISION=gpu.precision(dtype),
    )
    return sums.sum(0)
