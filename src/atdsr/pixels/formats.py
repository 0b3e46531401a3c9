"""The formats of picture files: names, suffixes, first bytes, and what each can hold."""

import os
from pathlib import Path

from atdsr.pixels.picture import PictureError

FORMATS = {
    "png": ".png",
    "tiff": ".tiff",
    "jpg": ".jpg",
    "webp": ".webp",
    "avif": ".avif",
    "bmp": ".bmp",
    "gif": ".gif",
}
"""The name of each format and the suffix that a new file of it gets."""

_FORMAT_OF_SUFFIX = {suffix: name for name, suffix in FORMATS.items()} | {
    ".tif": "tiff",
    ".jpeg": "jpg",
    ".jfif": "jpg",
}

READABLE_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)
"""Suffixes, in lower case, of files worth opening in a folder; `read` itself goes by content."""

WRITABLE_SUFFIXES = READABLE_SUFFIXES
"""Suffixes, in lower case, that `write` takes."""

WITHOUT_ALPHA = frozenset({"jpg", "bmp"})
"""Formats that hold no transparency."""

WITHOUT_GRAY = frozenset({"webp", "avif"})
"""Formats that hold gray as RGB."""

ANIMATED = ("gif", "webp", "png")
"""Formats of frames that follow each other in time, all of one size."""

LONGEST_SIDE = {
    "png": 100_000_000,  # of libvips, as for TIFF; the formats themselves could hold more
    "tiff": 100_000_000,
    "jpg": 65_500,  # of libjpeg
    "webp": 16_383,
    "avif": 16_384,  # of libheif
    "bmp": 2**31 - 1,
    "gif": 65_535,
}
"""The most pixels that a side of a picture may have in each format."""

_UNREADABLE = {".heic": "HEIC", ".heif": "HEIF", ".jxl": "JPEG XL", ".psd": "PSD"}

_BMP_BYTES = 2**32 - 2**20  # its header counts in 32 bits


def format_of(path: Path) -> str:
    """The name of the format that a path's suffix stands for, of `FORMATS`.

    Raises:
        PictureError: none has that suffix.
    """
    name = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if name is None:
        known = " ".join(FORMATS.values())
        raise PictureError(f"no format has the suffix '{path.suffix}'; use one of {known}.")
    return name


def check_allowed(name: str) -> None:
    """See whether files of a format may be read, by the environment variable ATDSR_FORMATS.

    It lists formats by name or suffix, such as `png,jpg`; where it is not set, all may be read.

    Raises:
        PictureError: this one is not listed, or the variable names none or an unknown one.
    """
    listed = os.environ.get("ATDSR_FORMATS")
    if listed is None:
        return
    given = [word.strip().lower().lstrip(".") for word in listed.split(",")]
    allowed = {word: _FORMAT_OF_SUFFIX.get(f".{word}") for word in given if word}
    unknown = [word for word, known in allowed.items() if known is None]
    if unknown or not allowed:
        what = f"the format {unknown[0]!r}, which is unknown" if unknown else "no format"
        raise PictureError(f"ATDSR_FORMATS names {what}; it lists some of {', '.join(FORMATS)}.")
    if name not in allowed.values():
        raise PictureError(
            f"it is a file of the format {name}, and ATDSR_FORMATS={listed} does not let it be "
            "read."
        )


def check_fits(name: str, width: int, height: int, frames: int) -> None:
    """See whether a format can hold that many pictures of that size.

    Raises:
        PictureError: it cannot.
    """
    if max(width, height) > LONGEST_SIDE[name]:
        raise PictureError(
            f"{width}x{height} is more than {name} can hold, which ends at {LONGEST_SIDE[name]:,} "
            "pixels a side; write PNG or TIFF."
        )
    if name == "bmp" and 4 * width * height > _BMP_BYTES:
        raise PictureError(f"{width}x{height} is more than bmp can hold; write PNG or TIFF.")
    if frames > 1 and name not in (*ANIMATED, "tiff"):
        raise PictureError(
            f"{name} holds one picture, not {frames}; write GIF, WebP or PNG for an animation, "
            "TIFF for pages."
        )


def is_picture_file(path: Path) -> bool:
    """Whether this is a file that a folder's listing should open, by its suffix."""
    return path.suffix.lower() in READABLE_SUFFIXES and path.is_file()


def unreadable_kind(path: Path) -> str | None:
    """The name of the kind of picture, such as "HEIC", that a suffix stands for but nobody reads.

    None is a file that `read` may open, and one that is no picture at all.
    """
    return _UNREADABLE.get(path.suffix.lower())


def recognise(head: bytes) -> str | None:
    """The format that the first bytes of a file announce."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and (b"avif" in head or b"avis" in head):
        return "avif"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return "bmp" if head.startswith(b"BM") else None
