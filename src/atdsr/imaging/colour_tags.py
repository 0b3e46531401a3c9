"""Colour that headers of BMP and tags of TIFF describe in numbers, as a profile.

Sources: TIFF 6.0, section 20; BITMAPV4HEADER and BITMAPV5HEADER of the Windows API.
"""

import struct
from collections.abc import Sequence

import numpy as np

from atdsr.imaging import colour, vips
from atdsr.imaging.colour import Chromaticities
from atdsr.imaging.tags import Layout, Table

_PHOTOMETRIC, _CURVES, _WHITE, _PRIMARIES = 262, 301, 318, 319
TAGS = frozenset({_PHOTOMETRIC, _CURVES, _WHITE, _PRIMARIES})
"""Tags of TIFF that `of_tiff` looks at."""

_LEVELS = (2**8, 2**16)  # of samples of 8 and of 16 bits
_LENGTHS = (*_LEVELS, *(3 * count for count in _LEVELS))
_USUAL = colour.PRIMARIES[1][1]
_CALIBRATED, _EMBEDDED = 0, int.from_bytes(b"MBED", "big")


def of_tiff(table: Table, layout: Layout, channels: int) -> bytes | None:
    """The profile of the page of a TIFF file that has these tags; None where it has none."""
    found = {tag: table[tag].numbers(layout) for tag in TAGS if tag in table}
    chromaticities = _chromaticities(found.get(_WHITE, ()), found.get(_PRIMARIES, ()))
    gray = channels < 3
    if curves := _curves(found.get(_CURVES, ()), found.get(_PHOTOMETRIC, ()), gray):
        return colour.of_curves(curves, chromaticities, gray=gray)
    return colour.of_gamma(None, chromaticities, gray=gray)


def _chromaticities(white: Sequence[int], primaries: Sequence[int]) -> Chromaticities | None:
    """From numerators and denominators; what is not there is as in sRGB."""
    if not white and not primaries:
        return None
    usual = [value for pair in _USUAL for value in pair]
    given = [_fractions(primaries, 6) or usual[:6], _fractions(white, 2) or usual[6:]]
    values = [value for part in given for value in part]
    return tuple(zip(values[::2], values[1::2], strict=True))


def _fractions(numbers: Sequence[int], count: int) -> list[float]:
    if len(numbers) != 2 * count or 0 in numbers[1::2]:
        return []
    return [above / below for above, below in zip(numbers[::2], numbers[1::2], strict=True)]


def _curves(
    levels: Sequence[int], photometric: Sequence[int], gray: bool
) -> list[np.ndarray] | None:
    """The light of each level, of one curve for all channels or of three."""
    if tuple(photometric) != ((1,) if gray else (2,)) or len(levels) not in _LENGTHS:
        return None
    count = len(levels) // (1 if len(levels) in _LEVELS else 3)
    light = np.array(levels) / 65535
    curves = list(light.reshape(-1, count))
    if gray and len(curves) > 1:
        return None
    rises = all(curve[-1] > curve[0] and (np.diff(curve) >= 0).all() for curve in curves)
    return curves if rises else None


def of_bmp(data: bytes, channels: int) -> bytes | None:
    """The profile of a BMP file, in it or described by its header; None where it has none."""
    if len(data) < 14 + 108:
        return None
    (size,) = struct.unpack_from("<I", data, 14)
    (kind,) = struct.unpack_from("<I", data, 14 + 56)
    if size >= 124 and kind == _EMBEDDED and len(data) >= 14 + 124:
        start, length = struct.unpack_from("<II", data, 14 + 112)
        icc = data[14 + start : 14 + start + length]
        return vips.matching(icc, channels) if len(icc) == length >= 128 else None
    if size < 108 or kind != _CALIBRATED:
        return None
    numbers = struct.unpack_from("<9i3I", data, 14 + 60)
    points = np.array(numbers[:9]).reshape(3, 3) / 2**30
    gamma = numbers[10] / 65536  # of green; the others do not differ
    return colour.of_gamma(gamma or None, _of_points(points), gray=channels < 3)


def _of_points(points: np.ndarray) -> Chromaticities | None:
    """From X Y Z of red, green and blue, whose sum is white; some writers give x y z instead."""
    sums = points.sum(1)
    if (sums <= 0).any():
        return None
    white = points.sum(0) / points.sum()
    if np.allclose(sums, 1, atol=0.01):
        white = np.array(_USUAL[3])
    rows = [*(points / sums[:, None]), white]
    return tuple((float(row[0]), float(row[1])) for row in rows)
