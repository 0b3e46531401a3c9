"""The cost of `atdsr upscale` for a folder of 100 small pictures, against another checkout.

    python benchmarks/folder.py --against ../before

CPU seconds, user and system, of the whole command as a process of its own: 100 pictures of 24x24
in PNG, JPEG, WebP and TIFF, some with alpha. The two trees take turns, each first in every other
round, and the medians count. Threads are one, since their waiting is no work.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from script import run_script

HERE = Path(__file__).parents[1]
COUNT, SIDE = 100, 24


def prepare(folder: Path) -> None:
    """Write the pictures."""
    for number in range(COUNT):
        suffix = ("png", "jpg", "webp", "tif")[number % 4]
        channels = 4 if suffix != "jpg" and number % 3 == 0 else 3
        samples = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, channels), np.uint8)
        samples[..., 3:] |= 1
        Image.fromarray(samples).save(folder / f"{number:03}.{suffix}")


def cpu_seconds(tree: Path, folder: Path) -> float:
    """What the command takes from its start to its end, by the sources of a tree."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree / "src")}
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "atdsr", "upscale", str(folder), "-o", out, "--quiet"]
        subprocess.run(command, env=environment, check=True)
        if len(list(Path(out).iterdir())) != COUNT:
            raise SystemExit(f"{tree} did not enlarge all {COUNT} pictures")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="A folder of small pictures.")
    parser.add_argument("--against", type=Path, required=True, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    trees = {"this tree": HERE, "the other": asked.against.resolve()}
    if not (trees["the other"] / "src/atdsr").is_dir():
        parser.error(f"{asked.against} is no checkout: it has no src/atdsr")
    taken: dict[str, list[float]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for round_number in range(asked.rounds):
            for side in sorted(trees, reverse=bool(round_number % 2)):
                taken[side].append(cpu_seconds(trees[side], folder))
    for side, seconds in taken.items():
        shown = " ".join(f"{value:.2f}" for value in seconds)
        print(f"{side}: median {median(seconds):.2f} CPU s of {shown}")
    print(f"ratio {median(taken['this tree']) / median(taken['the other']):.3f}")


if __name__ == "__main__":
    run_script(main)
