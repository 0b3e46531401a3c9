"""The formats of picture files: one row each says how to recognise it and what it can hold.

To add a format, add a row here and a module in `codecs`, and enter that module in
`codecs/__init__.py`.
"""

import functools
import importlib
import importlib.util
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import ModuleType

from atdsr.base.errors import short
from atdsr.base.extras import install_command
from atdsr.imaging.picture import PictureError, UnsupportedError

MAX_FRAMES = 10_000
"""The most pages or frames of a file."""

HEAD_BYTES = 64
"""Bytes at the beginning of a file that `recognise` looks at."""

_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_DIB_HEADERS = (b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0")  # their sizes: 40, 108 and 124 bytes
_DIB_BITS = (1, 4, 8, 16, 24, 32)
_NETPBM = re.compile(rb"P[1-7Ff][\s#]")


def _starts(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


def _brands(head: bytes) -> set[bytes]:
    """Return the brands of a file that consists of boxes."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(len(head), int.from_bytes(head[:4]))
    return {head[at : at + 4] for at in (8, *range(16, end - 3, 4))}


def _is_bmp(head: bytes) -> bool:
    """Whether this is a bitmap, perhaps without the header of a file (DIB)."""
    if head.startswith(b"BM"):
        return True
    if len(head) < 40 or not head.startswith(_DIB_HEADERS):
        return False
    planes, bits = struct.unpack_from("<HH", head, 12)
    return planes == 1 and bits in _DIB_BITS


@dataclass(frozen=True)
class Format:
    """A format of picture files, and what atdsr writes in it.

    Attributes:
        name: Name in options and messages.
        announced: Whether the first bytes of a file announce the format.
        suffixes: Suffixes that are written, the one of a new file first; () for a format that is
            only read.
        read_only_suffixes: Further suffixes of files that are only read.
        gray_bits: Bits of a gray sample that are written; more are rounded to them.
        colour_bits: Bits of a sample of RGB that are written, likewise.
        holds_gray: Whether gray stays gray; otherwise it becomes RGB.
        holds_alpha: Whether there is transparency.
        holds_profile: Whether there is a description of colour; otherwise colours become sRGB.
        holds_code_points: Whether code points stay; otherwise they become a profile.
        holds_metadata: Whether EXIF and XMP are written.
        dpi_in_exif: Whether a resolution has no place but EXIF.
        largest_xmp: Bytes of XMP that fit, where this is less than is ever read.
        longest_side: Most pixels that a side can have.
        most_pixels: Most pixels in all, where the format has such a limit.
        longest_frame: Milliseconds that a frame of an animation can last; 0 for no animations.
        holds_pages: Whether there can be several pictures of different sizes.
        extra: Module of the extra `formats` that reads it, or None.
        kinds: What people call it, by suffix, where an extra is needed.
    """

    name: str
    announced: Callable[[bytes], bool]
    suffixes: tuple[str, ...] = ()
    read_only_suffixes: tuple[str, ...] = ()
    gray_bits: int = 16
    colour_bits: int = 16
    holds_gray: bool = True
    holds_alpha: bool = True
    holds_profile: bool = True
    holds_code_points: bool = False
    holds_metadata: bool = True
    dpi_in_exif: bool = False
    largest_xmp: int | None = None
    longest_side: int = 2**31 - 1
    most_pixels: int | None = None
    longest_frame: int = 0
    holds_pages: bool = False
    extra: str | None = None
    kinds: tuple[tuple[str, str], ...] = ()


_ROWS = (
    Format(
        "png",
        _starts(b"\x89PNG\r\n\x1a\n"),
        (".png", ".apng"),
        holds_code_points=True,
        longest_side=100_000_000,  # of libvips, as for TIFF; the formats themselves could hold more
        longest_frame=65_535,
    ),
    Format(
        "tiff",
        _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        (".tiff", ".tif"),
        longest_side=100_000_000,
        holds_pages=True,
    ),
    Format(
        "jpg",
        _starts(b"\xff\xd8\xff"),
        # an .mpo file has several pictures; the first is what other programs show
        (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        gray_bits=8,
        colour_bits=8,
        holds_alpha=False,
        dpi_in_exif=True,
        largest_xmp=65_502,  # one segment, without what announces it
        longest_side=65_500,  # of libjpeg
    ),
    Format(
        "webp",
        lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        (".webp",),
        gray_bits=8,
        colour_bits=8,
        holds_gray=False,
        dpi_in_exif=True,
        longest_side=16_383,
        longest_frame=2**24 - 1,
    ),
    Format(
        "avif",
        lambda head: bool(_brands(head) & {b"avif", b"avis"}),  # before HEIF, which it also is
        (".avif",),
        gray_bits=10,
        colour_bits=10,
        holds_gray=False,
        holds_code_points=True,
        dpi_in_exif=True,
        longest_side=16_384,  # of libheif
        longest_frame=2**31 - 1,
    ),
    Format(
        "bmp",
        _is_bmp,
        (".bmp", ".dib"),
        gray_bits=8,
        colour_bits=8,
        holds_alpha=False,
        holds_profile=False,
        holds_metadata=False,
        most_pixels=(2**32 - 2**20) // 4,  # its header counts bytes in 32 bits
    ),
    Format(
        "gif",
        _starts(b"GIF87a", b"GIF89a"),
        (".gif",),
        gray_bits=8,
        colour_bits=8,
        holds_profile=False,
        holds_metadata=False,
        longest_side=65_535,
        longest_frame=655_350,
    ),
    Format(
        "jxl",
        _starts(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
        (".jxl",),
        dpi_in_exif=True,
        longest_side=2**30 - 1,
        extra="pyjpegxl",
        kinds=((".jxl", "JPEG XL"),),
    ),
    Format(
        "jp2",
        _starts(b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
        (".jp2",),
        (".j2c", ".j2k", ".jpc", ".jpf", ".jpx"),
        colour_bits=8,  # of Pillow
        holds_metadata=False,
    ),
    Format(
        "ppm",
        lambda head: _NETPBM.match(head) is not None,
        (".ppm", ".pgm", ".pnm"),
        (".pam", ".pbm", ".pfm"),
        holds_alpha=False,
        holds_profile=False,
        holds_metadata=False,
    ),
    Format(
        "heic",
        lambda head: bool(_brands(head) & _HEIF_BRANDS),
        read_only_suffixes=(".heic", ".heif", ".hif"),
        extra="pillow_heif",
        kinds=((".heic", "HEIC"), (".heif", "HEIF"), (".hif", "HEIF")),
    ),
    Format(
        "ico",
        lambda head: head[:4] == b"\0\0\1\0" and head[4:6] != b"\0\0" and len(head) > 22,
        read_only_suffixes=(".ico",),
    ),
)

TABLE = {row.name: row for row in _ROWS}
"""Every format by its name."""

FORMATS = {row.name: row.suffixes[0] for row in _ROWS if row.suffixes}
"""The name of each format that is written, and the suffix that a new file of it gets."""

_WRITTEN = {suffix: row for row in _ROWS for suffix in row.suffixes}
_READ = _WRITTEN | {suffix: row for row in _ROWS for suffix in row.read_only_suffixes}
_NEEDS_EXTRA = {suffix: kind for row in _ROWS for suffix, kind in row.kinds}
READABLE_SUFFIXES = frozenset(_READ)
"""Suffixes, in lower case, of files worth opening in a folder; `read` itself goes by content."""

WRITABLE_SUFFIXES = frozenset(_WRITTEN)
"""Suffixes, in lower case, that `write` accepts."""

EXTRA_KINDS = frozenset(_NEEDS_EXTRA.values())
"""Kinds of pictures that are read once the extra `formats` is installed."""

RAW_KIND = "camera raw"
"""What `unreadable_kind` calls them."""

CAMERA_RAW = (
    "camera raw is not read; develop it with a raw converter, and save it as TIFF, PNG or JPEG."
)
"""What is said of raw data of a camera's sensor, of which other programs see a small preview."""

_RAW = "cr2 cr3 crw nef nrw arw srf sr2 dng raf orf rw2 rwl pef srw x3f 3fr iiq erf kdc mrw mos"
_UNREADABLE = {f".{suffix}": RAW_KIND for suffix in _RAW.split()} | {
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


def recognise(head: bytes) -> str | None:
    """Return the name of the format that the first bytes of a file announce, or None."""
    return next((row.name for row in _ROWS if row.announced(head)), None)


def file_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that a caller gave as the name of a file.

    Raises:
        PictureError: It is of another type.
    """
    try:
        return Path(path)
    except TypeError:
        raise PictureError(f"{short(path)} is not the name of a file; pass a path.") from None


def format_of(path: PurePath) -> str:
    """Return the name of the format that a path's suffix stands for, one of `FORMATS`.

    Raises:
        PictureError: No format has that suffix, or one that is only read.
    """
    suffix = path.suffix.lower()
    if suffix in _WRITTEN:
        return _WRITTEN[suffix].name
    known = " ".join(FORMATS.values())
    if not suffix:
        raise PictureError(f"the name has no suffix, which says the format; use one of {known}.")
    if suffix in _READ:
        raise PictureError(f"'{path.suffix}' is read but not written; use one of {known}.")
    raise PictureError(f"no format has the suffix '{path.suffix}'; use one of {known}.")


def check_allowed(name: str) -> None:
    """Check that the environment variable ATDSR_FORMATS allows a format to be read.

    It lists formats by name or suffix, such as `png,jpg`; if it is not set, all may be read.

    Raises:
        UnsupportedError: The format is not listed.
        PictureError: The variable names no format, or an unknown one.
    """
    variable = os.environ.get("ATDSR_FORMATS")
    if variable is None:
        return
    words = [word.strip().lower().lstrip(".") for word in variable.split(",")]
    allowed = {word: _READ.get(f".{word}") for word in words if word}
    unknown = [word for word, row in allowed.items() if row is None]
    if unknown or not allowed:
        problem = f"the format {unknown[0]!r}, which is unknown" if unknown else "no format"
        raise PictureError(f"ATDSR_FORMATS names {problem}; it lists some of {', '.join(TABLE)}.")
    if name not in {row.name for row in allowed.values() if row is not None}:
        raise UnsupportedError(
            f"it is a file of the format {name}, which ATDSR_FORMATS={variable} does not allow to "
            "be read."
        )


def check_fits(name: str, width: int, height: int, frames: int) -> None:
    """Check that a format can hold that many pictures of that size.

    Raises:
        PictureError: It cannot.
    """
    row = TABLE[name]
    if max(width, height) > row.longest_side:
        raise PictureError(
            f"{width}x{height} is more than {name} can hold, which ends at {row.longest_side:,} "
            "pixels a side; write PNG or TIFF."
        )
    if row.most_pixels and width * height > row.most_pixels:
        raise PictureError(f"{width}x{height} is more than {name} can hold; write PNG or TIFF.")
    if frames > 1 and not (row.longest_frame or row.holds_pages):
        raise PictureError(
            f"{name} holds one picture, not {frames}; write GIF, WebP, PNG or AVIF for an "
            "animation, TIFF for pages."
        )


def is_picture_file(path: Path) -> bool:
    """Whether this is a file that a folder's listing should open, by its suffix."""
    readable = path.suffix.lower() in READABLE_SUFFIXES and unreadable_kind(path) is None
    return readable and path.is_file()


def unreadable_kind(path: PurePath) -> str | None:
    """Return what people call a kind of picture that is not supported, such as "PSD".

    None stands for a file that `read` may open, and for one that is not a picture at all. HEIC and
    JPEG XL count as unreadable where the extra for them is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in _NEEDS_EXTRA:
        return None if _is_installed(_READ[suffix].extra or "") else _NEEDS_EXTRA[suffix]
    return _UNREADABLE.get(suffix)


def load_extra(name: str) -> ModuleType:
    """Import the module of the extra `formats` that a format needs.

    Raises:
        UnsupportedError: It is not installed, or does not fit this system.
    """
    row = TABLE[name]
    try:
        return importlib.import_module(row.extra or "")
    except ImportError as error:
        raise UnsupportedError(
            f"{row.kinds[0][1]} needs an extra of atdsr; install it with: "
            f"{install_command('formats')}."
        ) from error


@functools.cache
def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
