"""The loop: schedule, exact restart, a hand-written step, and runs that cannot go on."""

import copy
import dataclasses
import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from atdsr import checkpoint, data, training
from atdsr.checkpoint import Weights
from atdsr.model import ATD
from atdsr.training import Report, Settings, StoppedError, TrainingError, fit
from networks import TINY, lively


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(3):
        low = Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8))
        low.resize((72, 60), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    out = tmp_path_factory.mktemp("sets") / "set"
    data.pack(folder, out)
    return out


@pytest.fixture
def settings(packed: Path, tmp_path: Path) -> Settings:
    return Settings(
        data=packed,
        output=tmp_path / "run",
        iterations=4,
        batch=2,
        patch=16,
        lr=1e-3,
        warmup=2,
        log_every=1,
        save_every=1,
    )


def final_state(settings: Settings) -> dict:
    return checkpoint.load_run(settings.output / training.STATE_FILE)


def assert_same(a: object, b: object) -> None:
    """Equal to the bit, through nested containers."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_train_4_is_train_2_and_resume_2(settings: Settings, tmp_path: Path, optimizer) -> None:
    settings = dataclasses.replace(settings, optimizer=optimizer)
    fit(TINY, settings)
    parted = dataclasses.replace(settings, output=tmp_path / "parted")

    def stop_after_2(line: Report) -> None:
        if line.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="stopped at step 2 of 4"):
        fit(TINY, parted, report=stop_after_2)
    assert final_state(parted)["step"] == 2
    with (parted.output / training.LOG_FILE).open("a") as log:
        log.write('{"step": 3, "loss": 1, "lr": 1, "seconds": 1}\n{"step": 4, "lo')  # a kill
    fit(TINY, parted)
    assert_same(final_state(parted), final_state(settings))
    assert_same(
        checkpoint.read_tensors(parted.output / training.WEIGHTS_FILE)[0],
        checkpoint.read_tensors(settings.output / training.WEIGHTS_FILE)[0],
    )
    steps = [
        json.loads(line)["step"]
        for line in (parted.output / training.LOG_FILE).read_text().splitlines()
    ]
    assert steps == [1, 2, 3, 4]


def test_two_steps_by_hand(settings: Settings, tmp_path: Path) -> None:
    """The loop against its definition written out: L1, AdamW, warm-up, EMA."""
    start = lively(TINY)
    checkpoint.save(Weights(TINY, start.state_dict()), tmp_path / "start.safetensors")
    settings = dataclasses.replace(
        settings, iterations=2, ema=0.9, init_from=tmp_path / "start.safetensors"
    )
    fit(TINY, settings)
    model = copy.deepcopy(start)
    average = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], betas=(0.9, 0.9), weight_decay=0
    )
    crops = data.CropSampler(data.PackedSet(settings.data, 2), 16, settings.seed)
    for step in (1, 2):
        optimizer.param_groups[0]["lr"] = 1e-3 * step / 2
        lr, hr = crops.batch(step - 1, 2)
        optimizer.zero_grad()
        F.l1_loss(model(lr), hr).backward()
        optimizer.step()
        average = [
            0.9 * a + 0.1 * p.detach() for a, p in zip(average, model.parameters(), strict=True)
        ]
    averaged = copy.deepcopy(model)
    torch.nn.utils.vector_to_parameters(
        torch.nn.utils.parameters_to_vector(average), averaged.parameters()
    )
    state, image = final_state(settings), torch.rand(1, 3, 16, 16)
    # not the parameters: where a gradient is zero but for rounding (a bias of keys), Adam steps
    # in a random direction, which changes nothing
    with torch.no_grad():
        for key, expected in (("model", model), ("ema", averaged)):
            trained = ATD(TINY)
            trained.load_state_dict(state[key])
            assert torch.allclose(trained(image), expected(image), atol=1e-5)
            assert not torch.allclose(trained(image), start(image), atol=1e-3)


def test_training_lowers_the_loss(settings: Settings) -> None:
    losses: list[float] = []
    settings = dataclasses.replace(settings, iterations=40, save_every=40, log_every=10)
    weights = fit(TINY, settings, report=lambda line: losses.append(line.loss))
    assert losses[-1] < 0.7 * losses[0]
    loaded = checkpoint.load(weights)
    assert loaded.config == TINY
    assert_same(loaded.state, dict(final_state(settings)["ema"]))


def test_the_schedule() -> None:
    settings = Settings(
        data=Path(), output=Path(), iterations=100, lr=1.0, warmup=10, milestones=(40, 60)
    )
    rates = {step: settings.learning_rate(step) for step in (1, 5, 10, 40, 41, 60, 61, 100)}
    assert rates == {1: 0.1, 5: 0.5, 10: 1, 40: 1, 41: 0.5, 60: 0.5, 61: 0.25, 100: 0.25}
    cooling = dataclasses.replace(settings, milestones=(), cooldown=4)
    falling = [cooling.learning_rate(step) for step in (95, 96, 97, 98, 99, 100)]
    assert falling == pytest.approx([1, 1, 0.8, 0.6, 0.4, 0.2])


def test_muon_takes_the_matrices_and_adamw_the_rest(settings: Settings) -> None:
    model = ATD(TINY)
    settings = dataclasses.replace(settings, optimizer="muon")
    muon, adamw = training._optimizers(model, settings)
    of_muon = {id(p) for group in muon.param_groups for p in group["params"]}
    of_adamw = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert of_muon | of_adamw == {id(p) for p in model.parameters() if p.requires_grad}
    assert not of_muon & of_adamw
    assert id(model.layers[0].qkv.weight) in of_muon
    assert id(model.layers[0].window.bias_table) in of_adamw


def test_a_larger_scale_starts_from_a_smaller_one(settings: Settings, tmp_path: Path) -> None:
    light = lively(TINY)
    checkpoint.save(Weights(TINY, light.state_dict()), tmp_path / "x2.safetensors")
    larger = dataclasses.replace(TINY, scale=3)
    run = training._Run.start(
        larger,
        dataclasses.replace(settings, init_from=tmp_path / "x2.safetensors"),
        torch.device("cpu"),
    )
    for network in (run.model, run.ema):
        assert torch.equal(network.conv_first.weight, light.conv_first.weight)
        assert network.state_dict()["head.0.weight"].shape[0] == 27


def test_a_loss_that_is_no_number_stops_the_run(settings: Settings, tmp_path: Path) -> None:
    sick = lively(TINY)
    with torch.no_grad():
        sick.conv_first.weight[0] = float("nan")
    checkpoint.save(Weights(TINY, sick.state_dict()), tmp_path / "sick.safetensors")
    settings = dataclasses.replace(settings, init_from=tmp_path / "sick.safetensors")
    for log_every in (1, 4):  # also where a save comes before the next line of the log
        with pytest.raises(TrainingError, match="loss became nan before step 1"):
            fit(TINY, dataclasses.replace(settings, log_every=log_every))
    assert not (settings.output / training.STATE_FILE).exists()


def test_the_state_of_another_run_is_named(settings: Settings) -> None:
    fit(TINY, dataclasses.replace(settings, iterations=1))
    with pytest.raises(TrainingError, match=r"state\.pt is the state of another run"):
        fit(dataclasses.replace(TINY, width=24), settings)


def test_training_off_the_main_thread_leaves_signals_alone(settings: Settings) -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(TINY, settings)))
    thread.start()
    thread.join()
    assert done == [settings.output / training.WEIGHTS_FILE]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", 0),
        ("batch", 0),
        ("lr", 0.0),
        ("lr", float("inf")),
        ("ema", 1.0),
        ("warmup", -1),
    ],
)
def test_settings_that_make_no_run(settings: Settings, field: str, value: float) -> None:
    with pytest.raises(TrainingError, match=field):
        dataclasses.replace(settings, **{field: value})
