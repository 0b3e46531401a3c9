"""What the file of an animation says of its frames, found without decoding one.

A file that is cut short or contradicts itself is refused here, before anything is done with it.

Sources: GIF89a, sections 18 to 27; PNG, third edition, section 11.3.5.2; RFC 9649, section 2.7.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from atdsr.imaging import boxes
from atdsr.imaging.picture import PictureError

_PNG_SIGNATURE = 8
_TRAILER, _EXTENSION = 0x3B, 0x21  # blocks of GIF
_CONTROL, _APPLICATION = 0xF9, 0xFF  # extensions of GIF
_LONGEST_GIF = 2**16 - 1  # pixels a side, as its head can say them

IMAGE = 0x2C
"""The kind of a block of GIF with a frame."""


@dataclass(frozen=True)
class Timeline:
    """The frames of an animation.

    Attributes:
        width: of every frame, in pixels.
        height: likewise.
        durations: milliseconds that each frame is shown for.
        loop: how often all are shown; 0 is for ever.
        cover: whether a picture that is no frame comes first (animated PNG).
    """

    width: int
    height: int
    durations: tuple[int, ...]
    loop: int
    cover: bool = False


def timeline(data: bytes, name: str) -> Timeline | None:
    """The frames of an animation, or None for a file of a still picture.

    Raises:
        PictureError: an animation that is damaged or cut short.
    """
    readers = {"gif": _gif, "png": _png, "webp": _webp, "avif": _avif}
    try:
        return readers[name](data) if name in readers else None
    except (struct.error, IndexError):
        raise _damaged() from None


def _damaged() -> PictureError:
    return PictureError("the file is damaged or cut short.")


@dataclass(frozen=True)
class Block:
    """A block of a GIF file: its kind (for an extension, its label), and where it lies."""

    kind: int
    start: int
    end: int


def gif_blocks(data: bytes) -> Iterator[Block]:
    """The blocks of a GIF file behind its head, to the trailer.

    Raises:
        PictureError, IndexError, struct.error: the file ends before the trailer.
    """
    at = 13 + _palette_size(data[10])
    while data[at] != _TRAILER:
        start, kind = at, data[at]
        if kind == _EXTENSION:
            kind = data[at + 1]
            at += 2
        elif kind == IMAGE:
            at += 10 + _palette_size(data[at + 9]) + 1  # also the size of LZW's first codes
        else:
            raise _damaged()
        while data[at]:  # a byte that counts, and as many behind it
            at += 1 + data[at]
        at += 1
        yield Block(kind, start, at)


def _palette_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif(data: bytes) -> Timeline | None:
    width, height = struct.unpack_from("<HH", data, 6)
    durations: list[int] = []
    delay, loop = 0, 1
    for block in gif_blocks(data):
        if block.kind == _CONTROL:
            (delay,) = struct.unpack_from("<H", data, block.start + 4)
        elif block.kind == _APPLICATION and data.startswith(b"NETSCAPE2.0", block.start + 3):
            (again,) = struct.unpack_from("<H", data, block.start + 16)
            loop = again + 1 if again else 0
        elif block.kind == IMAGE:
            x, y, w, h = struct.unpack_from("<4H", data, block.start + 1)
            if not durations:  # some files give no size, or a wrong one; decoders then do this
                width = max(width, min(x + w, _LONGEST_GIF))
                height = max(height, min(y + h, _LONGEST_GIF))
            if x + w > width or y + h > height:
                raise PictureError("a frame reaches out of the animation.")
            durations.append(10 * delay)
            delay = 0
    if not durations:
        raise _damaged()
    return Timeline(width, height, tuple(durations), loop)


def with_size(data: bytes, moving: Timeline) -> bytes:
    """A GIF file that says in its head how large it is, as `Timeline` has it.

    Where the head says less, Pillow enlarges the picture only up to a limit of its own.
    """
    size = struct.pack("<HH", moving.width, moving.height)
    return data if data[6:10] == size else data[:6] + size + data[10:]


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG file to its end: name, and where the content begins and ends."""
    at = _PNG_SIGNATURE
    name = b""
    while name != b"IEND":
        size, name = struct.unpack_from(">I4s", data, at)
        at += 8
        if at + size + 4 > len(data):
            raise _damaged()
        yield name, at, at + size
        at += size + 4


def _png(data: bytes) -> Timeline | None:
    if data.find(b"acTL", 0, data.find(b"IDAT")) < 0:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    count, plays = None, 0
    cover = drawn = False
    durations: list[int] = []
    for name, start, _ in png_chunks(data):
        if name == b"acTL":
            if count is not None:  # decoders take one or the other, or none
                raise _damaged()
            count, plays = struct.unpack_from(">II", data, start)
        elif name == b"fcTL":
            place = struct.unpack_from(">IIII", data, start + 4)
            if not durations and not drawn and place != (width, height, 0, 0):
                raise _damaged()  # the first frame is what the header describes
            part, whole = struct.unpack_from(">HH", data, start + 20)
            durations.append(round(1000 * part / (whole or 100)))
        elif name == b"IDAT" and not drawn:
            drawn, cover = True, not durations
    if not count:  # `acTL` was a part of something else
        return None
    if count != len(durations):
        raise _damaged()
    return Timeline(width, height, tuple(durations), plays, cover)


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a WebP file: name, and where the content begins and ends."""
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data) + 1:  # some writers forget to pad the last chunk
        raise _damaged()
    at = 12
    while at + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if at + size > len(data):
            raise _damaged()
        yield name, at, at + size
        at += size + size % 2


def _webp(data: bytes) -> Timeline | None:
    if data[12:16] != b"VP8X" or not data[20] & 0x02:
        return None
    width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    loop, durations = 0, []
    for name, start, _ in riff_chunks(data):
        if name == b"ANIM":
            (loop,) = struct.unpack_from("<H", data, start + 4)
        elif name == b"ANMF":
            durations.append(int.from_bytes(data[start + 12 : start + 15], "little"))
    if not durations:
        raise _damaged()
    return Timeline(width, height, tuple(durations), loop)


def _avif(data: bytes) -> Timeline | None:
    if data[8:12] != b"avis":  # the frames are beside the point of any other file
        return None
    track = boxes.track(data)
    return Timeline(track.width, track.height, track.durations, track.loop)
