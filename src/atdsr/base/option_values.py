"""Values that people give as text, to an option of the command line or a parameter of the service.

Each function returns the value, or raises `OptionError` with a sentence that quotes the text.
"""

import re
from typing import Literal

from atdsr.base.errors import AtdsrError
from atdsr.base.scales import SCALES, list_scales

STREAM = "-"
"""How a command names standard input and standard output."""

MOST_TIMES = 64
"""The largest factor that `parse_factor` accepts."""


class OptionError(AtdsrError):
    """A text that is not a value of its option."""


def parse_scale(text: str) -> int:
    """Return a scale of the network."""
    if text not in map(str, SCALES):
        raise OptionError(f"{text!r} is not {list_scales()}.")
    return int(text)


def at_least_1(text: str) -> int:
    """Return a whole number from 1 on."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) < 1:
        raise OptionError(f"{text!r} is not a whole number from 1 on.")
    return int(text)


def at_least_0(text: str) -> int:
    """Return a whole number from 0 on."""
    try:
        return 0 if text == "0" else at_least_1(text)
    except OptionError:
        raise OptionError(f"{text!r} is not a whole number from 0 on.") from None


def parse_quality(text: str) -> int:
    """Return a quality from 1 to 100."""
    if at_least_1(text) > 100:
        raise OptionError(f"{text!r} is not a whole number from 1 to 100.")
    return int(text)


def parse_tile(text: str) -> int | Literal["auto", "off"]:
    """Return the side of a tile, or when to use tiles."""
    if text == "auto" or text == "off":
        return text
    if not text.isdecimal():
        raise OptionError(f"{text!r} is neither auto nor off nor a number of pixels.")
    return at_least_1(text)


def parse_factor(text: str) -> float:
    """Return how many times the sides grow."""
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 < factor <= MOST_TIMES:
        raise OptionError(f"{text!r} is not a number above 1 and up to {MOST_TIMES}.")
    return factor


def parse_size(text: str) -> tuple[int | None, int | None, bool]:
    """Return width, height and whether they are exact, of a text such as 1920x1080."""
    match = re.fullmatch(r"(\d{0,6})x(\d{0,6})(!?)", text, re.ASCII)
    width, height = (
        (int(side) if side else None for side in match.groups()[:2]) if match else (0, 0)
    )
    exact = text.endswith("!")
    if 0 in (width, height) or (width or height) is None or (exact and None in (width, height)):
        raise OptionError(f"{text!r} is not like 1920x1080, 1920x, x1080 or 1920x1080!.")
    return width, height, exact
