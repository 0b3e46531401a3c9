"""JPEG through libvips, which fails where libjpeg would only warn and fill in samples.

Here are also the segments of the file: how colour is sampled, and whether all scans are there.

Source: ITU-T T.81, annexes B and G.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atdsr.imaging import vips
from atdsr.imaging.codecs import libvips
from atdsr.imaging.codecs.interface import Still
from atdsr.imaging.picture import DamagedError, Metadata, Picture, PictureError

_START, _SCAN, _END = b"\xff\xd8", 0xDA, b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # except those among the data of a scan
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_JFIF, _ADOBE, _TABLES = 0xE0, 0xEE, 0xDB
_HEAD_BYTES = 1 << 18  # in which a file has its tables, after EXIF and a profile
# the luminance table of annex K (table K.1), in the order of the file
# fmt: off
_LUMINANCE = np.array([
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
    26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51,
    56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
    95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
])
# fmt: on
_LARGEST = 255  # value of a table of 8 bits, at which libjpeg cuts
_ALL_COEFFICIENTS: int = (1 << 64) - 1  # a bit for each coefficient of a block
_HARMLESS = re.compile(  # warnings of libjpeg that cost no pixel
    "JFIF revision|Adobe color transform|Invalid SOS parameters for sequential"
    "|extraneous bytes before marker 0x(?!d[0-7])"
)
_PADDING_WARNING = re.compile("([0-9]+) extraneous bytes before marker 0xd9")  # the file's end
_MOST_PADDING = 16  # bytes; more of them should have been decoded


def open_file(data: bytes) -> list[Still]:
    """Return the picture in a file, not decoded yet."""
    image = libvips.load_image(data, "jpeg")
    metadata = libvips.metadata_of(image)
    size = libvips.upright(image, metadata)
    return [Still(size.width, size.height, partial(_decode, data, metadata))]


def _decode(data: bytes, metadata: Metadata) -> Picture:
    return libvips.to_picture(_decode_strictly(data), metadata)


def _decode_strictly(data: bytes) -> Any:
    """Decode a file of which nothing has to be filled in; libjpeg only warns of that.

    Raises:
        PictureError: Scans are missing.
        pyvips.Error: The file is damaged.
    """
    check_scans(data)
    try:
        return libvips.load_image(data, "jpeg", "warning").copy_memory()
    except vips.load().Error as error:
        if not _HARMLESS.search(str(error)):
            raise
    data = correct(data)
    try:
        return libvips.load_image(data, "jpeg", "warning").copy_memory()
    except vips.load().Error as error:
        padding = _PADDING_WARNING.search(str(error))
        if padding is None or int(padding[1]) > _MOST_PADDING:
            raise
        data = without_padding(data, int(padding[1]))
    return libvips.load_image(data, "jpeg", "warning").copy_memory()


def write(picture: Picture, path: Path, quality: int | None) -> None:
    """Write a picture without subsampling its colours; the default quality is 95."""
    metadata = libvips.metadata_for(picture, "jpg")
    image, keep = libvips.prepare(picture, "jpg", metadata)
    image.jpegsave(str(path), Q=quality or 95, subsample_mode="off", keep=keep)


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, begin and end of each segment; of a scan, without its data.

    Raises:
        PictureError: The data are not a JPEG file, or are cut short.
    """
    at = len(_START)
    if not data.startswith(_START):
        raise PictureError("it is not a JPEG file.")
    while (marker := _MARKER.search(data, at)) and marker[0] != _END:
        end = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        if not marker.end() + 2 <= end <= len(data):
            raise DamagedError
        yield marker[0][1], marker.start(), end
        at = end


def sampling(data: bytes) -> tuple[int, int]:
    """Return how many pixels along x and y share their colour.

    Raises:
        PictureError: The data are not a JPEG file, or are cut short.
    """
    for kind, begin, end in segments(data):
        if kind in _FRAMES and end - begin > 11:  # length, depth, size, count; then the first one
            return data[begin + 11] >> 4, data[begin + 11] & 15
    raise DamagedError


def quality(path: Path) -> int | None:
    """Estimate the quality that a file was saved with, as libjpeg counts it.

    libjpeg multiplies the luminance table of annex K by a factor that follows from the quality, and
    cuts the values; the sum of those that are not cut tells it, also of a camera's own table.

    Returns:
        A number from 1 to 100; None if the file is no JPEG, cannot be read, or has no such table
        near its beginning.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_HEAD_BYTES)
        for kind, begin, end in segments(data):
            table = data[begin + 4 : end]
            if kind == _TABLES and table and table[0] & 15 == 0:
                size = 128 if table[0] >> 4 else 64
                if len(table) <= size:
                    return None
                values = np.frombuffer(table[1 : 1 + size], ">u2" if size == 128 else "u1")
                kept = values < _LARGEST
                factor = float(values[kept].sum()) / max(1, int(_LUMINANCE[kept].sum()))
                return _quality_of_factor(factor) if kept.any() else 1
    except (OSError, PictureError):
        pass
    return None


def _quality_of_factor(factor: float) -> int:
    """Return the quality of a factor of libjpeg's (`jpeg_quality_scaling` in jcparam.c)."""
    exact = 100 - 50 * factor if factor <= 1 else 50 / factor
    return min(100, max(1, round(exact)))


def correct(data: bytes) -> bytes:
    """Return the file without whatever libjpeg warns of though it costs no pixel.

    libjpeg keeps only the first of its warnings, so one about data must not be hidden by another.

    Raises:
        PictureError: The data are not a JPEG file, or are cut short.
    """
    corrected, at, channels = bytearray(_START), len(_START), 0
    progressive = True
    adobe = None  # offset of the colour transform
    for kind, begin, end in segments(data):
        content = data[begin + 4 : end]
        corrected += data[begin:end]  # but not what is between the segments
        at = end
        if kind in _FRAMES and len(content) > 5:
            channels = content[5]
            progressive = kind in _PROGRESSIVE
        elif kind == _JFIF and content.startswith(b"JFIF\0") and len(content) > 5:
            corrected[len(corrected) - len(content) + 5] = 1  # the version
        elif kind == _ADOBE and content.startswith(b"Adobe") and len(content) > 11:
            adobe = len(corrected) - len(content) + 11
        elif kind == _SCAN:
            if not progressive:
                corrected[-3:] = 0, 63, 0  # all coefficients, all bits
            break
    usual = {3: 1, 4: 2}.get(channels)
    if adobe is not None and usual and corrected[adobe] not in (0, usual):
        corrected[adobe] = usual
    return bytes(corrected) + data[at:]


def without_padding(data: bytes, count: int) -> bytes:
    """Return the file without `count` bytes before its end marker.

    Raises:
        PictureError: The data are not a JPEG file, or are cut short.
    """
    at = data.find(_END, max(end for _, _, end in segments(data)))
    return data[: at - count] + data[at:]


def check_scans(data: bytes) -> None:
    """Refuse a file with missing scans: a decoder would show what the others give.

    A scan brings some coefficients of some channels; in a progressive file all but some of their
    low bits.

    Raises:
        PictureError: Some bits of some coefficients are missing, or the file is cut short.
    """
    missing: dict[int, int] = {}  # channel -> a bit for each of its coefficients
    progressive = False
    for kind, begin, end in segments(data):
        content = data[begin + 4 : end]
        if kind in _FRAMES and len(content) > 5:
            progressive = kind in _PROGRESSIVE
            missing = dict.fromkeys(content[6 : 6 + 3 * content[5] : 3], _ALL_COEFFICIENTS)
        elif kind == _SCAN and len(content) >= 4:
            first, last, bits = content[-3:] if progressive else (0, 63, 0)
            if not bits & 15:  # no bits are left for later scans
                coefficients = (1 << last + 1) - (1 << first)
                for channel in content[1 : 1 + 2 * content[0] : 2]:
                    missing[channel] = missing.get(channel, 0) & ~coefficients
            if not any(missing.values()):
                return
    raise DamagedError("some scans of it are missing; it is damaged or cut short.")
