"""Settings: what is refused, the schedule, the stages."""

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from atdsr.training import TrainConfig
from helpers.training_runs import changed, tiny_config


@pytest.fixture
def settings() -> TrainConfig:
    return changed(
        tiny_config(Path("set"), Path("run")),
        iterations=100,
        optim={"lr": 1.0},
        schedule={"warmup": 10, "milestones": (40, 60)},
    )


def rates(settings: TrainConfig, *steps: int) -> list[float]:
    return [settings.learning_rate(step) for step in steps]


def test_multistep_with_warmup(settings: TrainConfig) -> None:
    assert rates(settings, 1, 5, 10, 40, 41, 60, 61, 100) == [
        0.1, 0.5, 1, 1, 0.5, 0.5, 0.25, 0.25,
    ]  # fmt: skip
    assert rates(changed(settings, schedule={"gamma": 0.1}), 41) == [pytest.approx(0.1)]


def test_cooldown(settings: TrainConfig) -> None:
    cooling = changed(settings, schedule={"milestones": (), "cooldown": 4})
    assert rates(cooling, 95, 96, 97, 98, 99, 100) == pytest.approx([1, 1, 0.8, 0.6, 0.4, 0.2])


def test_cosine(settings: TrainConfig) -> None:
    cosine = changed(settings, schedule={"kind": "cosine", "warmup": 0, "floor": 0.2})
    assert rates(cosine, 1, 51) == pytest.approx([1.0, 0.6])
    last = 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * 0.99))
    assert rates(cosine, 100) == pytest.approx([last])
    assert rates(changed(cosine, schedule={"warmup": 4}), 1) == [0.25]


def test_stages_change_the_crops_and_take_each_once(settings: TrainConfig) -> None:
    staged = changed(
        settings,
        stages=[{"after": 10, "patch": 24, "batch": 5}, {"after": 20, "patch": 32, "batch": 1}],
    )
    assert [staged.stage(step).patch for step in (1, 10, 11, 20, 21, 100)] == [
        16, 16, 24, 24, 32, 32,
    ]  # fmt: skip
    taken = 0
    for step in range(1, 101):
        assert staged.first_crop(step) == taken
        taken += staged.stage(step).batch


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"iterations": 0}, "iterations"),
        ({"iterations": True}, "must be a number"),
        ({"data": {"batch": 0}}, "batch"),
        ({"data": {"template": "x2"}}, "must be a file's name with {}"),
        ({"data": {"template": "{0}"}}, "must be a file's name with {}"),
        ({"data": {"template": "{"}}, "template"),
        ({"optim": {"lr": 0.0}}, "lr"),
        ({"optim": {"lr": math.inf}}, "lr"),
        ({"optim": {"lr": 1e308}}, r"lr\n.*less than or equal to 10 "),
        ({"data": {"batch": 9 * 10**18}}, r"batch\n.*less than or equal to 65536"),
        ({"data": {"candidates": 10**9}}, r"candidates\n.*less than or equal to 256"),
        ({"data": {"patch": 10**6}}, r"patch\n.*less than or equal to 8192"),
        ({"iterations": 10**12}, r"iterations\n.*less than or equal to 1000000000"),
        ({"schedule": {"gamma": 1e300}}, r"gamma\n.*less than or equal to 1000"),
        ({"schedule": {"gamma": 100, "milestones": (0,) * 4}}, "gamma at 4 milestones raises"),
        ({"optim": {"betas": (0.9, 1.0)}}, "betas must be from 0 to below 1"),
        ({"optim": {"clip": 0}}, "clip"),
        ({"ema": 1.0}, "ema"),
        ({"schedule": {"warmup": -1}}, "warmup"),
        ({"stages": [{"after": 9, "patch": 8, "batch": 1}] * 2}, "order of `after`"),
        ({"name": ".."}, "folder's name"),
        ({"name": "a/b"}, "folder's name"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_settings_that_make_no_run(settings: TrainConfig, change: dict, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        changed(settings, **change)


def test_settings_survive_json(settings: TrainConfig) -> None:
    assert TrainConfig.model_validate(settings.model_dump(mode="json")) == settings
    assert TrainConfig.model_validate_json(settings.model_dump_json()) == settings
