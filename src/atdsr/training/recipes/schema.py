"""Turns the values of a recipe into a configuration, with a check of every key and value."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from atdsr.base.errors import short
from atdsr.network.config import (
    ATDConfig,
    ConfigError,
    Head,
    atd,
    atd_light,
    atd_light_v2,
    atd_v2,
    check_scale,
)
from atdsr.training.config import ConfigSection, PositiveFloat, TrainConfig
from atdsr.training.config_errors import NEEDS_LIST, Keys, first_problem, known_keys, unknown_key
from atdsr.training.recipes.partial import PartialRecipe, RecipeError

PRESETS: Mapping[str, Callable[[int], ATDConfig]] = {
    "atd": atd,
    "atd-light": atd_light,
    "atd-v2": atd_v2,
    "atd-light-v2": atd_light_v2,
}
"""The published networks by their names in recipes."""

_EXPERIMENTS = Path("experiments")
_Size = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class NetworkFields(ConfigSection):
    """The fields of `ATDConfig`, if `model` is not the name of a published network."""

    width: _Size
    depths: tuple[_Size, ...]
    heads: tuple[_Size, ...]
    category_size: _Size
    dictionary_size: _Size
    reduced_width: _Size
    ffn_kernel: _Size
    ffn_ratio: Annotated[PositiveFloat, Field(le=1_000_000)]
    head: Head
    window: _Size = 16
    img_range: PositiveFloat = 1.0
    category_block: _Size | None = None
    code_width: _Size | None = None


class _ModelSection(ConfigSection):
    model: NetworkFields


_KNOWN_KEYS = known_keys(TrainConfig)
_KNOWN_KEYS[()] = ["model", "scale", *(key for key in _KNOWN_KEYS[()] if key != "network")]
# the fields of a network are suggested only inside `model`, which is often just a name
_MODEL_KEYS = {**_KNOWN_KEYS, ("model",): list(NetworkFields.model_fields)}


class _InvalidValueError(Exception):
    """A sentence about the value that some keys lead to, before its source is known."""

    def __init__(self, keys: Keys, sentence: str) -> None:
        super().__init__(sentence)
        self.keys = keys


def resolve(
    recipe: PartialRecipe,
    overrides: Sequence[str] = (),
    *,
    name: str,
    source: str,
    allow_code: bool = False,
) -> TrainConfig:
    """Return the configuration that the values of a recipe stand for.

    Args:
        recipe: The values.
        overrides: See `recipes.load`.
        name: Name of the run, if the recipe does not give one.
        source: What to name if something is missing.
        allow_code: See `recipes.load`.

    Raises:
        RecipeError: See `recipes.load`. The sentence begins with the file or the option that is
            to blame.
    """
    for override in overrides:
        recipe = recipe.override(override)
    try:
        config = _validate({"name": name, **recipe.content})
        if config.loss.is_code and not allow_code:
            raise _InvalidValueError(
                ("loss", "kind"),
                f"loss.kind is {short(config.loss.kind)}, which runs Python code; if you trust "
                "that code, allow it by --allow-code (in Python, allow_code=True).",
            )
        return config
    except _InvalidValueError as error:
        where = recipe.source(error.keys) or source
        sentence = str(error)
        if sentence.endswith(f"{NEEDS_LIST}.") and (example := _as_list(where, error.keys)):
            sentence = f"{sentence[:-1]}, as in {example}."
        raise RecipeError(f"{where}: {sentence}") from None


def _as_list(where: str, keys: Keys) -> str | None:
    """Return an option that gives its value as a list; None if the value is not from an option."""
    name, _, text = where.removeprefix("--set ").partition("=")
    if not where.startswith("--set ") or name.strip() != ".".join(map(str, keys)):
        return None
    setting = f"{name}=[{text.strip()}]"
    # in double quotes, which all shells know, unless it has some in it
    quoted = shlex.quote(setting) if '"' in setting else f'"{setting}"'
    return f"--set {quoted}"


def _validate(content: dict[Any, Any]) -> TrainConfig:
    if "base" in content:
        raise _InvalidValueError(("base",), "base belongs in the file of a recipe; name it there.")
    if "network" in content:  # a field of TrainConfig, but no key of recipes
        raise _InvalidValueError(("network",), unknown_key(("network",), _KNOWN_KEYS))
    content.setdefault("output", str(_EXPERIMENTS / str(content["name"])))
    # the network comes last: `model` may only seem to be missing because of a mistyped key
    others = {key: value for key, value in content.items() if key not in ("model", "scale")}
    try:
        config = TrainConfig.model_validate(
            {**others, "network": atd(2)}, by_alias=True, by_name=False
        )
    except ValidationError as error:
        raise _InvalidValueError(*first_problem(error, content, _KNOWN_KEYS)) from None
    for key in ("model", "scale"):
        if key not in content:
            raise _InvalidValueError((), f"the key {key} is missing.")
    return config.model_copy(update={"network": _network(content["model"], content["scale"])})


def _network(model: Any, scale: Any) -> ATDConfig:
    try:
        check_scale(scale)
    except ConfigError as error:
        raise _InvalidValueError(("scale",), str(error)) from None
    if isinstance(model, str) and model in PRESETS:
        return PRESETS[model](scale)
    if not isinstance(model, dict):
        raise _InvalidValueError(
            ("model",),
            f"model is {short(model)}; it is {' or '.join(PRESETS)}, or the fields of a network.",
        )
    try:
        return ATDConfig(scale=scale, **dict(_ModelSection.model_validate({"model": model}).model))
    except ValidationError as error:
        raise _InvalidValueError(*first_problem(error, {"model": model}, _MODEL_KEYS)) from None
    except ConfigError as error:
        raise _InvalidValueError(("model",), f"model: {error}") from None
