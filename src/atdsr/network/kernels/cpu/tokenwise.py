"""Linear maps of tokens and the depthwise convolution on CPUs, by `rows.c` and `depthwise.c`.

Each function makes one pass over the tokens, for float32 without gradients.
"""

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atdsr.network.kernels import cpu

_WIDTH_MULTIPLE = 16  # the weights' rows are padded to the longest vector of all variants


class _LinearArguments(cpu.KernelArguments):
    """`struct rows` of `rows.h`."""

    INPUTS = 3
    _fields_ = (
        ("inputs", ctypes.c_void_p * INPUTS),
        ("widths", ctypes.c_int64 * INPUTS),
        *cpu.pointers("weight", "bias", "norm_weight", "norm_bias", "residual", "out"),
        *cpu.integers("out_width", "wide", "pictures", "rows", "weight_pitch"),
        ("gelu", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        *cpu.KernelArguments.SHARED,
    )


def linear(
    inputs: tuple[Tensor, ...],
    weight: Tensor,
    bias: Tensor | None,
    *,
    norm: nn.LayerNorm | None = None,
    gelu: bool = False,
    residual: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Map up to three inputs side by side, with what comes before and after the map.

    Args:
        inputs: `b n k_i` each.
        weight: `k m` for all pictures or `b k m`, k the sum of all k_i.
        bias: `m`; None for zeros.
        norm: A LayerNorm of the only input, before the map.
        gelu: Whether a GELU follows the map.
        residual: `b n m`, added last.
        out: Where the result goes, contiguous; it may be the residual, or an input of its shape.

    Returns:
        `b n m`.
    """
    b, n, _ = inputs[0].shape
    m = weight.shape[-1]
    padding = -m % _WIDTH_MULTIPLE
    inputs = tuple(x.contiguous() for x in inputs)
    bias = weight.new_zeros(m) if bias is None else bias
    if padding:
        weight, bias = F.pad(weight, (0, padding)), F.pad(bias, (0, padding))
    weight = weight.contiguous()
    residual = None if residual is None else residual.contiguous()
    out = inputs[0].new_empty(b, n, m) if out is None else out
    arguments = _LinearArguments.of(
        inputs=inputs,
        widths=tuple(x.shape[2] for x in inputs),
        weight=weight,
        bias=bias,
        norm_weight=None if norm is None else norm.weight,
        norm_bias=None if norm is None else norm.bias,
        residual=residual,
        out=out,
        out_width=m,
        wide=m + padding,
        pictures=b,
        rows=n,
        weight_pitch=weight[0].numel() if weight.dim() == 3 else 0,
        gelu=gelu,
        epsilon=0 if norm is None else norm.eps,
    )
    cpu.run("rows_linear", arguments, b * n)
    return out


class _DepthwiseArguments(cpu.KernelArguments):
    """`struct depthwise` of `depthwise.h`."""

    _fields_ = (
        *cpu.pointers("x", "weight", "bias", "out"),
        *cpu.integers("pictures", "height", "width", "channels", "kernel"),
        *cpu.KernelArguments.SHARED,
    )


def depthwise_gelu(x: Tensor, convolution: nn.Conv2d, out: Tensor | None = None) -> Tensor:
    """Return the sum of x and the GELU of its depthwise convolution, zeros around the picture.

    Args:
        x: `b h w c`.
        convolution: Depthwise, of c channels, with an odd kernel and padding.
        out: Where the result goes, contiguous.
    """
    b, h, w, c = x.shape
    x = x.contiguous()
    out = torch.empty_like(x) if out is None else out
    taps = convolution.weight[:, 0].permute(1, 2, 0).contiguous()  # k k c
    bias = convolution.bias if convolution.bias is not None else taps.new_zeros(c)
    arguments = _DepthwiseArguments.of(
        x=x,
        weight=taps,
        bias=bias,
        out=out,
        pictures=b,
        height=h,
        width=w,
        channels=c,
        kernel=taps.shape[0],
    )
    cpu.run("depthwise_gelu", arguments, b * h * w)
    return out
