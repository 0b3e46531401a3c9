"""Read and write YAML of plain values, for recipes and option files.

A document holds mappings, lists, strings, numbers, booleans and null, and nothing else. Reading it
runs no code and expands aliases to at most `MAX_VALUES` values; whatever is wrong with it raises a
`YamlError`. Numbers such as `2e-4` and `1e4`, which PyYAML reads as strings, are numbers. Dates are
strings, and so are `1:30` and `010`, which YAML 1.1 reads as 90 and 8.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from atdsr.base import files
from atdsr.base.errors import AtdsrError, short, unreadable

MAX_BYTES = 2**18
MAX_VALUES = 10_000
MAX_LEVELS = 50
_LARGEST_INT = 2**63

_TAG = "tag:yaml.org,2002:"
_OTHER_BASE = re.compile(r".*:|[-+]?0[0-9_]")  # numbers to base 60 or 8 in YAML 1.1
_EXPONENT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")


class YamlError(AtdsrError):
    """A document that cannot be read; the sentence names the line."""


def read(path: Path, repeatable: Collection[str] = ()) -> dict[Any, Any]:
    """Read the mapping in a file.

    Args:
        path: The file.
        repeatable: Keys that a mapping may hold twice; the last one counts.

    Raises:
        YamlError: There is no such file, or it is not a YAML mapping of plain values. The sentence
            begins with the name of the file.
    """
    try:
        with files.open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise YamlError(unreadable(path, error)) from None
    if len(data) > MAX_BYTES:
        raise YamlError(
            f"{path} is not a YAML file of settings: it has more than {MAX_BYTES} bytes."
        )
    try:
        content = parse(data.decode("utf-8-sig"), repeatable)
    except UnicodeDecodeError:
        raise YamlError(
            f"{path} is not a YAML file: it is not UTF-8 text; name another, or save it so."
        ) from None
    except YamlError as error:
        raise YamlError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise YamlError(f"{path} must hold `key: value` lines.")
    return content


def parse(text: str, repeatable: Collection[str] = ()) -> Any:
    """Return the value of a YAML text: dict, list, str, int, float, bool or None.

    Args:
        text: The text.
        repeatable: See `read`.

    Raises:
        YamlError: It is not YAML, holds anything else, a key twice, or a number that is too large,
            or its aliases expand to too many values.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        return None if node is None else _Builder(repeatable).value(node)
    except yaml.MarkedYAMLError as error:
        raise YamlError(
            f"{_line(error.problem_mark)} is not valid YAML: {error.problem}."
        ) from None
    except yaml.YAMLError:  # a character that no YAML text may hold
        raise YamlError("it is not valid YAML: it holds control characters.") from None
    except (ValueError, OverflowError):  # from escapes and directives with impossible numbers
        raise YamlError("it is not valid YAML: it holds an impossible number.") from None


def write(values: dict[str, Any]) -> str:
    """Return the YAML text of plain values, in their order; `parse` reads equal values back."""
    return yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf")
    )


# ---------------------------------------------------------------------------- PyYAML and its types


def _plain_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Return PyYAML's resolvers by first character, without dates, with more forms of a float."""
    resolvers = {
        first: [(tag, pattern) for tag, pattern in patterns if tag != f"{_TAG}timestamp"]
        for first, patterns in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "-+.0123456789":
        resolvers.setdefault(first, []).append((f"{_TAG}float", _EXPONENT))
    return resolvers


class _PlainResolver(yaml.resolver.BaseResolver):
    """Determines the type of an unquoted scalar."""

    yaml_implicit_resolvers = _plain_resolvers()

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        tag = super().resolve(kind, value, implicit)
        is_number = kind is yaml.ScalarNode and tag in (f"{_TAG}int", f"{_TAG}float")
        return f"{_TAG}str" if is_number and _OTHER_BASE.match(value) else tag


class _Loader(_PlainResolver, yaml.SafeLoader):
    level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        _check_level(self.level, self.peek_event().start_mark)
        self.level += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.level -= 1


class _Dumper(_PlainResolver, yaml.SafeDumper):
    """Writes lists of scalars in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(
        self, tag: str, sequence: Iterable[Any], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        values = list(sequence)
        flat = not any(isinstance(value, dict | list) for value in values)
        return super().represent_sequence(tag, values, flow_style=flat)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML writes some line breaks so that it reads them back as spaces, but for this style
        return self.represent_scalar(f"{_TAG}str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence(f"{_TAG}seq", data))
_Dumper.add_representer(str, _Dumper.represent_str)


class _Builder:
    """Build plain values from YAML nodes, with aliases expanded."""

    _SCALARS = ("null", "bool", "int", "float", "str")

    def __init__(self, repeatable: Collection[str]) -> None:
        self.repeatable = repeatable
        self.remaining = MAX_VALUES
        self.ancestors: list[yaml.Node] = []

    def value(self, node: yaml.Node) -> Any:
        """Return the value of a node.

        Raises:
            YamlError: It is not a plain value.
        """
        self.remaining -= 1
        if self.remaining < 0:
            raise YamlError(f"it holds more than {MAX_VALUES} values, counting its aliases.")
        _check_level(len(self.ancestors), node.start_mark)  # aliases nest deeper than the text
        if any(node is ancestor for ancestor in self.ancestors):
            raise YamlError(f"{_line(node.start_mark)} contains itself; write out the value.")
        self.ancestors.append(node)
        try:
            return self._value(node)
        finally:
            self.ancestors.pop()

    def _value(self, node: yaml.Node) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return dict(self._items(node))
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.value(item) for item in node.value]
        if isinstance(node, yaml.ScalarNode) and kind in self._SCALARS:
            return _scalar(node, kind)
        tag = f"!!{kind}" if node.tag.startswith(_TAG) else node.tag
        raise YamlError(
            f"{_line(node.start_mark)} holds more than plain values, which is not read: {tag[:80]}."
        )

    def _items(self, node: yaml.MappingNode) -> Iterator[tuple[Any, Any]]:
        keys: set[Any] = set()
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(
                    f"{_line(key_node.start_mark)} has a key that is not plain text; take it out."
                )
            key = self.value(key_node)
            if key in keys and key not in self.repeatable:
                raise YamlError(
                    f"{_line(key_node.start_mark)} gives the key {short(key)} a second time; keep "
                    "one."
                )
            keys.add(key)
            yield key, self.value(value_node)


def _scalar(node: yaml.ScalarNode, kind: str) -> Any:
    """Return the value of a scalar.

    Raises:
        YamlError: The text is not valid for the type, or the number is too large.
    """
    line = _line(node.start_mark)
    try:
        if kind in ("int", "float") and _OTHER_BASE.match(node.value):
            raise ValueError  # where the tag is written out
        value = getattr(SafeConstructor(), f"construct_yaml_{kind}")(node)
        if isinstance(value, str):
            value.encode("utf-8", "surrogateescape")  # as names of files may need
    except (ValueError, LookupError, OverflowError):
        raise YamlError(
            f"{line} is not valid YAML: {short(node.value)} is not a valid !!{kind}."
        ) from None
    if isinstance(value, str) and "\0" in value:
        raise YamlError(f"{line} holds a NUL character, which is no text.")
    if isinstance(value, int) and abs(value) >= _LARGEST_INT:
        raise YamlError(f"{line} holds a very large number, beyond what anything here takes.")
    return value


def _check_level(level: int, mark: yaml.Mark | None) -> None:
    if level > MAX_LEVELS:
        raise YamlError(f"{_line(mark)} nests more than {MAX_LEVELS} levels deep.")


def _line(mark: yaml.Mark | None) -> str:
    return f"line {mark.line + 1}" if mark else "a line"
