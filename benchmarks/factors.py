"""PSNR on Y of the bundled networks, by how many times a picture's sides grow.

    python benchmarks/factors.py --data BENCHMARKS/Set5/HR    # a quarter of an hour
    python benchmarks/factors.py --data BENCHMARKS/Set5/HR --factors 1.5 5 --limit 2

Each picture is cropped so that the reduced one has whole sides, reduced by antialiased bicubic, and
enlarged to its size again: by each network as often as it takes, and by each pair of networks, one
after the other, where a single step does not reach. Bicubic then makes it the size. The table is
the reason for the order of `atdsr.batch.choose_network_scale`.
"""

import argparse
import math
from fractions import Fraction
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np

import atdsr
from atdsr import imaging
from atdsr.imaging import metrics, resample
from atdsr.inference.upscaler import Upscaler
from atdsr.weights import models
from script import run_script

FACTORS = (1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8)


def psnr(chain: tuple[Upscaler, ...], original: np.ndarray, factor: float) -> float:
    """PSNR on Y in dB of one picture, reduced and enlarged by one network after the other.

    Args:
        chain: Networks; the last one is used as often as it takes.
        original: The picture, uint8 `h w 3`.
        factor: How many times its sides grow.
    """
    original = resample.crop_to_multiple(original, Fraction(factor).numerator)
    height, width = original.shape[:2]
    small = resample.resize(original, round(height / factor), round(width / factor))
    samples = imaging.to_uint8(small).astype(np.uint16) * 257  # 16 bits, as inside of one network
    for upscaler in chain[:-1]:
        samples = upscaler(samples)
    samples = chain[-1](samples, size=(width, height))
    return metrics.psnr_y(original, imaging.to_uint8(samples), math.ceil(factor))


def chains(factor: float, scales: list[int]) -> list[tuple[int, ...]]:
    """Each scale alone, and pairs where a single step does not reach and two of them do."""
    alone: list[tuple[int, ...]] = [(scale,) for scale in scales]
    if factor <= max(scales):
        return alone
    pairs = product(scales, repeat=2)
    return alone + [(a, b) for a, b in pairs if a != b and a * b >= factor]


def main() -> None:
    """Measure and print a line for each factor and chain."""
    parser = argparse.ArgumentParser(description="Which networks are best for a factor.")
    parser.add_argument("--data", type=Path, required=True, help="folder of HR pictures")
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS)
    parser.add_argument("--limit", type=int, help="number of pictures to take")
    wanted = parser.parse_args()
    files = [path for path in sorted(wanted.data.glob("*")) if imaging.is_picture_file(path)]
    if not files:
        parser.error(f"there is no picture in {wanted.data}")
    pictures = [imaging.read(path).samples for path in files[: wanted.limit]]
    bundled = models.by_scale("clean pictures")
    upscalers = {scale: atdsr.load(model.name) for scale, model in bundled.items()}
    print(f"{len(pictures)} pictures of {wanted.data}\n\n| factor | networks | PSNR-Y (dB) |")
    print("|---|---|---|")
    for factor in wanted.factors:
        for chain in chains(factor, sorted(upscalers)):
            figure = mean(psnr(tuple(upscalers[s] for s in chain), p, factor) for p in pictures)
            names = ", then ".join(f"x{scale}" for scale in chain)
            print(f"| {factor:g} | {names} | {figure:.2f} |", flush=True)


if __name__ == "__main__":
    run_script(main)
