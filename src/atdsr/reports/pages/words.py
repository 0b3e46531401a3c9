"""Figures as the report writes them, in HTML."""

import math

NONE = "&ndash;"
"""Where there is no figure."""


def decibels(value: float) -> str:
    """PSNR to two decimals; that of identical pictures is infinite."""
    return "&infin;" if math.isinf(value) else f"{value:.2f}"


def parameters(count: int | None) -> str:
    """A number of parameters to three digits: `753 K`, `20.1 M`; a dash for none."""
    if count is None:
        return NONE
    if count >= 999_500:
        return f"{count / 1e6:.{2 if count < 9.995e6 else 1 if count < 99.95e6 else 0}f} M"
    return f"{count / 1e3:.0f} K" if count >= 1000 else str(count)


def seconds(value: float) -> str:
    """Seconds to about two digits."""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


def mebibytes(count: int | None) -> str:
    """An amount of memory in MiB or GiB; a dash where it is not known."""
    if count is None:
        return NONE
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def tick(value: float) -> str:
    """A round number of an axis, without needless zeros: `500 K`, `0.01`."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " K")):
        if value >= limit * 0.999:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"
