"""The segments of JPEG files: those that TIFF files have inside, and whether all scans are there.

Source: ITU-T T.81, annex B; TIFF Technical Note 2 for JPEG in TIFF.
"""

from collections.abc import Iterator

from atdsr.pixels.picture import PictureError

_START, _SCAN, _END = b"\xff\xd8", 0xDA, b"\xff\xd9"
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def segments(file: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, begin and end of each segment, up to the head of the first scan.

    Raises:
        PictureError: it is no JPEG file, or cut short.
    """
    at = len(_START)
    if not file.startswith(_START):
        raise PictureError("it is no JPEG file.")
    while file[at : at + 2] not in (_END, b""):
        if file[at : at + 2] == b"\xff\xff":  # filling
            at += 1
            continue
        end = at + 2 + int.from_bytes(file[at + 2 : at + 4])
        if file[at] != 0xFF or not at + 4 <= end <= len(file):
            raise PictureError("it is damaged or cut short.")
        yield file[at + 1], at, end
        if file[at + 1] == _SCAN:
            return
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
