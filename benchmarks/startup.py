"""CPU seconds, user and system, of the start of commands.

    python benchmarks/startup.py

They take turns, and of each the median of seven counts. The picture has 16x16 pixels, so that the
last line is the start and next to nothing else. Threads are one, since their waiting is no work.
"""

import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

ROUNDS = 7
ATDSR = (sys.executable, "-m", "atdsr")
PYTHON = (sys.executable, "-c")
CASES = {
    "python, nothing else": (*PYTHON, "pass"),
    "import atdsr": (*PYTHON, "import atdsr"),
    "atdsr --help": (*ATDSR, "--help"),
    "atdsr upscale --help": (*ATDSR, "upscale", "--help"),
    "atdsr train --help": (*ATDSR, "train", "--help"),
    "import torch": (*PYTHON, "import torch"),
    "import atdsr.inference.upscaler": (*PYTHON, "import atdsr.inference.upscaler"),
    "atdsr upscale of 16x16": (*ATDSR, "upscale", "small.png", "--overwrite"),
}


def cpu_seconds(command: tuple[str, ...], folder: Path) -> float:
    """What a process takes from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "small.png")
        for _ in range(ROUNDS):
            for case, command in CASES.items():
                taken[case].append(cpu_seconds(command, folder))
    print(f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} processors\n")
    print("| | CPU s |\n|---|---|")
    for case, seconds in taken.items():
        print(f"| {case} | {median(seconds):.2f} |")


if __name__ == "__main__":
    main()
