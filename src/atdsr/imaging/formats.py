"""The formats of picture files: names, suffixes, first bytes, and what each can hold."""

import functools
import importlib.util
import os
import struct
from pathlib import Path

from atdsr.imaging import netpbm
from atdsr.imaging.picture import PictureError

FORMATS = {
    "png": ".png",
    "tiff": ".tiff",
    "jpg": ".jpg",
    "webp": ".webp",
    "avif": ".avif",
    "bmp": ".bmp",
    "gif": ".gif",
    "jxl": ".jxl",
    "jp2": ".jp2",
    "ppm": ".ppm",
}
"""The name of each format that is written and the suffix that a new file of it gets."""

_FORMAT_OF_SUFFIX = {suffix: name for name, suffix in FORMATS.items()} | {
    ".apng": "png",
    ".tif": "tiff",
    ".jpeg": "jpg",
    ".jpe": "jpg",
    ".jfif": "jpg",
    ".mpo": "jpg",  # of several pictures; the first is what others see
    ".dib": "bmp",
    ".pgm": "ppm",
    ".pnm": "ppm",
}

_ONLY_READ = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "heic"),
    ".ico": "ico",
    **dict.fromkeys((".j2c", ".j2k", ".jpc", ".jpf", ".jpx"), "jp2"),
    **dict.fromkeys((".pam", ".pbm", ".pfm"), "ppm"),
}

READABLE_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX | _ONLY_READ)
"""Suffixes, in lower case, of files worth opening in a folder; `read` itself goes by content."""

WRITABLE_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)
"""Suffixes, in lower case, that `write` takes."""

WITHOUT_ALPHA = frozenset({"jpg", "bmp", "ppm"})
"""Formats that hold no transparency."""

WITHOUT_PROFILE = frozenset({"bmp", "gif", "ppm"})
"""Formats that hold no description of colour: what they hold is sRGB."""

WITHOUT_METADATA = frozenset({"bmp", "gif", "jp2", "ppm"})
"""Formats that hold neither EXIF nor XMP here."""

WITH_CODE_POINTS = frozenset({"png", "avif"})
"""Formats that hold code points of colour as they are; the others take a profile made of them."""

LARGEST_XMP = {"jpg": 65_502}  # one segment, without what announces it
"""Bytes of XMP that fit into a format, where that is not as much as is ever read."""

WITHOUT_GRAY = frozenset({"webp", "avif"})
"""Formats that hold gray as RGB."""

ANIMATED = ("gif", "webp", "png", "avif")
"""Formats of frames that follow each other in time, all of one size."""

LONGEST_SIDE = {
    "png": 100_000_000,  # of libvips, as for TIFF; the formats themselves could hold more
    "tiff": 100_000_000,
    "jpg": 65_500,  # of libjpeg
    "webp": 16_383,
    "avif": 16_384,  # of libheif
    "bmp": 2**31 - 1,
    "gif": 65_535,
    "jxl": 2**30 - 1,
    "jp2": 2**31 - 1,
    "ppm": 2**31 - 1,
}
"""The most pixels that a side of a picture may have in each format."""

EXTRA_KINDS = frozenset({"HEIC", "HEIF", "JPEG XL"})
"""Kinds of pictures that are read once the extra `formats` is installed."""

_NEEDS = {
    ".heic": ("HEIC", "pillow_heif"),
    ".heif": ("HEIF", "pillow_heif"),
    ".hif": ("HEIF", "pillow_heif"),
    ".jxl": ("JPEG XL", "pyjpegxl"),
}
"""Kinds that an extra reads, and the module that it brings."""

_RAW = "cr2 cr3 crw nef nrw arw srf sr2 dng raf orf rw2 rwl pef srw x3f 3fr iiq erf kdc mrw mos"
_UNREADABLE = {f".{suffix}": "camera raw" for suffix in _RAW.split()} | {
    ".psd": "PSD",
    ".psb": "PSD",
    ".svg": "SVG",
    ".svgz": "SVG",
    ".pdf": "PDF",
    ".eps": "EPS",
    ".ai": "AI",
    ".xcf": "XCF",
    ".kra": "Krita",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
    ".tga": "TGA",
    ".dds": "DDS",
    ".pcx": "PCX",
    ".qoi": "QOI",
    ".jxr": "JPEG XR",
    ".wdp": "JPEG XR",
    ".jls": "JPEG-LS",
    ".cur": "CUR",
    ".icns": "ICNS",
    ".wmf": "WMF",
    ".emf": "EMF",
    ".dcm": "DICOM",
    ".fits": "FITS",
}

HEAD = 64
"""Bytes at the beginning of a file that `recognise` looks at."""

_HEIF = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_DIB_BITS = (1, 4, 8, 16, 24, 32)

_BMP_BYTES = 2**32 - 2**20  # its header counts in 32 bits


def format_of(path: Path) -> str:
    """The name of the format that a path's suffix stands for, of `FORMATS`.

    Raises:
        PictureError: none has that suffix, or one that is only read.
    """
    suffix = path.suffix.lower()
    name = _FORMAT_OF_SUFFIX.get(suffix)
    if name is None:
        known = " ".join(FORMATS.values())
        if suffix in _ONLY_READ:
            raise PictureError(f"'{path.suffix}' is read but not written; use one of {known}.")
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
    formats = _FORMAT_OF_SUFFIX | _ONLY_READ
    allowed = {word: formats.get(f".{word}") for word in given if word}
    unknown = [word for word, known in allowed.items() if known is None]
    if unknown or not allowed:
        what = f"the format {unknown[0]!r}, which is unknown" if unknown else "no format"
        raise PictureError(
            f"ATDSR_FORMATS names {what}; it lists some of {', '.join(FORMATS)}, heic, ico."
        )
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
            f"{name} holds one picture, not {frames}; write GIF, WebP, PNG or AVIF for an "
            "animation, TIFF for pages."
        )


def is_picture_file(path: Path) -> bool:
    """Whether this is a file that a folder's listing should open, by its suffix."""
    readable = path.suffix.lower() in READABLE_SUFFIXES and unreadable_kind(path) is None
    return readable and path.is_file()


def unreadable_kind(path: Path) -> str | None:
    """The name of the kind of picture, such as "PSD", of a suffix that is not supported.

    None is a file that `read` may open, and one that is no picture at all. HEIC and JPEG XL count
    as unreadable where the extra for them is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in _NEEDS:
        kind, module = _NEEDS[suffix]
        return None if _installed(module) else kind
    return _UNREADABLE.get(suffix)


@functools.cache
def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def recognise(head: bytes) -> str | None:
    """The format that the first bytes of a file announce; "heic" and "ico" are only read."""
    signatures = {
        "png": (b"\x89PNG\r\n\x1a\n",),
        "jpg": (b"\xff\xd8\xff",),
        "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        "gif": (b"GIF87a", b"GIF89a"),
        "bmp": (b"BM",),
        "jxl": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
        "jp2": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    }
    for name, starts in signatures.items():
        if head.startswith(starts):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _brand(head)
    if netpbm.announced(head):
        return "ppm"
    if head[:4] == b"\0\0\1\0" and head[4:6] != b"\0\0" and len(head) > 22:
        return "ico"
    return "bmp" if _is_dib(head) else None


def _brand(head: bytes) -> str | None:
    """What a file of boxes announces; AVIF is also HEIF."""
    end = min(len(head), int.from_bytes(head[:4]))
    brands = {head[at : at + 4] for at in (8, *range(16, end - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heic" if brands & _HEIF else None


def _is_dib(head: bytes) -> bool:
    """Whether this is a bitmap without the head of a file: one plane, and bits as there are."""
    if len(head) < 40 or head[:4] not in (b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0"):
        return False
    planes, bits = struct.unpack_from("<HH", head, 12)
    return planes == 1 and bits in _DIB_BITS
