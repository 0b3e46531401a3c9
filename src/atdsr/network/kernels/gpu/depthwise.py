"""The middle of the feed-forward part: x + GELU(depthwise convolution of x), channels last.

The backward keeps GELU's slope instead of the convolution: as many bytes, and no exponentials.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atdsr.network.kernels import gpu, needs_gradients
from atdsr.network.kernels.gpu.depthwise_kernels import (
    input_gradient_kernel,
    mix_kernel,
    weight_gradient_kernel,
)

_WIDEST = 96  # channels side by side of one program


@dataclass(frozen=True)
class Tiling:
    """How the work is cut up: a program has 64 lanes for each of its rows.

    Attributes:
        rows: of a program of the convolution, each a warp's, a power of two.
        columns: neighbours of a lane there.
        channels: side by side in a program of the weight's gradient, a power of two. It has one
            warp, so that its sums over the lanes stay inside of that.
        gradient_rows: of a tile of it.
        gradient_columns: neighbours of a lane there.
        gradient_steps: tiles, one below the other, of a program.
    """

    rows: int = 4
    columns: int = 16
    channels: int = 16
    gradient_rows: int = 2
    gradient_columns: int = 4
    gradient_steps: int = 8


TILING = Tiling()

_LANES = 64  # of a warp: two a thread, which makes 32-bit loads of bfloat16


def depthwise_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The sum of x and GELU(depthwise convolution of x), with zeros around the picture.

    Args:
        x: `b h w c`, float32 or bfloat16.
        weight: `c 1 k k`, k odd; taken in float32, as is the bias.
        bias: `c`.

    Returns:
        `b h w c` in x's type.
    """
    taps, bias = weight.float().flatten(1).T.contiguous(), bias.float()
    learning = needs_gradients(x, weight, bias)
    return _forward(x, taps, bias, weight.shape[-1], learning)[0]


@torch.library.custom_op("atdsr::depthwise_gelu", mutates_args=())
def _forward(
    x: Tensor, taps: Tensor, bias: Tensor, k: int, learning: bool
) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    out, slope = _forward_outputs(x, taps, bias, k, learning)
    _convolve(mix_kernel, k, (x, taps, bias, out, slope if learning else None), x.shape)
    return out, slope


@_forward.register_fake
def _forward_outputs(
    x: Tensor, taps: Tensor, bias: Tensor, k: int, learning: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape if learning else 0)


@torch.library.custom_op("atdsr::depthwise_gelu_backward", mutates_args=())
def _backward(
    grad_out: Tensor, x: Tensor, taps: Tensor, slope: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The gradient of x, and those of the taps and, in a last row, of the bias."""
    grad_out, x = grad_out.contiguous(), x.contiguous()
    b, h, w, c = x.shape
    tiling = TILING
    strips = _parts(_parts(w, tiling.gradient_columns) * tiling.channels, _LANES)
    chunks = _parts(h, tiling.gradient_rows * tiling.gradient_steps)
    blocks = _parts(c, tiling.channels)
    parts = taps.new_empty(b * chunks * strips, k * k + 1, c)
    grad_mixed, grad_x = torch.empty_like(x), torch.empty_like(x)
    gpu.launch(
        weight_gradient_kernel,
        (blocks * b * chunks * strips,),
        grad_out,
        slope,
        x,
        grad_mixed,
        parts,
        h,
        w,
        warps=1,
        stages=1,
        K=k,
        C=c,
        BLOCK_C=tiling.channels,
        LANES=_LANES,
        ROWS=tiling.gradient_rows,
        COLUMNS=tiling.gradient_columns,
        STEPS=tiling.gradient_steps,
    )
    _convolve(input_gradient_kernel, k, (grad_mixed, taps, grad_out, grad_x), x.shape)
    return grad_x, parts.sum(0)


@_backward.register_fake
def _backward_outputs(
    grad_out: Tensor, x: Tensor, taps: Tensor, slope: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), taps.new_empty(k * k + 1, x.shape[-1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, taps, _, ctx.k, _ = inputs
    ctx.save_for_backward(x, taps, output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, grad_out: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    x, taps, slope = ctx.saved_tensors
    grad_x, sums = _backward(grad_out, x, taps, slope, ctx.k)
    return grad_x, sums[:-1], sums[-1], None, None


_forward.register_autograd(_differentiate, setup_context=_keep)


def _convolve(kernel: Any, k: int, tensors: tuple[Tensor | None, ...], shape: torch.Size) -> None:
    """Launch a kernel whose programs are tiles of a convolution."""
    b, h, w, c = shape
    tiling, side = TILING, _side_by_side(c)
    down = _parts(h, tiling.rows)
    across = _parts(_parts(w, tiling.columns) * side, _LANES)
    gpu.launch(
        kernel,
        (c // side * across * down * b,),
        *tensors,
        h,
        w,
        warps=tiling.rows,
        stages=1,
        K=k,
        C=c,
        BLOCK_C=side,
        LANES=_LANES,
        ROWS=tiling.rows,
        COLUMNS=tiling.columns,
    )


def _side_by_side(channels: int) -> int:
    """The channels of one program: as many as divide them all, for no lane to be idle."""
    few = min(channels, _WIDEST)
    divisors = (n for n in range(few, 0, -1) if channels % n == 0)
    even = next(divisors)
    return even if 2 * even > few else channels


def _parts(whole: int, size: int) -> int:
    return -(-whole // size)
