"""JPEG 2000 through Pillow, and what boxes say about colour, which Pillow ignores.

Pillow keeps 16 bits of gray but only 8 of colours. It shifts other depths up to 8 or 16 bits,
which would leave white below its maximum.

Source: ISO/IEC 15444-1, annexes A.4.2 (SOT), A.5.1 (SIZ) and I (boxes).
"""

import io
import struct
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from atdsr.imaging import pillow, vips
from atdsr.imaging.codecs import libvips
from atdsr.imaging.codecs.interface import Still
from atdsr.imaging.codecs.isobmff.boxes import Box, children, top_level, unpacking
from atdsr.imaging.picture import (
    MAXIMUM,
    DamagedError,
    Picture,
    PictureError,
    join_alpha,
    rescale,
    split_alpha,
    unpremultiply,
)

_CODESTREAM = b"\xff\x4f\xff\x51"
_TILE_PART = b"\xff\x90"  # what a part of a tile begins with
_CMYK, _SRGB, _GRAY, _YCC = 12, 16, 17, 18  # numbers of colour spaces
_PREMULTIPLIED = 2  # a type of alpha


@dataclass(frozen=True)
class _Header:
    """Bits of the samples, the profile, and whether the colours are multiplied by alpha."""

    bits: int
    icc: bytes | None
    is_premultiplied: bool


def open_file(data: bytes) -> list[Still]:
    """Return the picture in a file, not decoded yet.

    Raises:
        PictureError: The file is damaged, or its samples or colours are not supported.
    """
    header = _read_header(data)
    with vips.decoder_errors():
        width, height = Jpeg2KImageFile(io.BytesIO(data)).size
    return [Still(width, height, partial(_decode, data, header))]


def _decode(data: bytes, header: _Header) -> Picture:
    with vips.decoder_errors():
        picture = pillow.to_picture(Jpeg2KImageFile(io.BytesIO(data)))
    samples = picture.samples
    stored_bits = 8 * samples.dtype.itemsize
    if header.bits < stored_bits:
        samples = samples >> (stored_bits - header.bits)
        samples = rescale(samples, 2**header.bits - 1, samples.dtype)
    colours, alpha = split_alpha(samples)
    if header.is_premultiplied and alpha is not None:
        colours = unpremultiply(colours, alpha, MAXIMUM[samples.dtype])
        samples = join_alpha(colours, alpha)
    return replace(
        picture, samples=samples, icc=vips.matching_profile(header.icc, samples.shape[2])
    )


@unpacking()
def _read_header(data: bytes) -> _Header:
    boxes = top_level(data) if not data.startswith(_CODESTREAM) else {}
    icc, is_premultiplied = None, False
    if boxes:
        header = children(data, boxes[b"jp2h"])
        icc = _read_profile(data, header.get(b"colr", []))
        is_premultiplied = any(_is_premultiplied(data, box) for box in header.get(b"cdef", []))
    at = boxes[b"jp2c"].content if boxes else 0
    depths = _depths(data, at)
    _check_tiles(data, at)
    if len(depths) > 1 or any(depth & 0x80 for depth in depths):
        raise PictureError("its channels are signed or of several depths; save it with 8 bits.")
    (bits,) = (depth + 1 for depth in depths)
    if bits > 8 and _channels(data, at) > 1:
        raise PictureError(
            f"it has {bits} bits a channel, of which only 8 could be read; save it as TIFF or PNG."
        )
    return _Header(bits, icc, is_premultiplied)


def _channels(data: bytes, at: int) -> int:
    return struct.unpack_from(">H", data, at + 40)[0]


def _depths(data: bytes, at: int) -> set[int]:
    """Return how many bits the channels have, less one; the highest bit marks signed ones."""
    if data[at : at + 4] != _CODESTREAM:
        raise DamagedError
    depths = set(data[at + 42 : at + 42 + 3 * _channels(data, at) : 3])
    if not depths:  # a picture without channels
        raise DamagedError
    return depths


def _check_tiles(data: bytes, at: int) -> None:
    """Check that each tile has a part in the codestream; the decoder leaves others black.

    Raises:
        PictureError: A tile has none.
    """
    right, lower, _, _, width, height, left, upper = struct.unpack_from(">8I", data, at + 8)
    across, down = -(-(right - left) // width), -(-(lower - upper) // height)
    at += 2
    while (marker := data[at : at + 2]) != _TILE_PART:
        if marker[:1] != b"\xff":
            raise DamagedError
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    present: set[int] = set()
    while data[at : at + 2] == _TILE_PART:
        number, length = struct.unpack_from(">HI", data, at + 4)
        present.add(number)
        at = at + length if length else len(data)
    if at > len(data) or len(present) != across * down:
        raise DamagedError


def _read_profile(data: bytes, descriptions: list[Box]) -> bytes | None:
    """Return the ICC profile, if there is one.

    Raises:
        PictureError: The colours are of a kind that Pillow takes for RGB.
    """
    for box in descriptions:
        method = data[box.content]
        if method in (2, 3):
            return data[box.content + 3 : box.end]
        if method == 1:
            (space,) = struct.unpack_from(">I", data, box.content + 3)
            if space not in (_CMYK, _SRGB, _GRAY, _YCC):
                raise PictureError(f"the colour space {space} is not supported; save it as sRGB.")
            return None
    return None


def _is_premultiplied(data: bytes, cdef: Box) -> bool:
    (count,) = struct.unpack_from(">H", data, cdef.content)
    entries = struct.iter_unpack(">HHH", data[cdef.content + 2 : cdef.content + 2 + 6 * count])
    return any(kind == _PREMULTIPLIED for _, kind, _ in entries)


def write(picture: Picture, path: Path, _quality: int | None) -> None:
    """Write a picture losslessly, with its profile; RGB is rounded to 8 bits."""
    image, _ = libvips.prepare(picture, "jp2", libvips.metadata_for(picture, "jp2"))
    samples = vips.from_vips(image)
    encoded = io.BytesIO()
    Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples).save(encoded, "JPEG2000")
    icc = vips.blob(image, "icc-profile-data")
    path.write_bytes(_with_profile(encoded.getvalue(), icc) if icc else encoded.getvalue())


def _with_profile(data: bytes, icc: bytes) -> bytes:
    """Replace the number of the colour space in a file by a profile."""
    header = top_level(data)[b"jp2h"]
    old_colr = children(data, header)[b"colr"][0]
    colr = struct.pack(">I4sBBB", 11 + len(icc), b"colr", 2, 0, 0) + icc
    size = header.end - header.start + len(colr) - (old_colr.end - old_colr.start)
    return b"".join(
        [
            data[: header.start],
            struct.pack(">I", size),
            data[header.start + 4 : old_colr.start],
            colr,
            data[old_colr.end :],
        ]
    )
