"""The content of a file becomes one still picture."""

import io
import re
from typing import Any

import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile

from atdsr.pixels import jpeg, metadata, tiff, vips
from atdsr.pixels.picture import Metadata, Picture, PictureError, rescale
from atdsr.pixels.pil import picture_of, pillow

_COLOURS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "cmyk": 4}
_HARMLESS = re.compile(  # what libjpeg warns of that costs no pixel
    "JFIF revision|Adobe color transform|Invalid SOS parameters for sequential"
    "|extraneous bytes before marker 0x(?!d[0-7])"
)
PIL_FILES = {"bmp": BmpImageFile, "gif": GifImageFile}
"""What Pillow decodes: BMP, which the libvips wheels cannot, and GIF."""


def decode(data: bytes, name: str, table: int = 0) -> Picture:
    """Decode a whole file of a format, or the page of a TIFF file whose table is at a place.

    Raises:
        PictureError: its samples are of no kind that a `Picture` has.
        Exception: what the libraries raise for damage; see `vips.as_sentence`.
    """
    if name in PIL_FILES:
        with pillow():
            return picture_of(PIL_FILES[name](io.BytesIO(data)))
    if name == "tiff":
        return tiff.decode(data, table)
    image = header(data, name)
    colours = _COLOURS.get(image.interpretation)
    if colours is None or not colours <= image.bands <= colours + 1:
        raise PictureError(
            f"{image.bands} channels of the kind {image.interpretation} are not supported; save "
            "it as gray or RGB, with or without alpha."
        )
    if image.format not in ("uchar", "ushort"):
        raise PictureError(
            f"its samples are of the type {image.format}; save it with unsigned integers of 8 or "
            "16 bits."
        )
    image = (_strictly(data) if name == "jpg" else image.copy_memory()).autorot()
    if image.interpretation == "cmyk":
        samples = vips.from_vips(vips.to_srgb(image))
    else:
        samples = vips.from_vips(image)
    if name == "avif" and image.format == "ushort":
        # libvips shifts 10 or 12 bits up, which would leave white short of 65535
        bits = image.get("bits-per-sample")
        samples = rescale(samples >> (16 - bits), 2**bits - 1, np.uint16)
    icc = vips.matching(vips.blob(image, "icc-profile-data"), samples.shape[2])
    if image.interpretation == "cmyk":
        icc = None
    height, width = samples.shape[:2]
    return Picture(samples, icc, metadata.clean(_said(image), width, height))


def _strictly(data: bytes) -> Any:
    """The whole of a JPEG file, of which nothing was filled in; libjpeg but warns of that.

    Raises:
        PictureError: scans are missing.
        pyvips.Error: the file is damaged.
    """
    jpeg.check_scans(data)
    try:
        return header(data, "jpg", "warning").copy_memory()
    except vips.load().Error as error:
        if not _HARMLESS.search(str(error)):
            raise
    return header(data, "jpg").copy_memory()


def header(data: bytes, name: str, fail_on: str = "error") -> Any:
    """A libvips image whose samples are decoded when they are asked for."""
    load = getattr(vips.load().Image, f"{vips.NAMES.get(name, name)}load_buffer")
    return load(data, access="sequential", fail_on=fail_on)


def _said(image: Any) -> Metadata:
    """The metadata as it stands in the file."""
    exif = vips.blob(image, "exif-data")
    dpi = metadata.sensible(image.xres * 25.4, image.yres * 25.4) or metadata.resolution(exif)
    return Metadata(exif, vips.blob(image, "xmp-data"), dpi)
