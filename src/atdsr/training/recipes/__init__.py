"""Recipes: a training run as a short YAML text, checked before anything is touched.

A recipe says `model` (a published network by its name, or the fields of `ATDConfig`), `scale`, and
whatever of `training.Settings` shall not be as it is by default. `base` names recipes that it
builds on. Those of the published runs come with atdsr.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from atdsr.base import yaml_io
from atdsr.training.recipes.checks import PRESETS, resolve
from atdsr.training.recipes.drafts import Draft, RecipeError
from atdsr.training.recipes.finding import find, names, read
from atdsr.training.settings import Settings

__all__ = ["PRESETS", "Draft", "RecipeError", "dump", "load", "names", "resolve"]


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """The settings that a recipe stands for.

    Paths in it are as seen from where the command runs. `name` is by default the file's, `output`
    is `experiments/NAME`.

    Args:
        recipe: a file, the name of a recipe that comes with atdsr, or the beginning of one.
        overrides: texts such as `optim.lr=2e-4`, with a YAML value; the last one of a key wins.

    Raises:
        RecipeError: there is no such recipe, a file is no YAML mapping of plain values, bases go
            round in a circle, a key is unknown (the nearest known one is named), missing, or has
            a value that it cannot have.
    """
    path = find(recipe)
    return resolve(read(path), overrides, name=path.stem, source=str(path))


def dump(settings: Settings) -> str:
    """The text of a recipe that `load` reads back to equal settings, defaults written out."""
    values = settings.model_dump(mode="json", by_alias=True, exclude={"network"})
    network = asdict(settings.network)
    scale = network.pop("scale")
    model: object = {
        key: list(value) if isinstance(value, tuple) else value for key, value in network.items()
    }
    for name, preset in PRESETS.items():
        if preset(scale) == settings.network:
            model = name
    head = {"name": values.pop("name"), "output": values.pop("output")}
    return yaml_io.write({**head, "model": model, "scale": scale, **values})
