"""The content of a file becomes one still picture."""

import io
from typing import Any

from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.IcoImagePlugin import IcoImageFile

from atdsr.pixels import avif, heif, jp2, jxl, metadata, netpbm, vips
from atdsr.pixels.picture import Metadata, Picture, PictureError
from atdsr.pixels.pil import picture_of, pillow

_COLOURS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "cmyk": 4}
PIL_FILES = {"bmp": BmpImageFile, "gif": GifImageFile, "ico": IcoImageFile}
"""What Pillow decodes: BMP, which the libvips wheels cannot, GIF, and the largest icon of ICO."""

_MODULES = {"avif": avif, "heic": heif, "jxl": jxl, "jp2": jp2, "ppm": netpbm}
"""Formats with a module of their own."""


def decode(data: bytes, name: str, page: int = 0, table: int = 0) -> Picture:
    """Decode a whole file of a format, or one page of a TIFF file, whose table is at a place.

    Raises:
        PictureError: its samples are of no kind that a `Picture` has.
        Exception: what the libraries raise for damage; see `vips.as_sentence`.
    """
    if name in PIL_FILES:
        with pillow():
            return picture_of(_opened(data, name))
    if name in _MODULES:
        return _MODULES[name].decode(data)
    image = header(data, name, page)
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
    image = image.copy_memory().autorot()  # a rotation needs the whole picture
    if image.interpretation == "cmyk":
        samples = vips.from_vips(vips.to_srgb(image))
    else:
        samples = vips.from_vips(image)
    icc = vips.matching(vips.blob(image, "icc-profile-data"), samples.shape[2])
    if image.interpretation == "cmyk":
        icc = None
    height, width = samples.shape[:2]
    return Picture(samples, icc, metadata.clean(_said(image, data, name, table), width, height))


def _opened(data: bytes, name: str) -> ImageFile.ImageFile:
    """The file as Pillow sees it."""
    bare = name == "bmp" and not data.startswith(b"BM")
    return (DibImageFile if bare else PIL_FILES[name])(io.BytesIO(data))


def size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height of a still picture, or of the first page, upright and not decoded yet."""
    if name in PIL_FILES:
        with pillow():
            return _opened(data, name).size
    if name in _MODULES:
        return _MODULES[name].size(data)
    image = header(data, name).autorot()
    return image.width, image.height


def header(data: bytes, name: str, page: int = 0) -> Any:
    """A libvips image whose samples are decoded when they are asked for."""
    load = getattr(vips.load().Image, f"{vips.NAMES.get(name, name)}load_buffer")
    options = {"page": page} if name == "tiff" else {}
    return load(data, access="sequential", fail_on="error", **options)


def _said(image: Any, data: bytes, name: str, table: int) -> Metadata:
    """The metadata as it stands in the file."""
    exif = metadata.of_tiff(data, table) if name == "tiff" else vips.blob(image, "exif-data")
    dpi = metadata.sensible(image.xres * 25.4, image.yres * 25.4) or metadata.resolution(exif)
    return Metadata(exif, vips.blob(image, "xmp-data"), dpi)
