"""Netpbm files: PBM, PGM, PPM and PAM of up to 16 bits, and PFM; PGM and PPM are also written.

Pillow reduces colours of 16 bits to 8, so these files are read and written here.

Source: the manual pages pbm(5), pgm(5), ppm(5), pam(5) and pfm(5) of Netpbm.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from atdsr.imaging.codecs.interface import Still
from atdsr.imaging.picture import (
    MAXIMUM,
    DamagedError,
    Picture,
    PictureError,
    fractions_to_uint16,
    rescale,
    split_alpha,
)

_SPACE = rb"(?:\s|#[^\n]*\n)+"  # comments end with their line
_START = re.compile(rb"P[1-7Ff][\s#]")
_PLAIN, _BITS = "123", "14"  # samples as text; samples of one bit
_CHANNELS = {"1": 1, "2": 1, "3": 3, "4": 1, "5": 1, "6": 3, "f": 1, "F": 3}
_TUPLES = {b"BLACKANDWHITE": 1, b"GRAYSCALE": 1, b"RGB": 3}
_ROWS = 256  # that are written at a time
_MOST_HEADER = 2**16  # bytes that may precede the samples


@dataclass(frozen=True)
class _Header:
    """What precedes the samples.

    Attributes:
        kind: The character after the P.
        width: Width in pixels.
        height: Height in pixels.
        channels: How many samples a pixel has.
        white: The largest sample; in PFM, negative if the lowest byte comes first.
        start: Where the samples begin.
    """

    kind: str
    width: int
    height: int
    channels: int
    white: float
    start: int

    @property
    def count(self) -> int:
        """Number of samples."""
        return self.width * self.height * self.channels


def open_file(data: bytes) -> list[Still]:
    """Return the picture in a file, not decoded yet.

    Raises:
        PictureError: The header is damaged.
    """
    header = _read_header(data)
    return [Still(header.width, header.height, partial(_decode, data, header))]


def _decode(data: bytes, header: _Header) -> Picture:
    """Return the picture in a file.

    Raises:
        PictureError: The file is damaged, cut short, has several pictures, or has fractions
            outside 0 to 1.
    """
    if header.kind in _PLAIN:
        return Picture(_to_full_range(_read_text(data, header), header))
    row = header.width * header.channels
    if header.kind in "Ff":
        dtype = np.dtype("<f4" if header.white < 0 else ">f4")
    else:
        dtype = np.dtype(np.uint8 if header.white < 256 else ">u2")
    size = -(-row // 8) if header.kind in _BITS else row * dtype.itemsize
    end = header.start + size * header.height
    if end > len(data):
        raise DamagedError
    if _START.match(data, end):
        raise PictureError(
            "the file holds several pictures; save the one you want as a file of its own."
        )
    samples = np.frombuffer(data[header.start : end], dtype).reshape(header.height, -1)
    if header.kind in _BITS:
        samples = np.unpackbits(samples.astype(np.uint8), axis=1)[:, :row]
    samples = samples.reshape(header.height, header.width, header.channels)
    if header.kind in "Ff":
        return Picture(fractions_to_uint16(samples[::-1]))  # the lowest row comes first
    return Picture(_to_full_range(samples, header))


def _to_full_range(samples: np.ndarray, header: _Header) -> np.ndarray:
    """Return samples over the full range of 8 or 16 bits."""
    white = int(header.white)
    if samples.max() > white:
        raise DamagedError
    if header.kind in _BITS:
        samples = 1 - samples  # 1 is black
    samples = samples.reshape(header.height, header.width, header.channels)
    return rescale(samples, white, np.uint8 if white < 256 else np.uint16)


def _read_text(data: bytes, header: _Header) -> np.ndarray:
    """Read samples that are written as decimal numbers."""
    text = re.sub(rb"#[^\n]*", b"", data[header.start :])
    # bits need no space between them
    words = re.findall(rb"[01]", text) if header.kind in _BITS else text.split()
    if len(words) < header.count or max(map(len, words), default=0) > 5:
        raise DamagedError
    try:
        return np.array(words[: header.count]).astype(np.uint32)
    except ValueError:
        raise DamagedError from None


def _read_header(data: bytes) -> _Header:
    """Read what precedes the samples.

    Raises:
        PictureError: The header is damaged, or announces pixels that are not supported.
    """
    kind = chr(data[1])
    try:
        header = _read_pam_header(data) if kind == "7" else _read_short_header(data, kind)
    except (ValueError, KeyError):
        raise DamagedError from None
    is_valid = kind in "Ff" or 1 <= header.white <= 65535
    if min(header.width, header.height) < 1 or not is_valid:
        raise DamagedError
    return header


def _read_short_header(data: bytes, kind: str) -> _Header:
    """Read the header of all kinds but PAM: two or three numbers."""
    words = 2 if kind in _BITS else 3
    pattern = b"P." + words * (_SPACE + rb"([^\s#]+)") + (rb"[\s#]" if kind in _PLAIN else rb"\s")
    match = re.match(pattern, data[:_MOST_HEADER])
    if match is None:
        raise ValueError
    white = 1.0 if kind in _BITS else float(match[3])
    # a comment may follow at once where the samples are text
    start = match.end() - (kind in _PLAIN)
    return _Header(kind, int(match[1]), int(match[2]), _CHANNELS[kind], white, start)


def _read_pam_header(data: bytes) -> _Header:
    """Read the header of PAM: a line for each value.

    Raises:
        PictureError: Its pixels are not gray or RGB, with or without alpha.
    """
    head, end, _ = data[:_MOST_HEADER].partition(b"ENDHDR\n")
    if not end:
        raise ValueError
    lines = (line.split(None, 1) for line in head.split(b"\n")[1:])
    values = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    name = values[b"TUPLTYPE"]
    channels = _TUPLES.get(name.removesuffix(b"_ALPHA"), 0) + name.endswith(b"_ALPHA")
    if channels != int(values[b"DEPTH"]) or channels == 0:
        raise PictureError(
            "its pixels are of an unknown kind; save it as gray or RGB, with or without alpha."
        )
    width, height, white = (int(values[key]) for key in (b"WIDTH", b"HEIGHT", b"MAXVAL"))
    return _Header("7", width, height, channels, white, len(head) + len(end))


def write(picture: Picture, path: Path, _quality: int | None) -> None:
    """Write gray as PGM, RGB as PPM; alpha, which is full, is dropped."""
    samples, _ = split_alpha(picture.samples)
    height, width, channels = samples.shape
    white = MAXIMUM[samples.dtype]
    with path.open("wb") as file:
        file.write(f"P{5 if channels == 1 else 6}\n{width} {height}\n{white}\n".encode())
        for row in range(0, height, _ROWS):
            file.write(samples[row : row + _ROWS].astype(">u2" if white > 255 else "u1").tobytes())
