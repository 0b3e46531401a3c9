"""Colour that a file describes without an ICC profile: as code points, or as gamma and primaries.

A description becomes a profile wherever a format holds profiles but not the description. PQ and
HLG profiles carry the tag `cicp`, from which programs for HDR know what the samples mean. For all
others their curves put HDR reference white (203 cd/m2) at white and clip what is brighter, which
is how ITU-R BT.2408 places HDR on an SDR display.

Sources: ITU-T H.273 (07/2024), tables 2 and 3; ICC.1:2022 (profile 4.4); ITU-R BT.2100-2 (PQ and
HLG); ITU-R BT.2408-7, section 2.2 (reference white); Adobe RGB (1998), version 2005-05.
"""

import functools
import io
import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import ImageCms

from atdsr.imaging import vips
from atdsr.imaging.picture import MAXIMUM, CodePoints, Picture, join_alpha, split_alpha

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

# name, and g a b c d of the formula in `_parametric`; None is a curve of `_sampled`
_BT709_CURVE = (1 / 0.45, 1 / 1.0992968, 0.0992968 / 1.0992968, 1 / 4.5, 4.5 * 0.0180540)
_TRANSFERS: dict[int, tuple[str, tuple[float, ...] | None]] = {
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
_HDR = (16, 18)

_ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), _D65)
_ADOBE_GAMMA = 563 / 256
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D50 = np.array([0.9642, 1.0, 0.8249])  # of the profile connection space
_LARGEST_FIXED = 2**15 - 1  # of numbers with 16 bits behind the point
_PIXELS = 2**18  # that are converted at a time
_MOST_GRADES = 4096  # of a curve that a file gives; LittleCMS takes no more
_GRADES = 1024  # of a sampled curve: between two, an error below 1e-4 of the value


def resolved(points: CodePoints | None) -> CodePoints | None:
    """The code points with what they leave open (2, and reserved numbers) filled in.

    Primaries left open are those of BT.2020 for PQ and HLG, else of BT.709; a transfer left open is
    that of sRGB. None leaves everything open.
    """
    if points is None:
        return None
    primaries, transfer = points.primaries, points.transfer
    if primaries not in PRIMARIES and transfer not in _TRANSFERS:
        return None
    if transfer not in _TRANSFERS:
        transfer = SRGB.transfer
    if primaries not in PRIMARIES:
        primaries = 9 if transfer in _HDR else SRGB.primaries
    return CodePoints(primaries, transfer)


def is_hdr(points: CodePoints | None) -> bool:
    """Whether the transfer is PQ or HLG."""
    return points is not None and points.transfer in _HDR


def name_of(points: CodePoints) -> str:
    """The name of a colour space that is `resolved`, such as "Display P3" or "BT.2020 PQ"."""
    primaries, transfer = PRIMARIES[points.primaries][0], _TRANSFERS[points.transfer][0]
    if points.transfer == 13 and points.primaries in (1, 12):
        return "sRGB" if points == SRGB else primaries
    return primaries if primaries == transfer else f"{primaries} {transfer}"


def profile(picture: Picture, channels: int = 0) -> bytes | None:
    """The ICC profile that the colours of a picture are meant in, or None for sRGB.

    Args:
        picture: the picture.
        channels: how many the file will have, where it is not as many as the picture has.
    """
    channels = channels or picture.samples.shape[2]
    if icc := vips.matching(picture.icc, channels):
        return icc
    points = resolved(picture.code_points)
    return None if points is None else of_code_points(points, gray=channels < 3)


@functools.lru_cache(maxsize=16)
def of_code_points(points: CodePoints, *, gray: bool) -> bytes | None:
    """A profile for RGB or gray of code points that are `resolved`, or None for sRGB."""
    if points == SRGB:
        return None
    formula = _TRANSFERS[points.transfer][1]
    curve = _parametric(*formula) if formula else _sampled(_light(points.transfer))
    primaries = PRIMARIES[points.primaries][1]
    return _profile(name_of(points), primaries, [curve], gray, points)


@functools.lru_cache(maxsize=16)
def of_gamma(
    exponent: float | None, chromaticities: Chromaticities | None, *, gray: bool
) -> bytes | None:
    """A profile of primaries and a power curve, as PNG describes them.

    Args:
        exponent: of the curve from samples to light, such as 2.2; None, and values that nobody
            can mean, are the curve of sRGB.
        chromaticities: None, and values that span no colours, are those of sRGB.
        gray: whether it is for one channel.

    Returns:
        None where this is sRGB, for which 1 / 0.45455 stands by the custom of PNG.
    """
    if exponent is not None and (not 0.1 <= exponent <= 10 or abs(exponent - 2.2) < 0.02):
        exponent = None
    if chromaticities is not None and not _spans_colours(chromaticities):
        chromaticities = None
    usual = PRIMARIES[1][1]
    is_usual = chromaticities is None or np.allclose(chromaticities, usual, rtol=0, atol=0.002)
    if exponent is None and (gray or is_usual):
        return None
    curve = _parametric(exponent) if exponent else _parametric(*_TRANSFERS[13][1] or ())
    colours = usual if chromaticities is None else chromaticities
    about = [] if exponent is None else [f"gamma {exponent:.4g}"]
    about += [] if is_usual else ["primaries of its own"]
    name = f"{'gray' if gray else 'RGB'} with {' and '.join(about)}"
    return _profile(name, colours, [curve], gray)


def of_curves(
    curves: Sequence[np.ndarray], chromaticities: Chromaticities | None, *, gray: bool
) -> bytes:
    """A profile of sampled curves, each of light from 0 to 1: one for all channels, or three."""
    if chromaticities is None or not _spans_colours(chromaticities):
        chromaticities = PRIMARIES[1][1]
    even = np.linspace(0, 1, min(len(curves[0]), _MOST_GRADES))
    places = np.linspace(0, 1, len(curves[0]))
    tables = [_sampled(np.interp(even, places, curve)) for curve in curves]
    return _profile("curves and primaries of its own", chromaticities, tables, gray)


@functools.cache
def adobe_rgb() -> bytes:
    """A profile of Adobe RGB (1998)."""
    return _profile("Adobe RGB (1998) compatible", _ADOBE, [_parametric(_ADOBE_GAMMA)], gray=False)


def _spans_colours(chromaticities: Chromaticities) -> bool:
    """Whether these primaries make their white of positive parts, in numbers that ICC can hold."""
    (_, white_y) = chromaticities[3]
    columns = _columns(chromaticities[:3])
    if white_y < 1e-3 or abs(np.linalg.det(columns)) < 1e-4:
        return False
    parts = np.linalg.solve(columns, _columns(chromaticities[3:])[:, 0] / white_y)
    if not ((parts > 1e-3).all() and (parts < 100).all()):
        return False
    with np.errstate(all="ignore"):  # a white without a response of one cone gives infinities
        matrices = np.stack([_adaptation(chromaticities), _matrix(chromaticities)])
    return bool((np.abs(matrices) < _LARGEST_FIXED).all())


def _columns(chromaticities: Chromaticities) -> np.ndarray:
    """CIE x y z of each as a column."""
    return np.array([(x, y, 1 - x - y) for x, y in chromaticities]).T


def _light(transfer: int) -> np.ndarray:
    """Light of evenly spaced samples from 0 to 1, as parts of white."""
    v = np.linspace(0, 1, _GRADES)
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


def _parametric(
    g: float, a: float = 1.0, b: float = 0.0, c: float | None = None, d: float = 0.0
) -> bytes:
    """The curve (a x + b)^g, and c x below d (ICC.1, 10.18); of g alone, x^g."""
    if c is None:
        return b"para" + struct.pack(">4xH2xi", 0, _fixed(g))
    return b"para" + struct.pack(">4xH2x5i", 3, *map(_fixed, (g, a, b, c, d)))


def _sampled(light: np.ndarray) -> bytes:
    values = np.round(light * 65535).astype(">u2").tobytes()
    return b"curv" + struct.pack(">4xI", len(light)) + values


def _fixed(value: float) -> int:
    """A number with 16 bits behind the point."""
    return round(value * 65536)


def _xyz(values: Sequence[float] | np.ndarray) -> bytes:
    return b"XYZ " + struct.pack(">4x3i", *map(_fixed, values))


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _profile(
    name: str,
    chromaticities: Chromaticities,
    curves: Sequence[bytes],
    gray: bool,
    points: CodePoints | None = None,
) -> bytes:
    """A profile of matrix and curves, or of one curve for gray."""
    tags = {b"desc": _text(name), b"cprt": _text("No copyright, use freely"), b"wtpt": _xyz(_D50)}
    tags[b"chad"] = b"sf32" + struct.pack(
        ">4x9i", *map(_fixed, _adaptation(chromaticities).ravel())
    )
    if gray:
        tags[b"kTRC"] = curves[0]
    else:
        for k, (letter, column) in enumerate(zip(b"rgb", _matrix(chromaticities).T, strict=True)):
            tags[b"%cXYZ" % letter] = _xyz(column)
            tags[b"%cTRC" % letter] = curves[k % len(curves)]
    if points is not None and not gray:
        tags[b"cicp"] = b"cicp" + struct.pack(">4x4B", points.primaries, points.transfer, 0, 1)
    return _packed(tags, b"GRAY" if gray else b"RGB ")


def _white(chromaticities: Chromaticities) -> np.ndarray:
    """CIE XYZ of white, whose Y is 1."""
    return _columns(chromaticities[3:])[:, 0] / chromaticities[3][1]


def _adaptation(chromaticities: Chromaticities) -> np.ndarray:
    """The matrix from colours under their own white to the same under that of profiles."""
    gains = _BRADFORD @ _D50 / (_BRADFORD @ _white(chromaticities))
    return np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD


def _matrix(chromaticities: Chromaticities) -> np.ndarray:
    """The matrix from light of RGB to CIE XYZ under the white of profiles."""
    columns = _columns(chromaticities[:3])
    parts = np.linalg.solve(columns, _white(chromaticities))
    return _adaptation(chromaticities) @ (columns * parts)


def _packed(tags: dict[bytes, bytes], kind: bytes) -> bytes:
    """The tags behind header and table; equal ones are stored once."""
    start = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    body = b""
    for content in tags.values():
        if content not in places:
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
    table = struct.pack(">I", len(tags)) + b"".join(
        name + struct.pack(">II", places[content], len(content)) for name, content in tags.items()
    )
    version = 0x04400000 if b"cicp" in tags else 0x04300000
    header = struct.pack(">I4xI4s4s4s", start + len(body), version, b"mntr", kind, b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    header = header.ljust(68, b"\0") + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + table + body


def for_rgb(icc: bytes) -> bytes | None:
    """The profile of RGB that means by equal channels what a profile of gray means by its one.

    None is a profile that says it in another way than by a curve.
    """
    curve = _tags(icc).get(b"kTRC")
    if curve is None:
        return None
    return _profile(described(icc) or "gray", PRIMARIES[1][1], [curve], gray=False)


@functools.lru_cache(maxsize=16)
def is_srgb(icc: bytes) -> bool:
    """Whether a profile gives colours as sRGB does, to a level of 8 bits, or cannot be used."""
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), 3).reshape(1, -1, 3)
    if icc[16:20] == b"GRAY":
        grid = np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
    return bool(np.abs(_in_srgb(grid, icc).astype(int) - grid).max() <= 1)


def to_srgb(picture: Picture) -> Picture:
    """The picture in sRGB, of the same channels, for formats that hold no description.

    What sRGB cannot show is clipped, the light of PQ and HLG above `REFERENCE_WHITE` included. A
    profile that cannot be used counts as sRGB.
    """
    icc, samples = profile(picture), picture.samples
    if icc is not None and not is_srgb(icc):
        samples = _in_srgb(samples, icc)
    return replace(picture, samples=samples, icc=None, code_points=None)


def _in_srgb(samples: np.ndarray, icc: bytes) -> np.ndarray:
    """Samples through a profile, or as they are if it cannot be used.

    Profiles of matrix and curves are applied by their formulas: LittleCMS takes gray and 16 bits
    through coarse tables, which can miss by 40 levels of 255 where colours clip.
    """
    colours, alpha = split_alpha(samples)
    found = _shaper(icc, MAXIMUM[samples.dtype])
    if found is None:
        try:
            made = vips.from_vips(vips.to_srgb(vips.with_profile(vips.to_vips(samples), icc)))
        except vips.load().Error:
            return samples
        # gray became three equal channels
        return made[..., made.shape[2] - samples.shape[2] :]
    tables, matrix = found
    made = np.empty_like(colours)
    for top in range(0, len(colours), rows := max(1, _PIXELS // colours.shape[1])):
        part = colours[top : top + rows]
        light = np.stack([table[part[..., k]] for k, table in enumerate(tables)], 2)
        if matrix is not None:
            light = light @ matrix
        made[top : top + rows] = _encoded(light.clip(0, 1), MAXIMUM[samples.dtype])
    return join_alpha(made, alpha)


def _encoded(light: np.ndarray, top: int) -> np.ndarray:
    """Samples of sRGB for light from 0 to 1 (IEC 61966-2-1), rounded half up."""
    curved = 1.055 * light ** (1 / 2.4) - 0.055
    return np.floor(top * np.where(light <= 0.0031308, 12.92 * light, curved) + 0.5)


def _shaper(icc: bytes, top: int) -> tuple[list[np.ndarray], np.ndarray | None] | None:
    """The light of each level of each channel, and the matrix to light of sRGB, for a row of RGB.

    None is a profile that says it in tables of colours, or wrongly.
    """
    tags, levels = _tags(icc), np.arange(top + 1) / top
    letters = "k" if icc[16:20] == b"GRAY" else "rgb"
    if b"A2B0" in tags or b"A2B1" in tags or icc[20:24] != b"XYZ ":
        return None
    try:
        with np.errstate(all="ignore"):
            tables = [_evaluated(tags[f"{letter}TRC".encode()], levels) for letter in letters]
        if not np.isfinite(tables).all():
            return None
        if letters == "k":
            return tables, None
        columns = [struct.unpack(">3i", tags[f"{letter}XYZ".encode()][8:20]) for letter in letters]
    except (KeyError, struct.error, ValueError):
        return None
    srgb = _matrix(PRIMARIES[1][1])
    return tables, (np.linalg.inv(srgb) @ np.array(columns).T / 65536).T


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """The tags of a profile; none of one that is damaged."""
    try:
        (count,) = struct.unpack_from(">I", icc, 128)
        rows = [struct.unpack_from(">4sII", icc, 132 + 12 * k) for k in range(min(count, 100))]
    except struct.error:
        return {}
    return {name: icc[start : start + size] for name, start, size in rows}


def _evaluated(curve: bytes, x: np.ndarray) -> np.ndarray:
    """A curve of a profile at values from 0 to 1 (ICC.1, 10.6 and 10.18).

    Raises:
        ValueError, struct.error: it is damaged.
    """
    if curve.startswith(b"curv"):
        (count,) = struct.unpack_from(">I", curve, 8)
        values = np.frombuffer(curve, ">u2", count, 12)
        if count < 2:
            return x ** (values[0] / 256) if count else x
        return np.interp(x, np.linspace(0, 1, count), values / 65535)
    (kind,) = struct.unpack_from(">H", curve, 8)
    if not curve.startswith(b"para") or kind > 4:
        raise ValueError
    size = (1, 3, 4, 5, 7)[kind]
    g, a, b, c, d, e, f = (
        *(number / 65536 for number in struct.unpack_from(f">{size}i", curve, 12)),
        *(0.0,) * (7 - size),
    )
    if kind == 0:
        return x**g
    if kind in (1, 2):  # c is then an offset to both parts
        if a == 0:
            raise ValueError
        return np.where(x >= -b / a, (a * x + b).clip(0) ** g + c, c)
    return np.where(x >= d, (a * x + b).clip(0) ** g + e, c * x + f)


def described(icc: bytes) -> str:
    """What a profile calls itself, for people; empty where it has no name."""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    except (ImageCms.PyCMSError, OSError):
        name = ""
    return "".join(letter for letter in name if letter.isprintable())[:60].strip()


def full_range(samples: np.ndarray) -> np.ndarray:
    """Samples h w c with their colours brought from narrow range (16 to 235 of 255) to full.

    Levels beyond black and white are clipped (H.273, section 8.3). Alpha is never narrow.
    """
    top = np.iinfo(samples.dtype).max
    shift = 1 if top == 255 else 256
    levels = np.arange(top + 1, dtype=np.int64)
    span = 219 * shift
    table = ((levels - 16 * shift).clip(0, span) * (2 * top) + span) // (2 * span)
    colours, alpha = split_alpha(samples)
    return join_alpha(table.astype(samples.dtype)[colours], alpha)
