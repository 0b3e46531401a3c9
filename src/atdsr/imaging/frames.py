"""Files of one or several pictures: `read`, `open_frames` and `write_frames`."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from atdsr.base import files
from atdsr.imaging import animation, avif, colour, metadata, pages, png, tiff, vips
from atdsr.imaging import timeline as timelines
from atdsr.imaging.decode import decode, size
from atdsr.imaging.encode import check_quality, check_target
from atdsr.imaging.formats import (
    ANIMATED,
    FORMATS,
    HEAD,
    check_allowed,
    check_fits,
    format_of,
    recognise,
)
from atdsr.imaging.picture import (
    Metadata,
    Picture,
    PictureError,
    join_alpha,
    replicate_gray,
    split_alpha,
    to_uint8,
)
from atdsr.imaging.pil import picture_of, pillow, said_of
from atdsr.imaging.timeline import Timeline, timeline

MAX_PIXELS = 2**28
"""Height times width of the largest picture that `read` decodes: a square of 16384."""

MAX_FRAMES = 10_000
"""The most pages or frames of a file."""

_TOTAL = 256  # all frames together: so many times the limit of pixels
_UNWRITTEN = "the picture cannot be written"
_ANIMATIONS = {
    "gif": GifImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
}


@dataclass(frozen=True, eq=False)
class Frames:
    """The pictures in a file, each decoded when its turn comes; one can go through them again.

    Attributes:
        path: the file, as it was named.
        height: of the first picture in pixels, upright; the frames of an animation are all of
            one size, the pages of a TIFF file may differ.
        width: likewise.
        durations: milliseconds of each frame; None for pages, and for a file of one picture.
        loop: how often an animation is shown; 0 is for ever.
    """

    path: Path
    height: int
    width: int
    durations: tuple[int, ...] | None = None
    loop: int = 1
    _tables: tuple[int, ...] = (0,)  # of pages: where their tags are
    _data: bytes = field(default=b"", repr=False)
    _name: str = ""
    _cover: bool = False

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._tables if self.durations is None else self.durations)

    @property
    def format_name(self) -> str:
        """The format of the file, which its content tells, of `formats.FORMATS`."""
        return self._name

    def __iter__(self) -> Iterator[Picture]:
        """Decode one after another.

        Raises:
            PictureError: a picture is damaged or cut short, or of no kind that `Picture` has.
        """
        pictures = self._decoded()
        while True:
            with vips.as_sentence(self.path, vips.UNREAD):
                picture = next(pictures, None)
            if picture is None:
                return
            yield picture

    def _decoded(self) -> Iterator[Picture]:
        if self.durations is None:
            for table in self._tables:
                yield decode(self._data, self._name, table)
            return
        image, said, described = _animation(self._data, self._name)
        points = avif.track_points(self._data) if self._name == "avif" else None
        for number in range(len(self)):
            with pillow():
                image.seek(number + self._cover)
                picture = picture_of(image, said)
                if described is not None:
                    picture = described.applied(picture, image.info.get("icc_profile"))
                picture = _with_alpha(picture)
            if (picture.width, picture.height) != (self.width, self.height):
                raise PictureError("the animation is damaged or cut short.")
            yield replace(picture, code_points=points) if points and not picture.icc else picture


def _animation(
    data: bytes, name: str
) -> tuple[ImageFile.ImageFile, Metadata, png.Described | None]:
    """An animation opened, what its file says of all frames, and the chunks of a PNG file."""
    with pillow():
        image = _ANIMATIONS[name](io.BytesIO(data))
        said = avif.said_of(image) if name == "avif" else said_of(image, image.info.get("exif"))
    if name != "png":
        return image, said, None
    described = png.describe(data)
    return image, replace(described.metadata, dpi=said.dpi), described


def _with_alpha(picture: Picture) -> Picture:
    """A frame as RGB and alpha of 8 bits, so that all frames are of one kind."""
    if picture.is_gray and picture.icc:  # a profile of gray would not fit
        as_rgb = colour.for_rgb(picture.icc)
        picture = replace(picture, icc=as_rgb) if as_rgb else colour.to_srgb(picture)
    shown, alpha = split_alpha(to_uint8(picture.samples))
    if alpha is None:
        alpha = np.full((*shown.shape[:2], 1), 255, np.uint8)
    return replace(picture, samples=join_alpha(replicate_gray(shown), alpha))


def read(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a file of one picture, whatever its suffix.

    PNG, TIFF, JPEG, WebP, AVIF, BMP, GIF, JPEG 2000, ICO (its largest icon), PBM, PGM, PPM, PAM
    and PFM are read, with the extra `formats` HEIC and JPEG XL too. Palettes are expanded, 1-bit
    samples become 8-bit gray, more than 8 bits become uint16, as do fractions in 0..1, CMYK
    becomes sRGB through the file's profile (libvips' own where it has none), and the EXIF
    orientation is applied. What TIFF may hold beside that is listed in docs/pictures.md.

    Args:
        path: the file.
        max_pixels: refuse a larger picture (height times width) before decoding it.

    Raises:
        PictureError: the file is missing, unreadable, empty, not a picture of these formats or of
            one that ATDSR_FORMATS leaves out, damaged or cut short, too large, of several pages or
            frames, or of samples that have no place between black and white (signed, or floats
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
    """Look into a file of one or several pictures: any that `read` takes, TIFF pages, animations.

    Animated GIF, WebP, PNG and AVIF are composited: each frame is what a viewer would show, in RGB
    and alpha of 8 bits. The file itself stays in memory, its pictures do not.

    Args:
        path: the file.
        max_pixels: refuse a larger picture (height times width) before decoding anything; all
            together may have 256 times as many.

    Raises:
        PictureError: as `read`, but for several pictures; also more than `MAX_FRAMES`, an
            animation that is cut short anywhere.
    """
    path = Path(path)
    with vips.as_sentence(path, vips.UNREAD):
        data, name = _load(path)
        moving = timeline(data, name)
        if name == "gif" and moving is not None:
            data = timelines.with_size(data, moving)
        if moving is not None and len(moving.durations) > 1:
            sizes = [(moving.width, moving.height)] * len(moving.durations)
            _check(sizes, max_pixels)
            return _animated(path, data, name, moving)
        if name == "tiff":
            tables, sizes = tiff.pages(data, MAX_FRAMES)
        else:
            tables, sizes = (0,), [size(data, name)]
        _check(sizes, max_pixels)
        width, height = sizes[0]
        return Frames(path, height, width, _tables=tables, _data=data, _name=name)


def _load(path: Path) -> tuple[bytes, str]:
    """The content of a file and the name of its format; a foreign file is not read to its end."""
    with files.open_regular(path) as file:
        head = file.read(HEAD)
        name = recognise(head)
        if name is not None:
            check_allowed(name)
            return head + file.read(), name
    if not head:
        raise PictureError("the file is empty.")
    raise PictureError(f"not a picture in one of the formats {', '.join(FORMATS)}, heic, ico.")


def _animated(path: Path, data: bytes, name: str, moving: Timeline) -> Frames:
    """The frames of an animation; the orientation that a file states is that of all of them."""
    if name == "png":
        png.check(data)
    image, said, _ = _animation(data, name)
    if isinstance(image, AvifImageFile) and image.n_frames != len(moving.durations):
        raise PictureError("the animation is damaged or cut short.")
    turned = metadata.orientation(said.exif, said.xmp) > 4
    width, height = (moving.width, moving.height)[:: -1 if turned else 1]
    return Frames(
        path,
        height,
        width,
        durations=moving.durations,
        loop=moving.loop,
        _data=data,
        _name=name,
        _cover=moving.cover,
    )


def _check(sizes: Sequence[tuple[int, int]], max_pixels: int) -> None:
    """Refuse what is too much, before anything is decoded."""
    if not sizes:
        raise PictureError("it is damaged or cut short.")
    if len(sizes) > MAX_FRAMES:
        raise PictureError(f"{len(sizes):,} frames are more than the limit of {MAX_FRAMES:,}.")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if width * height > max_pixels:
        raise PictureError(
            f"{width}x{height} is {width * height:,} pixels, more than the limit of "
            f"{max_pixels:,}; cut it into parts, or raise the limit if you trust the file."
        )
    total = sum(width * height for width, height in sizes)
    if total > _TOTAL * max_pixels:
        raise PictureError(
            f"{len(sizes):,} pictures of together {total:,} pixels are more than the limit of "
            f"{_TOTAL * max_pixels:,}; cut the file into parts."
        )


def write_frames(
    pictures: Iterable[Picture],
    path: str | os.PathLike[str],
    *,
    durations: Sequence[int] | None = None,
    loop: int = 0,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Write pages or an animation in the format of the suffix, wholly or not at all.

    Each picture is taken when the one before it is written, so that few are in memory at a time.
    The frames of an animation become 8-bit, whole, and of the profile and metadata of the first.

    Args:
        pictures: pages of any size and kind for TIFF; for GIF, WebP, PNG and AVIF frames of one
            size and number of channels.
        path: the file; its folder is made if need be.
        durations: milliseconds of each frame (GIF counts in steps of 10); None for pages.
        loop: how often an animation is shown; 0 is for ever.
        overwrite: whether an existing file may be replaced.
        quality: 1 to 100 for WebP, which is lossless by default, and AVIF, where it is 90.

    Raises:
        PictureError: the format does not hold pages, or frames, or these.
        FileError: a file is in the way, or the disk refuses; it is then as it was.
    """
    path = Path(path)
    check_target(path, overwrite=overwrite)
    name = format_of(path)
    with vips.as_sentence(path, _UNWRITTEN):
        check_quality(quality)
        if durations is None and name != "tiff":
            raise PictureError(f"{name} holds no pages; write TIFF.")
        if durations is not None and name not in ANIMATED:
            raise PictureError(f"{name} holds no animation; write GIF, WebP, PNG or AVIF.")
        if durations is not None and loop < 0:
            raise PictureError(f"loop is how often to show it, 0 for ever, not {loop}.")
    with files.atomic_write(path, overwrite=overwrite) as temporary:
        checked = _fitting(pictures, path, name)
        if durations is None:
            pages.write(checked, temporary, path)
        else:
            settings = animation.Settings(path, tuple(durations), loop, quality)
            animation.write(checked, temporary, name, settings)


def _fitting(pictures: Iterable[Picture], path: Path, name: str) -> Iterator[Picture]:
    """The pictures, each of a size that the format holds, and at least one."""
    empty = True
    for picture in pictures:
        empty = False
        with vips.as_sentence(path, _UNWRITTEN):
            check_fits(name, picture.width, picture.height, 1)
        yield picture
    if empty:
        raise PictureError(f"{path}: {_UNWRITTEN}: there is none.")
