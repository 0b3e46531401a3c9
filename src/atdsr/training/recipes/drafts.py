"""Recipes before they are checked: plain values, each with the text that it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from atdsr.base import yaml_io
from atdsr.base.errors import AtdsrError, short
from atdsr.base.yaml_io import YamlError

Keys = tuple[Any, ...]


class RecipeError(AtdsrError):
    """A recipe that is no recipe; the sentence names the file or option, and the key."""


@dataclass(frozen=True)
class Draft:
    """The values of a recipe, unchecked.

    Attributes:
        content: mappings, lists and scalars.
        origins: the file or the option on the command line that each value comes from, by the
            keys that lead to it.
    """

    content: Mapping[Any, Any] = field(default_factory=dict)
    origins: Mapping[Keys, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[Any, Any], source: str) -> Self:
        """Values that all come from one text."""
        return cls(content, dict.fromkeys(_leaves(content), source))

    def under(self, upper: "Draft") -> "Draft":
        """This draft with the values of another one laid over it, mapping by mapping."""
        content = _laid(upper.content, self.content)
        origins = {**self.origins, **upper.origins}
        return Draft(content, {keys: origins[keys] for keys in _leaves(content)})

    def without(self, *names: str) -> "Draft":
        """This draft without some of its keys."""
        content = {key: value for key, value in self.content.items() if key not in names}
        return Draft(content, self.origins)

    def changed(self, override: str) -> "Draft":
        """This draft with a value from the command line, as `optim.lr=2e-4`.

        Raises:
            RecipeError: the text is no `key=value`, the value is no YAML, or its key leads into
                what is no mapping.
        """
        source = f"--set {override}"
        name, equals, text = override.partition("=")
        keys = tuple(name.strip().split("."))
        if not equals or not all(keys):
            raise RecipeError(f"{source}: write it as key=value, for example optim.lr=2e-4.")
        try:
            value = yaml_io.parse(text)
        except YamlError as error:
            sentence = str(error).replace("line 1", "the value", 1)
            raise RecipeError(
                f"{source}: {sentence} Put quotes around text such as '{{}}x2'."
            ) from None
        inside: Any = self.content
        for number, key in enumerate(keys[:-1], start=1):
            inside = inside.get(key)
            if inside is None:
                break
            if not isinstance(inside, dict):
                raise RecipeError(
                    f"{source}: {'.'.join(keys[:number])} is {short(inside)} and has no keys; set "
                    "it as a whole."
                )
        for key in reversed(keys):
            value = {key: value}
        return self.under(Draft.of(value, source))

    def origin(self, keys: Keys) -> str | None:
        """Where the value that these keys lead to comes from.

        Of a value that is missing, where those around it come from; None if they do not agree.
        """
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.origins:
                return self.origins[keys[:end]]
            around = {at for leaf, at in self.origins.items() if leaf[:end] == keys[:end]}
            if around:
                return around.pop() if len(around) == 1 else None
        return None


def _laid(upper: Mapping[Any, Any], lower: Mapping[Any, Any]) -> dict[Any, Any]:
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _laid(value, below)
        else:
            merged[key] = value
    return merged


def _leaves(content: Mapping[Any, Any]) -> list[Keys]:
    found: list[Keys] = []
    for key, value in content.items():
        if isinstance(value, dict):
            found += [(key, *inner) for inner in _leaves(value)]
        else:
            found.append((key,))
    return found
