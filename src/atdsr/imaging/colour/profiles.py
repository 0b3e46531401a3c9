"""ICC profiles made for colour that a file describes without one.

A description (code points, or gamma and primaries) becomes a profile wherever a format holds
profiles but not the description. Profiles for PQ and HLG carry the tag `cicp`, which tells programs
for HDR what the samples mean. For all others their curves put HDR reference white (203 cd/m2) at
white and clip what is brighter, which is how ITU-R BT.2408 places HDR on an SDR display.

Sources: ICC.1:2022 (profile 4.4); Adobe RGB (1998), version 2005-05.
"""

import functools
import struct
from collections.abc import Sequence

import numpy as np

from atdsr.imaging import vips
from atdsr.imaging.colour.code_points import (
    PRIMARIES,
    SRGB,
    TRANSFERS,
    Chromaticities,
    name_of,
    resolve,
    sampled_light,
)
from atdsr.imaging.picture import CodePoints, Picture

_ADOBE = (*((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), (0.3127, 0.3290))
_ADOBE_GAMMA = 563 / 256
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D50 = np.array([0.9642, 1.0, 0.8249])  # white of the profile connection space
_LARGEST_FIXED = 2**15 - 1  # of numbers with 16 bits behind the point
_LONGEST_CURVE = 4096  # samples of a curve that a file gives; LittleCMS takes no more


def profile_of(picture: Picture, channels: int = 0) -> bytes | None:
    """Return the ICC profile that the colours of a picture are meant in, or None for sRGB.

    Args:
        picture: The picture.
        channels: Number of channels of the file; by default that of the picture.
    """
    channels = channels or picture.samples.shape[2]
    if icc := vips.matching_profile(picture.icc, channels):
        return icc
    points = resolve(picture.code_points)
    return None if points is None else icc_from_code_points(points, gray=channels < 3)


@functools.lru_cache(maxsize=16)
def icc_from_code_points(points: CodePoints, *, gray: bool) -> bytes | None:
    """Return a profile of resolved code points for RGB or gray, or None for sRGB."""
    if points == SRGB:
        return None
    formula = TRANSFERS[points.transfer][1]
    if formula:
        curve = parametric_curve(*formula)
    else:
        curve = _sampled_curve(sampled_light(points.transfer))
    primaries = PRIMARIES[points.primaries][1]
    return build_profile(name_of(points), primaries, [curve], gray, points)


@functools.lru_cache(maxsize=16)
def icc_from_gamma(
    exponent: float | None, chromaticities: Chromaticities | None, *, gray: bool
) -> bytes | None:
    """Return a profile of primaries and a power curve, as PNG describes them.

    Args:
        exponent: Exponent of the curve from samples to light, such as 2.2. None and values that
            nobody can mean stand for the curve of sRGB.
        chromaticities: Primaries and white. None and values that span no colours, or that no
            profile can hold, stand for those of sRGB.
        gray: Whether the profile is for one channel.

    Returns:
        The profile, or None for sRGB, which 1 / 0.45455 stands for by the custom of PNG.
    """
    if exponent is not None and (not 0.1 <= exponent <= 10 or abs(exponent - 2.2) < 0.02):
        exponent = None
    if chromaticities is not None and not _is_usable(chromaticities):
        chromaticities = None
    bt709 = PRIMARIES[1][1]
    is_bt709 = chromaticities is None or np.allclose(chromaticities, bt709, rtol=0, atol=0.002)
    if exponent is None and (gray or is_bt709):
        return None
    formula = (exponent,) if exponent else TRANSFERS[SRGB.transfer][1] or ()
    features = [] if exponent is None else [f"gamma {exponent:.4g}"]
    features += [] if is_bt709 else ["primaries of its own"]
    name = f"{'gray' if gray else 'RGB'} with {' and '.join(features)}"
    return build_profile(name, chromaticities or bt709, [parametric_curve(*formula)], gray)


def icc_from_curves(
    curves: Sequence[np.ndarray], chromaticities: Chromaticities | None, *, gray: bool
) -> bytes:
    """Return a profile of sampled curves, one for all channels or three.

    Args:
        curves: Light from 0 to 1 of evenly spaced samples.
        chromaticities: Primaries and white, as in `icc_from_gamma`.
        gray: Whether the profile is for one channel.
    """
    if chromaticities is None or not _is_usable(chromaticities):
        chromaticities = PRIMARIES[1][1]
    x = np.linspace(0, 1, len(curves[0]))
    resampled_x = np.linspace(0, 1, min(len(curves[0]), _LONGEST_CURVE))
    tables = [_sampled_curve(np.interp(resampled_x, x, curve)) for curve in curves]
    return build_profile("curves and primaries of its own", chromaticities, tables, gray)


@functools.cache
def adobe_rgb() -> bytes:
    """Return a profile of Adobe RGB (1998)."""
    curve = parametric_curve(_ADOBE_GAMMA)
    return build_profile("Adobe RGB (1998) compatible", _ADOBE, [curve], gray=False)


def _is_usable(chromaticities: Chromaticities) -> bool:
    """Whether positive amounts of the primaries make white, in numbers that ICC can hold."""
    (_, white_y) = chromaticities[3]
    columns = _columns(chromaticities[:3])
    if white_y < 1e-3 or abs(np.linalg.det(columns)) < 1e-4:
        return False
    amounts = np.linalg.solve(columns, _white(chromaticities))
    if not ((amounts > 1e-3).all() and (amounts < 100).all()):
        return False
    with np.errstate(all="ignore"):  # a white to which one cone does not respond gives infinities
        matrices = np.stack([_adaptation(chromaticities), rgb_to_xyz(chromaticities)])
    return bool((np.abs(matrices) < _LARGEST_FIXED).all())


def _columns(chromaticities: Chromaticities) -> np.ndarray:
    """Return CIE x y z of each as a column."""
    return np.array([(x, y, 1 - x - y) for x, y in chromaticities]).T


def parametric_curve(
    g: float, a: float = 1.0, b: float = 0.0, c: float | None = None, d: float = 0.0
) -> bytes:
    """Return the curve (a x + b)^g, and c x below d (ICC.1, 10.18); with g alone, x^g."""
    if c is None:
        return b"para" + struct.pack(">4xH2xi", 0, _to_fixed(g))
    return b"para" + struct.pack(">4xH2x5i", 3, *map(_to_fixed, (g, a, b, c, d)))


def _sampled_curve(light: np.ndarray) -> bytes:
    values = np.round(light * 65535).astype(">u2").tobytes()
    return b"curv" + struct.pack(">4xI", len(light)) + values


def _to_fixed(value: float) -> int:
    """Return a number in fixed point, with 16 bits behind the point."""
    return round(value * 65536)


def _xyz_tag(values: Sequence[float] | np.ndarray) -> bytes:
    return b"XYZ " + struct.pack(">4x3i", *map(_to_fixed, values))


def _text_tag(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def build_profile(
    name: str,
    chromaticities: Chromaticities,
    curves: Sequence[bytes],
    gray: bool,
    points: CodePoints | None = None,
) -> bytes:
    """Return a profile of a matrix and curves, or of one curve for gray.

    Args:
        name: What the profile calls itself.
        chromaticities: Primaries and white.
        curves: Curve tags: one for all channels, or three.
        gray: Whether the profile is for one channel.
        points: Code points to be stated in the tag `cicp`.
    """
    adaptation = map(_to_fixed, _adaptation(chromaticities).ravel())
    tags = {
        b"desc": _text_tag(name),
        b"cprt": _text_tag("No copyright, use freely"),
        b"wtpt": _xyz_tag(_D50),
        b"chad": b"sf32" + struct.pack(">4x9i", *adaptation),
    }
    if gray:
        tags[b"kTRC"] = curves[0]
    else:
        columns = rgb_to_xyz(chromaticities).T
        for k, (letter, column) in enumerate(zip(b"rgb", columns, strict=True)):
            tags[b"%cXYZ" % letter] = _xyz_tag(column)
            tags[b"%cTRC" % letter] = curves[k % len(curves)]
    if points is not None and not gray:
        tags[b"cicp"] = b"cicp" + struct.pack(">4x4B", points.primaries, points.transfer, 0, 1)
    return _pack(tags, b"GRAY" if gray else b"RGB ")


def _white(chromaticities: Chromaticities) -> np.ndarray:
    """Return CIE XYZ of white, with Y = 1."""
    return _columns(chromaticities[3:])[:, 0] / chromaticities[3][1]


def _adaptation(chromaticities: Chromaticities) -> np.ndarray:
    """Return the matrix that adapts colours from their own white to that of profiles."""
    gains = _BRADFORD @ _D50 / (_BRADFORD @ _white(chromaticities))
    return np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD


def rgb_to_xyz(chromaticities: Chromaticities) -> np.ndarray:
    """Return the matrix from linear RGB to CIE XYZ under the white of profiles."""
    columns = _columns(chromaticities[:3])
    amounts = np.linalg.solve(columns, _white(chromaticities))
    return _adaptation(chromaticities) @ (columns * amounts)


def _pack(tags: dict[bytes, bytes], colour_space: bytes) -> bytes:
    """Write header, table and tags; equal tags are stored once."""
    start = 128 + 4 + 12 * len(tags)
    offsets: dict[bytes, int] = {}
    body = b""
    for content in tags.values():
        if content not in offsets:
            offsets[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
    table = struct.pack(">I", len(tags)) + b"".join(
        name + struct.pack(">II", offsets[content], len(content)) for name, content in tags.items()
    )
    version = 0x04400000 if b"cicp" in tags else 0x04300000
    header = struct.pack(">I4xI4s4s4s", start + len(body), version, b"mntr", colour_space, b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    header = header.ljust(68, b"\0") + _xyz_tag(_D50)[8:]
    return header.ljust(128, b"\0") + table + body
