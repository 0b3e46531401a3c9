"""The content of a file becomes one still picture."""

import io
import re
from dataclasses import replace
from typing import Any

from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.IcoImagePlugin import IcoImageFile

from atdsr.imaging import (
    avif,
    colour,
    colour_tags,
    heif,
    jp2,
    jpeg,
    jxl,
    metadata,
    netpbm,
    png,
    tiff,
    vips,
)
from atdsr.imaging.formats import HEAD, recognise
from atdsr.imaging.picture import Metadata, Picture, PictureError
from atdsr.imaging.pil import picture_of, pillow

_COLOURS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "cmyk": 4}
_HARMLESS = re.compile(  # what libjpeg warns of that costs no pixel
    "JFIF revision|Adobe color transform|Invalid SOS parameters for sequential"
    "|extraneous bytes before marker 0x(?!d[0-7])"
)
_BEHIND = re.compile("([0-9]+) extraneous bytes before marker 0xd9")  # the end of the file
_PADDING = 16  # bytes at most; what is more was to be decoded
PIL_FILES = {"bmp": BmpImageFile, "gif": GifImageFile, "ico": IcoImageFile}
"""What Pillow decodes: BMP, which the libvips wheels cannot, GIF, and the largest icon of ICO."""

_MODULES = {"avif": avif, "heic": heif, "jxl": jxl, "jp2": jp2, "ppm": netpbm}
"""Formats with a module of their own."""


def decode(data: bytes, name: str, table: int = 0) -> Picture:
    """Decode a whole file of a format, or the page of a TIFF file whose table is at a place.

    Raises:
        PictureError: its samples are of no kind that a `Picture` has.
        Exception: what the libraries raise for damage; see `vips.as_sentence`.
    """
    if name in PIL_FILES:
        with pillow():
            opened = _opened(data, name)
            if isinstance(opened, IcoImageFile):
                _check_icon(opened, data)
            _check_length(opened, data)
            picture = picture_of(opened)
        if name == "bmp" and data.startswith(b"BM"):
            icc = colour_tags.of_bmp(data, picture.samples.shape[2])
            return replace(picture, icc=icc)
        return picture
    if name == "tiff":
        return tiff.decode(data, table)
    if name in _MODULES:
        return _MODULES[name].decode(data)
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
    described = None
    if name == "png":
        png.check(data)
        described = png.describe(data)
    said = _said(image, described)
    whole = _strictly(data) if name == "jpg" else image.copy_memory()
    image = _upright(whole, said)  # a rotation needs the whole picture
    if image.interpretation == "cmyk":
        samples = vips.from_vips(vips.to_srgb(image))
    else:
        samples = vips.from_vips(image)
    height, width, channels = samples.shape
    icc = vips.matching(vips.blob(image, "icc-profile-data"), channels)
    if image.interpretation == "cmyk":
        icc = None
    elif icc is None and name != "png" and channels >= 3 and metadata.is_adobe_rgb(said.exif):
        icc = colour.adobe_rgb()
    picture = Picture(samples, icc, metadata.clean(said, width, height))
    return picture if described is None else described.applied(picture, icc)


def _opened(data: bytes, name: str) -> ImageFile.ImageFile:
    """The file as Pillow sees it."""
    bare = name == "bmp" and not data.startswith(b"BM")
    return (DibImageFile if bare else PIL_FILES[name])(io.BytesIO(data))


def _check_icon(image: IcoImageFile, data: bytes) -> None:
    """Look at the checks of the largest icon, which Pillow decodes, if it is PNG.

    Raises:
        PictureError: it is damaged.
    """
    place = image.ico.entry[0]
    icon = data[place.offset :]
    if recognise(icon[:HEAD]) == "png":
        png.check(icon)


def _check_length(image: ImageFile.ImageFile, data: bytes) -> None:
    """Refuse samples that are not there, before Pillow makes room for all that the head claims.

    Raises:
        PictureError: the file is cut short.
    """
    for codec, _, offset, arguments in image.tile:
        if codec == "raw" and isinstance(arguments, tuple):
            stride = arguments[1]  # bytes from row to row
            if offset + stride * image.height > len(data):
                raise PictureError("it is damaged or cut short.")


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
    data = jpeg.corrected(data)
    try:
        return header(data, "jpg", "warning").copy_memory()
    except vips.load().Error as error:
        behind = _BEHIND.search(str(error))
        if behind is None or int(behind[1]) > _PADDING:
            raise
        data = jpeg.without_padding(data, int(behind[1]))
    return header(data, "jpg", "warning").copy_memory()


def header(data: bytes, name: str, fail_on: str = "error") -> Any:
    """A libvips image whose samples are decoded when they are asked for."""
    load = getattr(vips.load().Image, f"{vips.NAMES.get(name, name)}load_buffer")
    return load(data, access="sequential", fail_on=fail_on)


def size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height of a still picture, upright and not decoded yet; TIFF has `tiff.pages`."""
    if name in PIL_FILES:
        with pillow():
            return _opened(data, name).size
    if name in _MODULES:
        return _MODULES[name].size(data)
    image = header(data, name)
    described = png.describe(data) if name == "png" else None
    image = _upright(image, _said(image, described))
    return image.width, image.height


def _upright(image: Any, said: Metadata) -> Any:
    """The image as its file says that it lies; libvips knows only of EXIF before the pixels."""
    turned = metadata.orientation(said.exif, said.xmp)
    known = image.get("orientation") if image.get_typeof("orientation") else 1
    if turned > 1 and known == 1:
        image = image.copy()
        image.set_type(vips.load().GValue.gint_type, "orientation", turned)
    return image.autorot()


def _said(image: Any, described: png.Described | None) -> Metadata:
    """The metadata as it stands in the file."""
    exif = vips.blob(image, "exif-data")
    said = Metadata(exif, vips.blob(image, "xmp-data"))
    if described is not None:
        said = replace(described.metadata, exif=described.metadata.exif or exif)
    dpi = metadata.sensible(image.xres * 25.4, image.yres * 25.4)
    return replace(said, dpi=dpi or metadata.resolution(said.exif))
