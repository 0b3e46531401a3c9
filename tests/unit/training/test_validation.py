"""Measuring a run's weights on its test sets."""

import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr import evaluation, imaging
from atdsr.base import memory
from atdsr.base.files import FileError
from atdsr.base.reporter import Reporter
from atdsr.evaluation import methods, regions, testsets
from atdsr.imaging import resample
from atdsr.inference import Upscaler
from atdsr.network.model import ATD
from atdsr.training import validation_images
from atdsr.training.config import DataConfig, TestFolder, TrainConfig, ValidationConfig
from atdsr.training.validation import ValidationError, Validator
from atdsr.training.validation_images import ValidationImage
from helpers.networks import TINY, lively

CPU = torch.device("cpu")
SMALL = replace(TINY, depths=(1,), heads=(2,))
Make = Callable[..., Validator]


@pytest.fixture
def tiny() -> ATD:
    return lively(SMALL)


def write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(samples).save(path)


def soft_noise(seed: int, height: int = 40, width: int = 56, channels: int = 3) -> np.ndarray:
    """Soft noise, sharp in the lower right corner, where bicubic errs most."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 200, (height // 4, width // 4, 3), np.uint8)
    samples = np.array(Image.fromarray(small).resize((width, height)))
    samples[-12:, -16:] = rng.integers(0, 256, (12, 16, 3), np.uint8)
    return samples if channels == 3 else np.dstack([samples, samples[..., :1]])


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A folder with two test sets, of two pictures and of one."""
    for number in range(2):
        write(tmp_path / "sets" / "SetA" / f"{'ab'[number]}.png", soft_noise(number))
    write(tmp_path / "sets" / "SetB" / "only.png", soft_noise(3, 34, 38))
    return tmp_path / "sets"


def settings(output: Path, *wanted: Any, **more: Any) -> TrainConfig:
    count = more.pop("strips", 2)
    return TrainConfig(
        name="a run",
        output=output,
        network=SMALL,
        iterations=10,
        data=DataConfig(train=Path("nowhere")),
        validation=ValidationConfig(sets=wanted, strips=count),
        **more,
    )


def validator(run: TrainConfig, tell: Callable[[str], None] = lambda _: None) -> Validator:
    return Validator(run, CPU, Reporter(notice=tell))


def unheard(text: str) -> None:
    raise AssertionError(text)


# ------------------------------------------------------------------------------------- the figures


def test_the_figures_are_those_of_an_evaluation(tmp_path: Path, sets: Path, tiny: ATD):
    run = settings(tmp_path / "run", str(sets))
    measured = validator(run, unheard).measure(7, tiny, best=0.0)
    method = methods.network(Upscaler(lively(SMALL), device="cpu", tile="off"), "it")
    found = testsets.find(sets, 2)
    expected = evaluation.evaluate([methods.baseline("bicubic", 2), method], found)
    by_name = {
        name: {row.dataset: row for row in expected.rows if row.model == name}
        for name in ("bicubic", "it")
    }
    assert list(measured.psnr) == ["SetA", "SetB"]
    assert measured.psnr == {name: row.psnr for name, row in by_name["it"].items()}
    assert measured.ssim == {name: row.ssim for name, row in by_name["it"].items()}
    assert measured.bicubic == {name: row.psnr for name, row in by_name["bicubic"].items()}
    assert measured.step == 7
    assert measured.seconds > 0


def test_a_run_in_half_precision_is_measured_in_half_precision(
    tmp_path: Path, sets: Path, tiny: ATD
):
    run = settings(tmp_path / "run", str(sets / "SetB"), precision="bf16")
    measured = validator(run).measure(1, tiny, best=0.0)
    upscaler = Upscaler(lively(SMALL), device="cpu", precision="bf16", tile="off")
    expected = evaluation.evaluate(
        [methods.network(upscaler, "it")], testsets.find(sets / "SetB", 2)
    )
    assert measured.psnr == {"SetB": expected.rows[0].psnr}


def test_a_run_in_double_precision_is_measured_as_such(tmp_path: Path, sets: Path, tiny: ATD):
    run = settings(tmp_path / "run", str(sets / "SetB"), precision="fp64")
    average = tiny.double()
    measured = validator(run).measure(1, average, best=0.0)
    assert next(average.parameters()).dtype == torch.float64
    assert np.isfinite(measured.psnr["SetB"])


@pytest.mark.parametrize(("margin", "is_best"), [(-0.001, True), (0.0, False), (1.0, False)])
def test_best_is_a_higher_mean_over_the_sets(
    tmp_path: Path, sets: Path, tiny: ATD, margin: float, is_best: bool
):
    once = validator(settings(tmp_path / "run", str(sets), strips=0))
    mean = float(np.mean(list(once.measure(1, tiny, best=0.0).psnr.values())))
    assert once.measure(2, tiny, best=mean + margin).best is is_best


def generators() -> list[bytes]:
    """The states of all generators of random numbers."""
    torch_state = torch.get_rng_state().numpy().tobytes()
    others = np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one
    return [torch_state, *map(pickle.dumps, others)]


def test_nothing_of_the_training_is_disturbed(tmp_path: Path, sets: Path, tiny: ATD):
    tiny.train()
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    states = generators()
    validator(settings(tmp_path / "run", str(sets))).measure(1, tiny, best=0.0)
    assert all(module.training for module in tiny.modules())
    assert all(torch.equal(before[name], value) for name, value in tiny.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny.parameters())
    assert generators() == states
    assert not any(module._forward_hooks for module in tiny.modules())


def test_bicubic_is_enlarged_once_and_not_before_the_first_measure(
    tmp_path: Path, sets: Path, tiny: ATD, monkeypatch: pytest.MonkeyPatch
):
    made: list[int] = []
    upscale = resample.upscale

    def counted(samples: np.ndarray, scale: int) -> np.ndarray:
        made.append(scale)
        return upscale(samples, scale)

    monkeypatch.setattr(resample, "upscale", counted)
    once = validator(settings(tmp_path / "run", str(sets)))
    assert made == []
    first = once.measure(1, tiny, best=0.0)
    assert made == [2] * 3
    second = once.measure(2, lively(SMALL, seed=1), best=0.0)
    assert made == [2] * 3
    assert second.bicubic == first.bicubic
    assert second.psnr != first.psnr


def test_a_picture_too_large_as_a_whole_is_done_in_tiles_and_told_once(
    tmp_path: Path, sets: Path, tiny: ATD, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**20)
    measured = validator(settings(tmp_path / "run", str(sets)), told.append).measure(1, tiny, 0.0)
    assert len(told) == 1
    assert "tiles" in told[0]
    assert set(measured.psnr) == {"SetA", "SetB"}


# ------------------------------------------------------------------------------------- the strips


def test_strips_of_the_first_pictures_of_each_set_are_written(
    tmp_path: Path, sets: Path, tiny: ATD
):
    once = validator(settings(tmp_path / "run", str(sets)))
    measured = [once.measure(step, lively(SMALL, seed=step), best=0.0) for step in (20_000, 40_000)]
    paths = [tmp_path / "run" / "validation" / name for name in ("00020000.png", "00040000.png")]
    assert [each.strips for each in measured] == paths
    sheets = [imaging.read(path).samples for path in paths]
    assert sheets[0].shape == sheets[1].shape
    assert (sheets[0] != sheets[1]).any()
    assert sorted(path.name for path in paths[0].parent.iterdir()) == [p.name for p in paths]
    one_each = settings(tmp_path / "other", str(sets), strips=1)
    fewer = validator(one_each).measure(1, tiny, best=0.0).strips
    assert fewer is not None
    assert imaging.read(fewer).samples.shape[0] < sheets[0].shape[0]


def test_without_strips_no_file_is_written(tmp_path: Path, sets: Path, tiny: ATD):
    measured = validator(settings(tmp_path / "run", str(sets), strips=0)).measure(1, tiny, best=0.0)
    assert measured.strips is None
    assert not (tmp_path / "run").exists()


def test_a_strip_shows_where_bicubic_errs_most_whatever_the_network_does():
    hr = soft_noise(0, 240, 320)
    bicubic = resample.upscale(resample.downscale(hr, 2), 2)
    strip = ValidationImage.from_pictures("a", hr, bicubic, 2)
    top, left = strip.region.top, strip.region.left
    assert (strip.region.height, strip.region.width) == (96, 128)
    assert top <= 228 <= top + 96  # the sharp corner is in it
    assert left <= 304 <= left + 128
    enlarged = np.roll(hr, 3, 0)
    later = strip.with_enlarged(enlarged)
    assert later.region == strip.region
    np.testing.assert_array_equal(later.original, strip.region.crop(hr))
    np.testing.assert_array_equal(later.bicubic, strip.region.crop(bicubic))
    np.testing.assert_array_equal(later.enlarged, strip.region.crop(enlarged))
    assert later.enlarged.base is None or later.enlarged.base.shape != hr.shape


@pytest.mark.parametrize("count", [1, 6, 7, 20])
def test_a_sheet_holds_every_strip_and_every_pixel_twice_as_large(count: int):
    strip = ValidationImage(
        "Set5 / \udcff" + "n" * 300,
        regions.Region(0, 0, 96, 128),
        *(np.full((96, 128, 3), value, np.uint8) for value in (1, 2, 3)),
        psnr_y=(30.0, 31.0),
    )
    sheet = validation_images.draw_sheet("a run", [strip] * count)
    for value in (1, 2, 3):
        assert (sheet == value).all(axis=2).sum() == count * 4 * 96 * 128


def test_a_sheet_that_cannot_be_written_is_an_error_that_names_it(
    tmp_path: Path, sets: Path, tiny: ATD
):
    run = settings(tmp_path / "run", str(sets))
    (tmp_path / "run").write_text("a file in the way")
    with pytest.raises(FileError, match="validation"):
        validator(run).measure(1, tiny, best=0.0)


# ------------------------------------------------------------------------------ what is no test set


def refused(run: TrainConfig) -> str:
    with pytest.raises(ValidationError) as caught:
        validator(run)
    assert "validate.sets" in str(caught.value)
    return str(caught.value)


def test_a_missing_set_is_named_before_the_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ATDSR_BENCHMARKS", raising=False)
    sentence = refused(settings(tmp_path / "run", "Set5x"))
    assert "'Set5x'" in sentence
    assert "ATDSR_BENCHMARKS" in sentence
    assert "--set 'validate.sets=[]'" in sentence


def test_a_folder_of_lr_pictures_is_used_by_its_template(tmp_path: Path, sets: Path, tiny: ATD):
    lr = tmp_path / "lr"
    for path in (sets / "SetA").iterdir():
        small = resample.downscale(imaging.read(path).samples, 2)
        write(lr / f"{path.stem}_tiny.png", np.roll(small, 1, 0))  # other than MATLAB's
    folder = TestFolder(name="mine", hr=sets / "SetA", lr=lr, template="{}_tiny")
    measured = validator(settings(tmp_path / "run", folder)).measure(1, tiny, best=0.0)
    by_matlab = validator(settings(tmp_path / "run", str(sets / "SetA"))).measure(1, tiny, best=0.0)
    assert set(measured.bicubic) == {"mine"}
    assert measured.bicubic["mine"] < by_matlab.bicubic["SetA"]
    (lr / "b_tiny.png").unlink()
    assert "b.png" in refused(settings(tmp_path / "run", folder))


def test_an_lr_picture_of_another_scale_is_named(tmp_path: Path, sets: Path):
    for path in (sets / "SetA").iterdir():
        write(tmp_path / "lr" / path.name, resample.downscale(imaging.read(path).samples, 2))
    write(tmp_path / "lr" / "b.png", soft_noise(0, 16, 16))
    folder = TestFolder(name="mine", hr=sets / "SetA", lr=tmp_path / "lr")
    sentence = refused(settings(tmp_path / "run", folder))
    assert "b.png is 16x16" in sentence
    assert "28x20" in sentence


def test_two_sets_of_one_name_are_refused(tmp_path: Path, sets: Path):
    folder = TestFolder(name="SetA", hr=sets / "SetB")
    assert "'SetA'" in refused(settings(tmp_path / "run", str(sets / "SetA"), folder))


def test_a_picture_too_small_for_ssim_is_named(tmp_path: Path, sets: Path):
    write(sets / "SetA" / "d.png", soft_noise(0, 14, 60))
    sentence = refused(settings(tmp_path / "run", str(sets / "SetA")))
    assert "d.png is 60x14" in sentence


def test_the_smallest_picture_that_is_taken_can_be_measured(tmp_path: Path, tiny: ATD):
    for scale, side in ((2, 16), (3, 18), (4, 20)):
        folder = tmp_path / f"x{scale}-of" / "Least"
        write(folder / "least.png", soft_noise(0, side, side))
        network = replace(SMALL, scale=scale)
        run = settings(tmp_path / "run", str(folder)).model_copy(update={"network": network})
        assert validator(run).measure(1, lively(network), best=0.0).psnr.keys() == {"Least"}
        write(folder / "less.png", soft_noise(0, side - 1, 40))
        assert "less.png" in refused(run)


def test_a_picture_of_another_kind_is_named(tmp_path: Path, sets: Path):
    write(sets / "SetB" / "alpha.png", soft_noise(0, channels=4))
    assert "alpha.png" in refused(settings(tmp_path / "run", str(sets / "SetB")))
