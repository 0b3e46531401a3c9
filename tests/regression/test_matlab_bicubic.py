"""MATLAB's own low-resolution files, and the bicubic row of every table in the literature."""

from pathlib import Path

import numpy as np
import pytest

from atdsr import evaluation
from atdsr.evaluation import methods, testsets

pytestmark = pytest.mark.slow

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


def find(benchmarks: Path, name: str, scale: int, lr: str | None = None) -> testsets.TestSet:
    if not (benchmarks / name).is_dir():
        pytest.skip(f"{name} is absent: no folder {benchmarks / name}")
    (found,) = testsets.find(benchmarks / name, scale, lr)
    assert found.name == name
    assert len(found.pairs) == COUNTS[name]
    return found


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_every_sample_is_matlabs(benchmarks: Path, name: str, scale: int) -> None:
    folder = benchmarks / name / "LR_matlab" / f"X{scale}"
    if not folder.is_dir():
        pytest.skip(f"no files written by MATLAB: no folder {folder}")
    made = find(benchmarks, name, scale)
    matlabs = find(benchmarks, name, scale, "LR_matlab")
    different = [
        theirs.name
        for ours, theirs in zip(made.pairs, matlabs.pairs, strict=True)
        if not all(map(np.array_equal, ours.load(scale), theirs.load(scale)))
    ]
    assert not different
    assert all(pair.lr is not None for pair in matlabs.pairs)


@pytest.mark.parametrize(("name", "scale", "decibels", "similarity"), BICUBIC)
def test_bicubic_figures(
    benchmarks: Path, name: str, scale: int, decibels: float, similarity: float
) -> None:
    bicubic = methods.baseline("bicubic", scale)
    (row,) = evaluation.evaluate([bicubic], [find(benchmarks, name, scale)]).rows
    assert row.psnr == pytest.approx(decibels, abs=0.01)
    assert row.ssim == pytest.approx(similarity, abs=0.0001)
