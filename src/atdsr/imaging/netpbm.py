"""Netpbm files: PBM, PGM, PPM and PAM of up to 16 bits, and PFM; PGM and PPM are written too.

Pillow cuts colours of 16 bits down to 8, so this is done here.

Source: the manual pages pbm(5), pgm(5), ppm(5), pam(5) and pfm(5) of Netpbm.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atdsr.imaging import vips
from atdsr.imaging.picture import Picture, PictureError, from_unit, replicate_gray, rescale

_SPACE = rb"(?:\s|#[^\n]*\n)+"  # comments end with their line
_START = re.compile(rb"P[1-7Ff][\s#]")
_PLAIN, _BITS = "123", "14"  # samples as text; samples of one bit
_CHANNELS = {"1": 1, "2": 1, "3": 3, "4": 1, "5": 1, "6": 3, "f": 1, "F": 3}
_TUPLES = {b"BLACKANDWHITE": 1, b"GRAYSCALE": 1, b"RGB": 3}
_HEAD = 2**16  # bytes that may stand before the samples


@dataclass(frozen=True)
class _Head:
    """What stands before the samples.

    Attributes:
        kind: the character behind the P.
        width: in pixels.
        height: likewise.
        channels: how many samples a pixel has.
        white: the largest sample; of PFM, negative if the lowest byte comes first.
        start: where the samples begin.
    """

    kind: str
    width: int
    height: int
    channels: int
    white: float
    start: int

    @property
    def count(self) -> int:
        """How many samples there are."""
        return self.width * self.height * self.channels


def _damaged() -> PictureError:
    return PictureError("the file is damaged or cut short.")


def announced(head: bytes) -> bool:
    """Whether first bytes are those of such a file."""
    return _START.match(head) is not None


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the picture.

    Raises:
        PictureError: the head is damaged.
    """
    head = _head(data)
    return head.width, head.height


def decode(data: bytes) -> Picture:
    """The picture in a file.

    Raises:
        PictureError: it is damaged, cut short, of several pictures, or has fractions outside of
            0 to 1.
    """
    head = _head(data)
    if head.kind in _PLAIN:
        return Picture(_scaled(_text(data, head), head))
    row = head.width * head.channels
    if head.kind in "Ff":
        kind = np.dtype("<f4" if head.white < 0 else ">f4")
    else:
        kind = np.dtype(np.uint8 if head.white < 256 else ">u2")
    size = -(-row // 8) if head.kind in _BITS else row * kind.itemsize
    end = head.start + size * head.height
    if end > len(data):
        raise _damaged()
    if _START.match(data, end):
        raise PictureError(
            "the file holds several pictures; save the one you want as a file of its own."
        )
    samples = np.frombuffer(data[head.start : end], kind).reshape(head.height, -1)
    if head.kind in _BITS:
        samples = np.unpackbits(samples.astype(np.uint8), axis=1)[:, :row]
    samples = samples.reshape(head.height, head.width, head.channels)
    if head.kind in "Ff":
        return Picture(from_unit(samples[::-1]))  # the lowest row comes first
    return Picture(_scaled(samples, head))


def _scaled(samples: np.ndarray, head: _Head) -> np.ndarray:
    """Samples over the full range of 8 or 16 bits."""
    white = int(head.white)
    if samples.max() > white:
        raise _damaged()
    if head.kind in _BITS:
        samples = 1 - samples  # 1 is black
    samples = samples.reshape(head.height, head.width, head.channels)
    return rescale(samples, white, np.uint8 if white < 256 else np.uint16)


def _text(data: bytes, head: _Head) -> np.ndarray:
    """Samples that are written in decimals."""
    text = re.sub(rb"#[^\n]*", b"", data[head.start :])
    # bits need no space between them
    words = re.findall(rb"[01]", text) if head.kind in _BITS else text.split()
    if len(words) < head.count or max(map(len, words), default=0) > 5:
        raise _damaged()
    try:
        return np.array(words[: head.count]).astype(np.uint32)
    except ValueError:
        raise _damaged() from None


def _head(data: bytes) -> _Head:
    """What stands before the samples.

    Raises:
        PictureError: it is damaged, or announces a kind of picture that is not known.
    """
    kind = chr(data[1])
    try:
        head = _named(data) if kind == "7" else _numbered(data, kind)
    except (ValueError, KeyError):
        raise _damaged() from None
    whole = kind in "Ff" or 1 <= head.white <= 65535
    if min(head.width, head.height) < 1 or not whole:
        raise _damaged()
    return head


def _numbered(data: bytes, kind: str) -> _Head:
    """The head of all kinds but PAM: numbers."""
    words = 2 if kind in _BITS else 3
    pattern = b"P." + words * (_SPACE + rb"([^\s#]+)") + (rb"[\s#]" if kind in _PLAIN else rb"\s")
    match = re.match(pattern, data[:_HEAD])
    if match is None:
        raise ValueError
    white = 1.0 if kind in _BITS else float(match[3])
    # a comment may follow at once where the samples are text
    start = match.end() - (kind in _PLAIN)
    return _Head(kind, int(match[1]), int(match[2]), _CHANNELS[kind], white, start)


def _named(data: bytes) -> _Head:
    """The head of PAM: a line for each value.

    Raises:
        PictureError: its pixels are not of gray or RGB, with or without alpha.
    """
    head, end, _ = data[:_HEAD].partition(b"ENDHDR\n")
    if not end:
        raise ValueError
    lines = (line.split(None, 1) for line in head.split(b"\n")[1:])
    said = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    name = said[b"TUPLTYPE"]
    channels = _TUPLES.get(name.removesuffix(b"_ALPHA"), 0) + name.endswith(b"_ALPHA")
    if channels != int(said[b"DEPTH"]) or channels == 0:
        raise PictureError(
            "its pixels are of an unknown kind; save it as gray or RGB, with or without alpha."
        )
    width, height, white = (int(said[key]) for key in (b"WIDTH", b"HEIGHT", b"MAXVAL"))
    return _Head("7", width, height, channels, white, len(head) + len(end))


def write(image: Any, path: Path, suffix: str) -> None:
    """Write a libvips image without alpha: gray as PGM, or as PPM if that is the suffix."""
    samples = vips.from_vips(image)
    if suffix == ".ppm":
        samples = replicate_gray(samples)
    height, width, channels = samples.shape
    white = np.iinfo(samples.dtype).max
    head = f"P{5 if channels == 1 else 6}\n{width} {height}\n{white}\n"
    wide = samples.dtype == np.uint16
    with path.open("wb") as file:
        file.write(head.encode())
        for row in range(0, height, 256):
            part = samples[row : row + 256]
            file.write(part.astype(">u2").tobytes() if wide else part.tobytes())
