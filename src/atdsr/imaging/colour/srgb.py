"""Colours converted to sRGB, for formats that hold no description of colour.

Sources: IEC 61966-2-1 (sRGB); ICC.1:2022; ITU-T H.273, section 8.3 (narrow range).
"""

import functools
import io
import struct
from dataclasses import replace

import numpy as np
from PIL import ImageCms

from atdsr.imaging import vips
from atdsr.imaging.colour.code_points import PRIMARIES
from atdsr.imaging.colour.profiles import build_profile, profile_of, rgb_to_xyz
from atdsr.imaging.picture import MAXIMUM, Picture, join_alpha, split_alpha

_PIXELS = 2**18  # that are converted at a time


def rgb_from_gray_profile(icc: bytes) -> bytes | None:
    """Return the RGB profile that means by equal channels what a gray profile means by its one.

    None stands for a profile that has no curve.
    """
    curve = _tags(icc).get(b"kTRC")
    if curve is None:
        return None
    return build_profile(profile_name(icc) or "gray", PRIMARIES[1][1], [curve], gray=False)


@functools.lru_cache(maxsize=16)
def is_srgb(icc: bytes) -> bool:
    """Whether a profile agrees with sRGB within one level of 8 bits, or cannot be used."""
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), 3).reshape(1, -1, 3)
    if icc[16:20] == b"GRAY":
        grid = np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
    return bool(np.abs(_apply_profile(grid, icc).astype(int) - grid).max() <= 1)


def to_srgb(picture: Picture) -> Picture:
    """Convert a picture to sRGB with the same channels, for formats that hold no description.

    What sRGB cannot show is clipped, including light of PQ and HLG above `REFERENCE_WHITE`. A
    profile that cannot be used counts as sRGB.
    """
    icc, samples = profile_of(picture), picture.samples
    if icc is not None and not is_srgb(icc):
        samples = _apply_profile(samples, icc)
    return replace(picture, samples=samples, icc=None, code_points=None)


def _apply_profile(samples: np.ndarray, icc: bytes) -> np.ndarray:
    """Convert samples through a profile; they come back unchanged if it cannot be used.

    Profiles of a matrix and curves are applied by their formulas: LittleCMS takes gray and 16 bits
    through coarse tables, which can miss by 40 levels of 255 where colours clip.
    """
    colours, alpha = split_alpha(samples)
    curves_and_matrix = _read_curves(icc, MAXIMUM[samples.dtype])
    if curves_and_matrix is None:
        try:
            converted = vips.from_vips(vips.to_srgb(vips.with_profile(vips.to_vips(samples), icc)))
        except vips.load().Error:
            return samples
        # gray became three equal channels
        return converted[..., converted.shape[2] - samples.shape[2] :]
    curves, matrix = curves_and_matrix
    converted = np.empty_like(colours)
    for top in range(0, len(colours), rows := max(1, _PIXELS // colours.shape[1])):
        band = colours[top : top + rows]
        light = np.stack([curve[band[..., k]] for k, curve in enumerate(curves)], 2)
        if matrix is not None:
            light = light @ matrix
        converted[top : top + rows] = _encode(light.clip(0, 1), MAXIMUM[samples.dtype])
    return join_alpha(converted, alpha)


def _encode(light: np.ndarray, white: int) -> np.ndarray:
    """Return sRGB samples for light from 0 to 1 (IEC 61966-2-1), rounded half up."""
    curved = 1.055 * light ** (1 / 2.4) - 0.055
    return np.floor(white * np.where(light <= 0.0031308, 12.92 * light, curved) + 0.5)


def _read_curves(icc: bytes, white: int) -> tuple[list[np.ndarray], np.ndarray | None] | None:
    """Return the light of each level of each channel, and the matrix to linear sRGB.

    The matrix is for row vectors of RGB, and None for gray. The result is None for a profile that
    is damaged or consists of tables of colours.
    """
    tags, levels = _tags(icc), np.arange(white + 1) / white
    letters = "k" if icc[16:20] == b"GRAY" else "rgb"
    if b"A2B0" in tags or b"A2B1" in tags or icc[20:24] != b"XYZ ":
        return None
    try:
        with np.errstate(all="ignore"):
            curves = [_evaluate(tags[f"{letter}TRC".encode()], levels) for letter in letters]
        if not np.isfinite(curves).all():
            return None
        if letters == "k":
            return curves, None
        columns = [struct.unpack(">3i", tags[f"{letter}XYZ".encode()][8:20]) for letter in letters]
    except (KeyError, struct.error, ValueError):
        return None
    srgb = rgb_to_xyz(PRIMARIES[1][1])
    return curves, (np.linalg.inv(srgb) @ np.array(columns).T / 65536).T


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """Return the tags of a profile; none if it is damaged."""
    try:
        (count,) = struct.unpack_from(">I", icc, 128)
        rows = [struct.unpack_from(">4sII", icc, 132 + 12 * k) for k in range(min(count, 100))]
    except struct.error:
        return {}
    return {name: icc[start : start + size] for name, start, size in rows}


def _evaluate(curve: bytes, x: np.ndarray) -> np.ndarray:
    """Evaluate a curve of a profile at values from 0 to 1 (ICC.1, 10.6 and 10.18).

    Raises:
        ValueError, struct.error: The curve is damaged.
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
    if kind in (1, 2):  # c is then an offset to both branches
        if a == 0:
            raise ValueError
        return np.where(x >= -b / a, (a * x + b).clip(0) ** g + c, c)
    return np.where(x >= d, (a * x + b).clip(0) ** g + e, c * x + f)


def profile_name(icc: bytes) -> str:
    """Return the name of a profile for people; empty where it has none."""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    except (ImageCms.PyCMSError, OSError):
        name = ""
    return "".join(letter for letter in name if letter.isprintable())[:60].strip()


def full_range(samples: np.ndarray) -> np.ndarray:
    """Stretch the colours of samples h w c from narrow range (16 to 235 of 255) to full range.

    Levels beyond black and white are clipped (H.273, section 8.3). Alpha is never narrow.
    """
    white = MAXIMUM[samples.dtype]
    unit = 1 if white == 255 else 256
    levels = np.arange(white + 1, dtype=np.int64)
    span = 219 * unit
    table = ((levels - 16 * unit).clip(0, span) * (2 * white) + span) // (2 * span)
    colours, alpha = split_alpha(samples)
    return join_alpha(table.astype(samples.dtype)[colours], alpha)
