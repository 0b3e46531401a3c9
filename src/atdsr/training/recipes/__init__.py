"""Recipes: a training run as a short YAML text, checked before anything is touched.

A recipe gives `model` (a published network by its name, or the fields of `ATDConfig` or, with
`network: ATD-U` among them, of `ATDUConfig`), `scale`, which an ATD-U does not need, and every key
of `training.TrainConfig` that shall differ from its default. `base` names recipes that it builds
on. The recipes of the published runs come with atdsr.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from atdsr.base import yaml_io
from atdsr.base.errors import short
from atdsr.base.scales import SCALES
from atdsr.datasets import degradations
from atdsr.datasets.degradations import Degradation
from atdsr.training.config import TrainConfig
from atdsr.training.recipes.files import find, names, read
from atdsr.training.recipes.partial import PartialRecipe, RecipeError
from atdsr.training.recipes.schema import name_of, resolve

__all__ = [
    "PartialRecipe",
    "RecipeError",
    "degradation",
    "dump",
    "load",
    "name_of",
    "names",
    "resolve",
]


def load(
    recipe: str | Path, overrides: Sequence[str] = (), *, allow_code: bool = False
) -> TrainConfig:
    """Return the configuration of a recipe.

    Paths in it are relative to the working directory. `name` defaults to that of the file,
    `output` to `experiments/NAME`.

    Args:
        recipe: A file, the name of a recipe that comes with atdsr, or the beginning of one.
        overrides: Texts such as `optim.lr=2e-4`, with a YAML value; the last one of a key wins.
        allow_code: Whether the recipe may name Python code to import, see `LossConfig.kind`.

    Raises:
        RecipeError: There is no such recipe, a file is no YAML mapping of plain values, bases form
            a circle, a key is unknown (the nearest known one is named), missing, or has an invalid
            value.
    """
    path = find(recipe)
    return resolve(read(path), overrides, name=path.stem, source=str(path), allow_code=allow_code)


def degradation(source: str, scale: int | None = None) -> tuple[Degradation, int]:
    """Return a degradation by the name of a preset, or that of the crops of a recipe.

    Args:
        source: The name, or what `load` takes.
        scale: Scale of LR; by default 2 for a preset, and that of the recipe.

    Returns:
        The degradation and its scale.

    Raises:
        RecipeError: There is neither a preset nor a recipe of that name, or the recipe is invalid
            or has no degradation.
    """
    if source in degradations.NAMES:
        scale = scale or SCALES[0]
        return degradations.preset(cast(degradations.PresetName, source), scale), scale
    try:
        config = load(source)
    except RecipeError as error:
        if Path(source).suffix:
            raise
        presets = ", ".join(degradations.NAMES)
        raise RecipeError(
            f"{short(source)} is neither a degradation ({presets}) nor a recipe: {error}"
        ) from None
    scale = scale or config.network.scale
    of_crops = config.data.degradation_at(scale)
    if of_crops is None:
        raise RecipeError(f"{source} has no data.degradation; name a recipe that has one.")
    return of_crops, scale


def dump(config: TrainConfig) -> str:
    """Return a recipe that `load` reads back to an equal configuration, with all defaults."""
    values = config.model_dump(mode="json", by_alias=True, exclude={"network"})
    scale, fields = config.network.scale, config.network.to_dict()
    model = name_of(config.network) or {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in fields.items()
        if key != "scale"
    }
    head = {"name": values.pop("name"), "output": values.pop("output")}
    return yaml_io.write({**head, "model": model, "scale": scale, **values})
