"""Tiny training sets and training runs."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from atdsr import datasets
from atdsr.training import TrainConfig, checkpoints
from atdsr.training.trainer import CHECKPOINT_FOLDER
from helpers.networks import TINY


def learnable(seed: int, height: int, width: int) -> np.ndarray:
    """Return a smooth picture, `h w 3`, that a network can learn something from."""
    low = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC))


def pictures(folder: Path, count: int = 3, height: int = 60, width: int = 72) -> Path:
    """A folder with smooth pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(learnable(number, height, width)).save(folder / f"{number}.png")
    return folder


def packed(folder: Path) -> Path:
    """A packed set of such pictures."""
    datasets.pack(pictures(folder / "pictures"), folder / "set")
    return folder / "set"


def tiny_config(train: Path, output: Path, **changes: object) -> TrainConfig:
    """A run of a tiny network, as short as a run can be."""
    return changed(
        TrainConfig.model_validate(
            {
                "name": "tiny",
                "output": output,
                "network": TINY,
                "iterations": 4,
                "data": {"train": train, "batch": 2, "patch": 16},
                "optim": {"lr": 1e-3},
                "schedule": {"warmup": 2},
                "save": {"every": 1},
                "log": {"every": 1},
            }
        ),
        **changes,
    )


def changed(settings: TrainConfig, **changes: object) -> TrainConfig:
    """Other settings; what is given of a section is merged into it."""
    values = settings.model_dump()
    for key, value in changes.items():
        inner = values.get(key)
        values[key] = (
            inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
        )
    return TrainConfig.model_validate(values)


def state_of(settings: TrainConfig) -> dict:
    """The newest state in the folder of a run."""
    state = checkpoints.load(settings.output / CHECKPOINT_FOLDER)
    assert state is not None
    return state


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


def assert_same_run(a: TrainConfig, b: TrainConfig) -> None:
    """Two runs that ended in the same weights, average and optimizers, to the bit."""
    first, second = (state_of(settings) for settings in (a, b))
    for state in (first, second):
        del state["settings"]
    assert_same(first, second)
