"""Main memory of a forward pass on the CPU, per LR pixel, against the estimate of `upscale.py`.

    python benchmarks/memory.py

Each size runs in a process of its own, since a process never gives its peak back.
"""

import subprocess
import sys
from pathlib import Path

CASES = (
    ("atd_light", 2, 256, 256),
    ("atd_light", 2, 384, 512),
    ("atd_light", 4, 256, 256),
    ("atd", 4, 96, 96),
)


def measure(name: str, scale: int, height: int, width: int) -> None:
    """Print the measured and the estimated bytes per LR pixel of one case."""
    import numpy as np

    from atdsr import model, upscale
    from atdsr.memory import keep_freed_memory

    keep_freed_memory()
    network = model.ATD(getattr(model, name)(scale))
    upscaler = upscale.Upscaler(network, device="cpu")
    upscaler(np.zeros((32, 32, 3), np.uint8))  # what is allocated once
    before = peak()
    upscaler(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    measured = (peak() - before) / (height * width)
    estimate = upscale.bytes_per_pixel(network)
    print(f"{name:10} x{scale}  {width}x{height}  {measured:8.0f}  {estimate:8.0f}", flush=True)


def peak() -> int:
    """The most memory this process ever had, in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell the peak memory of a process")


if __name__ == "__main__":
    if len(sys.argv) == 5:
        measure(sys.argv[1], *map(int, sys.argv[2:]))
    else:
        print("network  scale  LR size  measured  estimated (bytes per LR pixel)", flush=True)
        for case in CASES:
            subprocess.run([sys.executable, __file__, *map(str, case)], check=True)
