"""BMP, which the libvips wheels cannot decode, and the largest icon of ICO, both by Pillow.

Source: BITMAPV4HEADER and BITMAPV5HEADER of the Windows API.
"""

import io
import struct
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.IcoImagePlugin import IcoImageFile

from atdsr.imaging import colour, pillow, vips
from atdsr.imaging.codecs import png
from atdsr.imaging.codecs.interface import Still
from atdsr.imaging.colour import Chromaticities
from atdsr.imaging.formats import HEAD_BYTES, recognise
from atdsr.imaging.picture import DamagedError, Picture, split_alpha, to_uint8

_FILE_HEADER = 14  # bytes of a BMP file before the header of the bitmap
_CALIBRATED, _EMBEDDED = 0, int.from_bytes(b"MBED", "big")  # kinds of colour spaces


def open_file(data: bytes) -> list[Still]:
    """Return the picture in a BMP file, or in a bitmap without the header of a file (DIB)."""
    with vips.decoder_errors():
        width, height = _open_bmp(data).size
    return [Still(width, height, partial(_decode_bmp, data))]


def open_icon_file(data: bytes) -> list[Still]:
    """Return the largest icon of an ICO file, not decoded yet."""
    with vips.decoder_errors():
        width, height = IcoImageFile(io.BytesIO(data)).size
    return [Still(width, height, partial(_decode_icon, data))]


def _open_bmp(data: bytes) -> BmpImageFile:
    return (BmpImageFile if data.startswith(b"BM") else DibImageFile)(io.BytesIO(data))


def _decode_bmp(data: bytes) -> Picture:
    with vips.decoder_errors():
        image = _open_bmp(data)
        _check_length(image, data)
        picture = pillow.to_picture(image)
    if data.startswith(b"BM"):
        return replace(picture, icc=read_profile(data, picture.samples.shape[2]))
    return picture


def _decode_icon(data: bytes) -> Picture:
    with vips.decoder_errors():
        image = IcoImageFile(io.BytesIO(data))
        icon = data[image.ico.entry[0].offset :]  # the largest, which Pillow decodes
        if recognise(icon[:HEAD_BYTES]) == "png":
            png.check_pixel_chunks(icon)
        _check_length(image, data)
        return pillow.to_picture(image)


def _check_length(image: ImageFile.ImageFile, data: bytes) -> None:
    """Refuse missing samples before Pillow allocates memory for all that the header claims.

    Raises:
        PictureError: The file is cut short.
    """
    for codec, _, offset, arguments in image.tile:
        if codec == "raw" and isinstance(arguments, tuple):
            stride = arguments[1]  # bytes from row to row
            if offset + stride * image.height > len(data):
                raise DamagedError


def read_profile(data: bytes, channels: int) -> bytes | None:
    """Return the profile of a BMP file, embedded or described by its header, or None."""
    if len(data) < _FILE_HEADER + 108:
        return None
    (size,) = struct.unpack_from("<I", data, _FILE_HEADER)
    (kind,) = struct.unpack_from("<I", data, _FILE_HEADER + 56)
    if size >= 124 and kind == _EMBEDDED and len(data) >= _FILE_HEADER + 124:
        start, length = struct.unpack_from("<II", data, _FILE_HEADER + 112)
        icc = data[_FILE_HEADER + start : _FILE_HEADER + start + length]
        return vips.matching_profile(icc, channels) if len(icc) == length >= 128 else None
    if size < 108 or kind != _CALIBRATED:
        return None
    numbers = struct.unpack_from("<9i3I", data, _FILE_HEADER + 60)
    end_points = np.array(numbers[:9]).reshape(3, 3) / 2**30
    gamma = numbers[10] / 65536  # of green; the others do not differ
    return colour.icc_from_gamma(gamma or None, _chromaticities(end_points), gray=channels < 3)


def _chromaticities(end_points: np.ndarray) -> Chromaticities | None:
    """Convert X Y Z of red, green and blue, whose sum is white; some writers give x y z instead."""
    sums = end_points.sum(1)
    if (sums <= 0).any():
        return None
    white = end_points.sum(0) / end_points.sum()
    if np.allclose(sums, 1, atol=0.01):
        white = np.array(colour.PRIMARIES[1][1][3])
    points = [*(end_points / sums[:, None]), white]
    return tuple((float(point[0]), float(point[1])) for point in points)


def write(picture: Picture, path: Path, _quality: int | None) -> None:
    """Write a picture with 8 bits; alpha, which is full, is dropped."""
    samples = to_uint8(split_alpha(picture.samples)[0])
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    dpi = picture.metadata.dpi
    with path.open("wb") as file:
        image.save(cast(BinaryIO, _Writer(file)), "BMP", **({"dpi": dpi} if dpi else {}))


@dataclass(frozen=True)
class _Writer:
    """A file that Pillow does not recognise as one.

    Pillow bypasses Python for real files, and does not notice when a full disk takes only a part.
    """

    file: BinaryIO

    def write(self, data: bytes) -> int:
        """Write all of the data."""
        return self.file.write(data)

    def flush(self) -> None:
        """Do nothing: nothing is buffered here."""
