"""Peak memory of writing a result of 100 megapixels, from file to file.

    python benchmarks/large.py          # 5000x5000 -> 10000x10000, PNG
    python benchmarks/large.py 2000     # 2000x2000 -> 4000x4000

The network is the smallest that there is, since what is measured is what grows with the picture:
reading, tiles, the result, writing. With the bundled network it would take hours on a CPU and, for
tiles of 256, 0.5 GB more.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from atdsr import batch, imaging, inference
from atdsr.base import memory
from atdsr.network.config import ATDConfig
from atdsr.network.model import ATD

SMALLEST = ATDConfig(
    scale=2,
    width=4,
    depths=(1,),
    heads=(1,),
    category_size=64,
    dictionary_size=2,
    reduced_width=2,
    ffn_kernel=1,
    ffn_ratio=1.0,
    head="pixelshuffledirect",
)


def main() -> None:
    """Measure and print."""
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    memory.keep_freed_memory()
    upscaler = inference.Upscaler(ATD(SMALLEST), device="cpu", tile=256)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.png", Path(folder) / "out.png"
        rows = np.random.default_rng(0).integers(0, 256, (64, side, 3), np.uint8)
        picture = np.tile(rows, (side // 64 + 1, 1, 1))[:side]
        imaging.write(imaging.Picture(picture), source)
        del picture
        with memory.peak() as before:
            pass
        start = time.perf_counter()
        plan = batch.plan([str(source)], str(target), batch.BatchConfig(batch.Factor(2)))
        with memory.peak() as peak:
            (result,) = batch.run(plan, upscaler)
        seconds = time.perf_counter() - start
        print(f"{result.outcome.value}: {result.width}x{result.height} in {seconds:.0f} s")
        first, most = (found.bytes or 0 for found in (before, peak))
        print(f"samples: in {side**2 * 3 >> 20} MiB, out {side**2 * 12 >> 20} MiB")
        print(f"memory:  {first >> 20} MiB before, {most >> 20} MiB at the peak")


if __name__ == "__main__":
    main()
