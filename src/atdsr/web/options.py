"""The query parameters of `POST /v1/upscale`: one table, for reading, checking and describing."""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from atdsr.base.escaping import printable
from atdsr.base.option_values import (
    MOST_TIMES,
    OptionError,
    at_least_0,
    parse_factor,
    parse_quality,
    parse_size,
    parse_tile,
    parse_upscale,
)
from atdsr.base.scales import SCALES
from atdsr.web.problems import ProblemError, for_client

FORMAT_NAMES = ("png", "tiff", "jpg", "webp", "avif", "bmp", "gif", "jxl", "jp2", "ppm")
"""The formats that are written. `imaging.FORMATS` has them, but would import PyTorch."""

GROUP_PATTERN = "^[A-Za-z0-9_-]{16,64}$"
"""What the name of a group of jobs looks like."""

_LONGEST_NAME = 255
_PRECISIONS = ("fp32", "bf16", "auto")  # of `inference.config`, which imports PyTorch
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}\Z", re.ASCII)


def _parse_flag(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text not in values:
        raise OptionError(f"{text!r} is neither true nor false.")
    return values[text]


def _parse_format(text: str) -> str:
    name = text.lower().removeprefix(".")
    name = {"jpeg": "jpg", "tif": "tiff"}.get(name, name)
    if name not in FORMAT_NAMES:
        known = ", ".join(FORMAT_NAMES)
        raise OptionError(f"no format is called {text!r}; use one of {known}.")
    return name


def _parse_precision(text: str) -> str:
    if text not in _PRECISIONS:
        raise OptionError(f"precision is {text!r}; it is 'fp32', 'bf16' or 'auto'.")
    return text


def _parse_group(text: str) -> str:
    if not re.fullmatch(GROUP_PATTERN, text):
        raise OptionError("a group has 16 to 64 letters, digits, '-' or '_', and is hard to guess.")
    return text


def _parse_filename(text: str) -> str:
    """Return the last part of a path, as a name to show and to offer, never as a path."""
    if len(text) > _LONGEST_NAME:
        raise OptionError(f"the name has more than {_LONGEST_NAME} characters.")
    name = printable(re.split(r"[/\\]", text)[-1]).strip()
    return "" if name in (".", "..") else name


def _parse_text(text: str) -> str:
    if not 0 < len(text) <= _LONGEST_NAME:
        raise OptionError(f"a name has 1 to {_LONGEST_NAME} characters.")
    return text


@dataclass(frozen=True)
class Parameter:
    """A query parameter.

    Attributes:
        parse: Returns the value of a text, or raises an `OptionError`.
        description: What it means.
        schema: Its schema in the OpenAPI document.
        example: A value.
    """

    parse: Callable[[str], Any]
    description: str
    schema: dict[str, Any]
    example: Any = None


_FLAG: dict[str, Any] = {"type": "boolean", "default": False}

PARAMETERS = {
    "filename": Parameter(
        _parse_filename,
        "What the picture is called. Its suffix chooses the format of the result, as on the "
        "command line; it is shown and offered for saving, and never used as a path.",
        {"type": "string", "maxLength": _LONGEST_NAME},
        "photo.jpg",
    ),
    "group": Parameter(
        _parse_group,
        "A name of your own that nobody can guess. The jobs of a group are listed, followed and "
        "downloaded together.",
        {"type": "string", "pattern": GROUP_PATTERN},
    ),
    "model": Parameter(
        _parse_text,
        "The network, one that /v1/models lists. By default the one for the scale.",
        {"type": "string", "minLength": 1, "maxLength": _LONGEST_NAME},
        "atd-light-x2",
    ),
    "scale": Parameter(
        parse_upscale,
        "How many times the sides grow; 2 by default, or what the model does.",
        {"type": "integer", "enum": list(SCALES)},
        2,
    ),
    "outscale": Parameter(
        parse_factor,
        "How many times the sides of the result are those of the picture. The network is used as "
        "often as it takes.",
        {"type": "number", "exclusiveMinimum": 1, "maximum": MOST_TIMES},
        3.5,
    ),
    "size": Parameter(
        parse_size,
        "Fit into so many pixels; Wx or xH gives one side, WxH! stretches.",
        {"type": "string", "pattern": "^([1-9][0-9]{0,5}x([1-9][0-9]{0,5}!?)?|x[1-9][0-9]{0,5})$"},
        "1920x1080",
    ),
    "format": Parameter(
        _parse_format,
        "The format of the result. By default that of the picture.",
        {"type": "string", "enum": list(FORMAT_NAMES)},
        "webp",
    ),
    "quality": Parameter(
        parse_quality,
        "Quality of JPEG, WebP, AVIF and JPEG XL. By default 95, lossless, 90, lossless.",
        {"type": "integer", "minimum": 1, "maximum": 100},
        90,
    ),
    "strip_metadata": Parameter(
        _parse_flag, "Leave out what tells of camera, place and author.", _FLAG
    ),
    "ensemble": Parameter(
        _parse_flag, "Mean over 8 flips and turns: slightly better, 8 times as long.", _FLAG
    ),
    "tile": Parameter(
        parse_tile,
        "Work in tiles of so many pixels of the picture; auto: only where memory is too small.",
        {
            "oneOf": [
                {"type": "string", "enum": ["auto", "off"]},
                {"type": "integer", "minimum": 1},
            ],
            "default": "auto",
        },
    ),
    "overlap": Parameter(
        at_least_0,
        "Pixels that neighbouring tiles share.",
        {"type": "integer", "minimum": 0},
    ),
    "precision": Parameter(
        _parse_precision,
        "Precision of matrix products; auto takes bf16 on CPUs that multiply it.",
        {"type": "string", "enum": list(_PRECISIONS), "default": "fp32"},
    ),
}
"""Every query parameter by its name."""


@dataclass(frozen=True)
class Options:
    """What a request asks for; the fields are the parameters of `PARAMETERS`."""

    filename: str = ""
    group: str = ""
    model: str | None = None
    scale: int | None = None
    outscale: float | None = None
    size: tuple[int | None, int | None, bool] | None = None
    format: str | None = None
    quality: int | None = None
    strip_metadata: bool = False
    ensemble: bool = False
    tile: Any = "auto"
    overlap: int | None = None
    precision: str = "fp32"

    @property
    def source_suffix(self) -> str:
        """The suffix of the picture's name, or "" where it has none."""
        suffix = _SUFFIX.search(self.filename)
        return suffix[0] if suffix else ""

    @classmethod
    def parse(cls, query: Iterable[tuple[str, str]]) -> "Options":
        """Return the options of a query.

        Raises:
            ProblemError: A parameter is unknown, given twice, or has no such value.
        """
        values: dict[str, Any] = {}
        for name, text in query:
            values |= parse_parameter(name, text, PARAMETERS, values)
        options = cls(**values)
        if options.outscale is not None and options.size is not None:
            raise ProblemError(400, "outscale and size exclude each other; give one of them.")
        return options

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Options":
        """Return the options that `dataclasses.asdict` and JSON have made a record of."""
        values: dict[str, Any] = dict(record)
        if values["size"] is not None:
            values["size"] = tuple(values["size"])
        return cls(**values)


def parse_parameter(
    name: str, text: str, known: dict[str, Parameter], seen: dict[str, Any]
) -> dict[str, Any]:
    """Return the value of one query parameter, by its name.

    Args:
        name: Name of the parameter.
        text: Its value.
        known: The parameters of the path.
        seen: The parameters that came before.

    Raises:
        ProblemError: It is unknown, given twice, or has no such value.
    """
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}."
        raise ProblemError(400, f"there is no parameter {printable(name)[:80]!r}; {hint}")
    if name in seen:
        raise ProblemError(400, f"{name} is given twice; give it once.")
    try:
        return {name: known[name].parse(text)}
    except OptionError as error:
        raise ProblemError(400, f"Invalid value for '{name}': {for_client(str(error))}") from None
