"""Code points of ITU-T H.273: what the numbers for primaries and transfer curves mean.

Sources: ITU-T H.273 (07/2024), tables 2 and 3; ITU-R BT.2100-2 (PQ and HLG); ITU-R BT.2408-7,
section 2.2 (reference white).
"""

import numpy as np

from atdsr.imaging.picture import CodePoints

SRGB = CodePoints(1, 13)
"""The code points of sRGB, which a picture without any description has."""

REFERENCE_WHITE = 203.0
"""cd/m2 of HDR that an SDR display shows as white (BT.2408)."""

_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_BT601 = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
_BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))

Chromaticities = tuple[tuple[float, float], ...]
"""CIE x and y of red, green, blue and white."""

PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    1: ("BT.709", (*_BT709, _D65)),
    4: ("BT.470 M", ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C)),
    5: ("BT.470 B/G", ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65)),
    6: ("BT.601", (*_BT601, _D65)),
    7: ("SMPTE 240M", (*_BT601, _D65)),
    8: ("film", ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C)),
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65)),
    10: ("XYZ", ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3))),
    11: ("DCI-P3", (*_P3, (0.314, 0.351))),
    12: ("Display P3", (*_P3, _D65)),
    22: ("EBU 3213", ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65)),
}
"""Name, and CIE x and y of red, green, blue and white, of each code point of primaries."""

_BT709_CURVE = (1 / 0.45, 1 / 1.0992968, 0.0992968 / 1.0992968, 1 / 4.5, 4.5 * 0.0180540)
TRANSFERS: dict[int, tuple[str, tuple[float, ...] | None]] = {
    1: ("BT.709", _BT709_CURVE),
    4: ("gamma 2.2", (2.2,)),
    5: ("gamma 2.8", (2.8,)),
    6: ("BT.601", _BT709_CURVE),
    7: (
        "SMPTE 240M",
        (1 / 0.45, 1 / 1.1115722, 0.1115722 / 1.1115722, 1 / 4, 4 * 0.0228216),
    ),
    8: ("linear", (1.0,)),
    9: ("log 100:1", None),
    10: ("log 316:1", None),
    11: ("xvYCC", _BT709_CURVE),
    12: ("BT.1361", _BT709_CURVE),
    13: ("sRGB", (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
    14: ("BT.2020", _BT709_CURVE),
    15: ("BT.2020", _BT709_CURVE),
    16: ("PQ", None),
    17: ("SMPTE 428", None),
    18: ("HLG", None),
}
"""Name of each code point of transfer, and g a b c d of `profiles.parametric_curve`.

None stands for a curve of `sampled_light`.
"""

_HDR = (16, 18)
_SAMPLES = 1024  # of a sampled curve: between two, an error below 1e-4 of the value


def resolve(points: CodePoints | None) -> CodePoints | None:
    """Fill in what code points leave unspecified (2, and reserved numbers).

    Unspecified primaries are those of BT.2020 for PQ and HLG, else of BT.709; an unspecified
    transfer is that of sRGB. The result is None where nothing is specified.
    """
    if points is None:
        return None
    primaries, transfer = points.primaries, points.transfer
    if primaries not in PRIMARIES and transfer not in TRANSFERS:
        return None
    if transfer not in TRANSFERS:
        transfer = SRGB.transfer
    if primaries not in PRIMARIES:
        primaries = 9 if transfer in _HDR else SRGB.primaries
    return CodePoints(primaries, transfer)


def is_hdr(points: CodePoints | None) -> bool:
    """Whether the transfer is PQ or HLG."""
    return points is not None and points.transfer in _HDR


def name_of(points: CodePoints) -> str:
    """Return the name of resolved code points, such as "Display P3" or "BT.2020 PQ"."""
    primaries, transfer = PRIMARIES[points.primaries][0], TRANSFERS[points.transfer][0]
    if points.transfer == 13 and points.primaries in (1, 12):
        return "sRGB" if points == SRGB else primaries
    return primaries if primaries == transfer else f"{primaries} {transfer}"


def sampled_light(transfer: int) -> np.ndarray:
    """Return the light of evenly spaced samples from 0 to 1, relative to white.

    Light of PQ and HLG above reference white is clipped.
    """
    v = np.linspace(0, 1, _SAMPLES)
    match transfer:
        case 9:
            light = np.where(v > 0, 10 ** (2 * (v - 1)), 0)
        case 10:
            light = np.where(v > 0, 10 ** (2.5 * (v - 1)), 0)
        case 16:
            root = v ** (32 / 2523)
            inner = np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)
            light = 10_000 / REFERENCE_WHITE * inner ** (16384 / 2610)
        case 17:
            light = 52.37 / 48 * v**2.6
        case _:
            # BT.2100's display of 1000 cd/m2, whose system gamma of 1.2 a curve can only apply
            # to each channel
            a, b, c = 0.17883277, 0.28466892, 0.55991073
            scene = np.where(v <= 0.5, v * v / 3, (np.exp((v - c) / a) + b) / 12)
            light = 1000 / REFERENCE_WHITE * scene**1.2
    return light.clip(0, 1)
