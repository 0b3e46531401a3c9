"""JPEG XL through pyjpegxl, which comes with the extra `formats`.

It returns 8, 16 or 32 bits, upright, with profile, EXIF and XMP. The rest is read from the header
here: whether there are several frames, and what the channels besides the colours are.

Source: ISO/IEC 18181-1, annex D (headers); ISO/IEC 18181-2, 9.5 (EXIF).
"""

import functools
from functools import partial
from pathlib import Path

import numpy as np

from atdsr.imaging import vips
from atdsr.imaging.codecs import libvips
from atdsr.imaging.codecs.interface import Still
from atdsr.imaging.codecs.isobmff.boxes import top_level
from atdsr.imaging.formats import load_extra
from atdsr.imaging.metadata import clean_metadata, resolution, without_exif_prefix
from atdsr.imaging.picture import (
    MAXIMUM,
    DamagedError,
    Metadata,
    Picture,
    PictureError,
    fractions_to_uint16,
    join_alpha,
    split_alpha,
    unpremultiply,
)

_ALPHA, _BLACK = 0, 4  # types of channels
_OFFSET = 4  # bytes before EXIF that state where it begins
_CODESTREAM = b"\xff\x0a"


def open_file(data: bytes) -> list[Still]:
    """Return the picture in a file, not decoded yet.

    Raises:
        PictureError: The file is damaged, an animation, or has inks.
    """
    is_premultiplied = _has_premultiplied_alpha(data)
    pyjpegxl = load_extra("jxl")
    with vips.decoder_errors():
        info = pyjpegxl.probe(data)
    return [Still(info.width, info.height, partial(_decode, data, is_premultiplied))]


def _decode(data: bytes, is_premultiplied: bool) -> Picture:
    pyjpegxl = load_extra("jxl")
    with vips.decoder_errors():
        info, samples = pyjpegxl.decode_to_numpy(data)
    if samples.dtype == np.float32:
        samples = fractions_to_uint16(samples)
    colours, alpha = split_alpha(samples)
    if is_premultiplied and alpha is not None:
        samples = join_alpha(unpremultiply(colours, alpha, MAXIMUM[samples.dtype]), alpha)
    height, width, channels = samples.shape
    icc = info.icc if info.icc != _default_profile(channels < 3) else None
    exif = _read_exif(info.exif)
    metadata = clean_metadata(Metadata(exif, info.xmp, resolution(exif)), width, height)
    return Picture(samples, vips.matching_profile(icc, channels), metadata)


def _read_exif(content: bytes | None) -> bytes | None:
    """Return EXIF without the offset that precedes it; some writers leave the offset out."""
    if not content or content.startswith((b"II", b"MM", b"Exif\0\0")):
        return content
    return content[_OFFSET + int.from_bytes(content[:_OFFSET]) :]


@functools.cache
def _default_profile(gray: bool) -> bytes:
    """Return the profile that the library reports for files without one."""
    pyjpegxl, pixel = load_extra("jxl"), np.zeros((1, 1, 1 if gray else 3), np.uint8)
    return pyjpegxl.probe(pyjpegxl.encode_from_numpy(pixel, lossless=True)).icc


def write(picture: Picture, path: Path, quality: int | None) -> None:
    """Write a picture with its profile and metadata; without a quality it is lossless."""
    pyjpegxl = load_extra("jxl")
    image, _ = libvips.prepare(picture, "jxl", libvips.metadata_for(picture, "jxl"))
    names = {"icc": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data"}
    fields = {key: vips.blob(image, name) for key, name in names.items()}
    if fields["exif"]:
        fields["exif"] = bytes(_OFFSET) + without_exif_prefix(fields["exif"])
    if quality is None or quality == 100:
        fidelity = {"lossless": True}
    else:
        fidelity = {"quality": _distance(quality)}
    with vips.decoder_errors():
        data = pyjpegxl.encode_from_numpy(
            vips.from_vips(image), speed=pyjpegxl.EncoderSpeed.Falcon, **fields, **fidelity
        )
    path.write_bytes(data)


def _distance(quality: int) -> float:
    """Return libjxl's distance between result and original for a quality of JPEG."""
    if quality >= 30:
        return 0.1 + 0.09 * (100 - quality)
    return min(15.0, 53 / 3000 * quality**2 - 23 / 20 * quality + 25)


class _Bits:
    """Bits of a codestream, the lowest of a byte first; after the end there are zeros."""

    def __init__(self, data: bytes):
        self._value = int.from_bytes(data, "little")

    def take(self, count: int = 1) -> int:
        """Return the next bits as a number."""
        number = self._value & ((1 << count) - 1)
        self._value >>= count
        return number

    def choose(self, *ways: tuple[int, int]) -> int:
        """Return a number in one of four encodings: an offset, and how many bits are added."""
        offset, count = ways[self.take(2)]
        return offset + self.take(count)

    def take_enum(self) -> int:
        """Return the number of an enumeration."""
        return self.choose((0, 0), (1, 0), (2, 4), (18, 6))


def _has_premultiplied_alpha(data: bytes) -> bool:
    """Read from the header whether the colours are multiplied by alpha.

    Raises:
        PictureError: The file is an animation, or has inks.
    """
    bits = _Bits(_codestream(data)[len(_CODESTREAM) :])
    _skip_size(bits)
    if bits.take():  # everything has its default value
        return False
    if bits.take():
        bits.take(3)  # the orientation, which the library applies
        if bits.take():
            _skip_size(bits)
        if bits.take():
            _skip_preview(bits)
        if bits.take():
            raise PictureError(
                "an animated JPEG XL file is not supported; convert it to PNG or WebP."
            )
    _skip_depth(bits)
    bits.take()
    kinds: dict[int, bool] = {}
    for _ in range(min(16, bits.choose((0, 0), (1, 0), (2, 4), (1, 12)))):
        kind, premultiplied = _channel(bits)
        kinds.setdefault(kind, premultiplied)
    if _BLACK in kinds:
        raise PictureError("JPEG XL with inks (CMYK) is not supported; convert it to RGB.")
    return kinds.get(_ALPHA, False)


def _codestream(data: bytes) -> bytes:
    """Return the beginning of the codestream, which may be in one box or split into several."""
    if data.startswith(_CODESTREAM):
        return data[:1024]
    boxes = top_level(data)
    for kind, skip in ((b"jxlc", 0), (b"jxlp", 4)):
        if kind in boxes:
            start = boxes[kind].content + skip
            return data[start : min(start + 1024, boxes[kind].end)]
    raise DamagedError


def _skip_size(bits: _Bits) -> None:
    small = bits.take()
    ways = (1, 9), (1, 13), (1, 18), (1, 30)
    bits.take(5) if small else bits.choose(*ways)
    if not bits.take(3):  # the width does not follow from a ratio
        bits.take(5) if small else bits.choose(*ways)


def _skip_preview(bits: _Bits) -> None:
    small = bits.take()
    ways = (
        ((16, 0), (32, 0), (1, 5), (33, 9)) if small else ((1, 6), (65, 8), (321, 10), (1345, 12))
    )
    bits.choose(*ways)
    if not bits.take(3):
        bits.choose(*ways)


def _skip_depth(bits: _Bits) -> None:
    if bits.take():  # floating point
        bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
        bits.take(4)
    else:
        bits.choose((8, 0), (10, 0), (12, 0), (1, 6))


def _channel(bits: _Bits) -> tuple[int, bool]:
    """Return the type of a channel besides the colours, and whether they are multiplied by it."""
    if bits.take():  # ordinary alpha
        return _ALPHA, False
    kind = bits.take_enum()
    _skip_depth(bits)
    bits.choose((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(bits.choose((0, 0), (0, 4), (16, 5), (48, 10))):  # its name
        bits.take(8)
    premultiplied = kind == _ALPHA and bool(bits.take())
    if kind == 2:  # a spot colour, as four fractions
        bits.take(64)
    elif kind == 5:
        bits.choose((1, 0), (0, 2), (3, 4), (19, 8))
    return kind, premultiplied
