"""Pictures become files, wholly or not at all, and what a file cannot hold is named before."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from atdsr.base import files
from atdsr.base.errors import short
from atdsr.imaging import colour, vips
from atdsr.imaging.codecs import FRAME_WRITERS, WRITERS, tiff
from atdsr.imaging.codecs.interface import AnimationOptions, check_frames
from atdsr.imaging.conversion import AnyPicture, to_picture
from atdsr.imaging.formats import TABLE, check_fits, file_path, format_of, load_extra
from atdsr.imaging.metadata import clean_metadata, with_text_in_exif
from atdsr.imaging.picture import Picture, PictureError, replicate_gray, split_alpha

_MOST_KEYWORDS = 5  # in a notice


def check_target(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    alpha: bool = False,
    gray: bool = True,
    size: tuple[int, int] | None = None,
    frames: int = 1,
) -> None:
    """Check before long work that `write` or `write_frames` will accept a path.

    Args:
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.
        alpha: Whether the picture will be transparent.
        gray: Whether the picture will be gray, which PGM demands.
        size: Width and height that it will have in pixels; None skips this check.
        frames: How many pictures the file will hold.

    Raises:
        PictureError: The suffix is unknown, or the format cannot hold such a picture.
        FileError: Something is in the way, or the folder is not writable.
    """
    path = file_path(path)
    with vips.named_errors(path, vips.UNWRITABLE):
        name = format_of(path)
        if alpha and not TABLE[name].holds_alpha:
            raise PictureError(f"no transparency in {name}; write PNG, TIFF, WebP or AVIF.")
        if path.suffix.lower() == ".pgm" and not gray:
            raise PictureError("PGM holds gray only; write PPM.")
        if TABLE[name].extra:
            load_extra(name)  # or the sentence that says how to install it
        check_fits(name, *(size or (1, 1)), frames)
        files.check_target(path, overwrite=overwrite)


def _check_quality(quality: int | None, path: Path) -> None:
    if quality is None:
        return
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise PictureError(f"{path}: quality is from 1 to 100, not {short(quality)}.")


def write(
    picture: AnyPicture,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Write a picture in the format of the suffix, wholly or not at all.

    16-bit samples stay so in PNG, TIFF, JPEG XL, PGM and PPM, and as gray in JPEG 2000, become
    10-bit in AVIF, and are rounded to 8-bit elsewhere. WebP and AVIF have no gray: it is written as
    RGB. JPEG, BMP, PGM and PPM have no alpha: full alpha is dropped, transparency is refused.
    Colour is never subsampled, except by lossy WebP, which always does. GIF has 255 colours and no
    soft edges.

    Code points of colour stay so in PNG and AVIF and become a profile elsewhere. BMP, GIF, PGM and
    PPM have neither: colours become sRGB. `notices` says beforehand what a format cannot hold
    unchanged.

    Args:
        picture: The picture, of any kind that an `Upscaler` takes. Only an `imaging.Picture` and a
            Pillow image bring a profile and metadata along; floats are rounded to 8 bits.
        path: The file; its folder is created if necessary.
        overwrite: Whether an existing file may be replaced.
        quality: 1 to 100 for JPEG, WebP, AVIF and JPEG XL; the others ignore it. By default JPEG
            takes 95, AVIF 90, and WebP and JPEG XL are lossless.

    Raises:
        PictureError: It is no picture, or the format is unknown or cannot hold it.
        FileError: A file is in the way, or the disk refuses; an existing file is unchanged then.
    """
    path = file_path(path)
    content = to_picture(picture)
    size = content.width, content.height
    alpha, gray = content.is_transparent, content.is_gray
    check_target(path, overwrite=overwrite, alpha=alpha, gray=gray, size=size)
    _check_quality(quality, path)
    name = format_of(path)
    with files.atomic_write(path, overwrite=overwrite) as temporary:
        try:
            with vips.named_errors(path, vips.UNWRITABLE):
                if not TABLE[name].holds_profile:
                    content = colour.to_srgb(content)
                if path.suffix.lower() == ".ppm" and gray:  # .pnm may be gray, .ppm may not
                    samples = replicate_gray(split_alpha(content.samples)[0])
                    content = replace(content, samples=samples)
                WRITERS[name](content, temporary, quality)
        except PictureError:
            _raise_if_full(temporary)
            raise


def _raise_if_full(path: Path) -> None:
    """Find out whether the disk is full; the libraries only say that they could not write.

    Raises:
        OSError: It is full.
    """
    with path.open("ab") as file:
        file.write(bytes(2**20))


def write_frames(
    pictures: Iterable[AnyPicture],
    path: str | os.PathLike[str],
    *,
    durations: Sequence[int] | None = None,
    loop: int = 0,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Write pages or an animation in the format of the suffix, wholly or not at all.

    Each picture is requested when the one before it is written, so that few are in memory at a
    time. The frames of an animation are written as a whole and with 8 bits; profile and metadata
    are those of the first.

    Args:
        pictures: Pictures as for `write`: pages of any size and kind for TIFF; for GIF, WebP, PNG
            and AVIF frames of one size and number of channels.
        path: The file; its folder is created if necessary.
        durations: How long each frame is shown, in milliseconds (GIF counts in steps of 10); None
            for pages.
        loop: How often an animation is shown; 0 is forever.
        overwrite: Whether an existing file may be replaced.
        quality: 1 to 100 for WebP, which is lossless by default, and AVIF, where it is 90.

    Raises:
        PictureError: The format does not hold pages, or frames, or these.
        FileError: A file is in the way, or the disk refuses; an existing file is unchanged then.
    """
    path = file_path(path)
    check_target(path, overwrite=overwrite)
    _check_quality(quality, path)
    name = format_of(path)
    with vips.named_errors(path, vips.UNWRITABLE):
        if durations is None and not TABLE[name].holds_pages:
            raise PictureError(f"{name} holds no pages; write TIFF.")
        if durations is not None and name not in FRAME_WRITERS:
            raise PictureError(f"{name} holds no animation; write GIF, WebP, PNG or AVIF.")
        if durations is not None and loop < 0:
            raise PictureError(f"loop is how often to show it, 0 forever, not {loop}.")
    with files.atomic_write(path, overwrite=overwrite) as temporary:
        fitting = _check_each(pictures, path, name)
        if durations is None:
            tiff.write_pages(fitting, temporary, path)
            return
        longest = TABLE[name].longest_frame
        durations = [max(0, min(duration, longest)) for duration in durations]
        options = AnimationOptions(path, durations, loop, quality)
        with temporary.open("wb") as file:
            FRAME_WRITERS[name](file, check_frames(fitting, options), options)


def _check_each(pictures: Iterable[AnyPicture], path: Path, name: str) -> Iterator[Picture]:
    """Yield the pictures, and check that each fits into the format and that there is one."""
    empty = True
    for picture in map(to_picture, pictures):
        empty = False
        with vips.named_errors(path, vips.UNWRITABLE):
            check_fits(name, picture.width, picture.height, 1)
        yield picture
    if empty:
        raise PictureError(f"{path}: {vips.UNWRITABLE}: there is none.")


def notices(picture: AnyPicture, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return sentences about what a file cannot hold unchanged, except for depth and gray.

    Args:
        picture: The picture to be written, as for `write`.
        path: The file to be written; its suffix is the format.

    Raises:
        PictureError: It is no picture, or no format has that suffix.
    """
    name, content = format_of(file_path(path)), to_picture(picture)
    return (*_colour_notices(content, name), *_metadata_notices(content, name))


def _colour_notices(picture: Picture, name: str) -> Iterator[str]:
    row = TABLE[name]
    icc = vips.matching_profile(picture.icc, picture.samples.shape[2])
    points = None if icc else colour.resolve(picture.code_points)
    if icc is None and points in (None, colour.SRGB):
        return
    colours = colour.name_of(points) if points else colour.profile_name(icc or b"")
    colours = colours or "A colour profile without a name"
    if not row.holds_profile:
        if icc and colour.is_srgb(icc):
            return
        clipped = ""
        if colour.is_hdr(points):
            clipped = f"; what is brighter than {colour.REFERENCE_WHITE:.0f} cd/m2 becomes white"
        yield f"{colours} becomes sRGB, since {name} holds no colour profile{clipped}."
    elif (
        icc
        and picture.is_gray
        and not row.holds_gray
        and not (colour.rgb_from_gray_profile(icc) or colour.is_srgb(icc))
    ):
        yield f"{colours} becomes sRGB, since {name} holds gray as RGB."
    elif points and not row.holds_code_points:
        yield f"{colours} is kept as an ICC profile, since {name} holds no code points."


def _metadata_notices(picture: Picture, name: str) -> Iterator[str]:
    row = TABLE[name]
    metadata = clean_metadata(picture.metadata, picture.width, picture.height)
    if not row.holds_metadata:
        kinds = {"EXIF": metadata.exif, "XMP": metadata.xmp, "PNG texts": metadata.text}
        if lost := [kind for kind, content in kinds.items() if content]:
            yield f"{' and '.join(lost)} left out, since {name} holds none."
        return
    if metadata.xmp and row.largest_xmp and len(metadata.xmp) > row.largest_xmp:
        yield f"XMP left out, since {name} holds no more than {row.largest_xmp:,} bytes of it."
    if name != "png" and (left := with_text_in_exif(metadata)[1]):
        shown = [key for key in left if key.isprintable()][:_MOST_KEYWORDS]
        more = ["others"] if len(shown) < len(left) else []
        yield f"PNG texts left out, since {name} has no place for them: {', '.join(shown + more)}."
