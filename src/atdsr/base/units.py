"""How figures are written for people: counts, durations, sizes in bytes, large numbers, decibels.

A figure that is not known (None, NaN, an infinite duration or size) is written as `UNKNOWN`.
"""

import math

UNKNOWN = "-"
"""Stands for a figure that is not known."""


def counted(count: int, noun: str) -> str:
    """Return a number of things, whose plural ends in s.

    Example:
        >>> counted(1, "picture"), counted(1200, "thread")
        ('1 picture', '1,200 threads')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units.

    Example:
        >>> duration(0.042), duration(3.25), duration(245), duration(11_100), duration(255_600)
        ('0.04 s', '3.2 s', '4 min 5 s', '3 h 5 min', '2 d 23 h')
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{round(seconds, 1 if seconds >= 0.1 else 2):g} s"
    # Round to the smaller of the two units first, so that 3599.9 s become 1 h and not 59 min 60 s.
    step = 3600 if seconds >= 86_400 else 60 if seconds >= 3600 else 1
    rest, parts = round(seconds / step) * step, []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count:,} {unit}")
    return " ".join(parts)


def byte_size(count: float | None) -> str:
    """Return a size in binary units, to about three digits.

    Example:
        >>> byte_size(163_803_535), byte_size(3 * 2**29), byte_size(812)
        ('156 MiB', '1.5 GiB', '812 B')
    """
    if count is None or not math.isfinite(count):
        return UNKNOWN
    if count < 999.5:
        return f"{count:.0f} B"
    value, units = count / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1024
        del units[0]
    unit = units[0]
    return f"{value:,.1f} {unit}" if value < 99.95 else f"{value:,.0f} {unit}"


def picture_size(width: int | None, height: int | None, frames: int | None = 1) -> str:
    """Return the size of a picture in pixels, or of so many frames.

    Example:
        >>> picture_size(2048, 1536), picture_size(640, 480, 24)
        ('2048x1536', '24 frames of 640x480')
    """
    if None in (width, height, frames):
        return UNKNOWN
    size = f"{width}x{height}"
    return size if frames == 1 else f"{frames:,} frames of {size}"


def short_number(value: float | None) -> str:
    """Return a number to three digits, in thousands, millions or billions where it is large.

    Example:
        >>> short_number(753_204), short_number(20_113_217), short_number(0.05)
        ('753 K', '20.1 M', '0.05')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " K")):
        if value >= limit * 0.9995:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def significant(value: float | None, digits: int) -> str:
    """Return a number to so many significant digits, and never with an exponent.

    Example:
        >>> significant(0.018123, 4), significant(1536.2, 2)
        ('0.01812', '1536')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def iteration_rate(seconds: float | None) -> str:
    """Return how fast steps of so many seconds each are: `it/s`, or `s/it` where one takes longer.

    Example:
        >>> iteration_rate(0.25), iteration_rate(4)
        ('4.00 it/s', '4.00 s/it')
    """
    if seconds is None or not (math.isfinite(seconds) and seconds > 0):
        return UNKNOWN
    return (
        f"{significant(1 / seconds, 3)} it/s" if seconds <= 1 else f"{significant(seconds, 3)} s/it"
    )


def learning_rate(value: float | None) -> str:
    """Return a learning rate as people write it, such as `5.00e-04`."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.2e}"


def percent(fraction: float | None) -> str:
    """Return a fraction of 1 as a percentage, such as `0.3%`."""
    return UNKNOWN if fraction is None or not math.isfinite(fraction) else f"{fraction:.1%}"


def decibels(value: float | None) -> str:
    """Return a PSNR to two decimals; that of identical pictures is infinite."""
    if value == math.inf:
        return "∞"
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.2f}"
