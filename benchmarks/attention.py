"""CPU time of window and category attention, plain and fused, in inference and training.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/attention.py

One interleaved run on shapes of the published networks; medians of user and system time, and how
many times as fast as plain the fused ones are.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from atdsr.base.memory import keep_freed_memory
from atdsr.network import kernels, operators
from atdsr.network.kernels import cpu

CATEGORIES, ROUNDS = 64, 7


class Shape(NamedTuple):
    """Tokens and heads of a layer."""

    pixels: int
    heads: int
    width: int
    group: int
    side: int = 16


SHAPES = {
    "ATD-light, 128x128": Shape(128, 4, 12, 128),
    "ATD, 64x64": Shape(64, 6, 35, 256),
    "ATD-light v2, 128x128": Shape(128, 3, 16, 128),
    "ATD v2, 64x64": Shape(64, 4, 54, 256),
    "ATD-U's level 0, 128x128": Shape(128, 1, 48, 128),
    "ATD-U's level 1, 64x64": Shape(64, 2, 48, 128, side=8),
    "ATD-U's last decoder, 64x64": Shape(64, 1, 96, 128),
}


def used(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """A forward pass without a graph."""
    with torch.inference_mode():
        function(*inputs)


def trained(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """A forward and a backward pass."""
    learned = [t.clone().requires_grad_() for t in inputs]
    function(*learned).sum().backward()


def seconds(run: Callable[[], None]) -> float:
    """Of the processor."""
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(shape: Shape) -> dict[str, tuple[float, float]]:
    """Median seconds, plain and fused, of each case."""
    torch.manual_seed(0)
    pixels, heads, width, group, side = shape
    qkv = torch.randn(1, pixels, pixels, 3 * heads * width)
    table = torch.randn((2 * side - 1) ** 2, heads)
    categories, scale = torch.randint(0, CATEGORIES, (1, pixels**2)), torch.tensor(0.3)

    def window(qkv: Tensor, table: Tensor) -> Tensor:
        return operators.window_attention(qkv, table, side, shifted=True)

    def category(qkv: Tensor, scale: Tensor) -> Tensor:
        return operators.category_attention(qkv, categories, scale, heads, group, CATEGORIES)

    runs = {
        f"{what} attention, {how.__name__}": partial(how, function, *inputs)
        for what, function, inputs in (
            ("window", window, (qkv, table)),
            ("category", category, (qkv.flatten(1, 2), scale)),
        )
        for how in (used, trained)
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(ROUNDS + 1):
        for name, run in runs.items():
            with kernels.plain():
                plain = seconds(run)
            if number:  # the first round warms up
                times[name].append((plain, seconds(run)))
    return {
        name: (statistics.median(p for p, _ in pairs), statistics.median(f for _, f in pairs))
        for name, pairs in times.items()
    }


def main() -> None:
    """Print one line a case."""
    keep_freed_memory()
    print(f"kernels: {cpu.status()}")
    for name_of_shape, shape in SHAPES.items():
        for name, (plain, fused) in measure(shape).items():
            print(
                f"{name_of_shape:27} {name:28} plain {plain:7.3f} CPU s, fused {fused:7.3f}, "
                f"{plain / fused:5.2f} times as fast"
            )


if __name__ == "__main__":
    main()
