"""From the values of a recipe to settings: known keys, values of the right kind, a network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import Field, ValidationError

from atdsr.base import yaml_io
from atdsr.base.errors import short
from atdsr.network.model import ATDConfig, ConfigError, Head, atd, atd_light
from atdsr.training.recipes.drafts import Draft, Keys, RecipeError
from atdsr.training.settings import Rate, Section, Settings

PRESETS: Mapping[str, Callable[[int], ATDConfig]] = {"atd": atd, "atd-light": atd_light}
"""The published networks by the name a recipe gives them."""

_EXPERIMENTS = Path("experiments")
_Size = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Network(Section):
    """The fields of `ATDConfig`, where `model` is no published network."""

    width: _Size
    depths: tuple[_Size, ...]
    heads: tuple[_Size, ...]
    category_size: _Size
    dictionary_size: _Size
    reduced_width: _Size
    ffn_kernel: _Size
    ffn_ratio: Annotated[Rate, Field(le=1_000_000)]
    head: Head
    window: _Size = 16
    img_range: Rate = 1.0


class _Model(Section):
    model: Network


class _Wrong(Exception):  # noqa: N818 - becomes a RecipeError as soon as its origin is known
    """A sentence about the value that some keys lead to."""

    def __init__(self, keys: Keys, sentence: str) -> None:
        super().__init__(sentence)
        self.keys = keys


def resolve(draft: Draft, overrides: Sequence[str] = (), *, name: str, source: str) -> Settings:
    """The settings that the values of a recipe stand for.

    Args:
        draft: the values.
        overrides: see `recipes.load`.
        name: of the run, if the recipe gives none.
        source: what to name where something is missing.

    Raises:
        RecipeError: see `recipes.load`; the sentence begins with the file or the option that is
            to blame.
    """
    for override in overrides:
        draft = draft.changed(override)
    try:
        return _settings({"name": name, **draft.content})
    except _Wrong as wrong:
        raise RecipeError(f"{draft.origin(wrong.keys) or source}: {wrong}") from None


def _settings(content: dict[Any, Any]) -> Settings:
    if "base" in content:
        raise _Wrong(("base",), "base belongs into the file of a recipe; name it there.")
    _check_keys(content, _TOP)
    content.setdefault("output", str(_EXPERIMENTS / str(content["name"])))
    for key in ("model", "scale"):
        if key not in content:
            raise _Wrong((), f"the key {key} is missing.")
    network = _network(content.pop("model"), content.pop("scale"))
    try:
        return Settings.model_validate(
            {**content, "network": network}, by_alias=True, by_name=False
        )
    except ValidationError as error:
        raise _Wrong(*yaml_io.describe_error(error, content)) from None


def _network(model: Any, scale: Any) -> ATDConfig:
    if type(scale) is not int or scale not in (2, 3, 4):
        raise _Wrong(("scale",), f"scale is {short(scale)}; ATD enlarges by 2, 3 or 4.")
    if isinstance(model, str) and model in PRESETS:
        return PRESETS[model](scale)
    if not isinstance(model, dict):
        raise _Wrong(
            ("model",),
            f"model is {short(model)}; it is {' or '.join(PRESETS)}, or the fields of a network.",
        )
    try:
        return ATDConfig(scale=scale, **dict(_Model.model_validate({"model": model}).model))
    except ValidationError as error:
        raise _Wrong(*yaml_io.describe_error(error, {"model": model})) from None
    except ConfigError as error:
        raise _Wrong(("model",), f"model: {error}") from None


# --------------------------------------------------------------------------------------- keys


@dataclass(frozen=True)
class _Inside:
    """What the value of a key may hold: a section, a list of them, or neither."""

    section: type[Section] | None = None
    several: bool = False

    def sections(self, keys: Keys, value: Any) -> Iterator[tuple[Keys, dict[Any, Any]]]:
        """The mappings in a value that are to be such sections, with the keys that lead there."""
        if self.section is None:
            return
        if not self.several and isinstance(value, dict):
            yield keys, value
        if self.several and isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, dict):
                    yield (*keys, number), item


def _fields(section: type[Section] | None) -> dict[str, _Inside]:
    """The keys of a section."""
    if section is None:
        return {}
    return {
        field.alias or name: _Inside(_section_in(field.annotation), _is_list(field.annotation))
        for name, field in section.model_fields.items()
    }


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple


def _section_in(annotation: Any) -> type[Section] | None:
    if get_origin(annotation) is None:
        is_section = isinstance(annotation, type) and issubclass(annotation, Section)
        return annotation if is_section else None
    return next(filter(None, map(_section_in, get_args(annotation))), None)


_TOP = {"model": _Inside(Network), "scale": _Inside(), **_fields(Settings)}
del _TOP["network"]


def _check_keys(values: Mapping[Any, Any], known: Mapping[str, _Inside], keys: Keys = ()) -> None:
    for key, value in values.items():
        if key not in known:
            name = ".".join(str(part) for part in (*keys, key))
            raise _Wrong(
                (*keys, key),
                f"there is no key {name[:100]!r}; did you mean {_meant(key, keys, known)}?",
            )
        for at, section in known[key].sections((*keys, key), value):
            _check_keys(section, _fields(known[key].section), at)


def _meant(key: Any, keys: Keys, known: Mapping[str, _Inside]) -> str:
    """The key of that name in another section, or else the nearest one in this."""
    elsewhere = [name for name in _everywhere() if name.split(".")[-1] == key]
    if elsewhere:
        return " or ".join(map(repr, elsewhere))
    near = yaml_io.nearest(key, known, cutoff=0) or next(iter(known))
    return repr(".".join(str(part) for part in (*keys, near)))


def _everywhere() -> Iterator[str]:
    """All keys with the sections they lie in, apart from those inside lists."""
    for name, inside in _TOP.items():
        yield name
        if name != "model" and not inside.several:
            yield from (f"{name}.{key}" for key in _fields(inside.section))
