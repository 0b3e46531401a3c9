"""Values that people give as text, to an option of the command line or a parameter of the service.

Each function returns the value, or raises `OptionError` with a sentence that quotes the text.
"""

import math
import re
from fractions import Fraction
from typing import Literal

from atdsr.base.errors import AtdsrError
from atdsr.base.scales import SCALES, list_scales

STREAM = "-"
"""How a command names standard input and standard output."""

MOST_TIMES = 64
"""The largest factor that `parse_factor` accepts."""


_DEVICES = ("auto", "cpu", "cuda", "mps")
_OTHER_DEVICES = {
    "gpu": "cuda",
    "nvidia": "cuda",
    "rocm": "cuda",
    "hip": "cuda",
    "amd": "cuda",
    "metal": "mps",
    "apple": "mps",
}
"""What PyTorch calls a device, by what others call it."""

_MOST_DIGITS = 6  # of a side
_SIZE = re.compile(
    r"(?P<width>\d*) ?(px)? ?[x\u00d7] ?(?P<height>\d*) ?(px)? ?(?P<exact>!)?",
    re.ASCII | re.IGNORECASE,
)
_ONE_SIDE = re.compile(r"(\d+) ?(px)?", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.ASCII)
_TIME = re.compile(
    r"((?P<hours>\d{1,3}):)??((?P<minutes>\d{1,3}):)?(?P<seconds>\d{1,9}([.,]\d{1,9})?)", re.ASCII
)


class OptionError(AtdsrError):
    """A text that is not a value of its option."""


def parse_scale(text: str) -> int:
    """Return a scale of the network; "x4" and "4x" are 4."""
    factor = _factor(text)
    if factor in SCALES:
        return int(factor)
    raise OptionError(f"{text!r} is not {list_scales()}.")


def parse_upscale(text: str) -> int:
    """Return a scale of the network, where other options take other factors."""
    try:
        return parse_scale(text)
    except OptionError as error:
        factor = _factor(text)
        sentence = str(error).removesuffix(".")
        raise OptionError(
            f"{sentence}{_outscale_advice(factor)}{_smaller_advice(factor)}."
        ) from None


def parse_device(text: str) -> str:
    """Return the name of a kind of device."""
    name = text.lower()
    if name in _DEVICES:
        return name
    sentence = f"{text!r} is not auto, cpu, cuda or mps"
    if name in _OTHER_DEVICES:
        raise OptionError(f"{sentence}; it is called {_OTHER_DEVICES[name]}.")
    if re.fullmatch(r"(cuda:)?\d+", name, re.ASCII):
        raise OptionError(f"{sentence}; choose one of several GPUs with CUDA_VISIBLE_DEVICES.")
    raise OptionError(f"{sentence}.")


def at_least_1(text: str) -> int:
    """Return a whole number from 1 on."""
    number = _whole_number(text)
    if number is None or number < 1:
        raise OptionError(f"{text!r} is not a whole number from 1 on.")
    return number


def at_least_0(text: str) -> int:
    """Return a whole number from 0 on."""
    number = _whole_number(text)
    if number is None:
        raise OptionError(f"{text!r} is not a whole number from 0 on.")
    return number


def parse_quality(text: str) -> int:
    """Return a quality from 1 to 100."""
    number = _whole_number(text)
    if number is None or not 1 <= number <= 100:
        raise OptionError(f"{text!r} is not a whole number from 1 to 100.")
    return number


def parse_tile(text: str) -> int | Literal["auto", "off"]:
    """Return the side of a tile, or when to use tiles.

    What the smallest tile is depends on the network, which checks it.
    """
    if text == "auto" or text == "off":
        return text
    number = _whole_number(text)
    if number is None:
        raise OptionError(f"{text!r} is neither auto nor off nor a number of pixels.")
    if number == 0:  # what other programs call it
        raise OptionError(f"{text} is no tile; write --tile off.")
    return number


def parse_factor(text: str) -> float:
    """Return how many times the sides grow; "x2.5", "2.5x", "2,5" and "250%" are 2.5."""
    factor = _factor(text)
    if not 1 < factor <= MOST_TIMES:
        raise OptionError(
            f"{text!r} is not a number above 1 and up to {MOST_TIMES}{_smaller_advice(factor)}."
        )
    return factor


def parse_size(text: str) -> tuple[int | None, int | None, bool]:
    """Return width, height and whether they are exact, of a text such as 1920x1080.

    The sides may be apart from the x, which may be a capital or a multiplication sign, and "px" may
    follow them.
    """
    form = f"{text!r} is not like 1920x1080, 1920x, x1080 or 1920x1080!"
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise OptionError(f"{form}{_size_advice(text)}.")
    exact = match["exact"] is not None
    digits = [match["width"], match["height"]]
    if not any(digits) or (exact and not all(digits)):
        raise OptionError(f"{form}.")
    if any(len(side.lstrip("0")) > _MOST_DIGITS for side in digits):  # int() refuses thousands
        raise OptionError(f"{text!r} has a side of more than {10**_MOST_DIGITS - 1:,} pixels.")
    width, height = (int(side.lstrip("0") or 0) if side else None for side in digits)
    if 0 in (width, height):
        raise OptionError(
            f"{text!r} has a side of 0 pixels; leave out a side to have it in proportion, as in "
            "1920x."
        )
    return width, height, exact


def parse_time(text: str) -> Fraction:
    """Return a time in seconds, of a text such as 90, 1:30 or 1:02:03.5."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise OptionError(f"{text!r} is no time like 90, 1:30 or 1:02:03.5.")
    hours, minutes, seconds = (match[name] or "0" for name in ("hours", "minutes", "seconds"))
    return (int(hours) * 60 + int(minutes)) * 60 + Fraction(seconds.replace(",", "."))


def parse_crf(text: str) -> float:
    """Return a quality as encoders count it, from 0 to 63."""
    number = text.strip().replace(",", ".")
    if _NUMBER.fullmatch(number) is None or not 0 <= float(number) <= 63:
        raise OptionError(f"{text!r} is not a number from 0 to 63.")
    return float(number)


def _whole_number(text: str) -> int | None:
    """Return the number in a text of digits; None if it is another text, or a huge number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _factor(text: str) -> float:
    """Return how many times the sides grow, as people write it; NaN if it is not a number."""
    number = text.strip().lower()
    percent = number.endswith("%")
    if number.startswith("x"):
        number = number[1:]
    elif number.endswith(("x", "%")):
        number = number[:-1]
    if _NUMBER.fullmatch(number.strip()) is None:
        return math.nan
    factor = float(number.replace(",", "."))
    return factor / 100 if percent else factor


def _outscale_advice(factor: float) -> str:
    """Return the end of a sentence about a factor in an option that does not take it."""
    return f"; use --outscale {factor:g}" if 1 < factor <= MOST_TIMES else ""


def _smaller_advice(factor: float) -> str:
    """Return the end of a sentence about a factor that makes pictures smaller."""
    return "; to make a picture smaller, use --size" if 0 < factor < 1 else ""


def _size_advice(text: str) -> str:
    """Return the end of a sentence about a size that has no x."""
    if match := _ONE_SIDE.fullmatch(text.strip()):
        side = match[1]
        return f"; write {side}x for the width, or x{side} for the height"
    factor = _factor(text)
    if math.isnan(factor):
        return ""
    return _outscale_advice(factor) if factor > 1 else "; give it in pixels"
