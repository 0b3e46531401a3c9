"""GIF: read by Pillow, and written here frame by frame.

Source: GIF89a, sections 18 to 27.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from atdsr.imaging import colour, pillow, vips
from atdsr.imaging.codecs.interface import (
    Animation,
    AnimationOptions,
    Still,
    Timeline,
    encode_frames,
)
from atdsr.imaging.picture import DamagedError, Picture, PictureError, split_alpha, to_uint8

_TRAILER, _EXTENSION, _IMAGE = 0x3B, 0x21, 0x2C  # kinds of blocks
_CONTROL, _APPLICATION = 0xF9, 0xFF  # kinds of extensions
_LONGEST_SIDE = 2**16 - 1  # in pixels, as the header can state it
_TRANSPARENT = 255  # the last colour of a palette stands for transparency


def open_file(data: bytes) -> list[Still] | Animation:
    """Return the picture or the animation in a file, not decoded yet.

    Raises:
        PictureError: The file is damaged or cut short.
    """
    timeline = read_timeline(data)
    size = struct.pack("<HH", timeline.width, timeline.height)
    # where the header states less, Pillow enlarges the picture only up to a limit of its own
    data = data if data[6:10] == size else data[:6] + size + data[10:]
    if len(timeline.durations) > 1:
        return Animation(timeline, lambda: GifImageFile(io.BytesIO(data)))
    with vips.decoder_errors():
        width, height = GifImageFile(io.BytesIO(data)).size
    return [Still(width, height, partial(_decode, data))]


def _decode(data: bytes) -> Picture:
    with vips.decoder_errors():
        return pillow.to_picture(GifImageFile(io.BytesIO(data)))


@dataclass(frozen=True)
class GifBlock:
    """A block of a file.

    Attributes:
        kind: Kind of the block; of an extension, its label.
        start: Where the block starts.
        end: Where the block ends.
    """

    kind: int
    start: int
    end: int


def iterate_blocks(data: bytes) -> Iterator[GifBlock]:
    """Yield the blocks between the header and the trailer.

    Raises:
        DamagedError, IndexError, struct.error: The file ends before the trailer.
    """
    at = 13 + _palette_size(data[10])
    while data[at] != _TRAILER:
        start, kind = at, data[at]
        if kind == _EXTENSION:
            kind = data[at + 1]
            at += 2
        elif kind == _IMAGE:
            at += 10 + _palette_size(data[at + 9]) + 1  # and the size of the first LZW codes
        else:
            raise DamagedError
        while data[at]:  # a byte with a length, and as many bytes
            at += 1 + data[at]
        at += 1
        yield GifBlock(kind, start, at)


def _palette_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def read_timeline(data: bytes) -> Timeline:
    """Return the timeline of an animation, which may have a single frame.

    Raises:
        PictureError: The file is damaged or cut short.
    """
    try:
        return _read_timeline(data)
    except (struct.error, IndexError):
        raise DamagedError from None


def _read_timeline(data: bytes) -> Timeline:
    width, height = struct.unpack_from("<HH", data, 6)
    durations: list[int] = []
    delay, loop = 0, 1
    for block in iterate_blocks(data):
        if block.kind == _CONTROL:
            (delay,) = struct.unpack_from("<H", data, block.start + 4)
        elif block.kind == _APPLICATION and data.startswith(b"NETSCAPE2.0", block.start + 3):
            (repetitions,) = struct.unpack_from("<H", data, block.start + 16)
            loop = repetitions + 1 if repetitions else 0
        elif block.kind == _IMAGE:
            x, y, w, h = struct.unpack_from("<4H", data, block.start + 1)
            if not durations:  # some files state no size, or a wrong one; decoders then do this
                width = max(width, min(x + w, _LONGEST_SIDE))
                height = max(height, min(y + h, _LONGEST_SIDE))
            if x + w > width or y + h > height:
                raise PictureError("a frame reaches out of the animation; the file is damaged.")
            durations.append(10 * delay)
            delay = 0
    if not durations:
        raise DamagedError
    return Timeline(width, height, tuple(durations), loop)


def write(picture: Picture, path: Path, _quality: int | None) -> None:
    """Write a picture in up to 255 colours; alpha from a half up is opaque."""
    with path.open("wb") as file:
        write_frames(file, iter([picture]), AnimationOptions(path, (0,), loop=1))


def write_frames(file: BinaryIO, frames: Iterator[Picture], options: AnimationOptions) -> None:
    """Write an animation, each frame with a palette of its own."""
    for number, frame in enumerate(encode_frames(frames, options, _encode)):
        if number == 0:
            size = frame.picture.width, frame.picture.height
            file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0x70, 0, 0))
            if options.loop != 1:
                repetitions = min(options.loop - 1, 65535) if options.loop else 0
                file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01")
                file.write(struct.pack("<H", repetitions) + b"\0")
        delay = struct.pack("<H", round(frame.duration / 10))
        file.write(frame.data[:4] + delay + frame.data[6:])
    file.write(b"\x3b")


def _encode(picture: Picture) -> bytes:
    """Return a frame as a control block, and an image block with its palette."""
    paletted, is_transparent = _quantise(picture)
    still = io.BytesIO()
    paletted.save(still, "GIF", optimize=False, interlace=0)
    data = still.getvalue()
    image = next(block for block in iterate_blocks(data) if block.kind == _IMAGE)
    palette = data[13 : 13 + 768]
    # disposal 2: the frame is cleared before the next one, which may be transparent there
    flags = (2 << 2) | is_transparent
    control = struct.pack("<4BHBB", 0x21, 0xF9, 4, flags, 0, _TRANSPARENT, 0)
    descriptor = struct.pack("<B4HB", 0x2C, 0, 0, *paletted.size, 0x80 | 7)
    return control + descriptor + palette + data[image.start + 10 : image.end]


def _quantise(picture: Picture) -> tuple[Image.Image, bool]:
    """Reduce a picture to 255 colours of its own; also return whether it is transparent.

    Alpha from a half up is opaque. A picture with few colours keeps them; others are dithered.
    """
    rgb, alpha = split_alpha(to_uint8(colour.to_srgb(picture).samples))
    rgb = np.broadcast_to(rgb, (*rgb.shape[:2], 3)).copy()
    hidden = np.zeros(rgb.shape[:2], bool) if alpha is None else alpha[..., 0] < 128
    # hidden pixels take no entry of the palette
    rgb[hidden] = 0 if hidden.all() else rgb[~hidden][0]
    image = Image.fromarray(rgb)
    if counts := image.getcolors(_TRANSPARENT):
        colours, weights = np.array([value for _, value in counts]), np.array([65536, 256, 1])
        colours = colours[np.argsort(colours @ weights)]
        indices = np.searchsorted(colours @ weights, rgb @ weights).astype(np.uint8)
        palette = colours.ravel().tolist()
    else:
        quantised = image.quantize(_TRANSPARENT, Image.Quantize.MEDIANCUT)
        palette = quantised.getpalette() or []
        indices = np.array(image.quantize(palette=quantised, dither=Image.Dither.FLOYDSTEINBERG))
    indices[hidden] = _TRANSPARENT
    paletted = Image.fromarray(indices)
    paletted.putpalette((palette + [0] * 768)[:768])
    return paletted, bool(hidden.any())
