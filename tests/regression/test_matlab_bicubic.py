"""MATLAB's own low-resolution files, and the bicubic row of every table in the literature."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from atdsr.metrics import psnr_y, ssim_y
from atdsr.resample import crop_to_multiple, downscale, upscale

COUNTS = {"Set5": 5, "Set14": 14, "B100": 100}

# Set, scale, PSNR in dB, SSIM: the table of docs/protocol.md.
BICUBIC = [
    ("Set5", 2, 33.67, 0.9303),
    ("Set5", 3, 30.40, 0.8689),
    ("Set5", 4, 28.43, 0.8111),
    ("Set14", 2, 30.33, 0.8699),
    ("Set14", 3, 27.63, 0.7759),
    ("Set14", 4, 26.09, 0.7048),
    ("B100", 2, 29.56, 0.8434),
    ("B100", 3, 27.21, 0.7391),
    ("B100", 4, 25.96, 0.6681),
]


def pictures(benchmarks: Path, name: str) -> list[Path]:
    folder = benchmarks / name / "HR"
    if not folder.is_dir():
        pytest.skip(f"{name} is absent: no folder {folder}")
    found = sorted(folder.iterdir())
    assert len(found) == COUNTS[name]
    return found


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_every_sample_is_matlabs(benchmarks: Path, name: str, scale: int) -> None:
    folder = benchmarks / name / "LR_matlab" / f"X{scale}"
    if not folder.is_dir():
        pytest.skip(f"no files written by MATLAB: no folder {folder}")
    different = [
        path.name
        for path in pictures(benchmarks, name)
        if not np.array_equal(
            downscale(read(path), scale), read(folder / f"{path.stem}x{scale}.png")
        )
    ]
    assert not different


@pytest.mark.parametrize(("name", "scale", "decibels", "similarity"), BICUBIC)
def test_bicubic_figures(
    benchmarks: Path, name: str, scale: int, decibels: float, similarity: float
) -> None:
    scores = []
    for path in pictures(benchmarks, name):
        hr = crop_to_multiple(read(path), scale)
        sr = upscale(downscale(hr, scale), scale)
        scores.append((psnr_y(hr, sr, scale), ssim_y(hr, sr, scale)))
    mean_psnr, mean_ssim = np.mean(scores, axis=0)
    assert mean_psnr == pytest.approx(decibels, abs=0.01)
    assert mean_ssim == pytest.approx(similarity, abs=0.0001)
