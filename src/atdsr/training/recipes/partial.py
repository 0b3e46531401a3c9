"""Partial recipes: unchecked values in layers, each from one file or one option."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atdsr.base import yaml_io
from atdsr.base.errors import AtdsrError, short
from atdsr.base.yaml_io import YamlError


class RecipeError(AtdsrError):
    """An invalid recipe; the sentence names the file or option, and the key."""


@dataclass(frozen=True)
class PartialRecipe:
    """The values of a recipe before they are checked.

    Attributes:
        layers: Mappings by their source, a file or an option on the command line. A later layer
            overrides the values of those before it.
    """

    layers: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)

    def under(self, upper: "PartialRecipe") -> "PartialRecipe":
        """Return this recipe with the layers of another one on top."""
        below = {s: content for s, content in self.layers.items() if s not in upper.layers}
        return PartialRecipe({**below, **upper.layers})

    def without(self, *names: str) -> "PartialRecipe":
        """Return this recipe without some of its keys."""
        return PartialRecipe(
            {
                source: {key: value for key, value in content.items() if key not in names}
                for source, content in self.layers.items()
            }
        )

    @property
    def content(self) -> dict[Any, Any]:
        """The values of all layers, merged mapping by mapping."""
        content: dict[Any, Any] = {}
        for layer in self.layers.values():
            content = _merge(content, layer)
        return content

    def override(self, option: str) -> "PartialRecipe":
        """Return this recipe with a value from the command line on top, as `optim.lr=2e-4`.

        Raises:
            RecipeError: The text is no `key=value`, the value is no YAML, or the key leads into a
                value that is no mapping.
        """
        source = f"--set {option}"
        name, equals, text = option.partition("=")
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
        section: Any = self.content
        for number, key in enumerate(keys[:-1], start=1):
            section = section.get(key)
            if section is None:
                break
            if not isinstance(section, dict):
                raise RecipeError(
                    f"{source}: {'.'.join(keys[:number])} is {short(section)} and has no keys; set "
                    "it as a whole."
                )
        for key in reversed(keys):
            value = {key: value}
        return self.under(PartialRecipe({source: value}))

    def source(self, keys: tuple[Any, ...]) -> str | None:
        """Return the source of a value.

        Args:
            keys: The keys that lead to the value. If it is missing, the source of the values
                around it is returned, or None if they do not have the same one.
        """
        for end in range(len(keys), 0, -1):
            sources = self._sources(keys[:end])
            if sources:
                return sources[0] if len(sources) == 1 else None
        return None

    def _sources(self, keys: tuple[Any, ...]) -> list[str]:
        """Return the sources that a value is merged from, the last layer first."""
        sources: list[str] = []
        for source, content in reversed(list(self.layers.items())):
            value: Any = content
            for key in keys:
                if not isinstance(value, dict) or key not in value:
                    break
                value = value[key]
            else:
                if isinstance(value, dict):
                    sources.append(source)
                    continue
                return sources or [source]
            if not isinstance(value, dict):  # a plain value above hides the layers below
                return sources
        return sources


def _merge(lower: Mapping[Any, Any], upper: Mapping[Any, Any]) -> dict[Any, Any]:
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged
