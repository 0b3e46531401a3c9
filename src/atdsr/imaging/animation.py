"""Animations written frame by frame; one frame is in memory at a time.

AVIF is written by `avif`. Each frame of the others is first a picture file of its own, whose
blocks or chunks become those of the animation. It is written whole and replaces what was there.

Sources: GIF89a; PNG, third edition, section 11.3.5.2; RFC 9649, section 2.7.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from atdsr.imaging import avif, colour, saving, timeline, vips
from atdsr.imaging.picture import Picture, PictureError, split_alpha, to_uint8
from atdsr.imaging.png import chunk, chunks_of, with_chunks

_CLEAR = 255  # the colour of a GIF that stands for transparency, behind all others
_MOST = {
    "gif": 655_350,
    "webp": 2**24 - 1,
    "png": 65_535,
    "avif": 2**31 - 1,
}  # milliseconds a frame can last
_WEBP_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}  # what the head announces


@dataclass(frozen=True)
class Settings:
    """How an animation is written.

    Attributes:
        subject: the file to be, which sentences about what goes wrong name.
        durations: milliseconds of each frame; None for a still GIF.
        loop: how often all are shown; 0 is for ever.
        quality: 1 to 100 for WebP, of which None is lossless, and AVIF.
    """

    subject: Path
    durations: tuple[int, ...] | None = None
    loop: int = 1
    quality: int | None = None


@dataclass(frozen=True)
class _Frame:
    """A frame, how long it is shown, and its own picture file."""

    picture: Picture
    duration: int
    data: bytes


def write(frames: Iterator[Picture], path: Path, name: str, settings: Settings) -> None:
    """Write the frames in one of the formats of `formats.ANIMATED`.

    Raises:
        PictureError: frames of several sizes or kinds, or not as many as durations.
        OSError: the disk refuses.
    """
    given = (0,) if settings.durations is None else settings.durations
    durations = [max(0, min(duration, _MOST[name])) for duration in given]
    checked = _checked(frames, settings.subject, len(durations))
    with path.open("wb") as file:
        if name == "avif":
            avif.write_frames(file, checked, durations, settings.loop, settings.quality)
            return
        write_all = {"gif": _write_gif, "webp": _write_webp, "png": _write_png}[name]
        write_all(file, _encoded(checked, durations, name, settings), settings.loop)


def _checked(frames: Iterator[Picture], subject: Path, wanted: int) -> Iterator[Picture]:
    """The frames one by one: as many as wanted, and all of one shape."""
    shape, count = (), 0
    for count, picture in enumerate(frames, 1):
        shape = shape or picture.samples.shape
        if picture.samples.shape != shape:
            raise PictureError(
                f"{subject}: the frames of an animation are of one size and number of "
                f"channels, not {_shown(shape)} and {_shown(picture.samples.shape)}."
            )
        if count > wanted:
            break
        yield picture
    if count != wanted:
        raise PictureError(f"{subject}: {wanted} durations do not fit the number of frames.")


def _encoded(
    frames: Iterator[Picture], durations: Sequence[int], name: str, settings: Settings
) -> Iterator[_Frame]:
    """The frames one by one, each encoded."""
    for number, picture in enumerate(frames):
        with vips.as_sentence(settings.subject, "the frame cannot be written"):
            data = _gif(picture) if name == "gif" else _still(picture, name, settings.quality)
        yield _Frame(picture, durations[number], data)


def _shown(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}x{shape[2]}"


def _still(picture: Picture, name: str, quality: int | None) -> bytes:
    """A frame as a file of its own, of 8 bits."""
    said = saving.said_in(picture, name)
    still = replace(picture, samples=to_uint8(picture.samples))
    image, options = saving.prepared(still, name, said, quality)
    data = getattr(image, f"{name}save_buffer")(**options)
    return with_chunks(data, chunks_of(still, said)) if name == "png" else data


def _gif(picture: Picture) -> bytes:
    """A frame as a GIF file without head: a control block, and the image with its palette."""
    paletted, clear = _quantised(picture)
    still = io.BytesIO()
    paletted.save(still, "GIF", optimize=False, interlace=0)
    data = still.getvalue()
    image = next(block for block in timeline.gif_blocks(data) if block.kind == timeline.IMAGE)
    palette = data[13 : 13 + 768]
    # disposal 2: the place is cleared before the next frame, which may be transparent there
    control = struct.pack("<4BHBB", 0x21, 0xF9, 4, (2 << 2) | clear, 0, _CLEAR, 0)
    place = struct.pack("<B4HB", 0x2C, 0, 0, *paletted.size, 0x80 | 7)
    return control + place + palette + data[image.start + 10 : image.end]


def _write_gif(file: BinaryIO, frames: Iterator[_Frame], loop: int) -> None:
    for number, frame in enumerate(frames):
        if number == 0:
            size = frame.picture.width, frame.picture.height
            file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0x70, 0, 0))
            if loop != 1:
                again = min(loop - 1, 65535) if loop else 0
                file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", again) + b"\0")
        delay = struct.pack("<H", round(frame.duration / 10))
        file.write(frame.data[:4] + delay + frame.data[6:])
    file.write(b"\x3b")


def _quantised(picture: Picture) -> tuple[Image.Image, bool]:
    """A picture in 255 colours of its own, and whether `_CLEAR` is used for transparency.

    Alpha from a half up is opaque. What has few colours keeps them; else they are dithered.
    """
    shown, alpha = split_alpha(to_uint8(colour.to_srgb(picture).samples))
    shown = np.broadcast_to(shown, (*shown.shape[:2], 3)).copy()
    hidden = np.zeros(shown.shape[:2], bool) if alpha is None else alpha[..., 0] < 128
    # what is not seen takes no place among the colours
    shown[hidden] = 0 if hidden.all() else shown[~hidden][0]
    image = Image.fromarray(shown)
    if found := image.getcolors(_CLEAR):
        one, numbers = np.array([rgb for _, rgb in found]), np.array([65536, 256, 1])
        one = one[np.argsort(one @ numbers)]
        indices = np.searchsorted(one @ numbers, shown @ numbers).astype(np.uint8)
        colours = one.ravel().tolist()
    else:
        palette = image.quantize(_CLEAR, Image.Quantize.MEDIANCUT)
        colours = palette.getpalette() or []
        indices = np.array(image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG))
    indices[hidden] = _CLEAR
    paletted = Image.fromarray(indices)
    paletted.putpalette((colours + [0] * 768)[:768])
    return paletted, bool(hidden.any())


def _write_png(file: BinaryIO, frames: Iterator[_Frame], loop: int) -> None:
    count_at = sequence = count = 0
    for count, frame in enumerate(frames, 1):
        chunks = [(name, frame.data[a:b]) for name, a, b in timeline.png_chunks(frame.data)]
        if count == 1:
            file.write(frame.data[:8])
            for name, content in chunks:
                if name not in (b"IDAT", b"IEND"):
                    file.write(chunk(name, content))
                if name == b"IHDR":
                    count_at = file.tell()
                    file.write(chunk(b"acTL", bytes(8)))  # filled in at the end
        place = struct.pack(">5I", sequence, frame.picture.width, frame.picture.height, 0, 0)
        file.write(chunk(b"fcTL", place + struct.pack(">HHBB", frame.duration, 1000, 0, 0)))
        sequence += 1
        for content in (content for name, content in chunks if name == b"IDAT"):
            if count == 1:
                file.write(chunk(b"IDAT", content))
            else:
                file.write(chunk(b"fdAT", struct.pack(">I", sequence) + content))
                sequence += 1
    file.write(chunk(b"IEND", b""))
    file.seek(count_at)
    file.write(chunk(b"acTL", struct.pack(">II", count, loop)))


def _write_webp(file: BinaryIO, frames: Iterator[_Frame], loop: int) -> None:
    about: dict[bytes, bytes] = {}
    for number, frame in enumerate(frames):
        data, size = frame.data, (frame.picture.width - 1, frame.picture.height - 1)
        chunks = [(name, data[a:b]) for name, a, b in timeline.riff_chunks(data)]
        if number == 0:
            about = {name: content for name, content in chunks if name in _WEBP_FLAGS}
            flags = 0x02 | 0x10 * frame.picture.has_alpha
            flags |= sum(_WEBP_FLAGS[name] for name in about)
            file.write(b"RIFF\0\0\0\0WEBP")  # the length is filled in at the end
            file.write(_riff(b"VP8X", struct.pack("<I", flags) + _three(*size)))
            if b"ICCP" in about:
                file.write(_riff(b"ICCP", about[b"ICCP"]))
            file.write(_riff(b"ANIM", struct.pack("<IH", 0, min(loop, 65535))))
        drawn = [_riff(*chunk) for chunk in chunks if chunk[0] in (b"ALPH", b"VP8 ", b"VP8L")]
        # 2: do not blend with what was there
        place = _three(0, 0, *size, frame.duration) + b"\x02"
        file.write(_riff(b"ANMF", place + b"".join(drawn)))
    for name in (b"EXIF", b"XMP "):
        if name in about:
            file.write(_riff(name, about[name]))
    length = file.tell() - 8
    file.seek(4)
    file.write(struct.pack("<I", length))


def _riff(name: bytes, content: bytes) -> bytes:
    """A chunk of WebP."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _three(*numbers: int) -> bytes:
    """Numbers of 24 bits."""
    return b"".join(number.to_bytes(3, "little") for number in numbers)
