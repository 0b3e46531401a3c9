"""CPU seconds per small picture, enlarged one by one and in batches.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/batches.py

Rounds are interleaved, and of each case the fastest of five counts.
"""

import time

import torch

from atdsr import inference
from atdsr.base import memory

PIXELS = 2**14  # in the largest batch
ROUNDS = 5


def main() -> None:
    """Measure and print."""
    memory.keep_freed_memory()
    upscaler = inference.load("atd-light-x2", "cpu")
    print("| side | alone | in a batch of | | ratio |\n|---|---|---|---|---|")
    for side in (16, 24, 32):
        count = PIXELS // side**2
        pictures = torch.rand(count, 3, side, side)
        alone, together = [], []
        for _ in range(ROUNDS):
            start = time.process_time()
            for picture in pictures[:4]:
                upscaler(picture[None])
            alone.append((time.process_time() - start) / 4)
            start = time.process_time()
            upscaler(pictures)
            together.append((time.process_time() - start) / count)
        ratio = min(alone) / min(together)
        print(
            f"| {side} | {min(alone):.3f} | {count} | {min(together):.3f} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
