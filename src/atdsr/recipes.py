"""Recipe files: a training run as a short YAML text, checked before anything is touched."""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from atdsr.errors import AtdsrError
from atdsr.model import ATDConfig, atd, atd_light
from atdsr.training import Settings

PRESETS = {"atd": atd, "atd-light": atd_light}
"""The published networks by the name a recipe gives them."""


class RecipeError(AtdsrError):
    """A recipe that is no recipe; the sentence names the file and the key."""


@dataclass(frozen=True)
class Recipe:
    """A network and how to train it."""

    config: ATDConfig
    settings: Settings


def load(path: Path) -> Recipe:
    """Read a recipe: `model` (a preset, or the fields of `ATDConfig`), `scale`, and settings.

    The settings are the fields of `training.Settings`. Paths are as seen from where the command
    runs.

    Raises:
        RecipeError: not a YAML mapping, an unknown key (the nearest known one is named), a
            missing one, or a value of the wrong kind.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise RecipeError(f"{path} is no YAML text.") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold `key: value` lines.")
    try:
        config = _config(content.pop("model", None), content.pop("scale", 2))
        return Recipe(config, _validated(Settings, content))
    except AtdsrError as error:
        raise RecipeError(f"{path}: {error}") from None


def _config(model: Any, scale: Any) -> ATDConfig:
    if isinstance(model, dict):
        return _validated(ATDConfig, {"scale": scale, **model})
    if model not in PRESETS:
        raise RecipeError(f"model is {model!r}; it is {' or '.join(PRESETS)}, or its fields.")
    if not isinstance(scale, int):
        raise RecipeError(f"scale is {scale!r}; it is 2, 3 or 4.")
    return PRESETS[model](scale)


def _validated(kind: Any, values: dict[Any, Any]) -> Any:
    """A dataclass from the values of a file.

    Raises:
        RecipeError: naming the first key that is wrong.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1, cutoff=0)[0]
            raise RecipeError(f"there is no key {key!r}; did you mean {near!r}?")
    hints = get_type_hints(kind)
    checked = {}
    for key, value in values.items():
        try:
            checked[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise RecipeError(f"{key} is {value!r}: {problem.lower()}.") from None
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.name not in checked
    ]
    if missing:
        raise RecipeError(f"the key {missing[0]!r} is missing.")
    return kind(**checked)
