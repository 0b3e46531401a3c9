"""JPEG XL through pyjpegxl, which comes with the extra `formats`.

It hands over 8, 16 or 32 bits, upright, with profile, EXIF and XMP. What it does not tell stands
in the header: whether there are several frames, and what the channels beside the colours are.

Source: ISO/IEC 18181-1, annex D (headers); ISO/IEC 18181-2, 9.5 (EXIF).
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from atdsr.imaging import boxes, extra, metadata, vips
from atdsr.imaging.picture import MAXIMUM, Metadata, Picture, PictureError, from_unit, straight

_ALPHA, _BLACK = 0, 4  # kinds of channels
_OFFSET = 4  # bytes before EXIF that say where it begins
_BARE = b"\xff\x0a"  # how a codestream begins


def library() -> ModuleType:
    """The module that does the work.

    Raises:
        PictureError: it is not installed.
    """
    return extra.load("pyjpegxl", "JPEG XL")


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the picture, upright.

    Raises:
        PictureError: it is damaged, an animation, or of inks.
    """
    _header(data)
    with extra.errors():
        said = library().probe(data)
    return said.width, said.height


def decode(data: bytes) -> Picture:
    """The picture in a file.

    Raises:
        PictureError: it is damaged or cut short, or has values outside of 0 to 1.
    """
    header = _header(data)
    with extra.errors():
        said, samples = library().decode_to_numpy(data)
    if samples.dtype == np.float32:
        samples = from_unit(samples)
    if header.premultiplied:
        samples = straight(samples, MAXIMUM[samples.dtype])
    icc = said.icc if said.icc != _srgb(samples.shape[2] < 3) else None
    height, width = samples.shape[:2]
    exif = _exif(said.exif)
    about = Metadata(exif, said.xmp, metadata.resolution(exif))
    icc = vips.matching(icc, samples.shape[2])
    return Picture(samples, icc, metadata.clean(about, width, height))


def _exif(content: bytes | None) -> bytes | None:
    """EXIF behind the offset that stands before it; some writers leave the offset out."""
    if not content or content.startswith((b"II", b"MM", metadata.PREFIX)):
        return content
    return content[_OFFSET + int.from_bytes(content[:_OFFSET]) :]


@functools.cache
def _srgb(gray: bool) -> bytes:
    """The profile that stands for files without one."""
    one = np.zeros((1, 1, 1 if gray else 3), np.uint8)
    return library().probe(library().encode_from_numpy(one, lossless=True)).icc


def write(image: Any, path: Path, quality: int | None) -> None:
    """Write a libvips image with its profile and metadata; without a quality it is lossless."""
    kept = {"icc": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data"}
    said = {key: vips.blob(image, name) for key, name in kept.items()}
    if said["exif"]:
        said["exif"] = bytes(_OFFSET) + said["exif"].removeprefix(metadata.PREFIX)
    lossy = {"lossless": True} if quality in (None, 100) else {"quality": _distance(quality)}
    with extra.errors():
        speed = library().EncoderSpeed.Falcon
        data = library().encode_from_numpy(vips.from_vips(image), speed=speed, **said, **lossy)
    path.write_bytes(data)


def _distance(quality: int) -> float:
    """How far a result may be from its original, as libjxl counts, for a quality of JPEG."""
    if quality >= 30:
        return 0.1 + 0.09 * (100 - quality)
    return min(15.0, 53 / 3000 * quality**2 - 23 / 20 * quality + 25)


@dataclass(frozen=True)
class _Header:
    premultiplied: bool


class _Bits:
    """Bits of a codestream, the lowest of a byte first; behind the end there are zeros."""

    def __init__(self, data: bytes):
        self._value = int.from_bytes(data, "little")

    def take(self, count: int = 1) -> int:
        """The next bits as a number."""
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken

    def choose(self, *ways: tuple[int, int]) -> int:
        """A number in one of four ways, each an offset and how many bits are added to it."""
        offset, count = ways[self.take(2)]
        return offset + self.take(count)

    def kind(self) -> int:
        """A number that stands for a kind."""
        return self.choose((0, 0), (1, 0), (2, 4), (18, 6))


def _header(data: bytes) -> _Header:
    """What the header says.

    Raises:
        PictureError: an animation, or a picture of inks.
    """
    bits = _Bits(_codestream(data)[len(_BARE) :])
    _pass_size(bits)
    if bits.take():  # all is as usual
        return _Header(premultiplied=False)
    if bits.take():
        bits.take(3)  # how it lies; the library turns it
        if bits.take():
            _pass_size(bits)
        if bits.take():
            _pass_preview(bits)
        if bits.take():
            raise PictureError(
                "an animated JPEG XL file is not supported; convert it to PNG or WebP."
            )
    _pass_depth(bits)
    bits.take()
    kinds: dict[int, bool] = {}
    for _ in range(min(16, bits.choose((0, 0), (1, 0), (2, 4), (1, 12)))):
        kind, premultiplied = _channel(bits)
        kinds.setdefault(kind, premultiplied)
    if _BLACK in kinds:
        raise PictureError("JPEG XL with inks (CMYK) is not supported; convert it to RGB.")
    return _Header(kinds.get(_ALPHA, False))


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream, which may stand in a box, or in parts in several."""
    if data.startswith(_BARE):
        return data[:1024]
    found = boxes.top(data)
    for kind, skip in ((b"jxlc", 0), (b"jxlp", 4)):
        if kind in found:
            start = found[kind].content + skip
            return data[start : min(start + 1024, found[kind].end)]
    raise boxes.damaged()


def _pass_size(bits: _Bits) -> None:
    small = bits.take()
    ways = (1, 9), (1, 13), (1, 18), (1, 30)
    bits.take(5) if small else bits.choose(*ways)
    if not bits.take(3):  # the width follows from no ratio
        bits.take(5) if small else bits.choose(*ways)


def _pass_preview(bits: _Bits) -> None:
    small = bits.take()
    ways = (
        ((16, 0), (32, 0), (1, 5), (33, 9)) if small else ((1, 6), (65, 8), (321, 10), (1345, 12))
    )
    bits.choose(*ways)
    if not bits.take(3):
        bits.choose(*ways)


def _pass_depth(bits: _Bits) -> None:
    if bits.take():  # fractions
        bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
        bits.take(4)
    else:
        bits.choose((8, 0), (10, 0), (12, 0), (1, 6))


def _channel(bits: _Bits) -> tuple[int, bool]:
    """The kind of a channel beside the colours, and whether it is multiplied into them."""
    if bits.take():  # usual alpha
        return _ALPHA, False
    kind = bits.kind()
    _pass_depth(bits)
    bits.choose((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(bits.choose((0, 0), (0, 4), (16, 5), (48, 10))):  # its name
        bits.take(8)
    premultiplied = kind == _ALPHA and bool(bits.take())
    if kind == 2:  # a spot colour, as four fractions
        bits.take(64)
    elif kind == 5:
        bits.choose((1, 0), (0, 2), (3, 4), (19, 8))
    return kind, premultiplied
