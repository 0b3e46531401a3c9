"""PSNR of tiled results, against HR and against the result of the whole picture.

    python benchmarks/tiles.py FOLDER/img_001.webp FOLDER/img_041.webp
    python benchmarks/tiles.py --large FOLDER/img_001.webp    # the HR picture itself is enlarged

Prints the two tables of `docs/tiles.md`; a picture takes some ten minutes.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from atdsr import imaging
from atdsr.base import memory
from atdsr.imaging import metrics, resample
from atdsr.inference import upscaler
from script import run_script

SMALL = [(64, 16), (128, 16), (128, 32), (256, 16), (256, 32), (256, 64)]
LARGE = [(256, 32), (512, 32)]
MODEL = "atd-light-x2"


def tiled(picture: np.ndarray, cases: list[tuple[int, int]]) -> Iterator[np.ndarray]:
    """The whole picture's result, then those of the cases (tile, overlap)."""
    yield upscaler.load(MODEL, "cpu", tile="off")(picture)
    for tile, overlap in cases:
        yield upscaler.load(MODEL, "cpu", tile=tile, overlap=overlap)(picture)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("pictures", nargs="+", type=Path)
    arguments = parser.parse_args()
    memory.keep_freed_memory()
    cases = LARGE if arguments.large else SMALL
    against_hr: list[list[float]] = [[] for _ in range(len(cases) + 1)]
    against_whole: list[list[float]] = [[] for _ in cases]
    for path in arguments.pictures:
        hr = resample.crop_to_multiple(imaging.replicate_gray(imaging.read(path).samples), 2)
        lr = hr if arguments.large else resample.downscale(hr, 2)
        whole: np.ndarray | None = None
        for case, result in enumerate(tiled(lr, cases)):
            if not arguments.large:
                against_hr[case].append(metrics.psnr_y(hr, result, 2))
            if whole is None:
                whole = result
            else:
                against_whole[case - 1].append(metrics.psnr_y(whole, result, 2))
            print(path.name, case, against_hr[case][-1:], against_whole[case - 1][-1:], flush=True)
    print("\n| tile | overlap | PSNR-Y against HR | against the whole |\n|---|---|---|---|")
    for case, (tile, overlap) in enumerate([("whole", ""), *cases]):
        hr_mean = f"{np.mean(against_hr[case]):.3f}" if against_hr[case] else ""
        whole_mean = f"{np.mean(against_whole[case - 1]):.2f}" if case else ""
        print(f"| {tile} | {overlap} | {hr_mean} | {whole_mean} |")


if __name__ == "__main__":
    run_script(main)
