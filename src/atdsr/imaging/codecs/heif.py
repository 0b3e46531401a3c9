"""HEIC and HEIF through pillow-heif, which comes with the extra `formats`.

Its libheif turns and crops pictures, but fills cells of a grid that it cannot decode with one
colour. So every cell is decoded once more by itself, which fails if it is damaged.
"""

import io
from functools import partial
from typing import Any

import numpy as np

from atdsr.imaging import vips
from atdsr.imaging.codecs import avif
from atdsr.imaging.codecs.interface import Still
from atdsr.imaging.codecs.isobmff import items
from atdsr.imaging.codecs.isobmff.items import PrimaryItem
from atdsr.imaging.formats import load_extra
from atdsr.imaging.metadata import clean_metadata, resolution
from atdsr.imaging.picture import (
    DamagedError,
    Metadata,
    Picture,
    PictureError,
    join_alpha,
    rescale,
    split_alpha,
    unpremultiply,
)

_OVERWRITTEN = bytes(4)  # HEVC never has so many zeros in a row; here data were overwritten


def open_file(data: bytes) -> list[Still]:
    """Return the picture in a file, not decoded yet.

    Raises:
        PictureError: The file is damaged, or a sequence.
    """
    width, height = _primary_image(data).size
    return [Still(width, height, partial(_decode, data))]


def _primary_image(data: bytes) -> Any:
    """Return the picture to be shown with all its bits; it is decoded when it is asked for."""
    if data[8:12] in (b"hevc", b"hevx", b"msf1"):
        raise PictureError("a HEIF sequence is not supported; save the picture you want by itself.")
    pillow_heif = load_extra("heic")
    with vips.decoder_errors():
        file = pillow_heif.open_heif(
            io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False
        )
        return file[file.primary_index]


def _decode(data: bytes) -> Picture:
    image = _primary_image(data)
    with vips.decoder_errors():
        samples = np.array(image)
    samples = samples.reshape(*samples.shape[:2], -1)
    item = items.primary_item(data)
    _check_cells(data, item)
    mode, _, bits = image.mode.partition(";")
    samples = _to_full_range(samples, int(bits or 8), mode, item)
    height, width, channels = samples.shape
    icc = vips.matching_profile(image.info.get("icc_profile"), channels)
    exif, xmp = image.info.get("exif"), image.info.get("xmp")
    metadata = clean_metadata(Metadata(exif, xmp, resolution(exif)), width, height)
    points = None if icc else avif.code_points(item.colour)
    return Picture(samples, icc, metadata, points)


def _check_cells(data: bytes, item: PrimaryItem) -> None:
    """Check that no data were overwritten, and that each cell of a grid can be decoded.

    Raises:
        PictureError: The file is damaged.
    """
    if any(_OVERWRITTEN in coded for coded in items.coded_data(data, b"hvcC")):
        raise DamagedError
    for cell in item.cells:
        image = _primary_image(items.with_primary_item(data, cell))
        with vips.decoder_errors():
            image.load()


def _to_full_range(samples: np.ndarray, bits: int, mode: str, item: PrimaryItem) -> np.ndarray:
    """Return samples of any number of bits as uint8 or uint16, with straight alpha."""
    white = 2**bits - 1
    colours, alpha = split_alpha(samples)
    if mode in ("L", "I") and item.colour is not None and not item.colour.full_range:
        colours = avif.stretch_range(colours, bits)
    if mode == "RGBa" and alpha is not None:
        colours = unpremultiply(colours, alpha, white)
    joined = join_alpha(colours, alpha)
    return joined.astype(np.uint8) if bits == 8 else rescale(joined, white, np.uint16)
