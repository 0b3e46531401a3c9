"""A small evaluation with its pictures, for tests of tables and pages."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from atdsr.evaluation import Evaluation, Row, Score, image_path
from atdsr.evaluation.published import PublishedRow
from atdsr.evaluation.testsets import Pair, TestSet
from atdsr.imaging import metrics, resample

SCALE = 2
PARAMETERS = {"bicubic": None, "small": 1_000_000, "large": 20_000_000}
"""The methods: the network `small` errs by up to 6 steps of gray, `large` by up to 2."""
LPIPS = {"bicubic": 0.3, "small": 0.2, "large": 0.1}


def make(
    folder: Path, names: Sequence[str], dataset: str = "Set2", size: tuple[int, int] = (96, 120)
) -> tuple[Evaluation, TestSet, Path]:
    """An evaluation of noise pictures that are written to a folder; its set; its results."""
    pairs = []
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(20, 230, (*size, 3), np.uint8)
        path = folder / "HR" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)
        pairs.append(Pair(name, path))
    images = folder / "results"
    rows = tuple(
        Row(
            model,
            dataset,
            SCALE,
            count,
            tuple(_score(model, pair, dataset, images) for pair in pairs),
        )
        for model, count in PARAMETERS.items()
    )
    published = PublishedRow("PAPER-A", dataset, SCALE, 753_000, "light", 38.29, 0.9616)
    machine = {"cpu": "a <very> fast one", "command": "atdsr eval --data 'Set2 & more'"}
    return Evaluation(rows, (published,), machine), TestSet(dataset, tuple(pairs)), images


def _score(model: str, pair: Pair, dataset: str, images: Path) -> Score:
    original, small = pair.load(SCALE)
    samples = resample.upscale(small, SCALE)
    if model != "bicubic":
        most = 6 if model == "small" else 2
        error = np.random.default_rng(0).integers(-most, most + 1, original.shape)
        samples = (original + error).astype(np.uint8)
    path = image_path(images, dataset, pair.name, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(samples).save(path)
    height, width = original.shape[:2]
    psnr_y = metrics.psnr_y(original, samples, SCALE)
    ssim_y = metrics.ssim_y(original, samples, SCALE)
    return Score(pair.name, width, height, psnr_y, ssim_y, 0.5, 2**28, {"lpips": LPIPS[model]})
