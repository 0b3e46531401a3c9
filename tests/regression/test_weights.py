"""Published figures of weights: an official file by the protocol, and the bundled ones."""

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

import atdsr
from atdsr import evaluation, zoo

# `params_ema` of trained_light_x2.pth: PSNR-Y in dB with stable sort, float32, MATLAB LR
REFERENCE = {
    "baby": 38.421,
    "bird": 39.457,
    "butterfly": 30.005,
    "head": 35.623,
    "woman": 34.549,
}


def test_an_official_file_gives_its_known_figures(benchmarks: Path, reference: Path) -> None:
    upscaler = atdsr.load(reference / "trained_light_x2.pth", device="cpu")
    (result,) = evaluation.evaluate(
        {"official": evaluation.network(upscaler)}, benchmarks / "Set5", 2
    )
    assert {score.name: score.psnr_y for score in result.pictures} == pytest.approx(
        REFERENCE, abs=0.01
    )


@pytest.mark.parametrize("model", zoo.MODELS, ids=lambda model: model.name)
def test_bundled_weights_give_the_figures_they_are_listed_with(
    model: zoo.ZooModel, benchmarks: Path
) -> None:
    upscaler = atdsr.load(model.name, device="cpu")
    scale = model.config.scale
    methods = {
        "bicubic": evaluation.bicubic(scale),
        "atd": evaluation.network(upscaler),
    }
    bicubic, atd = evaluation.evaluate(methods, benchmarks / "Set5", scale)
    assert atd.psnr_y == pytest.approx(model.psnr_y["Set5"], abs=0.01)
    assert atd.psnr_y > bicubic.psnr_y + 1
    assert atd.ssim_y > bicubic.ssim_y


@pytest.mark.parametrize("model", zoo.MODELS, ids=lambda model: model.name)
def test_the_list_tells_what_the_files_hold(model: zoo.ZooModel) -> None:
    path = files("atdsr") / "weights" / model.file
    assert hashlib.sha256(path.read_bytes()).hexdigest() == model.sha256
    weights = model.load()
    assert weights.config == model.config
    assert weights.parameters == model.parameters
