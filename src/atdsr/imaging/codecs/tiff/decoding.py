"""A page of a TIFF file becomes one upright picture.

Samples of up to 8 bits become uint8 and others uint16, over the full range and rounded half up.
Source: TIFF 6.0, sections 8, 16, 18 and 20 to 23.
"""

from functools import partial

import numpy as np

from atdsr.imaging import colour, vips
from atdsr.imaging.codecs.interface import Still
from atdsr.imaging.codecs.tiff import page as tp
from atdsr.imaging.codecs.tiff.colour import profile_from_tags, to_gray_or_rgb
from atdsr.imaging.codecs.tiff.page import Page
from atdsr.imaging.codecs.tiff.samples import check, read_samples
from atdsr.imaging.formats import CAMERA_RAW, MAX_FRAMES
from atdsr.imaging.metadata import clean_metadata, exif_of_page, is_adobe_rgb, resolution, tags
from atdsr.imaging.picture import (
    MAXIMUM,
    Metadata,
    Picture,
    PictureError,
    UnsupportedError,
    fractions_to_uint16,
    join_alpha,
    rescale,
    unpremultiply,
)

_COLOUR_CHANNELS = {tp.WHITE_IS_ZERO: 1, tp.BLACK_IS_ZERO: 1, tp.RGB: 3, tp.PALETTE: 1, tp.CMYK: 4}
_COLOUR_CHANNELS |= {tp.YCBCR: 3, tp.CIELAB: 3, tp.ICCLAB: 3}
_NAMES = {4: "a mask of transparency", 10: "ITU L*a*b*", 32803: "raw data of a camera's sensor"}
_NAMES |= {32844: "LogL", 32845: "LogLuv", 34892: "raw data of a camera's sensor"}
_LINEAR = (tp.WHITE_IS_ZERO, tp.BLACK_IS_ZERO, tp.RGB, tp.CMYK)  # where a sample is an amount
_UNSPECIFIED, _PREMULTIPLIED, _STRAIGHT = 0, 1, 2  # types of extra samples
_TURNED = (5, 6, 7, 8)  # orientations
_NO_UNIT = 1  # of resolution
# bytes that all pages together may refer to: twice the file's, and so many more
_SHARING, _ALLOWANCE = 2, 2**22


def open_file(data: bytes) -> list[Still]:
    """Return the pages of a file, not decoded yet.

    Raises:
        UnsupportedError: It is a camera raw, whose first page is a small preview.
        PictureError: A page is of a kind that is not supported, or the pages share so much of the
            file that reading all of them would take far more than its size explains.
        TagError: The file is damaged or has more than `MAX_FRAMES` pages.
    """
    stills, total = [], 0
    for offset, table in tags.tables(data, MAX_FRAMES, tp.TAGS):
        page = tp.page_from_tags(data, table)
        if not stills and _is_camera_raw(page, table):
            raise UnsupportedError(CAMERA_RAW)
        _check(page)
        total += page.stored_bytes
        if total > _SHARING * len(data) + _ALLOWANCE:
            raise PictureError("its pages share too much data; save them as separate files.")
        size = page.width, page.height
        width, height = size[::-1] if page.orientation in _TURNED else size
        # the tags are read again later: all of many pages together could take much memory
        stills.append(Still(width, height, partial(_decode, data, offset)))
    return stills


def _is_camera_raw(page: Page, table: tags.Table) -> bool:
    """Tell by the first page whether it is a preview of what a camera's sensor has recorded.

    Source: DNG 1.7, NewSubFileType, SubIFDs and DNGVersion; other raw files keep to the scheme.
    """
    is_preview = bool(page.number(tp.KIND_OF_PAGE, 0) & 1)
    return tp.DNG_VERSION in table or (is_preview and tp.FURTHER_TABLES in table)


def _decode(data: bytes, offset: int) -> Picture:
    """Decode the page whose table of tags is at an offset.

    Raises:
        PictureError: A part of it cannot be decoded.
    """
    table, _ = tags.read_table(data, offset, tags.layout_of(data), tp.TAGS)
    page = tp.page_from_tags(data, table)
    stored = read_samples(page)
    colours, alpha = stored[..., : _COLOUR_CHANNELS[page.photometric]], None
    if (channel := _alpha_channel(page)) is not None:
        alpha = _to_full_range(page, stored[..., channel : channel + 1])
    if page.photometric in _LINEAR:
        colours = _to_full_range(page, colours)
        if alpha is not None and _PREMULTIPLIED in _extra_samples(page):
            colours = unpremultiply(colours, alpha, MAXIMUM[colours.dtype])
    colours = to_gray_or_rgb(page, colours)
    if alpha is not None and alpha.dtype != colours.dtype:
        alpha = rescale(alpha, MAXIMUM[alpha.dtype], colours.dtype)
    samples = _upright(join_alpha(colours, alpha), page.orientation)
    exif = exif_of_page(data, offset)
    dpi = None if page.number(tp.RESOLUTION_UNIT, 2) == _NO_UNIT else resolution(exif)
    height, width, channels = samples.shape
    metadata = clean_metadata(Metadata(exif, page.blob(tp.XMP), dpi), width, height)
    return Picture(np.ascontiguousarray(samples), _profile(page, channels, exif), metadata)


def _profile(page: Page, channels: int, exif: bytes | None) -> bytes | None:
    """Return the profile of the colours; None where they are sRGB now or nothing is stated."""
    if page.photometric in (tp.CMYK, tp.CIELAB, tp.ICCLAB):
        return None
    icc = vips.matching_profile(page.blob(tp.ICC), channels)
    icc = icc or profile_from_tags(page.table, page.layout, channels)
    return icc or (colour.adobe_rgb() if channels >= 3 and is_adobe_rgb(exif) else None)


def _check(page: Page) -> None:
    """Refuse what `_decode` cannot read, before any work.

    Raises:
        PictureError: The page is of a kind that is not supported.
    """
    kind, bits = page.photometric, page.bits
    if kind not in _COLOUR_CHANNELS:
        name = _NAMES.get(kind, "colours of an unknown kind" if kind >= 0 else "of no stated kind")
        raise PictureError(f"its samples are {name}; save it as gray or RGB.")
    if kind == tp.CMYK and page.number(tp.INK_SET, 1) != 1:
        raise PictureError("its inks are not those of CMYK; save it as RGB.")
    check(page)
    _alpha_channel(page)
    integers = page.form == tp.UNSIGNED
    depths = {tp.PALETTE: range(1, 17), tp.YCBCR: (8,), tp.CMYK: (8, 16)}
    depths |= {tp.CIELAB: (8, 16), tp.ICCLAB: (8, 16)}
    if kind in depths and not (integers and bits in depths[kind]):
        raise PictureError(
            f"palettes, YCbCr, CMYK and L*a*b* of {bits} bits are not supported; save it as RGB."
        )


def _extra_samples(page: Page) -> tuple[int, ...]:
    """Return the types of the samples besides colour; unspecified where they are not stated."""
    count = page.channels - _COLOUR_CHANNELS[page.photometric]
    return (page.numbers(tp.EXTRA) + (_UNSPECIFIED,) * max(0, count))[: max(0, count)]


def _alpha_channel(page: Page) -> int | None:
    """Return the number of the channel that is alpha.

    Raises:
        PictureError: There are too few channels, or some that a `Picture` cannot have.
    """
    extra, colours = _extra_samples(page), _COLOUR_CHANNELS[page.photometric]
    alphas = [k for k, kind in enumerate(extra) if kind in (_PREMULTIPLIED, _STRAIGHT)]
    if page.channels < colours or len(alphas) > 1 or len(extra) - len(alphas) > 1:
        raise PictureError(
            f"{page.channels} channels, of which {colours} are colour, are not supported; save it "
            "as gray or RGB, with or without alpha."
        )
    if page.photometric not in _LINEAR and _PREMULTIPLIED in extra:
        raise PictureError(
            "palettes, YCbCr and L*a*b* with premultiplied alpha are not supported; save it as RGB."
        )
    return colours + alphas[0] if alphas else None


def _to_full_range(page: Page, stored: np.ndarray) -> np.ndarray:
    """Return samples as uint8 or uint16 over the full range.

    Raises:
        PictureError: Floats are not all between 0 (black) and 1 (white).
    """
    if page.form == tp.FLOAT:
        return fractions_to_uint16(stored)
    if page.bits in (8, 16):
        return stored
    return rescale(stored, 2**page.bits - 1, np.uint8 if page.bits < 8 else np.uint16)


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror samples so that the picture is upright."""
    if orientation in _TURNED:
        samples = samples.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples
