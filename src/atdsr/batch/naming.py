"""What an output is called, and which files bear the name of one."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter

from atdsr import imaging
from atdsr.batch.order import Box, JobError, Order

_NUMBER = r"\d+(?:\.\d+)?"
_PART = r"[^/]+"
_LOOKS = {
    "stem": _PART,
    "name": _PART,
    "scale": _NUMBER,
    "width": r"\d+",
    "height": r"\d+",
    "model": _PART,
    "ext": r"\.[^./]+",
    "parent": _PART,
}
FIELDS = tuple(_LOOKS)
"""What a template may hold in braces: of the input its `stem` (without suffix), `name` (with it)
and `parent` (the folder it is in); of the result its `scale`, `width`, `height` and `ext` (suffix
with the dot); and the name of the `model`."""

_HELP = f"a name has text and the fields {' '.join(f'{{{field}}}' for field in FIELDS)}."
_USUAL = rf"(?P<stem>.+)_(?:x{_NUMBER}|\d+x\d*)"  # x1080 is like x4
_SUFFIX = re.compile(r"(\{ext\}|\.[A-Za-z][A-Za-z0-9]*)$")


@dataclass(frozen=True)
class Template:
    """A name with fields in braces, such as "{stem}_x{scale}{ext}"; `/` makes folders.

    Attributes:
        text: it ends in `{ext}` or in the suffix of a format.
    """

    text: str

    @classmethod
    def of(cls, order: Order) -> "Template":
        """The template of an order, checked; one without a suffix gets `{ext}`.

        Raises:
            JobError: an unknown field, no name, or a suffix of another format than asked for.
            PictureError: a suffix of no format.
        """
        text = order.template
        if text is None:
            label = order.goal.label if isinstance(order.goal, Box) else "x{scale}"
            text = f"{{stem}}_{label}"
        _check(text)
        suffix = _SUFFIX.search(text)
        if suffix is None:
            return cls(text + "{ext}")
        if suffix[0] != "{ext}":
            named = imaging.format_of(Path(text))
            if order.format_name is not None and order.format_name != named:
                raise JobError(
                    f"--name {text!r} ends in {suffix[0]}; let it end in {{ext}}, or drop --format."
                )
        return cls(text)

    @cached_property
    def fields(self) -> frozenset[str]:
        """The fields in it."""
        return frozenset(field for _, field in _pieces(self.text) if field)

    def render(self, source: Path, values: Mapping[str, object]) -> Path:
        """The name of a file's output, relative to the folder for outputs.

        Args:
            source: the picture.
            values: of the fields in it that `source` does not tell.

        Raises:
            JobError: it leads out of that folder, or is none.
        """
        told = {"stem": source.stem, "name": source.name, "parent": source.absolute().parent.name}
        text = self.text.format_map(told | dict(values))
        path = Path(text)
        if path.anchor or ".." in path.parts or not Path(text.rpartition("/")[2]).suffix:
            raise JobError(f"{source}: --name makes {text!r}, which is no name here; {_HELP}")
        return path

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """What names without suffix look like; a second {stem} is the same as the first."""
        pattern, seen = "", set[str]()
        for literal, field in _pieces(_SUFFIX.sub("", self.text)):
            pattern += re.escape(literal)
            if field in seen:
                pattern += f"(?P={field})"
            elif field:
                pattern += f"(?P<{field}>{_LOOKS[field]})"
                seen.add(field)
        return re.compile(pattern)

    def earlier_outputs(self, sources: Collection[Path]) -> set[Path]:
        """Those of the files that bear the name of an output for another one of them.

        Such is a name of this template or a usual one (`a_x2` beside `a`; any scale or size), of
        any suffix.
        """
        stems = {(source.parent, source.stem) for source in sources}
        names = {(source.parent, source.name) for source in sources}

        def is_output(path: Path, pattern: re.Pattern[str], depth: int) -> bool:
            if len(path.parents) < depth:
                return False
            match = pattern.fullmatch("/".join((*path.parts[-depth:-1], path.stem)))
            found = match.groupdict() if match else {}
            folder = path.parents[depth - 1]
            stem, name = (folder, found.get("stem")), (folder, found.get("name"))
            return (stem in stems and stem != (path.parent, path.stem)) or name in names

        patterns = [(re.compile(_USUAL), 1), (self._pattern, self.text.count("/") + 1)]
        return {path for path in sources if any(is_output(path, *one) for one in patterns)}


def _check(text: str) -> None:
    """See that a template has only fields that there are, and names something.

    Raises:
        JobError: it has not, or does not.
    """
    try:
        fields = [field for _, field in _pieces(text) if field is not None]
    except ValueError:
        raise JobError(f"--name {text!r} has a brace without its like; {_HELP}") from None
    unknown = [field for field in fields if field not in FIELDS]
    if unknown:
        raise JobError(f"--name {text!r} has the unknown field {{{unknown[0]}}}; {_HELP}")
    if not _SUFFIX.sub("", text.rpartition("/")[2]).strip():
        raise JobError(f"--name {text!r} names no file; {_HELP}")


def _pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """Literal text and the field after it, None after the last.

    Raises:
        ValueError: a single brace.
    """
    for literal, field, spec, conversion in Formatter().parse(text):
        more = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
        yield literal, None if field is None else field + more
