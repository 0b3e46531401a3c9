"""Runs of networks that restore, and every recipe of the second paper."""

import dataclasses
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr import cli, datasets
from atdsr.datasets import PackConfig
from atdsr.datasets.degradations import Degrader
from atdsr.network.unet import build
from atdsr.reports import run_curves, run_page, training_runs
from atdsr.training import (
    Event,
    LogEntry,
    StoppedError,
    TrainConfig,
    TrainingError,
    Validated,
    fit,
    recipes,
    trainer,
)
from atdsr.training.distributed import Distributed
from atdsr.training.estimate import estimate
from atdsr.training.restoration import RestorationValidator
from atdsr.training.step import RATE, build_optimizers
from atdsr.training.trainer import Trainer
from atdsr.training.validation import ValidationError
from atdsr.weights import Weights, WeightsError, read_tensors, read_weights, write_weights
from helpers.networks import TINY, TINY_U, TINY_V2, lively
from helpers.training_runs import (
    assert_same,
    assert_same_run,
    changed,
    pictures,
    state_of,
    tiny_config,
)

CPU = torch.device("cpu")
ALONE = Distributed(0, 1, CPU)
GRAY_U = dataclasses.replace(TINY_U, channels=1)
RECIPES = [name for name in recipes.names() if name[0] in "234v"]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    datasets.pack(pictures(folder / "pictures"), folder / "set", PackConfig((2, 3, 4)))
    return folder / "set"


@pytest.fixture
def settings(train: Path, tmp_path: Path) -> TrainConfig:
    """Colour noise and mixup, as published."""
    published = recipes.load("202", [f"data.train={train}"])
    return changed(
        tiny_config(train, tmp_path / "run"),
        network=TINY_U,
        data={**published.data.model_dump(), "batch": 2, "patch": 24, "train": train},
        optim=published.optim.model_dump(),
        loss=published.loss.model_dump(),
        ema=0,
    )


def network_file(path: Path, network: Any) -> Path:
    write_weights(Weights(network, lively(network).state_dict()), path)
    return path


# ------------------------------------------------------------------------------------- every recipe


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_steps_of_a_recipe(name: str, train: Path, tmp_path: Path) -> None:
    """On a shrunk network, with smaller crops; all else is the recipe's."""
    config = recipes.load(name)
    network: Any = dataclasses.replace(TINY_U, channels=config.channels, depths=(1, 1, 1, 1))
    if not config.restores:
        network = dataclasses.replace(TINY_V2, scale=config.network.scale)
    changes: dict[str, Any] = {
        "network": network,
        "output": tmp_path / "run",
        "iterations": 2,
        "data": {"train": train, "lr": None, "batch": 2, "patch": 12},
        "log": {"every": 1, "tensorboard": False},
        "validate": {"sets": ()},
        "stages": [{**stage.model_dump(), "after": 1, "patch": 20} for stage in config.stages],
    }
    if config.init_from is not None:
        start = network if config.init_strict else dataclasses.replace(TINY_V2, scale=2)
        changes["init_from"] = network_file(tmp_path / "start.safetensors", start)
    config = changed(config, **changes)
    entries: list[LogEntry] = []
    weights = fit(
        config,
        callback=lambda event: entries.append(event) if isinstance(event, LogEntry) else None,
    )
    assert [entry.step for entry in entries] == [1, 2]
    assert all(math.isfinite(entry.loss) and entry.skipped == 0 for entry in entries)
    assert entries[0].lr == config.learning_rate(1)
    trained = read_weights(weights, category_size=network.category_size)
    assert trained.config == network
    raw = read_tensors(config.output / trainer.OFFICIAL, "params")[0]
    fresh = Trainer(config, ALONE)
    fresh.start()  # from the newest state
    assert fresh.step == 2
    own = fresh.model.state_dict()
    torch.manual_seed(config.seed)
    begun = build(network).state_dict()
    assert raw
    assert any(not torch.equal(own[key], begun[key]) for key in begun)


# ------------------------------------------------------------------------------------------ restart


@pytest.mark.slow
def test_train_4_is_train_2_and_resume_2(settings: TrainConfig, tmp_path: Path) -> None:
    whole = changed(
        settings,
        output=tmp_path / "whole",
        network=dataclasses.replace(TINY_U, depths=(1, 1, 1, 1)),
        ema=0.9,
        schedule={"milestones": [1, 3]},
        stages=[{"after": 1, "patch": 17, "batch": 3}, {"after": 3, "patch": 32, "batch": 1}],
    )
    fit(whole)
    parted = changed(whole, output=tmp_path / "parted")

    def stop(event: Event) -> None:
        if isinstance(event, LogEntry) and event.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="stopped at step 2 of 4"):
        fit(parted, callback=stop)
    assert state_of(parted)["step"] == 2
    fit(parted)
    assert_same_run(parted, whole)
    for name in (trainer.WEIGHTS, trainer.OFFICIAL):
        assert_same(*(read_tensors(each.output / name)[0] for each in (parted, whole)))


def test_without_an_average_it_is_the_weights(settings: TrainConfig) -> None:
    fit(changed(settings, iterations=2))
    state = state_of(changed(settings, iterations=2))
    assert_same(state["average"], state["model"])


def test_under_bf16(settings: TrainConfig) -> None:
    entries: list[LogEntry] = []
    config = changed(settings, iterations=2, precision="bf16", activation_checkpointing=True)
    fit(config, callback=lambda e: entries.append(e) if isinstance(e, LogEntry) else None)
    assert all(math.isfinite(entry.loss) and entry.skipped == 0 for entry in entries)


# ---------------------------------------------------------------------------------------- optimizer


def test_who_has_muon(settings: TrainConfig) -> None:
    model = build(TINY_U)
    muon, adam = build_optimizers(model, settings.optim)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    (matrices,), (others,) = (
        [[names[id(p)] for p in group["params"]] for group in each.param_groups]
        for each in (muon, adam)
    )
    assert sorted(matrices + others) == sorted(names.values())
    assert [name for name in others if "norm" not in name and "scale" not in name] == [
        "conv_first.weight"
    ]
    dictionaries = [name for name in names.values() if name.endswith(".dictionary")]
    tables = [name for name in names.values() if name.endswith("bias_table")]
    assert len(dictionaries) == 8
    assert len(tables) == len(model.layers)
    assert {*dictionaries, *tables, "conv_last.weight", "downs.0.0.weight"} <= set(matrices)
    assert (muon.param_groups[0][RATE], adam.param_groups[0][RATE]) == (1.0, 0.2)
    shared = build_optimizers(model, settings.optim.model_copy(update={"adam_lr": None}))
    assert [each.param_groups[0][RATE] for each in shared] == [1.0, 1.0]


# ---------------------------------------------------------------------------------------- the start


def test_weights_of_another_kind_are_refused(settings: TrainConfig, tmp_path: Path) -> None:
    enlarging = network_file(tmp_path / "atd.safetensors", TINY)
    with pytest.raises(TrainingError, match=r"atd\.safetensors holds an ATD, which enlarges, and"):
        Trainer(changed(settings, init_from=enlarging), ALONE).start()
    restoring = network_file(tmp_path / "u.safetensors", TINY_U)
    plain = changed(tiny_config(settings.data.train, tmp_path / "x"), init_from=restoring)
    with pytest.raises(WeightsError, match="this run takes networks that enlarge, and these are"):
        Trainer(plain, ALONE).start()


def test_gray_starts_from_colour(settings: TrainConfig, tmp_path: Path) -> None:
    start = network_file(tmp_path / "u.safetensors", TINY_U)
    begun = Trainer(changed(settings, network=GRAY_U, init_from=start), ALONE)
    begun.start()
    weights = lively(TINY_U).state_dict()
    for name, value in begun.model.state_dict().items():
        ends = name in ("conv_first.weight", "conv_last.weight")
        assert (value.shape == weights[name].shape and torch.equal(value, weights[name])) != ends


def test_a_run_of_the_other_kind_is_no_state_to_go_on_from(
    settings: TrainConfig, tmp_path: Path
) -> None:
    fit(changed(settings, iterations=1))
    other = tiny_config(settings.data.train, settings.output, iterations=2)
    with pytest.raises(TrainingError, match="holds a run of another network or optimizer"):
        fit(other)


# --------------------------------------------------------------------------------------- validation


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    pictures(tmp_path / "held" / "A", 2, 40, 52)
    pictures(tmp_path / "held" / "B", 1, 33, 36)
    return tmp_path / "held"


@pytest.mark.parametrize("network", [TINY_U, GRAY_U], ids=["colour", "gray"])
@pytest.mark.parametrize("recipe", ["203", "401"])
def test_psnr_of_degraded_pictures(
    settings: TrainConfig, held_out: Path, network: Any, recipe: str
) -> None:
    """By its definition, on pictures that are degraded here once more."""
    degradation = recipes.load(recipe).data.degradation_at(1)
    assert degradation is not None
    config = changed(
        settings,
        network=network,
        data={"degradation": degradation.model_dump()},
        validate={"sets": [str(held_out)]},
    )
    average = lively(network)
    measured = RestorationValidator(config, CPU).measure(7, average, -math.inf)
    expected: dict[str, list[list[float]]] = {}
    for number, (name, path) in enumerate([("A", "0.png"), ("A", "1.png"), ("B", "0.png")]):
        image = Image.open(held_out / name / path).convert("RGB" if network is TINY_U else "L")
        hr = torch.from_numpy(np.array(image).reshape(image.height, image.width, -1))
        hr = hr.permute(2, 0, 1)[None].contiguous()
        lr = Degrader(degradation, 1, 0)(hr, [number])
        lr = lr if lr.is_floating_point() else lr / 255
        with torch.inference_mode():
            restored = average(lr)
        errors = [((x.clamp(0, 1) - hr / 255) ** 2).mean().item() for x in (restored, lr)]
        expected.setdefault(name, []).append([-10 * math.log10(error) for error in errors])
    assert measured.step == 7
    assert measured.ssim == {}
    assert (measured.best, measured.baseline) == (True, "degraded")
    for name, values in expected.items():
        restored, degraded = np.mean(values, axis=0)
        assert measured.psnr[name] == pytest.approx(restored, abs=1e-4)
        assert measured.bicubic[name] == pytest.approx(degraded, abs=1e-4)
    again = RestorationValidator(config, CPU).measure(8, average, measured.mean_psnr)
    assert again.psnr == measured.psnr
    assert not again.best


def test_a_set_that_is_missing(settings: TrainConfig) -> None:
    with pytest.raises(
        ValidationError, match=r"the test set .gone. cannot be used: .*validate\.set"
    ):
        RestorationValidator(changed(settings, validate={"sets": ["gone"]}), CPU)


def test_a_picture_that_is_too_large(
    settings: TrainConfig, held_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validator = RestorationValidator(changed(settings, validate={"sets": [str(held_out)]}), CPU)
    average = lively(TINY_U)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(average, "forward", fail)
    with pytest.raises(Exception, match=r"0\.png is too large for the memory as a whole; take"):
        validator.measure(1, average, 0.0)


@pytest.mark.slow
def test_a_run_is_measured_and_shown(
    settings: TrainConfig, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = changed(settings, iterations=2, validate={"sets": [str(held_out / "A")], "every": 1})
    told: list[Validated] = []
    fit(config, callback=lambda e: told.append(e) if isinstance(e, Validated) else None)
    assert [each.step for each in told] == [1, 2]
    run = training_runs.read(config.output)
    assert run.baseline == "degraded"
    assert [each.psnr for each in run.validations] == [each.psnr for each in told]
    run_page.write(run, tmp_path / "run.html", overwrite=False)
    page = (tmp_path / "run.html").read_text("utf-8")
    assert "degraded</th>" in page
    assert "bicubic" not in page
    assert "PSNR in dB of all channels" in page
    assert any("degraded" in svg for svg in run_curves.svgs(run).values())
    with pytest.raises(SystemExit, match="0"):
        cli.app(["runs", "show", str(config.output)])
    assert "degraded" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------- the cost


@pytest.mark.slow
def test_the_cost_of_a_run(settings: TrainConfig) -> None:
    small = estimate(settings, CPU)
    assert small.parameters == sum(p.numel() for p in build(TINY_U).parameters())
    assert small.blocks == 1
    assert "the network was timed on one crop of 24x24" in small.lines()[-1]
    large = estimate(changed(settings, data={"patch": 128}), CPU)
    assert large.step_seconds == pytest.approx(large.seconds / settings.iterations)
    # four windows of 64 pixels instead of one
    kept = large.bytes - small.bytes
    assert kept > 0
    frugal = estimate(changed(settings, data={"patch": 128}, activation_checkpointing=True), CPU)
    assert frugal.bytes < large.bytes
