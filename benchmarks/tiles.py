"""PSNR of tiled results, against HR and against the result of the whole picture.

    python benchmarks/tiles.py FOLDER/img_001.webp FOLDER/img_041.webp
    python benchmarks/tiles.py --large FOLDER/img_001.webp    # the HR picture itself is enlarged
    python benchmarks/tiles.py --blocks 32 64 128 -m atd-light-x4 FOLDER/img_001.webp

Prints the two tables of `docs/tiles.md`; a picture takes some ten minutes at x2. With `--blocks`,
whole pictures are enlarged by the same weights with these values of `category_block`
(docs/model.md).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from atdsr import imaging
from atdsr.base import memory
from atdsr.imaging import metrics, resample
from atdsr.inference.config import InferenceConfig
from atdsr.inference.upscaler import Upscaler
from atdsr.weights import Weights, models
from script import run_script

SMALL = [(64, 16), (128, 16), (128, 32), (256, 16), (256, 32), (256, 64)]
LARGE = [(256, 32), (512, 32)]
WHOLE = InferenceConfig("cpu", tile="off")


def in_tiles(weights: Weights, cases: list[tuple[int, int]]) -> dict[str, Upscaler]:
    """Return an upscaler for each tile and overlap, by the start of its row."""
    return {
        f"{tile} | {overlap}": Upscaler(weights.build(), replace(WHOLE, tile=tile, overlap=overlap))
        for tile, overlap in cases
    }


def with_block(weights: Weights, block: int) -> Weights:
    """Return the same parameters with another `category_block`."""
    return replace(weights, config=replace(weights.config, category_block=block))


def in_blocks(weights: Weights, blocks: list[int]) -> dict[str, Upscaler]:
    """Return an upscaler for each side of the squares within which categories are sorted."""
    return {str(block): Upscaler(with_block(weights, block).build(), WHOLE) for block in blocks}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", "--model", default="atd-light-x2")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--blocks", nargs="+", type=int)
    parser.add_argument("pictures", nargs="+", type=Path)
    arguments = parser.parse_args()
    memory.keep_freed_memory()
    weights = models.load_weights(arguments.model)
    scale = weights.config.scale
    columns, others = (
        ("block", in_blocks(weights, arguments.blocks))
        if arguments.blocks
        else ("tile | overlap", in_tiles(weights, LARGE if arguments.large else SMALL))
    )
    whole = "whole |" if "|" in columns else "none"
    cases = {whole: Upscaler(weights.build(), WHOLE), **others}
    against_hr: dict[str, list[float]] = {name: [] for name in cases}
    against_whole: dict[str, list[float]] = {name: [] for name in others}
    for path in arguments.pictures:
        hr = resample.crop_to_multiple(imaging.replicate_gray(imaging.read(path).samples), scale)
        lr = hr if arguments.large else resample.downscale(hr, scale)
        results = {}
        for name, upscaler in cases.items():
            results[name] = upscaler(lr)
            if not arguments.large:
                against_hr[name].append(metrics.psnr_y(hr, results[name], scale))
            if name != whole:
                against_whole[name].append(metrics.psnr_y(results[whole], results[name], scale))
            print(
                path.name, name, against_hr[name][-1:], against_whole.get(name, [])[-1:], flush=True
            )
    rule = "|---" * (columns.count("|") + 3) + "|"
    print(f"\n| {columns} | PSNR-Y against HR | against the whole |\n{rule}")
    for name in cases:
        means = [
            f"{np.mean(values):.3f}" if values else ""
            for values in (against_hr[name], against_whole.get(name))
        ]
        print(f"| {name} | {means[0]} | {means[1]} |")


if __name__ == "__main__":
    run_script(main)
