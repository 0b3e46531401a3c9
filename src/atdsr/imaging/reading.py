"""Files become pictures: `read` for one picture, `open_frames` for any number of them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atdsr.base import files
from atdsr.imaging import vips
from atdsr.imaging.codecs import OPENERS
from atdsr.imaging.codecs.interface import Animation, Still
from atdsr.imaging.formats import (
    CAMERA_RAW,
    HEAD_BYTES,
    MAX_FRAMES,
    RAW_KIND,
    TABLE,
    check_allowed,
    file_path,
    recognise,
    unreadable_kind,
)
from atdsr.imaging.picture import (
    DamagedError,
    Picture,
    PictureError,
    TooLargeError,
    UnsupportedError,
)

MAX_PIXELS = 2**28
"""Height times width of the largest picture that `read` decodes: a square of 16384."""

_TOTAL = 256  # all frames together may have so many times the limit of pixels


@dataclass(frozen=True, eq=False)
class Frames:
    """The pictures in a file, each decoded when it is asked for; they can be read again.

    Attributes:
        path: The file, as it was named.
        height: Height of the first picture in pixels, upright. The frames of an animation all
            have one size, the pages of a TIFF file may differ.
        width: Width of the first picture in pixels, upright.
        durations: How long each frame is shown, in milliseconds; None for pages, and for a file
            of one picture.
        loop: How often an animation is shown; 0 is forever.
    """

    path: Path
    height: int
    width: int
    durations: tuple[int, ...] | None = None
    loop: int = 1
    _contents: list[Still] | Animation = field(default_factory=list, repr=False)
    _format_name: str = ""

    @property
    def format_name(self) -> str:
        """The format of the file, which its content tells."""
        return self._format_name

    def __len__(self) -> int:
        """Return the number of pictures."""
        contents = self._contents
        return len(contents.timeline.durations if isinstance(contents, Animation) else contents)

    def __iter__(self) -> Iterator[Picture]:
        """Decode one picture after another.

        Raises:
            PictureError: A picture is damaged or cut short, or not supported.
        """
        contents = self._contents
        if isinstance(contents, Animation):
            pictures = contents.decode()
        else:
            pictures = (still.decode() for still in contents)
        while True:
            with vips.named_errors(self.path, vips.UNREADABLE):
                picture = next(pictures, None)
            if picture is None:
                return
            yield picture


def read(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a file with one picture, whatever its suffix.

    PNG, TIFF, JPEG, WebP, AVIF, BMP, GIF, JPEG 2000, ICO (its largest icon), PBM, PGM, PPM, PAM
    and PFM are read, with the extra `formats` also HEIC and JPEG XL. Palettes are expanded, 1-bit
    samples become 8-bit gray, more than 8 bits become uint16, as do fractions in 0..1, CMYK
    becomes sRGB through the file's profile (libvips' own where it has none), and the EXIF
    orientation is applied. What else TIFF may hold is listed in docs/pictures.md.

    Args:
        path: The file.
        max_pixels: Refuse a larger picture (height times width) before decoding it.

    Raises:
        PictureError: The file is missing, unreadable, empty, not a picture of these formats or of
            one that ATDSR_FORMATS leaves out, damaged or cut short, too large, has several pages
            or frames, or has samples that are not between black and white (signed, or floats
            outside 0 to 1).
    """
    frames = open_frames(path, max_pixels=max_pixels)
    if len(frames) > 1:
        raise PictureError(
            f"{frames.path}: the file holds several pages or frames; save the one you want as a "
            "file of its own."
        )
    return next(iter(frames))


def open_frames(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Frames:
    """Open a file with one or several pictures: any that `read` accepts, TIFF pages, animations.

    Animated GIF, WebP, PNG and AVIF are composited: each frame is what a viewer would show, in RGB
    and alpha of 8 bits. The file itself stays in memory, its pictures do not.

    Args:
        path: The file.
        max_pixels: Refuse a larger picture (height times width) before decoding anything; all
            together may have 256 times as many.

    Raises:
        PictureError: As for `read`, except that several pictures are fine; also for more than
            `MAX_FRAMES` of them, or an animation that is cut short anywhere.
    """
    path = file_path(path)
    with vips.named_errors(path, vips.UNREADABLE):
        data, name = _load(path)
        contents = OPENERS[name](data)
        if isinstance(contents, Animation):
            timeline = contents.timeline
            _check_sizes([(timeline.width, timeline.height)] * len(timeline.durations), max_pixels)
            width, height = contents.upright_size()
            durations, loop = timeline.durations, timeline.loop
            return Frames(path, height, width, durations, loop, contents, name)
        _check_sizes([(still.width, still.height) for still in contents], max_pixels)
        first = contents[0]
        return Frames(path, first.height, first.width, _contents=contents, _format_name=name)


def _load(path: Path) -> tuple[bytes, str]:
    """Return the content of a file and its format; a file of no format is not read to its end."""
    with files.open_regular(path) as file:
        head = file.read(HEAD_BYTES)
        name = recognise(head)
        if name is not None:
            check_allowed(name)
            if name == "tiff" and unreadable_kind(path) == RAW_KIND:
                raise UnsupportedError(CAMERA_RAW)
            return head + file.read(), name
    if not head:
        raise PictureError("the file is empty.")
    raise UnsupportedError(f"not a picture in one of the formats {', '.join(TABLE)}.")


def _check_sizes(sizes: Sequence[tuple[int, int]], max_pixels: int) -> None:
    """Refuse too many or too large pictures, before anything is decoded."""
    if not sizes:
        raise DamagedError
    if len(sizes) > MAX_FRAMES:
        raise TooLargeError(
            f"{len(sizes):,} frames are more than the limit of {MAX_FRAMES:,}; cut the file into "
            "parts."
        )
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if width * height > max_pixels:
        raise TooLargeError(
            f"{width}x{height} is {width * height:,} pixels, more than the limit of "
            f"{max_pixels:,}; cut it into parts, or raise the limit if you trust the file."
        )
    total = sum(width * height for width, height in sizes)
    if total > _TOTAL * max_pixels:
        raise TooLargeError(
            f"{len(sizes):,} pictures with a total of {total:,} pixels are more than the limit of "
            f"{_TOTAL * max_pixels:,}; cut the file into parts."
        )
