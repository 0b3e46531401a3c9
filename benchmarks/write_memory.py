"""Peak memory of the process before and after writing a large picture, in MiB.

    python benchmarks/write_memory.py x.png                # 10000x10000 RGB
    python benchmarks/write_memory.py x.png --side 1000

The samples lie in a file, as those of a large result do, so what grows is what the encoder needs.
"""

import argparse
from pathlib import Path

import numpy as np

from atdsr import imaging
from atdsr.base import memory
from script import run_script

ROWS = 500
"""How many rows are in memory at once."""


def main() -> None:
    """Write the picture and print its name, both peaks and its size."""
    parser = argparse.ArgumentParser(description="Peak memory of writing a large picture.")
    parser.add_argument("picture", type=Path, help="a file to write, whose suffix is the format")
    parser.add_argument("--side", type=int, default=10000, help="width and height in pixels")
    wanted = parser.parse_args()
    side = wanted.side
    with imaging.temporary_array(wanted.picture, (side, side, 3), np.uint8) as array:
        for row in range(0, side, ROWS):
            rows = array[row : row + ROWS]
            rows[:] = np.random.default_rng(row).integers(0, 32, rows.shape, np.uint8)
            imaging.release_memory(array)
        with memory.peak() as before:
            pass
        with memory.peak() as after:
            imaging.write(imaging.Picture(array), wanted.picture)
    peaks = [(found.bytes or 0) >> 20 for found in (before, after)]
    print(wanted.picture, *peaks, wanted.picture.stat().st_size >> 20)


if __name__ == "__main__":
    run_script(main)
