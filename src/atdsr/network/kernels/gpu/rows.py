"""What a layer does to each token's row beside attention, in Triton: norms, maps and sums.

Each function is a pass over the tokens. The sums stay in the dtype of the rows they are added to
(float32 where a network is trained in bfloat16); products are of bfloat16 or float32, and are
summed in float32. The backward passes are in `rows_backward.py`.
"""

from typing import Any, cast

import torch
from torch import Tensor

from atdsr.network.kernels.gpu import row_kernels, rows_backward

Map = tuple[Tensor, Tensor]
"""Weight `m c` and bias `m` of a linear map, in float32 or the products' dtype."""


def normed_maps(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    maps: list[Map],
    dtype: torch.dtype,
) -> tuple[Tensor, list[Tensor]]:
    """Linear maps of the normed rows.

    Args:
        x: `b h w c`.
        norm_weight: of the norm over a row, `c`.
        norm_bias: likewise.
        eps: added to a row's variance.
        maps: one or two.
        dtype: of the products and what is returned: bfloat16 or float32.

    Returns:
        x itself, and `b h w m` of each map. Where x is needed after this, take it from here: its
        gradient is then summed in the backward kernel, not in a pass of its own.
    """
    return _maps(x, (norm_weight, norm_bias, eps), maps, False, dtype)


def normed_gelu_map(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    weight: Tensor,
    bias: Tensor,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The exact GELU of a linear map of the normed rows: x itself, and `b h w m`.

    The arguments, and why x is returned, are those of `normed_maps`.
    """
    x, (mapped,) = _maps(x, (norm_weight, norm_bias, eps), [(weight, bias)], True, dtype)
    return x, mapped


def add_maps(
    x: Tensor, attended: list[tuple[Tensor, Tensor, Tensor]], mixed: Tensor | None
) -> Tensor:
    """The sum of x, of `mixed`, and of linear maps of what was attended to.

    Args:
        x: `b h w c`.
        attended: one or two of rows `b h w k`, weight `c k` and bias `c`.
        mixed: `b h w c`, in the dtype of the attended rows.

    Returns:
        `b h w c` in x's dtype.
    """
    if not torch.is_grad_enabled():
        rows, weights, biases = ([part[i] for part in attended] for i in range(3))
        return add_maps_op(x, mixed, rows, weights, biases)
    return cast(Tensor, _Sum.apply(x, mixed, *(tensor for part in attended for tensor in part)))


def _maps(
    x: Tensor,
    norm: tuple[Tensor, Tensor, float],
    maps: list[Map],
    with_gelu: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, list[Tensor]]:
    if not torch.is_grad_enabled():
        weights, biases = ([part[i] for part in maps] for i in range(2))
        return x, normed_maps_op(x, *norm, weights, biases, with_gelu, dtype)
    operands = (tensor for part in maps for tensor in part)
    x, *mapped = cast(tuple[Tensor, ...], _NormedMaps.apply(x, *norm, with_gelu, dtype, *operands))
    return x, mapped


class _NormedMaps(torch.autograd.Function):
    """`normed_maps` op with its gradient; x goes through, so that its gradient comes back here."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        eps: float,
        with_gelu: bool,
        dtype: torch.dtype,
        *maps: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, norm_weight, norm_bias, *maps)
        ctx.eps, ctx.with_gelu, ctx.dtype = eps, with_gelu, dtype
        weights, biases = list(maps[0::2]), list(maps[1::2])
        mapped = normed_maps_op(x, norm_weight, norm_bias, eps, weights, biases, with_gelu, dtype)
        return x.view_as(x), *mapped

    @staticmethod
    def backward(ctx: Any, through: Tensor, *gradients: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, norm_weight, norm_bias, *maps = ctx.saved_tensors
        norm, weights, biases = (norm_weight, norm_bias), maps[0::2], maps[1::2]
        found, sums = rows_backward.normed_maps_backward_op(
            x, *norm, ctx.eps, weights, biases, ctx.with_gelu, through, list(gradients)
        )
        parts = rows_backward.split(sums, (*weights, *biases, *norm))
        count = len(weights)
        of_maps = (parts[i + half] for i in range(count) for half in (0, count))
        return found, parts[-2], parts[-1], None, None, None, *of_maps


class _Sum(torch.autograd.Function):
    """`add_maps` op with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mixed: Tensor | None, *attended: Tensor) -> Tensor:
        rows, weights, biases = attended[0::3], attended[1::3], attended[2::3]
        ctx.save_for_backward(*rows, *weights, *biases)
        ctx.mixed = None if mixed is None else mixed.dtype
        return add_maps_op(x, mixed, list(rows), list(weights), list(biases))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        saved = ctx.saved_tensors  # once, or a recomputing checkpoint recomputes again
        count = len(saved) // 3
        rows, weights, biases = (saved[i * count : (i + 1) * count] for i in range(3))
        # where the dtypes agree the gradient itself is passed on
        cast_too = ctx.mixed is not None and ctx.mixed != gradient.dtype
        found, sums = rows_backward.add_maps_backward_op(
            gradient, list(rows), list(weights), cast_too
        )
        *of_weights, of_bias = rows_backward.split(sums, (*weights, biases[0]))
        of_mixed = found[-1] if cast_too else gradient
        of_attended = (part for i in range(count) for part in (found[i], of_weights[i], of_bias))
        return gradient, of_mixed if ctx.mixed is not None else None, *of_attended


@torch.library.custom_op("atdsr::normed_maps", mutates_args=())
def normed_maps_op(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    weights: list[Tensor],
    biases: list[Tensor],
    with_gelu: bool,
    dtype: torch.dtype,
) -> list[Tensor]:
    """`normed_maps` or, with GELU, `normed_gelu_map`, without a gradient: each map's result."""
    out = [x.new_empty(*x.shape[:-1], len(weight), dtype=dtype) for weight in weights]
    norm = (norm_weight, norm_bias, eps)
    maps = list(zip(weights, biases, out, strict=True))
    row_kernels.spread(x.contiguous(), norm, maps, with_gelu=with_gelu)
    return out


@normed_maps_op.register_fake
def _(x, norm_weight, norm_bias, eps, weights, biases, with_gelu, dtype) -> list[Tensor]:
    return [x.new_empty(*x.shape[:-1], len(weight), dtype=dtype) for weight in weights]


@torch.library.custom_op("atdsr::add_maps", mutates_args=())
def add_maps_op(
    x: Tensor, mixed: Tensor | None, rows: list[Tensor], weights: list[Tensor], biases: list[Tensor]
) -> Tensor:
    """`add_maps` without a gradient."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    mixed = None if mixed is None else mixed.contiguous()
    maps = list(zip([part.contiguous() for part in rows], weights, biases, strict=True))
    row_kernels.gather(x.contiguous(), mixed, maps, out)
    return out


@add_maps_op.register_fake
def _(
    x: Tensor, mixed: Tensor | None, rows: list[Tensor], weights: list[Tensor], biases: list[Tensor]
) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)
