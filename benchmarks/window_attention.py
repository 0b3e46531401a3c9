"""CPU time of window attention: every score written out, the path of use, the path of training.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/window_attention.py

One interleaved run; the medians of user and system time, and ratios to the plain reference.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.attention import window_attention, window_attention_reference
from atdsr.memory import keep_freed_memory
from atdsr.windows import shift_penalties

SIDE, HEADS, WIDTH = 16, 4, 48  # of ATD-light
PIXELS = 128
ROUNDS = 7


def main() -> None:
    """Measure on a map of 128x128 tokens and print one line a variant."""
    keep_freed_memory()
    torch.manual_seed(0)
    qkv = torch.randn(1, PIXELS, PIXELS, 3 * WIDTH)
    bias = torch.randn(HEADS, SIDE**2, SIDE**2)
    penalties = shift_penalties(SIDE)
    windows = torch.randn((PIXELS // SIDE) ** 2, HEADS, SIDE**2, WIDTH // HEADS)

    def trained(attention: Callable[..., Tensor]) -> None:
        inputs = [t.clone().requires_grad_() for t in (qkv, bias)]
        attention(*inputs, penalties, SIDE).sum().backward()

    variants: dict[str, Callable[[], object]] = {
        "reference, forward": no_grad(
            lambda: window_attention_reference(qkv, bias, penalties, SIDE)
        ),
        "window_attention, forward": no_grad(lambda: window_attention(qkv, bias, penalties, SIDE)),
        "reference, forward and backward": lambda: trained(window_attention_reference),
        "window_attention, forward and backward": lambda: trained(window_attention),
        "SDPA alone, mask heads n n": no_grad(
            lambda: F.scaled_dot_product_attention(windows, windows, windows, attn_mask=bias)
        ),
        "SDPA alone, mask 1 heads n n": no_grad(
            lambda: F.scaled_dot_product_attention(windows, windows, windows, attn_mask=bias[None])
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(ROUNDS + 1):
        for name, run in variants.items():
            start = time.process_time()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - start)
    for name, values in seconds.items():
        print(f"{name:42} {statistics.median(values):7.3f} CPU seconds")


def no_grad(function: Callable[[], object]) -> Callable[[], object]:
    """The function without a graph being recorded."""
    return torch.inference_mode()(function)


if __name__ == "__main__":
    main()
