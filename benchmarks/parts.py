"""Twelve regions of test pictures, enlarged by 2 by several methods, side by side.

    python benchmarks/parts.py BENCHMARKS -o parts.png -m atd-light-x2 -m DAT_light_x2.pth

BENCHMARKS has `Set5/HR` and so on. Prints PSNR on Y of each part, of 160x160 HR pixels; a network
sees 20 LR pixels around it as well. Bicubic comes first and HR last.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from atdsr import imaging
from atdsr.base import memory
from atdsr.base.errors import AtdsrError
from atdsr.evaluation import methods
from atdsr.imaging import metrics, montage, resample
from atdsr.inference.config import InferenceConfig
from script import run_script

PARTS = (  # set, picture, top and left in HR pixels, what it shows
    ("Set5", "baby", 150, 180, "face"),
    ("Set14", "face", 60, 60, "face"),
    ("Set14", "ppt3", 60, 200, "text"),
    ("Set14", "comic", 40, 60, "line art"),
    ("Set14", "zebra", 200, 150, "meadow, stripes"),
    ("Set14", "barbara", 330, 430, "fabric"),
    ("Set14", "baboon", 20, 150, "fur"),
    ("B100", "105025", 120, 120, "fur, stone"),
    ("Urban100", "img_012", 300, 300, "building"),
    ("Urban100", "img_076", 300, 400, "bricks"),
    ("Urban100", "img_092", 300, 300, "paving"),
    ("Set14", "monarch", 150, 300, "butterfly"),
)
SCALE, SIDE, AROUND = 2, 160, 40


def read(folder: Path, name: str, scale: int) -> np.ndarray:
    """The HR picture whose name begins so, uint8 `h w 3`, cropped to a multiple of the scale."""
    path = next((p for p in folder.iterdir() if p.stem.lower().startswith(name)), None)
    if path is None:
        raise AtdsrError(f"{folder} has no picture whose name begins with {name}; add it.")
    samples = imaging.replicate_gray(imaging.read(path).samples)
    return resample.crop_to_multiple(samples, scale)


def seen(place: int, limit: int) -> tuple[int, slice, slice]:
    """Along one side: where the part begins, the part, and what a network sees around it."""
    begin = min(place, limit - SIDE) // SCALE * SCALE
    low, high = max(0, begin - AROUND), min(limit, begin + SIDE + AROUND)
    return begin - low, slice(begin, begin + SIDE), slice(low // SCALE, high // SCALE)


def main() -> None:
    """Enlarge, print, and write the sheet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("-m", "--model", action="append", default=[])
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    memory.keep_freed_memory()
    compared = methods.named(arguments.model, SCALE, InferenceConfig(device="cpu", tile="off"))
    names = [method.name for method in compared]
    print(f"| part | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    rows: list[Image.Image] = []
    for folder, name, top, left, what in PARTS:
        hr = read(arguments.benchmarks / folder / "HR", name, SCALE)
        (y, down, rows_seen), (x, right, columns_seen) = map(seen, (top, left), hr.shape[:2])
        lr = resample.downscale(hr, SCALE)[rows_seen, columns_seen]
        original = np.ascontiguousarray(hr[down, right])
        tiles, figures = [], []
        for method in compared:
            part = np.ascontiguousarray(method.enlarge(lr)[y : y + SIDE, x : x + SIDE])
            figures.append(f"{metrics.psnr_y(original, part, SCALE):.2f}")
            label = f"{method.name} {figures[-1]} dB"
            tiles.append(montage.captioned(montage.enlarged(part, 3), label))
        tiles.append(montage.captioned(montage.enlarged(original, 3), f"HR ({what})"))
        rows.append(montage.beside(tiles, 10))
        print(f"| {what} ({name}) | {' | '.join(figures)} |", flush=True)
    montage.framed(montage.above(rows)).save(arguments.output)


if __name__ == "__main__":
    run_script(main)
