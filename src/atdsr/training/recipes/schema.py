"""Turns the values of a recipe into a configuration, with a check of every key and value."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from atdsr.base.errors import short
from atdsr.base.scales import RESTORING
from atdsr.network.config import (
    U_NETWORK,
    ATDConfig,
    ATDUConfig,
    ConfigError,
    Head,
    NetworkConfig,
    atd,
    atd_light,
    atd_light_v2,
    atd_u,
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
"""The published networks that enlarge, by their names in recipes."""
RESTORERS: Mapping[str, ATDUConfig] = {"atd-u-color": atd_u(3), "atd-u-gray": atd_u(1)}
"""Those that restore, likewise."""

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


class RestorerFields(ConfigSection):
    """The fields of `ATDUConfig`, and what tells that they are these."""

    network: Literal["ATD-U"]
    channels: _Size
    width: _Size
    depths: tuple[_Size, ...]
    heads: tuple[_Size, ...]
    windows: tuple[_Size, ...]
    code_widths: tuple[_Size, ...]
    reduced_widths: tuple[_Size, ...]
    category_size: _Size
    dictionary_size: _Size
    ffn_kernel: _Size
    ffn_ratio: Annotated[PositiveFloat, Field(le=1_000_000)]


class _ModelSection(ConfigSection):
    model: NetworkFields


class _RestorerSection(ConfigSection):
    model: RestorerFields


_KNOWN_KEYS = known_keys(TrainConfig)
_KNOWN_KEYS[()] = ["model", "scale", *(key for key in _KNOWN_KEYS[()] if key != "network")]
# the fields of a network are suggested only inside `model`, which is often just a name
_MODEL_KEYS, _RESTORER_KEYS = (
    {**_KNOWN_KEYS, ("model",): list(fields.model_fields)}
    for fields in (NetworkFields, RestorerFields)
)


def name_of(network: NetworkConfig) -> str | None:
    """Return the name of a published network in recipes; None for any other network."""
    if isinstance(network, ATDUConfig):
        return next((name for name, one in RESTORERS.items() if one == network), None)
    return next((name for name, of in PRESETS.items() if of(network.scale) == network), None)


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
    _with_network(content, atd(2))
    if "model" not in content:
        raise _InvalidValueError((), "the key model is missing.")
    model = content["model"]
    if _is_restorer(model):
        return _with_network(content, _restorer(model, content.get("scale", RESTORING)))
    if not isinstance(model, dict) and not (isinstance(model, str) and model in PRESETS):
        raise _InvalidValueError(
            ("model",),
            f"model is {short(model)}; it is {' or '.join((*PRESETS, *RESTORERS))}, or the fields "
            "of a network.",
        )
    if "scale" not in content:
        raise _InvalidValueError((), "the key scale is missing.")
    return _with_network(content, _network(model, content["scale"]))


def _with_network(content: dict[Any, Any], network: NetworkConfig) -> TrainConfig:
    others = {key: value for key, value in content.items() if key not in ("model", "scale")}
    try:
        return TrainConfig.model_validate(
            {**others, "network": network}, by_alias=True, by_name=False
        )
    except ValidationError as error:
        raise _InvalidValueError(*first_problem(error, content, _KNOWN_KEYS)) from None


def _is_restorer(model: Any) -> bool:
    if isinstance(model, dict):
        return model.get("network") == U_NETWORK
    return isinstance(model, str) and model in RESTORERS


def _restorer(model: Any, scale: Any) -> ATDUConfig:
    if scale != RESTORING:
        raise _InvalidValueError(
            ("scale",),
            f"scale is {short(scale)}; an ATD-U restores and does not enlarge, so it is 1.",
        )
    if isinstance(model, str):
        return RESTORERS[model]
    try:
        fields = dict(_RestorerSection.model_validate({"model": model}).model)
        del fields["network"]
        return ATDUConfig(**fields)
    except ValidationError as error:
        raise _InvalidValueError(*first_problem(error, {"model": model}, _RESTORER_KEYS)) from None
    except ConfigError as error:
        raise _InvalidValueError(("model",), f"model: {error}") from None


def _network(model: Any, scale: Any) -> ATDConfig:
    try:
        check_scale(scale)
    except ConfigError as error:
        raise _InvalidValueError(("scale",), str(error)) from None
    if isinstance(model, str):
        return PRESETS[model](scale)
    try:
        return ATDConfig(scale=scale, **dict(_ModelSection.model_validate({"model": model}).model))
    except ValidationError as error:
        raise _InvalidValueError(*first_problem(error, {"model": model}, _MODEL_KEYS)) from None
    except ConfigError as error:
        raise _InvalidValueError(("model",), f"model: {error}") from None
