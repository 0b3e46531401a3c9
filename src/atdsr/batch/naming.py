"""The names of outputs, and which files have the name of an output."""

import re
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter

from atdsr.base.stores import Location
from atdsr.batch.config import BatchConfig, BatchError, TargetBox

PREVIEW = "_preview"
"""What follows on the name of an output in the name of its preview."""

_NUMBER = r"\d+(?:\.\d+)?"
_TEXT = r"[^/]+"
_PATTERNS = {
    "stem": _TEXT,
    "name": _TEXT,
    "scale": _NUMBER,
    "width": r"\d+",
    "height": r"\d+",
    "model": _TEXT,
    "ext": r"\.[^./]+",
    "parent": _TEXT,
}
FIELDS = tuple(_PATTERNS)
"""The fields of a template. Of the input: `stem` (without suffix), `name` (with suffix), `parent`
(its folder). Of the result: `scale`, `width`, `height` and `ext` (the suffix with its dot). And
`model`, the name of the model."""

_HELP = f"a name has text and the fields {' '.join(f'{{{field}}}' for field in FIELDS)}."
_USUAL = rf"(?P<stem>.+)_(?:x{_NUMBER}|\d+x\d*)"  # x1080 is like x4
_USUAL_PATTERN = re.compile(_USUAL)
_SUFFIX = re.compile(r"(\{ext\}|\.[A-Za-z][A-Za-z0-9]*)$")


@dataclass(frozen=True)
class Template:
    """A name with fields in braces, such as "{stem}_x{scale}{ext}"; `/` makes folders.

    Attributes:
        text: The template. It ends in `{ext}` or in the suffix of a format.
    """

    text: str

    @classmethod
    def from_config(cls, config: BatchConfig) -> "Template":
        """Return the template of a configuration, checked; `{ext}` is added if it has no suffix.

        Raises:
            BatchError: It has an unknown field, it names no file, or its suffix belongs to
                another format than the one asked for.
            PictureError: Its suffix belongs to no format.
        """
        text = config.template
        if text is None:
            label = config.size.label if isinstance(config.size, TargetBox) else "x{scale}"
            text = f"{{stem}}_{label}"
        _check(text)
        if not names_format(text):
            return cls(without_format(text))
        named = config.format_of(Path(text))
        if config.format_name is not None and config.format_name != named:
            raise BatchError(
                f"--name {text!r} ends in {Path(text).suffix}; let it end in {{ext}}, or drop "
                "--format."
            )
        return cls(text)

    @cached_property
    def fields(self) -> frozenset[str]:
        """The fields in it."""
        return frozenset(field for _, field in _pieces(self.text) if field)

    def render(self, source: Location, values: Mapping[str, object]) -> Path:
        """Return the name of a picture's output, relative to the folder for outputs.

        Args:
            source: The picture's file.
            values: Values of the fields that `source` does not tell.

        Raises:
            BatchError: The name leads out of that folder, or is not the name of a file.
        """
        fields = {"stem": source.stem, "name": source.name}
        if "parent" in self.fields:
            fields["parent"] = source.absolute().parent.name
        text = self.text.format_map(fields | dict(values))
        path = Path(text)
        if path.anchor or ".." in path.parts or not Path(text.rpartition("/")[2]).suffix:
            raise BatchError(
                f"{source}: --name makes {text!r}, which is not a valid name here; {_HELP}"
            )
        return path

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Matches names of outputs without suffix; a second {stem} must equal the first."""
        pattern, seen = "", set[str]()
        for literal, field in _pieces(_SUFFIX.sub("", self.text)):
            pattern += re.escape(literal)
            if field in seen:
                pattern += f"(?P={field})"
            elif field:
                pattern += f"(?P<{field}>{_PATTERNS[field]})"
                seen.add(field)
        return re.compile(pattern)

    def earlier_outputs(self, sources: Collection[Path]) -> set[Path]:
        """Return the files that have the name of an output for another one of the files.

        That is a name by this template, or a usual one (`a_x2` beside `a`, at any scale or size),
        with any suffix. A template without `{stem}` and `{name}` does not tell which file it was
        made of, so any file with such a name counts, as long as there is one without.
        """
        stems = {(source.parent, source.stem) for source in sources}
        names = {(source.parent, source.name) for source in sources}
        outputs = {path for path in sources if self.is_earlier_output(path, stems, names)}
        if not self.tells_the_input:
            named = {path for path in sources if self.is_of_form(path)}
            outputs |= named if len(named) < len(sources) else set()
        return outputs

    def is_earlier_output(
        self,
        path: Location,
        stems: Container[tuple[Location, str]],
        names: Container[tuple[Location, str]],
    ) -> bool:
        """Return whether a file has the name of an output for one of the others.

        Args:
            path: The file.
            stems: Folder and stem of all files.
            names: Folder and name of all files.
        """

        def is_output(pattern: re.Pattern[str], depth: int) -> bool:
            match = _match(path, pattern, depth)
            if match is None:
                return False
            fields, folder = match.groupdict(), path.parents[depth - 1]
            stem, name = (folder, fields.get("stem") or ""), (folder, fields.get("name") or "")
            return (stem != (path.parent, path.stem) and stem in stems) or name in names

        return is_output(_USUAL_PATTERN, 1) or is_output(self._pattern, self._depth)

    @property
    def tells_the_input(self) -> bool:
        """Whether the name of an output tells which file it was made of."""
        return bool(self.fields & {"stem", "name"})

    def is_of_form(self, path: Location) -> bool:
        """Return whether a file has a name by this template, whatever it was made of."""
        return _match(path, self._pattern, self._depth) is not None

    @property
    def _depth(self) -> int:
        return self.text.count("/") + 1


def names_format(template: str) -> bool:
    """Return whether a template ends in the suffix of one format."""
    suffix = _SUFFIX.search(template)
    return suffix is not None and suffix[0] != "{ext}"


def without_format(template: str) -> str:
    """Return a template that fits every format."""
    return _SUFFIX.sub("", template) + "{ext}"


def _match(path: Location, pattern: re.Pattern[str], depth: int) -> re.Match[str] | None:
    """Match the last parts of a path, as many as `depth`, without the suffix and `PREVIEW`."""
    if len(path.parents) < depth:
        return None
    stem = path.stem.removesuffix(PREVIEW)
    return pattern.fullmatch("/".join((*path.parts[-depth:-1], stem)))


def _check(text: str) -> None:
    """Check the fields of a template, and that it names a file.

    Raises:
        BatchError: A field is unknown, or no file is named.
    """
    try:
        fields = [field for _, field in _pieces(text) if field is not None]
    except ValueError:
        raise BatchError(f"--name {text!r} has an unmatched brace; {_HELP}") from None
    unknown = [field for field in fields if field not in FIELDS]
    if unknown:
        raise BatchError(f"--name {text!r} has the unknown field {{{unknown[0]}}}; {_HELP}")
    if not _SUFFIX.sub("", text.rpartition("/")[2]).strip():
        raise BatchError(f"--name {text!r} names no file; {_HELP}")


def _pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield literal text and the field after it, None after the last.

    Raises:
        ValueError: A brace is unmatched.
    """
    for literal, field, spec, conversion in Formatter().parse(text):
        suffix = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
        yield literal, None if field is None else field + suffix
