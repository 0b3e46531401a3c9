"""WebP through libvips; animations are read by Pillow and written here.

Source: RFC 9649, section 2.7.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from PIL.WebPImagePlugin import WebPImageFile

from atdsr.imaging.codecs import libvips
from atdsr.imaging.codecs.interface import (
    Animation,
    AnimationOptions,
    Still,
    Timeline,
    encode_frames,
)
from atdsr.imaging.picture import DamagedError, Metadata, Picture, to_uint8

_ANIMATED = 0x02  # a flag of the header
_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}  # what the header announces


def open_file(data: bytes) -> list[Still] | Animation:
    """Return the picture or the animation in a file, not decoded yet.

    Raises:
        PictureError: The animation is damaged or cut short.
    """
    timeline = read_timeline(data)
    if timeline is not None and len(timeline.durations) > 1:
        return Animation(timeline, lambda: WebPImageFile(io.BytesIO(data)))
    image = libvips.load_image(data, "webp")
    metadata = libvips.metadata_of(image)
    size = libvips.upright(image, metadata)
    return [Still(size.width, size.height, partial(_decode, data, metadata))]


def _decode(data: bytes, metadata: Metadata) -> Picture:
    return libvips.to_picture(libvips.load_image(data, "webp").copy_memory(), metadata)


def write(picture: Picture, path: Path, quality: int | None) -> None:
    """Write a picture, lossless without a quality; lossy WebP always subsamples colour."""
    image, options = _prepare(picture, quality)
    image.webpsave(str(path), **options)


def _prepare(picture: Picture, quality: int | None) -> tuple[Any, dict[str, Any]]:
    image, keep = libvips.prepare(picture, "webp", libvips.metadata_for(picture, "webp"))
    options = {"exact": True, "keep": keep}  # exact: invisible pixels keep their colours too
    if quality is None:
        return image, options | {"lossless": True, "effort": 2}
    return image, options | {"Q": quality, "smart_subsample": True}


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a file: name, and where the content begins and ends."""
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data) + 1:  # some writers forget to pad the last chunk
        raise DamagedError
    at = 12
    while at + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if at + size > len(data):
            raise DamagedError
        yield name, at, at + size
        at += size + size % 2


def read_timeline(data: bytes) -> Timeline | None:
    """Return the timeline of an animation, or None for a still picture.

    Raises:
        PictureError: The animation is damaged or cut short.
    """
    try:
        if data[12:16] != b"VP8X" or not data[20] & _ANIMATED:
            return None
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        loop, durations = 0, []
        for name, start, _ in _chunks(data):
            if name == b"ANIM":
                (loop,) = struct.unpack_from("<H", data, start + 4)
            elif name == b"ANMF":
                durations.append(int.from_bytes(data[start + 12 : start + 15], "little"))
    except (struct.error, IndexError):
        raise DamagedError from None
    if not durations:
        raise DamagedError
    return Timeline(width, height, tuple(durations), loop)


def write_frames(file: BinaryIO, frames: Iterator[Picture], options: AnimationOptions) -> None:
    """Write an animation; the chunks of each frame's own file become those of the animation."""

    def encode(picture: Picture) -> bytes:
        still = replace(picture, samples=to_uint8(picture.samples))
        image, save_options = _prepare(still, options.quality)
        return image.webpsave_buffer(**save_options)

    metadata: dict[bytes, bytes] = {}
    for number, frame in enumerate(encode_frames(frames, options, encode)):
        data, size = frame.data, (frame.picture.width - 1, frame.picture.height - 1)
        chunks = [(name, data[begin:end]) for name, begin, end in _chunks(data)]
        if number == 0:
            metadata = {name: content for name, content in chunks if name in _FLAGS}
            flags = _ANIMATED | 0x10 * frame.picture.has_alpha
            flags |= sum(_FLAGS[name] for name in metadata)
            file.write(b"RIFF\0\0\0\0WEBP")  # the length is filled in at the end
            file.write(_chunk(b"VP8X", struct.pack("<I", flags) + _in_24_bits(*size)))
            if b"ICCP" in metadata:
                file.write(_chunk(b"ICCP", metadata[b"ICCP"]))
            file.write(_chunk(b"ANIM", struct.pack("<IH", 0, min(options.loop, 65535))))
        samples = [_chunk(*chunk) for chunk in chunks if chunk[0] in (b"ALPH", b"VP8 ", b"VP8L")]
        # 2: do not blend with the frame before
        head = _in_24_bits(0, 0, *size, frame.duration) + b"\x02"
        file.write(_chunk(b"ANMF", head + b"".join(samples)))
    for name in (b"EXIF", b"XMP "):
        if name in metadata:
            file.write(_chunk(name, metadata[name]))
    length = file.tell() - 8
    file.seek(4)
    file.write(struct.pack("<I", length))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _in_24_bits(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(3, "little") for number in numbers)
