"""Colours of a page of a TIFF file: gray or RGB of its samples, and a profile of its tags.

Source: TIFF 6.0, sections 5, 20, 21 and 23.
"""

from collections.abc import Callable, Sequence

import numpy as np

from atdsr.imaging import colour, vips
from atdsr.imaging.codecs.tiff import page as tp
from atdsr.imaging.codecs.tiff.page import Page
from atdsr.imaging.colour import Chromaticities
from atdsr.imaging.metadata.tags import Layout, Table
from atdsr.imaging.picture import MAXIMUM, PictureError

_LEVELS = (2**8, 2**16)  # of samples of 8 and of 16 bits
_CURVE_LENGTHS = (*_LEVELS, *(3 * count for count in _LEVELS))
_BT709 = colour.PRIMARIES[1][1]


def to_gray_or_rgb(page: Page, stored: np.ndarray) -> np.ndarray:
    """Return gray (h w 1) or RGB (h w 3) for the samples of a page without its extra channels."""
    kind = page.photometric
    if kind == tp.WHITE_IS_ZERO:
        return ~stored
    if kind == tp.RGB:
        return _from_reference(page, stored)
    if kind == tp.PALETTE:
        return _from_palette(page, stored[..., 0])
    if kind == tp.YCBCR and not page.becomes_rgb:
        return _from_ycbcr(page, stored)
    if kind == tp.CMYK:
        inks = vips.to_vips(np.ascontiguousarray(stored), "cmyk")
        return vips.from_vips(vips.to_srgb(vips.with_profile(inks, page.blob(tp.ICC))))
    if kind in (tp.CIELAB, tp.ICCLAB):
        return _from_lab(page, stored)
    return stored


def _from_palette(page: Page, numbers: np.ndarray) -> np.ndarray:
    """Look samples up in the palette; the result is gray where the palette is."""
    count = 2**page.bits
    palette = np.array(page.numbers(tp.COLOUR_MAP), np.uint16)
    if len(palette) != 3 * count:
        raise PictureError("its palette is missing or lacks colours; save it as RGB.")
    palette = palette.reshape(3, count).T
    if palette.max() < 256:  # some writers store them in 8 bits
        palette = palette.astype(np.uint8)
    elif np.isin(palette & 0xFF, 0).all() or (palette >> 8 == palette & 0xFF).all():
        palette = (palette >> 8).astype(np.uint8)
    gray = (palette == palette[:, :1]).all()
    return palette[:, :1][numbers] if gray else palette[numbers]


def _from_reference(page: Page, stored: np.ndarray) -> np.ndarray:
    """Stretch RGB to the full range, where the file defines other values for black and white."""
    white = int(MAXIMUM[stored.dtype])
    reference = page.fractions(tp.REFERENCE, 6) if page.form == tp.UNSIGNED else None
    maximum = 2**page.bits - 1
    # the first, of YCbCr, is left over from another file
    no_changes = (tp.FULL_RANGE, (0, maximum) * 3)
    if reference is None or any(np.array_equal(reference, range_) for range_ in no_changes):
        return stored
    ends = np.reshape(reference, (3, 2)) * (white / maximum)
    spans = _spans(ends)
    return _by_rows(stored, lambda line: (line - ends[:, 0]) * (white / spans))


def _from_ycbcr(page: Page, stored: np.ndarray) -> np.ndarray:
    """Convert YCbCr of 8 bits to RGB, with the file's own coefficients and ranges."""
    coefficients = page.fractions(tp.COEFFICIENTS, 3)
    red, green, blue = tp.LUMA if coefficients is None else coefficients
    reference = page.fractions(tp.REFERENCE, 6)
    ends = np.reshape(tp.FULL_RANGE if reference is None else reference, (3, 2))
    factors = np.array((255, 127, 127)) / _spans(ends)
    if not green:
        raise PictureError("its coefficients of YCbCr have no green; save it as RGB.")

    def to_rgb(line: np.ndarray) -> np.ndarray:
        y, cb, cr = ((line - ends[:, 0]) * factors).T
        r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
        return np.stack((r, (y - red * r - blue * b) / green, b), 1)

    return _by_rows(stored, to_rgb)


def _spans(ends: np.ndarray) -> np.ndarray:
    """Return the distances from black to white."""
    spans = ends[:, 1] - ends[:, 0]
    if not spans.all():
        raise PictureError(
            "its ReferenceBlackWhite has equal values for black and white; save it as RGB."
        )
    return spans


def _by_rows(stored: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change samples as floats, clip and round half up; a row at a time, to save memory."""
    out = np.empty_like(stored)
    for row, line in zip(out, stored, strict=True):
        row[...] = np.floor(np.clip(change(line), 0, MAXIMUM[stored.dtype]) + 0.5)
    return out


def _from_lab(page: Page, stored: np.ndarray) -> np.ndarray:
    """Convert L*a*b* under D50 to sRGB with the depth of the samples."""
    white, unit = (255, 1) if page.bits == 8 else (65535, 256)  # the unit of a* and b*
    lab = stored.astype(np.float32)
    if page.photometric == tp.ICCLAB:
        lab[..., 0] *= 100 / (255 * unit)
        lab[..., 1:] = lab[..., 1:] / unit - 128
    else:
        lab[..., 0] *= 100 / white
        lab[..., 1:] = stored[..., 1:].view("i1" if white == 255 else "i2") / unit
    image = vips.load().Image.new_from_array(lab).copy(interpretation="lab")
    return vips.from_vips(
        image.icc_export(output_profile="srgb", depth=page.bits, intent="relative")
    )


def profile_from_tags(table: Table, layout: Layout, channels: int) -> bytes | None:
    """Return a profile of the tags that describe colours in numbers; None where there are none."""
    white, primaries, levels, photometric = (
        table[tag].numbers(layout) if tag in table else ()
        for tag in (tp.WHITE_POINT, tp.PRIMARIES, tp.CURVES, tp.PHOTOMETRIC)
    )
    chromaticities = _chromaticities(white, primaries)
    gray = channels < 3
    if curves := _curves(levels, photometric, gray):
        return colour.icc_from_curves(curves, chromaticities, gray=gray)
    return colour.icc_from_gamma(None, chromaticities, gray=gray)


def _chromaticities(white: Sequence[int], primaries: Sequence[int]) -> Chromaticities | None:
    """Convert numerators and denominators; what is missing is as in sRGB."""
    if not white and not primaries:
        return None
    bt709 = [value for pair in _BT709 for value in pair]
    values = (_fractions(primaries, 6) or bt709[:6]) + (_fractions(white, 2) or bt709[6:])
    return tuple(zip(values[::2], values[1::2], strict=True))


def _fractions(numbers: Sequence[int], count: int) -> list[float]:
    if len(numbers) != 2 * count or 0 in numbers[1::2]:
        return []
    return [
        numerator / denominator
        for numerator, denominator in zip(numbers[::2], numbers[1::2], strict=True)
    ]


def _curves(
    levels: Sequence[int], photometric: Sequence[int], gray: bool
) -> list[np.ndarray] | None:
    """Return the light of each level, in one curve for all channels or in three."""
    if tuple(photometric) != ((1,) if gray else (2,)) or len(levels) not in _CURVE_LENGTHS:
        return None
    count = len(levels) // (1 if len(levels) in _LEVELS else 3)
    light = np.array(levels) / 65535
    curves = list(light.reshape(-1, count))
    if gray and len(curves) > 1:
        return None
    rises = all(curve[-1] > curve[0] and (np.diff(curve) >= 0).all() for curve in curves)
    return curves if rises else None
