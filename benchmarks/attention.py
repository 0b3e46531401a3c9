"""CPU time of window and category attention, plain and fused, in inference and training.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/attention.py

One interleaved run on the shapes of ATD-light and ATD; medians of user and system time, and how
many times as fast as plain the fused ones are.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from atdsr.base.memory import keep_freed_memory
from atdsr.network import kernels, operators
from atdsr.network.kernels import cpu

SIDE, CATEGORIES, ROUNDS = 16, 64, 7
SHAPES = {"ATD-light, 128x128": (128, 4, 12, 128), "ATD, 64x64": (64, 6, 35, 256)}


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


def measure(pixels: int, heads: int, width: int, group: int) -> dict[str, tuple[float, float]]:
    """Median seconds, plain and fused, of each case."""
    torch.manual_seed(0)
    qkv, table = torch.randn(1, pixels, pixels, 3 * heads * width), torch.randn(31**2, heads)
    categories, scale = torch.randint(0, CATEGORIES, (1, pixels**2)), torch.tensor(0.3)

    def window(qkv: Tensor, table: Tensor) -> Tensor:
        return operators.window_attention(qkv, table, SIDE, shifted=True)

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
    for shape, sizes in SHAPES.items():
        for name, (plain, fused) in measure(*sizes).items():
            print(
                f"{shape:20} {name:28} plain {plain:7.3f} CPU s, fused {fused:7.3f}, "
                f"{plain / fused:5.2f} times as fast"
            )


if __name__ == "__main__":
    main()
