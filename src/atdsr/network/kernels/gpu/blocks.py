"""What several kernels are made of."""

# What a kernel calls is not what Python would call.
# pyright: reportGeneralTypeIssues=false

import triton
import triton.language as tl
from triton import knobs

_INTERPRETED = tl.constexpr(knobs.runtime.interpret)

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def dot(a, b, PRECISION: tl.constexpr):
    """The product of two blocks of one type, summed in float32."""
    if _INTERPRETED:  # which takes the bits of bfloat16 for integers
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def gelu_and_slope(x):
    """The exact GELU and its derivative, in float32.

    erf is Abramowitz and Stegun's 7.1.26, to within 1.5e-7, whose exponential the derivative needs.
    """
    # the math library's erf would not share its exponential with the slope
    bell = tl.math.exp2(-0.5 * LOG2_E * x * x)
    t = 1.0 / (1.0 + 0.23164189 * tl.abs(x))
    tail = t * (-0.142248368 + t * (0.710706870 + t * (-0.7265760135 + t * 0.5307027145)))
    tail = t * (0.1274147960 + tail) * bell
    below = tl.where(x < 0.0, tail, 1.0 - tail)  # the normal distribution
    return x * below, below + 0.3989422804014327 * x * bell


@triton.jit
def gelu(x):
    """The exact GELU, in float32."""
    value, _ = gelu_and_slope(x)
    return value


@triton.jit
def gelu_slope(x):
    """The derivative of the exact GELU, in float32."""
    _, slope = gelu_and_slope(x)
    return slope
