"""`write`: a picture becomes a file, wholly or not at all."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from PIL import Image

from atdsr.base import files
from atdsr.imaging import animation, avif, colour, jp2, jxl, netpbm, pages, png, saving, vips
from atdsr.imaging.formats import WITHOUT_ALPHA, WITHOUT_PROFILE, check_fits, format_of
from atdsr.imaging.picture import Picture, PictureError, split_alpha, to_uint8

_UNWRITTEN = "the picture cannot be written"


def check_target(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    alpha: bool = False,
    gray: bool = True,
    size: tuple[int, int] | None = None,
    frames: int = 1,
) -> None:
    """Find out before the work whether `write` or `write_frames` would refuse the path.

    Args:
        path: the file to be.
        overwrite: whether an existing file may be replaced.
        alpha: whether the picture will be transparent.
        gray: whether the picture will be gray, which PGM demands.
        size: width and height that it will have, in pixels; None skips the question.
        frames: how many pictures the file will hold.

    Raises:
        PictureError: an unknown suffix, or a format that cannot hold such a picture.
        FileError: something is in the way, or the folder may not be written.
    """
    path = Path(path)
    with vips.as_sentence(path, _UNWRITTEN):
        name = format_of(path)
        if alpha and name in WITHOUT_ALPHA:
            raise PictureError(f"no transparency in {name}; write PNG, TIFF, WebP or AVIF.")
        if path.suffix.lower() == ".pgm" and not gray:
            raise PictureError("PGM holds gray only; write PPM.")
        if name == "jxl":
            jxl.library()  # or the sentence that says how to get it
        check_fits(name, *(size or (1, 1)), frames)
        files.check_target(path, overwrite=overwrite)


def check_quality(quality: int | None) -> None:
    """See that a quality is one.

    Raises:
        PictureError: it is not.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise PictureError(f"quality is from 1 to 100, not {quality}.")


def write(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Write a picture in the format of the suffix, wholly or not at all.

    16-bit samples stay so in PNG, TIFF, JPEG XL, PGM and PPM, and as gray in JPEG 2000, become
    10-bit in AVIF, and are rounded to 8-bit elsewhere. WebP and AVIF have no gray: it is written as
    RGB. JPEG, BMP, PGM and PPM have no alpha: full alpha is dropped, transparency is refused.
    Colour is never subsampled, but by lossy WebP, which can do no other. GIF has 255 colours and no
    soft edges.

    Code points of colour stay so in PNG and AVIF and become a profile elsewhere. BMP, GIF, PGM and
    PPM have neither: colours become sRGB. `notices` says beforehand what a format cannot hold as it
    is.

    Args:
        picture: what to write.
        path: the file; its folder is made if need be.
        overwrite: whether an existing file may be replaced.
        quality: 1 to 100 for JPEG, WebP, AVIF and JPEG XL; the others ignore it. By default JPEG
            takes 95, AVIF 90, and WebP and JPEG XL are lossless.

    Raises:
        PictureError: the format is unknown or cannot hold the picture.
        FileError: a file is in the way, or the disk refuses; it is then as it was.
    """
    path = Path(path)
    size = picture.width, picture.height
    alpha, gray = picture.is_transparent, picture.is_gray
    check_target(path, overwrite=overwrite, alpha=alpha, gray=gray, size=size)
    name = format_of(path)
    with vips.as_sentence(path, _UNWRITTEN):
        check_quality(quality)
    with files.atomic_write(path, overwrite=overwrite) as temporary:
        if name == "gif":
            animation.write(iter([picture]), temporary, name, animation.Settings(path))
            return
        try:
            with vips.as_sentence(path, _UNWRITTEN):
                _write(picture, temporary, path.suffix.lower(), quality)
        except PictureError:
            _raise_if_full(temporary)
            raise


def _write(picture: Picture, temporary: Path, suffix: str, quality: int | None) -> None:
    name = format_of(Path(f"a{suffix}"))
    if name in WITHOUT_PROFILE:
        picture = colour.to_srgb(picture)
    if name == "bmp":
        _write_bmp(picture, temporary)
        return
    said = saving.said_in(picture, name)
    image, options = saving.prepared(picture, name, said, quality)
    match name:
        case "jxl":
            jxl.write(image, temporary, quality)
        case "jp2":
            jp2.write(image, temporary)
        case "ppm":
            netpbm.write(image, temporary, suffix)
        case _:
            # the saver by name: that of the suffix would read the name for options
            getattr(image, f"{vips.NAMES.get(name, name)}save")(str(temporary), **options)
    if name == "tiff" and said.exif:
        pages.add_exif(temporary, said.exif)
    if name == "png" and (chunks := png.chunks_of(picture, said)):
        png.add_chunks(temporary, chunks)
    if name == "avif" and picture.code_points:
        temporary.write_bytes(avif.described(temporary.read_bytes(), picture))


def _raise_if_full(path: Path) -> None:
    """Find out whether the disk takes no more; the libraries only say that they could not write.

    Raises:
        OSError: it does not.
    """
    with path.open("ab") as file:
        file.write(bytes(2**20))


def _write_bmp(picture: Picture, temporary: Path) -> None:
    samples = to_uint8(split_alpha(picture.samples)[0])  # alpha is full: `check_target` saw to it
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    dpi = picture.metadata.dpi
    with temporary.open("wb") as file:
        image.save(cast(BinaryIO, _Plain(file)), "BMP", **({"dpi": dpi} if dpi else {}))


@dataclass(frozen=True)
class _Plain:
    """A file of which Pillow does not know that it is one.

    To a real file it writes past Python, and does not notice when a full disk takes only a part.
    """

    file: BinaryIO

    def write(self, data: bytes) -> int:
        """Write all of it."""
        return self.file.write(data)

    def flush(self) -> None:
        """Nothing is held back here."""
