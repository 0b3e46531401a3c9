"""The segments of JPEG files: how colour is sampled, and whether all scans are there.

Source: ITU-T T.81, annexes B and G.
"""

import re
from collections.abc import Iterator

from atdsr.imaging.picture import PictureError

_START, _SCAN, _END = b"\xff\xd8", 0xDA, b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # but for those among the data of a scan
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JFIF, _ADOBE = 0xE0, 0xEE
_ALL: int = (1 << 64) - 1  # coefficients of a block
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


def segments(file: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, begin and end of each segment; of a scan, without its data.

    Raises:
        PictureError: it is no JPEG file, or cut short.
    """
    at = len(_START)
    if not file.startswith(_START):
        raise PictureError("it is no JPEG file.")
    while (found := _MARKER.search(file, at)) and found[0] != _END:
        end = found.end() + int.from_bytes(file[found.end() : found.end() + 2])
        if not found.end() + 2 <= end <= len(file):
            raise PictureError("it is damaged or cut short.")
        yield found[0][1], found.start(), end
        at = end


def sampling(file: bytes) -> tuple[int, int]:
    """How many pixels along x and y share their colour.

    Raises:
        PictureError: it is no JPEG file, or cut short.
    """
    for kind, begin, end in segments(file):
        if kind in _FRAMES and end - begin > 11:  # length, depth, size, count; then the first one
            return file[begin + 11] >> 4, file[begin + 11] & 15
    raise PictureError("it is damaged or cut short.")


def corrected(file: bytes) -> bytes:
    """The file without that which libjpeg warns of though it costs no pixel.

    It keeps only the first of its warnings, so one about data must not stand behind another.

    Raises:
        PictureError: it is no JPEG file, or cut short.
    """
    kept, at, channels = bytearray(_START), len(_START), 0
    progressive = True
    adobe = None  # where the transform of colour is said
    for kind, begin, end in segments(file):
        head = file[begin + 4 : end]
        kept += file[begin:end]  # and not what is between the segments
        at = end
        if kind in _FRAMES and len(head) > 5:
            channels = head[5]
            progressive = kind in _PROGRESSIVE
        elif kind == _JFIF and head.startswith(b"JFIF\0") and len(head) > 5:
            kept[len(kept) - len(head) + 5] = 1  # the version
        elif kind == _ADOBE and head.startswith(b"Adobe") and len(head) > 11:
            adobe = len(kept) - len(head) + 11
        elif kind == _SCAN:
            if not progressive:
                kept[-3:] = 0, 63, 0  # all coefficients, all bits
            break
    usual = {3: 1, 4: 2}.get(channels)
    if adobe is not None and usual and kept[adobe] not in (0, usual):
        kept[adobe] = usual
    return bytes(kept) + file[at:]


def without_padding(file: bytes, count: int) -> bytes:
    """The file without so many bytes before its end.

    Raises:
        PictureError: it is no JPEG file, or cut short.
    """
    at = file.find(_END, max(end for _, _, end in segments(file)))
    return file[: at - count] + file[at:]


def check_scans(file: bytes) -> None:
    """Refuse a file some of whose scans are missing: a decoder would show what the others give.

    A scan brings some coefficients of some channels, of a progressive file all but so many of
    their bits.

    Raises:
        PictureError: there are not all bits of all coefficients, or it is cut short.
    """
    missing: dict[int, int] = {}  # channel -> a bit for each of its coefficients
    progressive = False
    for kind, begin, end in segments(file):
        head = file[begin + 4 : end]
        if kind in _FRAMES and len(head) > 5:
            progressive = kind in _PROGRESSIVE
            missing = dict.fromkeys(head[6 : 6 + 3 * head[5] : 3], _ALL)
        elif kind == _SCAN and len(head) >= 4:
            first, last, bits = head[-3:] if progressive else (0, 63, 0)
            if not bits & 15:  # none is left for later scans
                brought = (1 << last + 1) - (1 << first)
                for channel in head[1 : 1 + 2 * head[0] : 2]:
                    missing[channel] = missing.get(channel, 0) & ~brought
            if not any(missing.values()):
                return
    raise PictureError("some scans of it are missing; it is damaged or cut short.")
