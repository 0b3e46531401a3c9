"""A small benchmark against its parts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atdsr import evaluation, metrics, resample
from atdsr.evaluation import EvaluationError


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    folder = tmp_path / "Set2" / "HR"
    folder.mkdir(parents=True)
    for number, mode in enumerate(("RGB", "L")):
        noise = np.random.default_rng(number).integers(0, 256, (31, 37, 3), np.uint8)
        Image.fromarray(noise).convert(mode).save(folder / f"{number}.png")
    return folder


def test_bicubic_of_a_folder(benchmark: Path) -> None:
    methods = {"bicubic": evaluation.bicubic(2), "again": evaluation.bicubic(2)}
    results = evaluation.evaluate(methods, benchmark.parent, 2)
    assert [result.method for result in results] == ["bicubic", "again"]
    assert results[0].pictures == results[1].pictures
    assert results[0].dataset == "Set2"
    assert [score.name for score in results[0].pictures] == ["0", "1"]
    for score in results[0].pictures:
        hr = np.asarray(Image.open(benchmark / f"{score.name}.png").convert("RGB"))[:30, :36]
        sr = resample.upscale(resample.downscale(hr, 2), 2)
        assert score.psnr_y == metrics.psnr_y(hr, sr, 2)
        assert score.ssim_y == metrics.ssim_y(hr, sr, 2)
    assert results[0].psnr_y == np.mean([score.psnr_y for score in results[0].pictures])
    assert results[0].ssim_y == np.mean([score.ssim_y for score in results[0].pictures])


def test_a_folder_named_hr_takes_its_parents_name(benchmark: Path) -> None:
    assert evaluation.evaluate({}, benchmark, 2) == []
    assert evaluation.dataset_name(benchmark) == "Set2"
    assert evaluation.dataset_name(benchmark.parent) == "Set2"


def test_what_is_no_benchmark(benchmark: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="is no folder"):
        evaluation.evaluate({}, tmp_path / "gone", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="holds no pictures"):
        evaluation.evaluate({}, tmp_path / "empty", 2)
    Image.new("RGBA", (20, 20)).save(benchmark / "clear.png")
    with pytest.raises(EvaluationError, match=r"clear\.png is not 8-bit gray or RGB"):
        evaluation.evaluate({}, benchmark, 2)
