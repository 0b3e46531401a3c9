"""A page of a TIFF file becomes one upright picture: what its samples mean.

Whatever is stored, of 8 bits at most becomes uint8 and more becomes uint16, over the full range
and rounded half up. Source: TIFF 6.0, sections 8, 16, 18 and 20 to 23.
"""

from collections.abc import Callable

import numpy as np

from atdsr.imaging import colour, colour_tags, metadata, tags, tiff_samples, vips
from atdsr.imaging import tiff_page as tp
from atdsr.imaging.picture import MAXIMUM, Metadata, Picture, PictureError, join_alpha, rescale
from atdsr.imaging.tiff_page import Page

_COLOURS = {tp.WHITE_IS_ZERO: 1, tp.BLACK_IS_ZERO: 1, tp.RGB: 3, tp.PALETTE: 1, tp.CMYK: 4}
_COLOURS |= {tp.YCBCR: 3, tp.CIELAB: 3, tp.ICCLAB: 3}
_NAMES = {4: "a mask of transparency", 10: "ITU L*a*b*", 32803: "raw data of a camera's sensor"}
_NAMES |= {32844: "LogL", 32845: "LogLuv", 34892: "raw data of a camera's sensor"}
_PLAIN = (tp.WHITE_IS_ZERO, tp.BLACK_IS_ZERO, tp.RGB, tp.CMYK)  # where a sample is an amount
_UNSPECIFIED, _PREMULTIPLIED, _STRAIGHT = 0, 1, 2  # extra samples
_TURNED = (5, 6, 7, 8)  # orientations
_NO_UNIT = 1  # of resolution
_SHARED, _FREE = 2, 2**22  # all pages together: so many times the file's bytes, and so many more


def decode(data: bytes, at: int) -> Picture:
    """The page whose table of tags is at a place.

    Raises:
        PictureError: it is of a kind that is not supported, or a part of it cannot be decoded.
        TagError: there is no table.
    """
    table, _ = tags.read_table(data, at, tags.layout_of(data), tp.TAGS)
    page = tp.page_of(data, table)
    _check(page)
    stored = tiff_samples.samples(page)
    count = _COLOURS[page.photometric]
    colour, alpha = stored[..., :count], None
    if (number := _alpha(page)) is not None:
        alpha = _full_range(page, stored[..., number : number + 1])
    if page.photometric in _PLAIN:
        colour = _full_range(page, colour)
        if alpha is not None and _PREMULTIPLIED in _extra(page):
            colour = _divided(colour, alpha)
    colour = _colour(page, colour)
    if alpha is not None and alpha.dtype != colour.dtype:
        alpha = rescale(alpha, MAXIMUM[alpha.dtype], colour.dtype)
    samples = _upright(join_alpha(colour, alpha), page.orientation)
    exif = metadata.of_tiff(data, at)
    dpi = None if page.number(tp.RESOLUTION_UNIT, 2) == _NO_UNIT else metadata.resolution(exif)
    said = Metadata(exif, page.blob(tp.XMP), dpi)
    height, width, channels = samples.shape
    return Picture(
        np.ascontiguousarray(samples),
        _profile(page, channels, exif),
        metadata.clean(said, width, height),
    )


def _profile(page: Page, channels: int, exif: bytes | None) -> bytes | None:
    """What the colours mean; None where they have become sRGB or nothing is said."""
    if page.photometric in (tp.CMYK, tp.CIELAB, tp.ICCLAB):
        return None
    icc = vips.matching(page.blob(tp.ICC), channels)
    icc = icc or colour_tags.of_tiff(page.table, page.layout, channels)
    return icc or (colour.adobe_rgb() if channels >= 3 and metadata.is_adobe_rgb(exif) else None)


def pages(data: bytes, most: int) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """The pages of a file, without decoding them.

    Args:
        data: the file.
        most: pages that it may have.

    Returns:
        Where the table of each page is, and the width and height of each page, upright.

    Raises:
        PictureError: a page is of a kind that is not supported, or the pages share so much of the
            file that reading all of them would take far more than its size explains.
        TagError: damage, or more pages than that.
    """
    places, sizes, total = [], [], 0
    for at, table in tags.tables(data, most, tp.TAGS):
        page = tp.page_of(data, table)
        _check(page)
        total += page.stored_bytes
        if total > _SHARED * len(data) + _FREE:
            raise PictureError("its pages share too much data; save them apart.")
        places.append(at)
        turned = page.orientation in _TURNED
        sizes.append((page.height, page.width) if turned else (page.width, page.height))
    return tuple(places), sizes


def _check(page: Page) -> None:
    """Refuse what `decode` cannot read, before any work.

    Raises:
        PictureError: what the page is, in a sentence.
    """
    kind, bits = page.photometric, page.bits
    if kind not in _COLOURS:
        name = _NAMES.get(kind, "colours of an unknown kind" if kind >= 0 else "of no stated kind")
        raise PictureError(f"its samples are {name}; save it as gray or RGB.")
    if kind == tp.CMYK and page.number(tp.INK_SET, 1) != 1:
        raise PictureError("its inks are not those of CMYK; save it as RGB.")
    tiff_samples.check(page)
    _alpha(page)
    integers = page.form == tp.UNSIGNED
    depths = {tp.PALETTE: range(1, 17), tp.YCBCR: (8,), tp.CMYK: (8, 16)}
    depths |= {tp.CIELAB: (8, 16), tp.ICCLAB: (8, 16)}
    if kind in depths and not (integers and bits in depths[kind]):
        raise PictureError(
            f"palettes, YCbCr, CMYK and L*a*b* of {bits} bits are not supported; save it as RGB."
        )


def _extra(page: Page) -> tuple[int, ...]:
    """What the samples beside colour are; unspecified where nothing is said."""
    count = page.channels - _COLOURS[page.photometric]
    return (page.numbers(tp.EXTRA) + (_UNSPECIFIED,) * max(0, count))[: max(0, count)]


def _alpha(page: Page) -> int | None:
    """The number of the channel that is alpha.

    Raises:
        PictureError: there are too few channels, or some that no picture here can have.
    """
    extra, colours = _extra(page), _COLOURS[page.photometric]
    alphas = [k for k, kind in enumerate(extra) if kind in (_PREMULTIPLIED, _STRAIGHT)]
    if page.channels < colours or len(alphas) > 1 or len(extra) - len(alphas) > 1:
        raise PictureError(
            f"{page.channels} channels, of which {colours} are colour, are not supported; save it "
            "as gray or RGB, with or without alpha."
        )
    if page.photometric not in _PLAIN and _PREMULTIPLIED in extra:
        raise PictureError(
            "palettes, YCbCr and L*a*b* with premultiplied alpha are not supported; save it as RGB."
        )
    return colours + alphas[0] if alphas else None


def _colour(page: Page, stored: np.ndarray) -> np.ndarray:
    """Gray (h w 1) or RGB (h w 3) of the samples of colour."""
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


def _full_range(page: Page, stored: np.ndarray) -> np.ndarray:
    """Samples as uint8 or uint16 over the full range.

    Raises:
        PictureError: floats are not all between 0 (black) and 1 (white).
    """
    if page.form == tp.FLOAT:
        if not (np.isfinite(stored).all() and stored.min() >= 0 and stored.max() <= 1):
            raise PictureError(
                "its floating-point samples are not all between 0 and 1; scale them to that range, "
                "or save it with unsigned integers of 16 bits."
            )
        return np.floor(stored.astype(np.float64) * 65535 + 0.5).astype(np.uint16)
    wide = np.uint8 if page.bits <= 8 else np.uint16
    if page.bits in (8, 16):
        return stored
    if page.bits < 16:
        return rescale(stored, 2**page.bits - 1, wide)
    white = 2**page.bits - 1
    return ((stored.astype(np.uint64) * (2 * 65535) + white) // (2 * white)).astype(np.uint16)


def _divided(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Straight colour of such that was multiplied by alpha, rounded half up; 0 where alpha is."""
    white, by = int(MAXIMUM[colour.dtype]), alpha.astype(np.uint64)
    quotient = (colour.astype(np.uint64) * (2 * white) + by) // np.maximum(2 * by, 1)
    return np.where(by > 0, np.minimum(quotient, white), 0).astype(colour.dtype)


def _from_palette(page: Page, numbers: np.ndarray) -> np.ndarray:
    """The colours that the samples are numbers of; gray where the palette is."""
    count = 2**page.bits
    palette = np.array(page.numbers(tp.COLOUR_MAP), np.uint16)
    if len(palette) != 3 * count:
        raise PictureError("its palette is missing or has not a colour for each number.")
    palette = palette.reshape(3, count).T
    if palette.max() < 256:  # some writers have them in 8 bits
        palette = palette.astype(np.uint8)
    elif np.isin(palette & 0xFF, 0).all() or (palette >> 8 == palette & 0xFF).all():
        palette = (palette >> 8).astype(np.uint8)
    gray = (palette == palette[:, :1]).all()
    return palette[:, :1][numbers] if gray else palette[numbers]


def _from_reference(page: Page, stored: np.ndarray) -> np.ndarray:
    """RGB over the full range, where the file says that black and white are elsewhere."""
    white = int(MAXIMUM[stored.dtype])
    reference = page.fractions(tp.REFERENCE, 6) if page.form == tp.UNSIGNED else None
    top = 2**page.bits - 1
    stale = (tp.FULL_RANGE, (0, top) * 3)  # that of YCbCr is left over from another file
    if reference is None or any(np.array_equal(reference, usual) for usual in stale):
        return stored
    ends = np.reshape(reference, (3, 2)) * (white / top)
    spans = _spans(ends)
    return _by_rows(stored, lambda line: (line - ends[:, 0]) * (white / spans))


def _from_ycbcr(page: Page, stored: np.ndarray) -> np.ndarray:
    """RGB of YCbCr of 8 bits, with the file's own coefficients and ranges."""
    luma = page.fractions(tp.COEFFICIENTS, 3)
    red, green, blue = tp.LUMA if luma is None else luma
    reference = page.fractions(tp.REFERENCE, 6)
    ends = np.reshape(tp.FULL_RANGE if reference is None else reference, (3, 2))
    factors = np.array((255, 127, 127)) / _spans(ends)
    if not green:
        raise PictureError("its YCbCr has no green; save it as RGB.")

    def rgb(line: np.ndarray) -> np.ndarray:
        y, cb, cr = ((line - ends[:, 0]) * factors).T
        r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
        return np.stack((r, (y - red * r - blue * b) / green, b), 1)

    return _by_rows(stored, rgb)


def _spans(ends: np.ndarray) -> np.ndarray:
    """The distances from black to white."""
    spans = ends[:, 1] - ends[:, 0]
    if not spans.all():
        raise PictureError("its black is its white (ReferenceBlackWhite); save it as RGB.")
    return spans


def _by_rows(stored: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Samples changed as floats, clipped and rounded half up; a row at a time, for memory."""
    out = np.empty_like(stored)
    for row, line in zip(out, stored, strict=True):
        row[...] = np.floor(np.clip(change(line), 0, MAXIMUM[stored.dtype]) + 0.5)
    return out


def _from_lab(page: Page, stored: np.ndarray) -> np.ndarray:
    """The sRGB of L*a*b* under D50, with the depth of the samples."""
    white, one = (255, 1) if page.bits == 8 else (65535, 256)  # one unit of a* and b*
    lab = stored.astype(np.float32)
    if page.photometric == tp.ICCLAB:
        lab[..., 0] *= 100 / (255 * one)
        lab[..., 1:] = lab[..., 1:] / one - 128
    else:
        lab[..., 0] *= 100 / white
        lab[..., 1:] = stored[..., 1:].view("i1" if white == 255 else "i2") / one
    image = vips.load().Image.new_from_array(lab).copy(interpretation="lab")
    return vips.from_vips(
        image.icc_export(output_profile="srgb", depth=page.bits, intent="relative")
    )


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """The samples turned and mirrored so that the picture stands upright."""
    if orientation in _TURNED:
        samples = samples.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples
