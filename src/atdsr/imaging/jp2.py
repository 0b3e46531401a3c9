"""JPEG 2000 through Pillow, and what boxes say of colour, which Pillow passes over.

Pillow keeps 16 bits of gray but only 8 of colours. It shifts other depths up to 8 or 16 bits,
which would leave white short.

Source: ISO/IEC 15444-1, annexes A.4.2 (SOT), A.5.1 (SIZ) and I (boxes).
"""

import io
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from atdsr.imaging import boxes, vips
from atdsr.imaging.boxes import Box
from atdsr.imaging.picture import MAXIMUM, Picture, PictureError, rescale, straight
from atdsr.imaging.pil import picture_of, pillow

_CODESTREAM = b"\xff\x4f\xff\x51"
_TILE = b"\xff\x90"  # what a part of a tile begins with
_CMYK, _SRGB, _GRAY, _YCC = 12, 16, 17, 18  # colour spaces by number
_MULTIPLIED = 2  # a kind of alpha


@dataclass(frozen=True)
class _Said:
    """What a file says: bits of its samples, its profile, and whether alpha is multiplied in."""

    bits: int
    icc: bytes | None
    premultiplied: bool


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the picture.

    Raises:
        PictureError: it is damaged, or of samples or colours of other kinds.
    """
    _read(data)
    with pillow():
        return Jpeg2KImageFile(io.BytesIO(data)).size


def decode(data: bytes) -> Picture:
    """The picture in a file.

    Raises:
        PictureError: as `size`, or it is cut short.
    """
    said = _read(data)
    with pillow():
        picture = picture_of(Jpeg2KImageFile(io.BytesIO(data)))
    samples = picture.samples
    whole = 8 * samples.dtype.itemsize
    if said.bits < whole:
        samples = rescale(samples >> (whole - said.bits), 2**said.bits - 1, samples.dtype)
    if said.premultiplied:
        samples = straight(samples, MAXIMUM[samples.dtype])
    return replace(picture, samples=samples, icc=vips.matching(said.icc, samples.shape[2]))


@boxes.reading()
def _read(data: bytes) -> _Said:
    found = boxes.top(data) if not data.startswith(_CODESTREAM) else {}
    icc, premultiplied = None, False
    if found:
        header = boxes.inside(data, found[b"jp2h"])
        icc = _profile(data, header.get(b"colr", []))
        premultiplied = any(_multiplied(data, box) for box in header.get(b"cdef", []))
    at = found[b"jp2c"].content if found else 0
    depths = _depths(data, at)
    _check_tiles(data, at)
    if len(depths) > 1 or any(depth & 0x80 for depth in depths):
        raise PictureError("its channels are signed or of several depths; save it with 8 bits.")
    (bits,) = (depth + 1 for depth in depths)
    if bits > 8 and _channels(data, at) > 1:
        raise PictureError(
            f"it has {bits} bits a channel, of which only 8 could be read; save it as TIFF or PNG."
        )
    return _Said(bits, icc, premultiplied)


def _channels(data: bytes, at: int) -> int:
    return struct.unpack_from(">H", data, at + 40)[0]


def _depths(data: bytes, at: int) -> set[int]:
    """How many bits each channel has, less one; the highest bit is for signed ones."""
    if data[at : at + 4] != _CODESTREAM:
        raise boxes.damaged()
    depths = set(data[at + 42 : at + 42 + 3 * _channels(data, at) : 3])
    if not depths:  # a picture without channels
        raise boxes.damaged()
    return depths


def _check_tiles(data: bytes, at: int) -> None:
    """See that each tile has a part in the codestream; the decoder leaves others black.

    Raises:
        PictureError: one has none.
    """
    right, lower, _, _, width, height, left, upper = struct.unpack_from(">8I", data, at + 8)
    across, down = -(-(right - left) // width), -(-(lower - upper) // height)
    at += 2
    while (marker := data[at : at + 2]) != _TILE:
        if marker[:1] != b"\xff":
            raise boxes.damaged()
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    found: set[int] = set()
    while data[at : at + 2] == _TILE:
        number, length = struct.unpack_from(">HI", data, at + 4)
        found.add(number)
        at = at + length if length else len(data)
    if at > len(data) or len(found) != across * down:
        raise boxes.damaged()


def _profile(data: bytes, descriptions: list[Box]) -> bytes | None:
    """The ICC profile, if there is one.

    Raises:
        PictureError: the colours are of a kind that Pillow takes for RGB.
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


def _multiplied(data: bytes, cdef: Box) -> bool:
    (count,) = struct.unpack_from(">H", data, cdef.content)
    rows = struct.iter_unpack(">HHH", data[cdef.content + 2 : cdef.content + 2 + 6 * count])
    return any(kind == _MULTIPLIED for _, kind, _ in rows)


def write(image: Any, path: Path) -> None:
    """Write a libvips image without loss, with its profile."""
    samples = vips.from_vips(image)
    picture = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    file = io.BytesIO()
    picture.save(file, "JPEG2000")
    icc = vips.blob(image, "icc-profile-data")
    path.write_bytes(_with_profile(file.getvalue(), icc) if icc else file.getvalue())


def _with_profile(data: bytes, icc: bytes) -> bytes:
    """A file that has a profile where it had a number for its colours."""
    header = boxes.top(data)[b"jp2h"]
    colr = boxes.inside(data, header)[b"colr"][0]
    described = struct.pack(">I4sBBB", 11 + len(icc), b"colr", 2, 0, 0) + icc
    grown = header.end - header.start + len(described) - (colr.end - colr.start)
    return b"".join(
        [
            data[: header.start],
            struct.pack(">I", grown),
            data[header.start + 4 : colr.start],
            described,
            data[colr.end :],
        ]
    )
