"""The seven published runs in the official tree of folders, by recipe and by option file.

Each trains for two steps with a smaller network, from pictures as DIV2K names them to the file
that the next run starts from.
"""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from atdsr.imaging.resample import downscale
from atdsr.training import Event, LogEntry, TrainConfig, Validated, basicsr, fit, recipes
from atdsr.weights import read_weights
from helpers.option_files import OFFICIAL, changed, options
from helpers.training_runs import learnable

pytestmark = pytest.mark.slow

SMALL = {
    "embed_dim": 12,
    "depths": [2],
    "num_heads": [2],
    "num_tokens": 8,
    "reducted_dim": 4,
    "convffn_kernel_size": 3,
    "mlp_ratio": 1,
}
"""A smaller network by the official names; category size and head stay as they are."""
STEPS = [
    "iterations=2",
    "data.batch=2",
    "data.patch=16",
    "log.every=1",
    "log.tensorboard=false",
    "schedule.warmup=0",
    "validate.strips=0",
    "validate.sets=[datasets/TestDataSR/HR/Set5]",
]


def save(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(samples).save(path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official tree with pictures in it that are as small as can be."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("DIV2K", "DF2K"):
        for number in (1, 2):
            hr = learnable(number, 72, 96)
            save(tree / f"datasets/{name}/{name}_train_HR/{number:04}.png", hr)
            for scale in (2, 3, 4):
                folder = tree / f"datasets/{name}/{name}_train_LR_bicubic/X{scale}"
                save(folder / f"{number:04}x{scale}.png", downscale(hr, scale))
    for scale in (2, 3, 4):
        hr = learnable(9, 48, 48)
        save(tree / f"datasets/TestDataSR/HR/Set5/x{scale}/baby.png", hr)
    return tree


def by_recipe(name: str) -> TrainConfig:
    settings = recipes.load(name, STEPS)
    small = basicsr.read_training(small_options(name)).config.network
    return settings.model_copy(update={"network": small})


def by_option_file(name: str) -> TrainConfig:
    return basicsr.read_training(small_options(name), STEPS).config


def small_options(name: str) -> Path:
    """The official option file with a smaller network, in its place in the tree."""
    content = options(name)
    for key, value in SMALL.items():
        content = changed(content, f"network_g.{key}", value)
    path = Path("options/train") / f"{name}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.parametrize("read", [by_recipe, by_option_file])
def test_all_seven_train_one_after_the_other(
    tree: Path, monkeypatch: pytest.MonkeyPatch, read
) -> None:
    monkeypatch.chdir(tree)
    for name, official in OFFICIAL.items():
        settings = read(name)
        assert settings.output == Path("experiments") / name
        events: list[Event] = []
        fit(settings, callback=events.append)
        assert [event.step for event in events if isinstance(event, LogEntry)] == [1, 2]
        measured = [event.step for event in events if isinstance(event, Validated)]
        assert measured == ([2] if official.start is None else [0, 2])
        latest = Path(f"experiments/{name}/models/net_g_latest.pth")
        weights = read_weights(latest, category_size=settings.network.category_size)
        assert weights.config == settings.network
    for path in Path("experiments").iterdir():
        path.rename(path.with_name(f"{path.name}-{read.__name__}"))
