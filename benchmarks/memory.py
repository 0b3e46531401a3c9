"""Peak main memory of the process while a picture is enlarged on the CPU, against the estimate.

    python benchmarks/memory.py            # the networks at several sizes
    python benchmarks/memory.py atd 4 96 96

The estimate is what the process has before plus what `Upscaler.estimate` says. Each case runs in a
process of its own, since a process never gives its peak back.
"""

import subprocess
import sys

CASES = (
    ("atd_light", 2, 128, 128),
    ("atd_light", 2, 256, 256),
    ("atd_light", 2, 384, 512),
    ("atd_light", 2, 640, 960),
    ("atd_light", 3, 256, 256),
    ("atd_light", 4, 256, 256),
    ("atd", 2, 64, 64),
    ("atd", 2, 128, 128),
    ("atd", 2, 160, 192),
    ("atd", 3, 128, 128),
    ("atd", 4, 128, 128),
)


def measure(name: str, scale: int, height: int, width: int) -> None:
    """Print the measured and the estimated peak of one case."""
    import numpy as np
    import psutil

    from atdsr import memory, model, upscale

    memory.keep_freed_memory()
    network = model.ATD(getattr(model, name)(scale))
    upscaler = upscale.Upscaler(network, device="cpu", tile="off")
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    before = psutil.Process().memory_info().rss
    estimate = before + upscaler.estimate(height, width)
    with memory.peak() as peak:
        upscaler(picture)
    if peak.bytes is None:
        raise SystemExit("this system does not tell the peak memory of a process")
    a_pixel = (peak.bytes - before) / (height * width)
    print(
        f"{name:10} x{scale} {f'{width}x{height}':>9} {peak.bytes / 2**20:9.0f} "
        f"{estimate / 2**20:9.0f} {estimate / peak.bytes - 1:+8.1%} {a_pixel:12.0f}",
        flush=True,
    )


if __name__ == "__main__":
    if len(sys.argv) == 5:
        measure(sys.argv[1], *map(int, sys.argv[2:]))
    else:
        print("network   scale  LR size  peak MiB  estimate     error  bytes per pixel", flush=True)
        for case in CASES:
            subprocess.run([sys.executable, __file__, *map(str, case)], check=True)
