"""Sentences about what pydantic finds wrong with a recipe or an option file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from atdsr.base.errors import nearest, short

Keys = tuple[int | str, ...]
"""The keys, and positions in lists, that lead to a value."""

_SECTION = "section"
_UNKNOWN_KEY = ("extra_forbidden", "invalid_key")
NEEDS_LIST = "input should be a list"
"""How a sentence about a value ends that is no list."""

_MESSAGES = {
    "tuple_type": NEEDS_LIST,
    "list_type": NEEDS_LIST,
    "model_type": "it must hold `key: value` lines",
    "dict_type": "it must hold `key: value` lines",
    "path_type": "input should be a path",
    "float_parsing": "input should be a number",
    "int_parsing": "input should be a whole number",
    "bool_type": "input should be true or false",
    "bool_parsing": "input should be true or false",
    "too_short": "it must not be empty",
    "union_tag_not_found": "it needs a kind, such as `kind: blur`",
}
"""Pydantic's messages in terms of YAML rather than Python."""


def section_error(sentence: str) -> PydanticCustomError:
    """Return what a validator raises to say something about a section as a whole."""
    return PydanticCustomError(_SECTION, "{sentence}", {"sentence": sentence})


def first_problem(
    error: ValidationError, content: Any, sections: Mapping[Keys, Sequence[str]] | None = None
) -> tuple[Keys, str]:
    """Return the keys of the first problem in a content, and a sentence that names the key.

    An unknown key comes first of all: often another key is missing because of it.

    Args:
        error: What pydantic raised.
        content: What was validated.
        sections: Known keys, see `known_keys`. They are needed if the models forbid extra keys.
    """
    problems = error.errors(include_url=False)
    problem = next((p for p in problems if p["type"] in _UNKNOWN_KEY), problems[0])
    kind, message = problem["type"], problem["msg"]
    keys = _locate(problem["loc"], content, is_missing=kind == "missing")
    if kind in _UNKNOWN_KEY and sections is not None:
        return keys, unknown_key(keys, sections)
    name = ".".join(map(str, keys))
    if kind == "missing":
        return keys, f"the key {name} is missing."
    if kind == "union_tag_invalid":
        context = problem.get("ctx", {})
        sentence = f"it must be one of {context['expected_tags']}."
        return keys, f"{name}.kind is {short(context['tag'])}: {sentence}"
    if kind != _SECTION:
        message = _MESSAGES.get(kind) or message.removeprefix("Value error, ")
        message = f"{message[0].lower()}{message[1:]}."
    if kind == _SECTION or (kind == "value_error" and isinstance(problem["input"], dict)):
        return keys, f"{name}: {message}" if name else message
    return keys, f"{name} is {short(problem['input'])}: {message}"


def _locate(location: Sequence[int | str], content: Any, *, is_missing: bool) -> Keys:
    """Return the keys in pydantic's location, which also has the members of unions.

    Args:
        location: Pydantic's location.
        content: What was validated.
        is_missing: Whether the last part of the location is a key that the content lacks.
    """
    keys: list[int | str] = []
    for number, key in enumerate(location):
        items: Any = dict(enumerate(content)) if isinstance(content, list) else content
        if isinstance(items, dict) and key in items:
            content = items[key]
        elif not (is_missing and number == len(location) - 1):
            continue
        keys.append(key)
    return tuple(keys)


# ---------------------------------------------------------------------------------- unknown keys


def known_keys(model: type[BaseModel]) -> dict[Keys, list[str]]:
    """Return the keys of a model and of all sections inside it, by the keys that lead there.

    The position 0 stands for every position in a list. Where one of several sections may stand,
    the keys of all are listed.
    """
    known: dict[Keys, list[str]] = {}
    for keys, names in _sections(model, ()):
        section = known.setdefault(keys, [])
        section += [name for name in names if name not in section]
    return known


def _sections(model: type[BaseModel], keys: Keys) -> Iterator[tuple[Keys, list[str]]]:
    annotations = {
        field.alias or name: field.annotation for name, field in model.model_fields.items()
    }
    yield keys, list(annotations)
    for name, annotation in annotations.items():
        yield from _sections_of_annotation(annotation, (*keys, name))


def _sections_of_annotation(annotation: Any, keys: Keys) -> Iterator[tuple[Keys, list[str]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _sections(annotation, keys)
    inner = (*keys, 0) if get_origin(annotation) is tuple else keys
    for argument in get_args(annotation):
        yield from _sections_of_annotation(argument, inner)


def unknown_key(keys: Keys, sections: Mapping[Keys, Sequence[str]]) -> str:
    """Return a sentence that suggests another key for an unknown one.

    The suggestion is the same key in another section, else the most similar key in this section.

    Args:
        keys: The keys that lead to the unknown one, and that itself.
        sections: Known keys, see `known_keys`.
    """
    *section, key = keys
    same_key = [
        ".".join(map(str, (*other, key)))
        for other, names in sections.items()
        if key in names and 0 not in other
    ]
    if not same_key:
        names = sections[tuple(0 if isinstance(part, int) else part for part in section)]
        name = nearest(key, names, cutoff=0) or names[0]
        same_key = [".".join(map(str, (*section, name)))]
    name = ".".join(map(str, keys))
    return f"there is no key {name[:100]!r}; did you mean {' or '.join(map(repr, same_key))}?"
