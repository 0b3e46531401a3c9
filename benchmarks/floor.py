"""The least work that a network has to do, and how fast this processor does such work."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from statistics import median

import torch
from torch import Tensor

from atdsr.network.config import ATDConfig
from turns import timed


@dataclass(frozen=True)
class Least:
    """What enlarging one picture takes, however it is done.

    Attributes:
        flops: floating-point operations of matrix products and convolutions, two for each
            multiply-add.
        exponentials: of softmaxes; an error function of a GELU counts as one.
        bytes: what must pass through main memory in float32.
    """

    flops: float
    exponentials: float
    bytes: float


def least(config: ATDConfig, height: int, width: int) -> Least:
    """What a network takes for a picture of that size, continued to whole windows.

    The bytes are those of layers fused as far as the function allows: the sort by category and
    the mean over all tokens in the refinement stand between, so that a layer reads x and writes
    q, k and v and the map A; each of two attentions reads q, k and v and writes its result; x and
    both are read and the new x is written; the refinement reads A and x.
    """
    c, m, d, window = config.width, config.dictionary_size, config.reduced_width, config.window
    hidden = int(c * config.ffn_ratio)
    tokens = (height + -height % window) * (width + -width % window)
    multiplied, exponentials, floats = 0, 0, 0
    for depth, heads in zip(config.depths, config.heads, strict=True):
        partners = window**2 + min(tokens, config.category_size)
        linears = 3 * c * c + c * d + 2 * c * c + 2 * c * hidden
        attention = 2 * partners * c + m * d + m * c
        layer = linears + attention + config.ffn_kernel**2 * hidden
        refining = depth - 1  # layers
        multiplied += tokens * (depth * layer + refining * m * c + 9 * c * c)
        # keys and values of the dictionary
        multiplied += depth * m * (c * d + c * c)
        exponentials += tokens * (depth * (heads * partners + m + 2 * hidden) + refining * m)
        floats += tokens * (depth * (c + 3 * c + m + 2 * (3 * c + c) + 4 * c) + refining * (m + c))
    multiplied += tokens * (9 * 3 * c + 9 * c * c + _head(config))
    return Least(2.0 * multiplied, float(exponentials), 4.0 * floats)


def _head(config: ATDConfig) -> int:
    """Multiply-adds of the head for a token."""
    c, scale = config.width, config.scale
    if config.head == "pixelshuffledirect":
        return 9 * c * 3 * scale**2
    steps = (2, 2) if scale == 4 else (scale,)
    total, pixels = 9 * c * 64, 1
    for step in steps:
        total += pixels * 9 * 64 * 64 * step**2
        pixels *= step**2
    return total + pixels * 9 * 64 * 3


@dataclass(frozen=True)
class Rates:
    """How much is done in a second of a processor's time.

    Attributes:
        matmul: FLOPs of large float32 matrix products.
        matmul_bf16: the same in bfloat16.
        linears: FLOPs of float32 matrix products in the shapes of a network's linear layers.
        copied: bytes read and written.
        exponentials: of float32 numbers in the cache.
    """

    matmul: float
    matmul_bf16: float
    linears: float
    copied: float
    exponentials: float

    @property
    def native_bf16(self) -> bool:
        """Whether the processor multiplies bfloat16 faster than float32, as those made for it."""
        return self.matmul_bf16 > 1.3 * self.matmul

    def floor(self, work: Least) -> float:
        """Seconds at the rates that nothing exceeds."""
        return max(work.flops / self.matmul, work.bytes / self.copied)

    def shaped_floor(self, work: Least) -> float:
        """Seconds at the rates of the network's own shapes, exponentials coming on top."""
        return work.flops / self.linears + work.exponentials / self.exponentials


def typical(rates: list[Rates]) -> Rates:
    """The median of each."""
    return Rates(*(median(getattr(each, f.name) for each in rates) for f in fields(Rates)))


class Meter:
    """Measures the rates.

    Args:
        config: the network whose shapes of linear layers count.
        quick: be short rather than right.
    """

    def __init__(self, config: ATDConfig, quick: bool = False) -> None:
        side, self._repeats = (256, 1) if quick else (2048, 3)
        self._flops = 2.0 * side**3
        self._matrices = [torch.rand(side, side) for _ in range(3)]
        self._bf16 = [matrix.bfloat16() for matrix in self._matrices]
        c, hidden = config.width, int(config.width * config.ffn_ratio)
        tokens = side * 4
        self._shapes = [
            (torch.rand(tokens, inner), torch.rand(inner, outer), torch.empty(tokens, outer))
            for inner, outer in (
                (c, 3 * c),
                (c, config.reduced_width),
                (2 * c, c),
                (c, hidden),
                (hidden, c),
            )
        ]
        self._far = [torch.rand(side**2 * 16) for _ in range(2)]
        self._near = [torch.rand(2**17) for _ in range(2)]  # stays in the cache

    @torch.inference_mode()
    def measure(self) -> Rates:
        """One measurement, of about a second."""
        a, b, out = self._matrices
        multiplied = sum(2.0 * x.shape[0] * w.shape[0] * w.shape[1] for x, w, _ in self._shapes)
        return Rates(
            matmul=self._rate(self._flops, lambda: torch.mm(a, b, out=out)),
            matmul_bf16=self._rate(
                self._flops, lambda: torch.mm(*self._bf16[:2], out=self._bf16[2])
            ),
            linears=self._rate(multiplied * 10, lambda: [self._linears() for _ in range(10)]),
            copied=self._rate(8.0 * len(self._far[0]), lambda: self._far[1].copy_(self._far[0])),
            exponentials=self._rate(200.0 * len(self._near[0]), self._exponentials),
        )

    def _linears(self) -> None:
        for x, weight, out in self._shapes:
            torch.mm(x, weight, out=out)

    def _exponentials(self) -> Tensor:
        for _ in range(200):
            torch.exp(self._near[0], out=self._near[1])
        return self._near[1]

    def _rate(self, amount: float, work: Callable[[], object]) -> float:
        work()
        return max(amount / timed(work).cpu for _ in range(self._repeats))
