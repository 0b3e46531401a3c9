"""Crops per second from a packed set, and from a folder of PNG files through a DataLoader.

    python benchmarks/crops.py PICTURES
    python benchmarks/crops.py PICTURES --batch 16 --patch 96 --rounds 5

PICTURES are in any format; those of at least a megapixel are written as PNG to a temporary
folder, HR and LR, as DIV2K and DF2K come. Both ways give batches of one size with the same kinds
of flips, in turns, and the medians are compared. The usual way decodes the HR and the LR file of
each crop, in two worker processes. Prints the table of `docs/data.md`.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from atdsr import datasets, imaging
from atdsr.base.errors import AtdsrError
from atdsr.datasets import pairs
from atdsr.imaging import resample
from script import run_script

SCALE = 2
WORKERS = 2
Batch = tuple[Tensor, Tensor]


class Files(Dataset[Batch]):
    """The usual way: a random crop of a pair of PNG files, which are decoded for it."""

    def __init__(self, folder: Path, patch: int) -> None:
        self._pairs = [(folder / "HR" / p.name, p) for p in sorted((folder / "LR").iterdir())]
        self._patch = patch

    def __len__(self) -> int:
        """Far more than a benchmark takes, so that no epoch ends in it."""
        return 1_000_000

    def __getitem__(self, number: int) -> Batch:
        """LR `3 patch patch` and HR, uint8."""
        random = np.random.default_rng(number)
        hr, lr = (_decoded(path) for path in self._pairs[random.integers(len(self._pairs))])
        top, left = (int(random.integers(side - self._patch + 1)) for side in lr.shape[:2])
        orientation = int(random.integers(8))
        small, large = (
            _crop(samples, top * times, left * times, self._patch * times, orientation)
            for samples, times in ((lr, 1), (hr, SCALE))
        )
        return small, large


def _decoded(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def _crop(samples: NDArray[np.uint8], top: int, left: int, side: int, orientation: int) -> Tensor:
    square = samples[top : top + side, left : left + side]
    if orientation & 1:
        square = square[:, ::-1]
    if orientation & 2:
        square = square[::-1]
    if orientation & 4:
        square = square.swapaxes(0, 1)
    return torch.from_numpy(np.ascontiguousarray(square.transpose(2, 0, 1)))


def write_files(pictures: Path, folder: Path, most: int) -> float:
    """PNG files of the pictures of at least a megapixel, HR and LR; tells the megapixels of HR."""
    (folder / "HR").mkdir()
    (folder / "LR").mkdir()
    total = number = 0
    for path in pairs.tree(pictures):
        frames = imaging.open_frames(path)
        if len(frames) > 1 or frames.height * frames.width < 1_000_000:
            continue
        samples = imaging.replicate_gray(imaging.to_uint8(next(iter(frames)).samples))
        hr = resample.crop_to_multiple(samples[..., :3], datasets.SIDE_MULTIPLE)
        name = f"{number:04}.png"
        imaging.write(imaging.Picture(hr), folder / "HR" / name)
        imaging.write(imaging.Picture(resample.downscale(hr, SCALE)), folder / "LR" / name)
        total += hr.shape[0] * hr.shape[1]
        number += 1
        if number == most:
            break
    if not number:
        raise AtdsrError(f"{pictures} has no picture of a megapixel or more; name another folder.")
    return total / 1e6


def rate_of_files(files: Files, size: int, batches: int) -> float:
    """Crops per second of a loader that was just started, after a batch of each worker."""
    loaded = iter(DataLoader(files, size, num_workers=WORKERS))
    for _ in range(WORKERS):
        next(loaded)
    start = time.perf_counter()
    for _ in range(batches):
        next(loaded)
    return size * batches / (time.perf_counter() - start)


def rate_of_crops(crops: datasets.Crops, size: int, patch: int, batches: int) -> float:
    """Crops per second of a packed set, drawn in this one thread."""
    start = time.perf_counter()
    for number in range(batches):
        crops.batch(range(number * size, (number + 1) * size), patch)
    return size * batches / (time.perf_counter() - start)


def pack(folder: Path, out: Path, megapixels: float, workers: int) -> datasets.PackedSet:
    """Pack, and print how fast."""
    start = time.perf_counter()
    packed = datasets.pack(folder / "HR", out, datasets.PackConfig((SCALE,)), workers=workers)
    seconds, count = time.perf_counter() - start, len(packed.records)
    print(
        f"packing, {workers} threads: {megapixels / seconds:.1f} MP/s, {count / seconds:.2f} "
        f"pictures/s ({count} pictures, {megapixels:.1f} MP, {seconds:.1f} s)",
        flush=True,
    )
    return packed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--most", type=int, default=40, help="pictures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        megapixels = write_files(arguments.pictures, folder, arguments.most)
        pack(folder, folder / "alone", megapixels, 1)
        packed = pack(folder, folder / "set", megapixels, WORKERS)
        held = packed.hr.nbytes + packed.lr.nbytes
        png = sum(path.stat().st_size for path in folder.glob("?R/*"))
        print(
            f"size a megapixel: {held / 1e6 / megapixels:.2f} MB, as PNG "
            f"{png / 1e6 / megapixels:.2f} MB"
        )
        crops, files = datasets.Crops(packed, 0), Files(folder, arguments.patch)
        size, patch = arguments.batch, arguments.patch
        slow, fast = [], []
        for number in range(arguments.rounds):
            slow.append(rate_of_files(files, size, 3 * WORKERS))
            fast.append(rate_of_crops(crops, size, patch, 300))
            print(f"round {number + 1}: {slow[-1]:.1f} and {fast[-1]:.0f} crops/s", flush=True)
    processors = len(os.sched_getaffinity(0))
    print(
        f"\n{platform.processor() or platform.machine()}, {processors} processors, torch "
        f"{torch.__version__}; batch {arguments.batch} of {arguments.patch}x{arguments.patch} "
        f"x{SCALE}"
    )
    print("\n| way | crops/s, median | range | ratio |\n|---|---|---|---|")
    for name, rates in (
        (f"PNG files, DataLoader of {WORKERS} workers", slow),
        ("packed set, one thread", fast),
    ):
        median = statistics.median(rates)
        ratio = median / statistics.median(slow)
        print(f"| {name} | {median:.1f} | {min(rates):.1f}-{max(rates):.1f} | {ratio:.0f} |")


if __name__ == "__main__":
    run_script(main)
