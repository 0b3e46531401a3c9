"""Linear maps of tokens and the depthwise convolution on CPUs, forward and backward.

By `rows.c`, `rows_backward.c` and `depthwise.c`, in float32, on request with the factors of matrix
products in bfloat16; each function makes a pass or two over the tokens.
"""

import ctypes
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from atdsr.network.kernels import cpu

_TILE_HEIGHT, _TILE_WIDTH = 32, 128  # of `depthwise.h`


class Norm(NamedTuple):
    """A LayerNorm over the features of a row.

    Attributes:
        weight: `k`.
        bias: `k`.
        eps: Added to the variance.
    """

    weight: Tensor
    bias: Tensor
    eps: float


class _LinearArguments(cpu.KernelArguments):
    """`struct rows` of `rows.h`."""

    INPUTS = 3
    _fields_ = (
        ("inputs", ctypes.c_void_p * INPUTS),
        ("widths", ctypes.c_int64 * INPUTS),
        *cpu.pointers("weight", "bias", "norm_weight", "norm_bias", "residual", "out"),
        *cpu.integers("out_width", "wide", "pictures", "rows", "weight_pitch"),
        ("gelu", ctypes.c_int32),
        ("rounds", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        *cpu.KernelArguments.SHARED,
    )


def linear(
    inputs: tuple[Tensor, ...],
    weight: Tensor,
    bias: Tensor | None,
    *,
    norm: Norm | None = None,
    gelu: bool = False,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    rounded: bool = False,
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
        rounded: Whether the map's factors are rounded to bfloat16. Sums are float32 all the same.

    Returns:
        `b n m`.
    """
    b, n, _ = inputs[0].shape
    m = weight.shape[-1]
    inputs = tuple(x.contiguous() for x in inputs)
    bias = cpu.padded(weight.new_zeros(m) if bias is None else bias)
    weight = cpu.padded(weight)
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
        wide=bias.numel(),
        pictures=b,
        rows=n,
        weight_pitch=weight[0].numel() if weight.dim() == 3 else 0,
        gelu=gelu,
        rounds=rounded,
        epsilon=0 if norm is None else norm.eps,
    )
    cpu.run("rows_linear", arguments, b * n)
    return out


class _LinearBackwardArguments(cpu.KernelArguments):
    """`struct rows_backward` of `rows_backward.h`."""

    GRADIENTS = 2
    _fields_ = (
        ("grads", ctypes.c_void_p * GRADIENTS),
        ("heights", ctypes.c_int64 * GRADIENTS),
        *cpu.pointers("weight", "x", "norm_weight", "norm_bias", "forward_weight", "bias"),
        *cpu.pointers("through", "grad_x", "sums"),
        *cpu.integers("width", "wide", "forward_wide", "pictures", "rows", "chunk"),
        *cpu.integers("weight_pitch"),
        ("rounds", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        *cpu.KernelArguments.SHARED,
    )


class LinearGradients(NamedTuple):
    """Gradients of linear maps of the same rows.

    Attributes:
        x: `b n k`.
        weight: As the weight was given.
        bias: `m`, or `b m` where each picture has a weight of its own.
        norm: Those of the norm's weight and bias, `2 k`; empty without a norm.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    norm: Tensor


def linear_backward(
    grads: tuple[Tensor, ...],
    weight: Tensor,
    x: Tensor,
    *,
    norm: Norm | None = None,
    gelu_bias: Tensor | None = None,
    through: Tensor | None = None,
    out: Tensor | None = None,
    rounded: bool = False,
) -> LinearGradients:
    """Compute the gradients of one or two linear maps of the same rows.

    Args:
        grads: With respect to the result of each map, `b n m_i` each.
        weight: The weights one below the other, as those of `nn.Linear`: `m k`, m the sum of all
            m_i, or `b m k`.
        x: The rows that were mapped, `b n k`.
        norm: A LayerNorm of the rows, before the maps.
        gelu_bias: The bias `m` of the only map, where a GELU followed.
        through: `b n k`, a gradient with respect to x from elsewhere, which is added.
        out: Where the gradient of x goes, contiguous; it may be `through`.
        rounded: Whether the factors of products are rounded to bfloat16, as in `linear`.
    """
    (b, n, k), m = x.shape, weight.shape[-2]
    grads = tuple(grad.contiguous() for grad in grads)
    out = torch.empty_like(x, memory_format=torch.contiguous_format) if out is None else out
    forward_weight = None if gelu_bias is None else cpu.padded(weight.T)
    bias = None if gelu_bias is None else cpu.padded(gelu_bias)
    chunk, chunks = cpu.chunks(n)
    sums = x.new_empty(b, chunks, m * (k + 1) + (0 if norm is None else 2 * k))
    padded = cpu.padded(weight)
    arguments = _LinearBackwardArguments.of(
        grads=grads,
        heights=tuple(grad.shape[2] for grad in grads),
        weight=padded,
        x=x.contiguous(),
        norm_weight=None if norm is None else norm.weight,
        norm_bias=None if norm is None else norm.bias,
        forward_weight=forward_weight,
        bias=bias,
        through=None if through is None else through.contiguous(),
        grad_x=out,
        sums=sums,
        width=k,
        wide=padded.shape[-1],
        forward_wide=0 if bias is None else bias.numel(),
        pictures=b,
        rows=n,
        chunk=chunk,
        weight_pitch=padded[0].numel() if weight.dim() == 3 else 0,
        rounds=rounded,
        epsilon=0 if norm is None else norm.eps,
    )
    cpu.run("rows_backward", arguments, b * chunks)
    parts = sums if weight.dim() == 3 else sums.view(1, b * chunks, -1)
    of_weight, of_bias, of_norm = cpu.add_parts(parts).split(
        [m * k, m, sums.shape[2] - m * (k + 1)], 1
    )
    return LinearGradients(
        out, of_weight.view(weight.shape), of_bias.view(weight.shape[:-1]), of_norm.view(-1, k)
    )


class _DepthwiseArguments(cpu.KernelArguments):
    """`struct depthwise` of `depthwise.h`."""

    _fields_ = (
        *cpu.pointers("x", "weight", "bias", "grad", "out", "sums"),
        *cpu.integers("pictures", "height", "width", "channels", "kernel"),
        *cpu.KernelArguments.SHARED,
    )

    @classmethod
    def on(
        cls, x: Tensor, weight: Tensor, bias: Tensor | None, **fields: Any
    ) -> cpu.KernelArguments:
        """Fill in the arguments for pictures, `b h w c`, taps, `k k c`, and a bias, `c`."""
        b, h, w, c = x.shape
        return cls.of(
            x=x,
            weight=weight,
            bias=weight.new_zeros(c) if bias is None else bias,
            pictures=b,
            height=h,
            width=w,
            channels=c,
            kernel=weight.shape[0],
            **fields,
        )


def depthwise_gelu(
    x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None
) -> Tensor:
    """Return the sum of x and the GELU of its depthwise convolution, zeros around the picture.

    Args:
        x: `b h w c`.
        weight: Of the convolution, `c 1 k k`, k odd.
        bias: `c`; None for zeros.
        out: Where the result goes, contiguous.
    """
    b, h, w, _ = x.shape
    x = x.contiguous()
    out = torch.empty_like(x) if out is None else out
    arguments = _DepthwiseArguments.on(x, _taps(weight), bias, out=out)
    cpu.run("depthwise_gelu", arguments, b * h * w)
    return out


def _taps(weight: Tensor) -> Tensor:
    """Return the weight of a depthwise convolution as `k k c`."""
    return weight[:, 0].permute(1, 2, 0).contiguous()


def depthwise_gelu_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of `depthwise_gelu`.

    Args:
        grad: With respect to its result, `b h w c`.
        x: As `depthwise_gelu` took it, as the weight and the bias.
        weight: See there.
        bias: See there.
        out: Where the gradient of x goes, contiguous; it may be `grad`.

    Returns:
        The gradients of x, `b h w c`, of the weight, `c 1 k k`, and of the bias, `c`.
    """
    (b, h, w, c), k = x.shape, weight.shape[-1]
    x, grad, taps = x.contiguous(), grad.contiguous(), _taps(weight)
    tiles = math.ceil(h / _TILE_HEIGHT) * math.ceil(w / _TILE_WIDTH)
    of_mixed, parts = torch.empty_like(x), x.new_empty(1, b * tiles, k * k + 1, c)
    arguments = _DepthwiseArguments.on(x, taps, bias, grad=grad, out=of_mixed, sums=parts)
    cpu.run("depthwise_gelu_backward", arguments, b * h * w)
    # the transpose of the convolution is a convolution with the weight mirrored
    mirrored, out = taps.flip(0, 1), torch.empty_like(x) if out is None else out
    arguments = _DepthwiseArguments.on(of_mixed, mirrored, None, grad=grad, out=out)
    cpu.run("depthwise_add", arguments, b * h * w)
    of_taps, of_bias = cpu.add_parts(parts)[0].split([k * k, 1])
    return out, of_taps.T.reshape(weight.shape), of_bias[0]
