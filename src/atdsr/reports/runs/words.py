"""How a run's figures are written, on the screen and on the page."""

import math

NONE = "-"
"""Where there is no figure."""


def duration(seconds: float) -> str:
    """A time in its two largest units: `2 d 23 h`, `3 h 5 min`, `12 min`, `45 s`.

    Example:
        >>> duration(11_100)
        '3 h 5 min'
    """
    if not math.isfinite(seconds):
        return NONE
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours + (minutes >= 30), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def rate(seconds: float) -> str:
    """How fast steps of so many seconds are: `1.92 it/s`, or `3.4 s/it` where one takes longer.

    Example:
        >>> rate(0.25), rate(4)
        ('4.00 it/s', '4.00 s/it')
    """
    if not (math.isfinite(seconds) and seconds > 0):
        return NONE
    value, unit = (1 / seconds, "it/s") if seconds <= 1 else (seconds, "s/it")
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def share(part: float) -> str:
    """A part of a whole: `0.3%`."""
    return f"{part:.1%}" if math.isfinite(part) else NONE


def loss(value: float) -> str:
    """To four digits: `0.01812`, `12.34`."""
    return f"{value:#.4g}" if math.isfinite(value) else NONE


def learning_rate(value: float) -> str:
    """As people write them: `5.00e-04`."""
    return f"{value:.2e}" if math.isfinite(value) else NONE


def memory(count: float) -> str:
    """An amount of memory: `2.1 GB`."""
    return f"{count / 1e9:.1f} GB" if math.isfinite(count) and count > 0 else NONE


def decibels(value: float) -> str:
    """PSNR to two decimals."""
    return "∞" if value == math.inf else f"{value:.2f}" if math.isfinite(value) else NONE
