"""The comparisons in ATD's paper: a picture, and the same region of it by every method.

    python benchmarks/strips.py BENCHMARKS -o strips -s 4 -m DAT_light_x4.pth -m atd-light-x4

BENCHMARKS has `Urban100/HR` and, where you have it, `Manga109/HR`. Writes a PNG for each of img_027
and img_076 of Urban100 and Momo of Manga109: HR with a frame, then HR, bicubic and the methods
inside that frame, with PSNR on Y of the whole picture and of the part. The frame is where the
methods differ most. A set that is not there is passed over, and named.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from atdsr.base import memory
from atdsr.evaluation import Method, methods, regions
from atdsr.imaging import metrics, montage, resample
from atdsr.inference.config import InferenceConfig
from parts import read
from script import run_script

PICTURES = (("Urban100", "img_027"), ("Urban100", "img_076"), ("Manga109", "momo"))
PART = (72, 108)  # height and width in HR pixels
TIMES, COLUMNS = 4, 2
FRAME = (220, 30, 40)


def strip(original: np.ndarray, compared: list[Method], title: str) -> Image.Image:
    """HR `h w 3` of uint8 with a frame, and what is in the frame by every method."""
    scale = compared[0].scale
    small = resample.downscale(original, scale)
    results = [method.enlarge(small) for method in compared]
    planes = regions.error_maps(original, results, scale)
    size = regions.fit_region_size(PART, original, scale)
    region = regions.most_different_region(planes, size, scale)
    part = region.crop(original)
    tiles = [_tile(part, "HR", "PSNR-Y picture / part")]
    for method, result in zip(compared, results, strict=True):
        inside = region.crop(result)
        whole, here = (
            metrics.psnr_y(original, result, scale),
            metrics.psnr_y(np.ascontiguousarray(part), np.ascontiguousarray(inside), 0),
        )
        tiles.append(_tile(inside, method.name, f"{whole:.2f} / {here:.2f} dB"))
        print(f"| {title} | {method.name} | {whole:.2f} | {here:.2f} |", flush=True)
    grid = montage.in_rows(tiles, COLUMNS, 12)
    left = _framed(original, region, grid.height - 34)
    return montage.framed(montage.beside([montage.captioned(left, title), grid]))


def _tile(samples: np.ndarray, title: str, note: str) -> Image.Image:
    return montage.captioned(montage.enlarged(np.ascontiguousarray(samples), TIMES), title, note)


def _framed(original: np.ndarray, region: regions.Region, height: int) -> Image.Image:
    """The picture at a height, with a frame around the region."""
    image = Image.fromarray(original)
    factor = height / image.height
    image = image.resize((round(image.width * factor), height), Image.Resampling.LANCZOS)
    corners = np.array(
        [region.left, region.top, region.left + region.width, region.top + region.height]
    )
    ImageDraw.Draw(image).rectangle((corners * factor).tolist(), outline=FRAME, width=4)
    return image


def main() -> None:
    """Enlarge, print, and write the strips."""
    parser = argparse.ArgumentParser()
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("-s", "--scale", type=int, default=4)
    parser.add_argument("-m", "--model", action="append", default=[])
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    memory.keep_freed_memory()
    compared = methods.named(
        arguments.model, arguments.scale, InferenceConfig(device="cpu", tile="off")
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    print("| picture | method | PSNR-Y of the picture | of the part |\n|---|---|---|---|")
    for dataset, name in PICTURES:
        folder = arguments.benchmarks / dataset / "HR"
        if not folder.is_dir():
            print(f"(no {folder})")
            continue
        original = read(folder, name, arguments.scale)
        made = strip(original, compared, f"{dataset} {name}, x{arguments.scale}")
        made.save(arguments.output / f"{dataset}_{name}_x{arguments.scale}.png")


if __name__ == "__main__":
    run_script(main)
