"""PNG through libvips, and the chunks that libvips neither reads nor writes.

Those are colour, texts, XMP, EXIF and animations. libvips stops reading at the pixels, while EXIF,
XMP and texts may come after them.

Source: PNG, third edition, sections 4.3 (which description of colour counts) and 11.3.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from PIL.PngImagePlugin import PngImageFile

from atdsr.imaging import colour, pillow, vips
from atdsr.imaging.codecs import libvips
from atdsr.imaging.codecs.interface import (
    Animation,
    AnimationOptions,
    Still,
    Timeline,
    encode_frames,
)
from atdsr.imaging.colour import Chromaticities
from atdsr.imaging.metadata import resolution
from atdsr.imaging.picture import (
    CodePoints,
    DamagedError,
    Metadata,
    Picture,
    PictureError,
    to_uint8,
)

MOST_TEXT = 2**22
"""Bytes of texts that are read from a file, counted as they are decompressed."""

_EMPTY_TEXT = 100  # bytes that even an empty text counts as, so that there are not millions
_SIGNATURE = 8  # bytes
_HEADER = _SIGNATURE + 25  # bytes of the signature and the first chunk, which has size and type
_STEP = 2**22  # bytes of a file that are moved at a time
_SAVE_OPTIONS = {"compression": 6, "filter": "all"}
_COLOUR_CHUNKS = (b"cICP", b"gAMA", b"cHRM", b"sRGB")
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT")
_XMP = "XML:com.adobe.xmp"
_RAW = "Raw profile type "  # EXIF and others as text, from before there was a chunk for them
_XMP_OF_JPEG = b"http://ns.adobe.com/xap/1.0/\0"


def open_file(data: bytes) -> list[Still] | Animation:
    """Return the picture or the animation in a file, not decoded yet.

    Raises:
        PictureError: The animation is damaged or cut short.
    """
    timeline = read_timeline(data)
    chunks = read_chunks(data)
    if timeline is not None and len(timeline.durations) > 1:
        return Animation(
            timeline,
            partial(_open_animation, data),
            lambda image: replace(chunks.metadata, dpi=pillow.metadata_of(image).dpi),
            lambda picture, image: chunks.apply_colour(picture, image.info.get("icc_profile")),
        )
    image = libvips.load_image(data, "png")
    metadata = libvips.metadata_of(image)
    exif = chunks.metadata.exif or metadata.exif
    metadata = replace(chunks.metadata, exif=exif, dpi=metadata.dpi or resolution(exif))
    size = libvips.upright(image, metadata)
    return [Still(size.width, size.height, partial(_decode, data, chunks, metadata))]


def _open_animation(data: bytes) -> PngImageFile:
    check_pixel_chunks(data)
    return PngImageFile(io.BytesIO(data))


def _decode(data: bytes, chunks: "Chunks", metadata: Metadata) -> Picture:
    check_pixel_chunks(data)
    image = libvips.load_image(data, "png").copy_memory()
    picture = libvips.to_picture(image, metadata, adobe_by_exif=False)
    return chunks.apply_colour(picture, picture.icc)


@dataclass(frozen=True)
class Chunks:
    """What the chunks of a PNG file say about the picture.

    Attributes:
        metadata: EXIF, XMP and texts as they are in the file.
        code_points: Code points of `cICP`.
        is_narrow: Whether `cICP` says that black is 16 and white 235 of 255.
        exponent: Exponent of the curve from samples to light, by `gAMA`.
        chromaticities: Primaries and white of `cHRM`.
        is_srgb: Whether there is an `sRGB` chunk.
    """

    metadata: Metadata
    code_points: CodePoints | None
    is_narrow: bool
    exponent: float | None
    chromaticities: Chromaticities | None
    is_srgb: bool

    def apply_colour(self, picture: Picture, icc: bytes | None) -> Picture:
        """Return the picture of the file's samples with the meaning that the chunks give them.

        Args:
            picture: The picture as decoded.
            icc: The ICC profile in the file.
        """
        samples, points = picture.samples, self.code_points
        icc = vips.matching_profile(icc, samples.shape[2])
        if points is not None:
            icc, points = None, None if points == colour.SRGB else points
        elif icc is None and not self.is_srgb:
            gray = samples.shape[2] < 3
            icc = colour.icc_from_gamma(self.exponent, self.chromaticities, gray=gray)
        if self.is_narrow:
            samples = colour.full_range(samples)
        return replace(picture, samples=samples, icc=icc, code_points=points)


def iterate_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a file to its end: name, and where the content begins and ends.

    Raises:
        DamagedError, struct.error: The file is cut short.
    """
    at, name = _SIGNATURE, b""
    while name != b"IEND":
        size, name = struct.unpack_from(">I4s", data, at)
        at += 8
        if at + size + 4 > len(data):
            raise DamagedError
        yield name, at, at + size
        at += size + 4


def read_chunks(data: bytes) -> Chunks:
    """Read the chunks of a PNG file; damaged ones are ignored."""
    colours: dict[bytes, bytes] = {}
    exif, texts = None, []
    text_bytes_left, has_pixels = MOST_TEXT, False
    with contextlib.suppress(PictureError, struct.error):  # cut short: pixels may be complete
        for name, start, end in iterate_chunks(data):
            has_pixels = has_pixels or name == b"IDAT"
            if name in _COLOUR_CHUNKS and not has_pixels and _is_intact(data, start, end):
                colours.setdefault(name, data[start:end])
            elif name == b"eXIf" and exif is None and _is_intact(data, start, end):
                exif = data[start:end]
            elif (
                name in _TEXT_CHUNKS
                and end - start <= text_bytes_left
                and _is_intact(data, start, end)
            ):
                text, size = _read_text(name, data[start:end], text_bytes_left)
                text_bytes_left -= size + _EMPTY_TEXT
                texts += [text] if text else []
    points, narrow = _code_points(colours.get(b"cICP", b""))
    gamma = int.from_bytes(colours.get(b"gAMA", b"")[:4], "big")
    return Chunks(
        metadata=_metadata_from_texts(exif, texts),
        code_points=points,
        is_narrow=narrow,
        exponent=100_000 / gamma if gamma else None,
        chromaticities=_chromaticities(colours.get(b"cHRM", b"")),
        is_srgb=b"sRGB" in colours,
    )


def check_pixel_chunks(data: bytes) -> None:
    """Refuse a file in which a chunk that makes pixels is damaged.

    libpng would go on without transparency, and Pillow ignores the checksums of later frames.

    Raises:
        PictureError: A checksum is wrong.
    """
    damaged = False
    with contextlib.suppress(PictureError, struct.error):  # cut short: for the decoder to report
        damaged = any(
            name in _PIXEL_CHUNKS and not _is_intact(data, start, end)
            for name, start, end in iterate_chunks(data)
        )
    if damaged:
        raise DamagedError


def _is_intact(data: bytes, start: int, end: int) -> bool:
    """Whether the checksum of a chunk is right."""
    (checksum,) = struct.unpack_from(">I", data, end)
    return zlib.crc32(memoryview(data)[start - 4 : end]) == checksum


def _code_points(content: bytes) -> tuple[CodePoints | None, bool]:
    if len(content) != 4 or content[2] != 0 or content[3] > 1:  # PNG holds RGB only
        return None, False
    points = colour.resolve(CodePoints(content[0], content[1]))
    return points, points is not None and content[3] == 0


def _chromaticities(content: bytes) -> Chromaticities | None:
    if len(content) != 32:
        return None
    numbers = [number / 100_000 for number in struct.unpack(">8I", content)]
    white, *primaries = zip(numbers[::2], numbers[1::2], strict=True)
    return (*primaries, white)


def _read_text(name: bytes, content: bytes, most: int) -> tuple[tuple[str, str] | None, int]:
    """Read a text chunk.

    Args:
        name: Name of the chunk.
        content: Its content.
        most: How many bytes a compressed text may have.

    Returns:
        Keyword and text, or None where the text is malformed or too long; and how many bytes it
        counts as.
    """
    keyword, _, text = content.partition(b"\0")
    is_compressed, encoding = name == b"zTXt", "latin-1"
    if is_compressed:
        text = text[1:]
    elif name == b"iTXt":
        is_compressed, encoding = text[:1] == b"\1", "utf-8"
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]  # after two names of the language
    size = len(content)
    if is_compressed:
        decompressor = zlib.decompressobj()
        try:
            text = decompressor.decompress(text, most)
        except zlib.error:
            return None, size
        size += len(text)
        if not decompressor.eof:
            return None, size
    try:
        return (keyword.decode("latin-1"), text.decode(encoding)), size
    except UnicodeDecodeError:
        return None, size


def _metadata_from_texts(exif: bytes | None, texts: list[tuple[str, str]]) -> Metadata:
    """Separate EXIF and XMP that are stored as texts from the other texts."""
    packet, others = None, []
    for keyword, text in texts:
        if keyword == _XMP:
            packet = packet or text.encode()
        elif keyword.startswith(_RAW):
            raw = _raw_profile(text)
            if raw.startswith(_XMP_OF_JPEG) or keyword == f"{_RAW}xmp":
                packet = packet or raw.removeprefix(_XMP_OF_JPEG)
            elif keyword in (f"{_RAW}exif", f"{_RAW}APP1"):
                exif = exif or raw
        elif keyword:
            others.append((keyword, text))
    return Metadata(exif or None, packet or None, text=tuple(others))


def _raw_profile(text: str) -> bytes:
    """Return the hexadecimal bytes that follow a line with a name and one with a length."""
    digits = text.lstrip("\n").split("\n", 2)[2:]
    try:
        return bytes.fromhex(digits[0]) if digits else b""
    except ValueError:
        return b""


def write(picture: Picture, path: Path, _quality: int | None) -> None:
    """Write a picture with its profile or code points, EXIF, XMP, texts and resolution."""
    image, options, chunks = _prepare(picture)
    image.pngsave(str(path), **options)
    if chunks:
        _insert_chunks(path, chunks)


def _prepare(picture: Picture) -> tuple[Any, dict[str, Any], bytes]:
    """Return a libvips image, the options for its saver, and the chunks to be added."""
    metadata = libvips.metadata_for(picture, "png")
    image, keep = libvips.prepare(picture, "png", metadata)
    return image, _SAVE_OPTIONS | {"keep": keep}, b"".join(added_chunks(picture, metadata))


def added_chunks(picture: Picture, metadata: Metadata) -> Iterator[bytes]:
    """Yield the chunks that follow the header, for what libvips does not write, or not always."""
    points = colour.resolve(picture.code_points)
    if icc := vips.matching_profile(picture.icc, picture.samples.shape[2]):
        yield _chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc))
    elif points is not None:
        yield _chunk(b"cICP", bytes((points.primaries, points.transfer, 0, 1)))
    if metadata.xmp:  # as other programs look for it: not compressed (XMP, part 3, section 1.1.5)
        yield _chunk(b"iTXt", _XMP.encode() + bytes(5) + metadata.xmp)
    for keyword, text in metadata.text:
        try:
            key = keyword.encode("latin-1")
        except UnicodeEncodeError:
            continue
        if not 1 <= len(key) <= 79 or "\0" in keyword + text:
            continue
        try:
            yield _chunk(b"tEXt", key + b"\0" + text.encode("latin-1"))
        except UnicodeEncodeError:
            yield _chunk(b"iTXt", key + bytes(5) + text.encode())


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _insert_chunks(path: Path, chunks: bytes) -> None:
    """Insert chunks after the first chunk of a file, moving the rest on piece by piece.

    Raises:
        OSError: The disk refuses.
    """
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        while end > _HEADER:
            start = max(_HEADER, end - _STEP)
            file.seek(start)
            piece = file.read(end - start)
            file.seek(start + len(chunks))
            file.write(piece)
            end = start
        file.seek(_HEADER)
        file.write(chunks)


def read_timeline(data: bytes) -> Timeline | None:
    """Return the timeline of an animation, or None for a still picture.

    Raises:
        PictureError: The animation is damaged or cut short.
    """
    if data.find(b"acTL", 0, data.find(b"IDAT")) < 0:
        return None
    try:
        return _read_timeline(data)
    except struct.error:
        raise DamagedError from None


def _read_timeline(data: bytes) -> Timeline | None:
    width, height = struct.unpack_from(">II", data, 16)
    count, plays = None, 0
    has_cover = has_pixels = False
    durations: list[int] = []
    for name, start, _ in iterate_chunks(data):
        if name == b"acTL":
            if count is not None:  # decoders use one of the two, or neither
                raise DamagedError
            count, plays = struct.unpack_from(">II", data, start)
        elif name == b"fcTL":
            region = struct.unpack_from(">IIII", data, start + 4)
            if not durations and not has_pixels and region != (width, height, 0, 0):
                raise DamagedError  # the first frame must be as large as the header says
            numerator, denominator = struct.unpack_from(">HH", data, start + 20)
            durations.append(round(1000 * numerator / (denominator or 100)))
        elif name == b"IDAT" and not has_pixels:
            has_pixels, has_cover = True, not durations
    if not count:  # `acTL` was a part of something else
        return None
    if count != len(durations):
        raise DamagedError
    return Timeline(width, height, tuple(durations), plays, has_cover)


def write_frames(file: BinaryIO, frames: Iterator[Picture], options: AnimationOptions) -> None:
    """Write an animation; the chunks of each frame's own file become those of the animation."""

    def encode(picture: Picture) -> bytes:
        image, save_options, chunks = _prepare(replace(picture, samples=to_uint8(picture.samples)))
        data = image.pngsave_buffer(**save_options)
        return data[:_HEADER] + chunks + data[_HEADER:]

    count_offset = sequence = count = 0
    for count, frame in enumerate(encode_frames(frames, options, encode), 1):
        chunks = [(name, frame.data[a:b]) for name, a, b in iterate_chunks(frame.data)]
        if count == 1:
            file.write(frame.data[:_SIGNATURE])
            for name, content in chunks:
                if name not in (b"IDAT", b"IEND"):
                    file.write(_chunk(name, content))
                if name == b"IHDR":
                    count_offset = file.tell()
                    file.write(_chunk(b"acTL", bytes(8)))  # filled in at the end
        region = struct.pack(">5I", sequence, frame.picture.width, frame.picture.height, 0, 0)
        file.write(_chunk(b"fcTL", region + struct.pack(">HHBB", frame.duration, 1000, 0, 0)))
        sequence += 1
        for content in (content for name, content in chunks if name == b"IDAT"):
            if count == 1:
                file.write(_chunk(b"IDAT", content))
            else:
                file.write(_chunk(b"fdAT", struct.pack(">I", sequence) + content))
                sequence += 1
    file.write(_chunk(b"IEND", b""))
    file.seek(count_offset)
    file.write(_chunk(b"acTL", struct.pack(">II", count, options.loop)))
