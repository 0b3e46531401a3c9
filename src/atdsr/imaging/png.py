"""What PNG files say in chunks that libvips neither reads nor writes: colour, texts, XMP, EXIF.

libvips stops reading at the pixels, while EXIF, XMP and texts may come behind them.

Source: PNG, third edition, sections 4.3 (which description of colour counts) and 11.3.
"""

import contextlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from atdsr.imaging import colour, timeline, vips
from atdsr.imaging.colour import Chromaticities
from atdsr.imaging.picture import CodePoints, Metadata, Picture, PictureError

MOST_TEXT = 2**22
"""Bytes of texts of a file that are read, counted as they are unpacked."""

_EACH = 100  # bytes that even an empty text counts as, so that there are not millions
_HEAD = 8 + 25  # the signature and the first chunk, which says size and kind
_STEP = 2**22
_COLOURS = (b"cICP", b"gAMA", b"cHRM", b"sRGB")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_SHOWN = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT")  # what makes pixels
_XMP = "XML:com.adobe.xmp"
_RAW = "Raw profile type "  # EXIF and others as text, from before there was a chunk for them
_XMP_OF_JPEG = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True)
class Described:
    """What the chunks of a PNG file say.

    Attributes:
        metadata: EXIF, XMP and texts as they stand in the file.
        code_points: of `cICP`.
        is_narrow: whether `cICP` says that black is 16 and white 235 of 255.
        exponent: of the curve from samples to light, by `gAMA`.
        chromaticities: of `cHRM`.
        is_srgb: whether `sRGB` is there.
    """

    metadata: Metadata
    code_points: CodePoints | None
    is_narrow: bool
    exponent: float | None
    chromaticities: Chromaticities | None
    is_srgb: bool

    def meaning(self, icc: bytes | None, channels: int) -> tuple[bytes | None, CodePoints | None]:
        """Profile and code points of samples of so many channels; `icc` is that of the file."""
        if self.code_points is not None:
            return None, None if self.code_points == colour.SRGB else self.code_points
        if (icc := vips.matching(icc, channels)) or self.is_srgb:
            return icc, None
        return colour.of_gamma(self.exponent, self.chromaticities, gray=channels < 3), None

    def applied(self, picture: Picture, icc: bytes | None) -> Picture:
        """The picture of the file's samples with the meaning that the chunks give them."""
        samples = picture.samples
        icc, points = self.meaning(icc, samples.shape[2])
        if self.is_narrow:
            samples = colour.full_range(samples)
        return replace(picture, samples=samples, icc=icc, code_points=points)


def describe(data: bytes) -> Described:
    """Read the chunks of a PNG file; damaged ones are passed over."""
    colours: dict[bytes, bytes] = {}
    exif, texts = None, []
    room, drawn = MOST_TEXT, False
    with contextlib.suppress(PictureError, struct.error):  # cut short: pixels may be whole
        for name, start, end in timeline.png_chunks(data):
            drawn = drawn or name == b"IDAT"
            if name in _COLOURS and not drawn and _is_sound(data, start, end):
                colours.setdefault(name, data[start:end])
            elif name == b"eXIf" and exif is None and _is_sound(data, start, end):
                exif = data[start:end]
            elif name in _TEXTS and end - start <= room and _is_sound(data, start, end):
                pair, size = _text(name, data[start:end], room)
                room -= size + _EACH
                texts += [pair] if pair else []
    points, narrow = _code_points(colours.get(b"cICP", b""))
    gamma = int.from_bytes(colours.get(b"gAMA", b"")[:4], "big")
    return Described(
        metadata=_sorted(exif, texts),
        code_points=points,
        is_narrow=narrow,
        exponent=100_000 / gamma if gamma else None,
        chromaticities=_chromaticities(colours.get(b"cHRM", b"")),
        is_srgb=b"sRGB" in colours,
    )


def check(data: bytes) -> None:
    """Refuse a file in which a chunk that makes pixels is damaged.

    libpng goes on without transparency then, and Pillow looks at no check of a later frame.

    Raises:
        PictureError: there is one.
    """
    damaged = False
    with contextlib.suppress(PictureError, struct.error):  # cut short: for the decoder to say
        damaged = any(
            name in _SHOWN and not _is_sound(data, start, end)
            for name, start, end in timeline.png_chunks(data)
        )
    if damaged:
        raise PictureError("it is damaged or cut short.")


def _is_sound(data: bytes, start: int, end: int) -> bool:
    """Whether a chunk's check is right."""
    (check,) = struct.unpack_from(">I", data, end)
    return zlib.crc32(memoryview(data)[start - 4 : end]) == check


def _code_points(content: bytes) -> tuple[CodePoints | None, bool]:
    if len(content) != 4 or content[2] != 0 or content[3] > 1:  # PNG holds RGB only
        return None, False
    points = colour.resolved(CodePoints(content[0], content[1]))
    return points, points is not None and content[3] == 0


def _chromaticities(content: bytes) -> Chromaticities | None:
    if len(content) != 32:
        return None
    numbers = [number / 100_000 for number in struct.unpack(">8I", content)]
    white, *primaries = zip(numbers[::2], numbers[1::2], strict=True)
    return (*primaries, white)


def _text(name: bytes, content: bytes, room: int) -> tuple[tuple[str, str] | None, int]:
    """Keyword and text of a chunk, and what it takes of the room; None for one not to be read."""
    keyword, _, rest = content.partition(b"\0")
    packed, encoding = name == b"zTXt", "latin-1"
    if packed:
        rest = rest[1:]
    elif name == b"iTXt":
        packed, encoding = rest[:1] == b"\1", "utf-8"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # behind two names of language
    size = len(content)
    if packed:
        unpacking = zlib.decompressobj()
        try:
            rest = unpacking.decompress(rest, room)
        except zlib.error:
            return None, size
        size += len(rest)
        if not unpacking.eof:
            return None, size
    try:
        return (keyword.decode("latin-1"), rest.decode(encoding)), size
    except UnicodeDecodeError:
        return None, size


def _sorted(exif: bytes | None, texts: list[tuple[str, str]]) -> Metadata:
    """EXIF and XMP apart from the other texts."""
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
    """The bytes behind a line with a name and one with a length, written in hexadecimal."""
    digits = text.lstrip("\n").split("\n", 2)[2:]
    try:
        return bytes.fromhex(digits[0]) if digits else b""
    except ValueError:
        return b""


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of PNG."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def chunks_of(picture: Picture, said: Metadata) -> bytes:
    """The chunks to stand behind the first for what libvips does not write, or not always."""
    return b"".join(_chunks(picture, said))


def _chunks(picture: Picture, said: Metadata) -> Iterator[bytes]:
    points = colour.resolved(picture.code_points)
    if icc := vips.matching(picture.icc, picture.samples.shape[2]):
        yield chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc))
    elif points is not None:
        yield chunk(b"cICP", bytes((points.primaries, points.transfer, 0, 1)))
    if said.xmp:  # as other programs look for it: not compressed (XMP, part 3, section 1.1.5)
        yield chunk(b"iTXt", _XMP.encode() + bytes(5) + said.xmp)
    for keyword, text in said.text:
        try:
            key = keyword.encode("latin-1")
        except UnicodeEncodeError:
            continue
        if not 1 <= len(key) <= 79 or "\0" in keyword + text:
            continue
        try:
            yield chunk(b"tEXt", key + b"\0" + text.encode("latin-1"))
        except UnicodeEncodeError:
            yield chunk(b"iTXt", key + bytes(5) + text.encode())


def with_chunks(data: bytes, chunks: bytes) -> bytes:
    """A PNG file with more chunks behind its first."""
    return data[:_HEAD] + chunks + data[_HEAD:]


def add_chunks(path: Path, chunks: bytes) -> None:
    """Give a PNG file more chunks behind its first, moving the rest on piece by piece.

    Raises:
        OSError: the disk refuses.
    """
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        while end > _HEAD:
            start = max(_HEAD, end - _STEP)
            file.seek(start)
            part = file.read(end - start)
            file.seek(start + len(chunks))
            file.write(part)
            end = start
        file.seek(_HEAD)
        file.write(chunks)
