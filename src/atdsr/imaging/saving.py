"""A picture made ready for one of libvips' savers, and what is lost or changed on the way."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atdsr.imaging import colour, metadata, vips
from atdsr.imaging.formats import (
    LARGEST_XMP,
    WITH_CODE_POINTS,
    WITHOUT_ALPHA,
    WITHOUT_GRAY,
    WITHOUT_METADATA,
    WITHOUT_PROFILE,
    format_of,
)
from atdsr.imaging.picture import Metadata, Picture

_MOST_SHOWN = 5  # keywords in a sentence
_DOTS = 72.0  # an inch: what readers assume of none; libvips would write 25.4
_TIFF_BYTES = 2**32 - 2**26  # offsets of a plain TIFF end at 4 GiB


def said_in(picture: Picture, name: str) -> Metadata:
    """The metadata of a picture as a format holds them: for PNG its texts, for others in EXIF."""
    said = metadata.clean(picture.metadata, picture.width, picture.height)
    return said if name == "png" else metadata.with_text_in_exif(said)[0]


def notices(picture: Picture, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """What a file cannot hold as the picture has it, in sentences; depth and gray aside.

    Args:
        picture: what is to be written.
        path: the file to be; its suffix is the format.

    Raises:
        PictureError: no format has that suffix.
    """
    name = format_of(Path(path))
    return (*_notices_of_colour(picture, name), *_notices_of_metadata(picture, name))


def _notices_of_colour(picture: Picture, name: str) -> Iterator[str]:
    icc = vips.matching(picture.icc, picture.samples.shape[2])
    points = None if icc else colour.resolved(picture.code_points)
    if icc is None and points in (None, colour.SRGB):
        return
    called = colour.name_of(points) if points else colour.described(icc or b"")
    called = called or "A colour profile without a name"
    if name in WITHOUT_PROFILE:
        if icc and colour.is_srgb(icc):
            return
        bright = ""
        if colour.is_hdr(points):
            bright = f"; what is brighter than {colour.REFERENCE_WHITE:.0f} cd/m2 becomes white"
        yield f"{called} becomes sRGB, since {name} holds no colour profile{bright}."
    elif (
        icc
        and picture.is_gray
        and name in WITHOUT_GRAY
        and not (colour.for_rgb(icc) or colour.is_srgb(icc))
    ):
        yield f"{called} becomes sRGB, since {name} holds gray as RGB."
    elif points and name not in WITH_CODE_POINTS:
        yield f"{called} is kept as an ICC profile, since {name} holds no code points."


def _notices_of_metadata(picture: Picture, name: str) -> Iterator[str]:
    said = metadata.clean(picture.metadata, picture.width, picture.height)
    if name in WITHOUT_METADATA:
        kinds = {"EXIF": said.exif, "XMP": said.xmp, "PNG texts": said.text}
        if lost := [kind for kind, content in kinds.items() if content]:
            yield f"{' and '.join(lost)} left out, since {name} holds none."
        return
    if said.xmp and len(said.xmp) > LARGEST_XMP.get(name, len(said.xmp)):
        yield f"XMP left out, since {name} holds no more than {LARGEST_XMP[name]:,} bytes of it."
    if name != "png" and (left := metadata.with_text_in_exif(said)[1]):
        shown = [key for key in left if key.isprintable()][:_MOST_SHOWN]
        more = ["others"] if len(shown) < len(left) else []
        yield f"PNG texts left out, since {name} has no place for them: {', '.join(shown + more)}."


def prepared(
    picture: Picture, name: str, said: Metadata, quality: int | None
) -> tuple[Any, dict[str, Any]]:
    """A picture as a libvips image for a format, and the options for its saver.

    Nothing is computed yet: samples pass through piece by piece while the file is written.

    Args:
        picture: what to write; transparency in a format without alpha is gone afterwards.
        name: the format, of those that libvips writes.
        said: the metadata as `said_in` gives them.
        quality: of a lossy format, or None for the default.
    """
    image = vips.to_vips(picture.samples)
    if name in WITHOUT_ALPHA and picture.has_alpha:  # it is full: `check_target` saw to it
        image = image.extract_band(0, n=image.bands - 1)
    icc = vips.matching(picture.icc, image.bands)
    if name == "png":  # `png` adds it, also one that libpng would refuse to write
        icc = None
    elif icc and picture.is_gray and name in WITHOUT_GRAY:  # it would not fit the RGB of the file
        as_rgb = colour.for_rgb(icc)
        if as_rgb is None and not colour.is_srgb(icc):
            image = vips.to_srgb(vips.with_profile(image, icc))
        icc = as_rgb
    elif icc is None and name not in WITH_CODE_POINTS:
        icc = colour.profile(picture, 3 if name in WITHOUT_GRAY else image.bands)
    wide = image.format == "ushort"
    narrow = name in ("jpg", "webp") or (name == "jp2" and image.bands > 1)
    if wide and narrow:
        # half up, as everywhere: a float of 32 bits tells x / 257 from a half, which it never is
        kind = "b-w" if image.bands < 3 else "srgb"
        image = image.linear(255 / 65535, 0.5).cast("uchar").copy(interpretation=kind)
    elif wide and name == "avif":
        # libvips would shift 16 bits down to 10, which rounds towards zero
        tens = image.cast("double").linear(1023 / 65535, 0.5).cast("ushort") * 64
        image = tens.cast("ushort").copy(interpretation=image.interpretation)
    xmp = None if name == "png" else said.xmp  # `png` adds it
    if xmp and len(xmp) > LARGEST_XMP.get(name, len(xmp)):
        xmp = None
    blobs = {"icc-profile-data": icc, "exif-data": _exif(said, name), "xmp-data": xmp}
    x, y = said.dpi or (_DOTS, _DOTS)
    image = image.copy(xres=x / 25.4, yres=y / 25.4)
    image = vips.with_blobs(image, {key: value for key, value in blobs.items() if value})
    kept = {"icc-profile-data": "icc", "exif-data": "exif", "xmp-data": "xmp"}
    keep = "|".join(kept[key] for key, value in blobs.items() if value) or "none"
    return image, _options(name, wide, quality, picture.samples.nbytes) | {"keep": keep}


def _exif(said: Metadata, name: str) -> bytes | None:
    if name == "tiff":  # libvips has no way; `pages` adds it
        return None
    if said.exif is None and said.dpi is not None and name in ("jpg", "webp", "avif", "jxl"):
        return metadata.only_dots(said.dpi)
    return said.exif


def _options(name: str, wide: bool, quality: int | None, size: int) -> dict[str, Any]:
    """The options of libvips for a format; wide is 16-bit, size is in bytes."""
    match name:
        case "png":
            return {"compression": 6, "filter": "all"}
        case "tiff":
            bigtiff = size > _TIFF_BYTES
            return {"compression": "deflate", "predictor": "horizontal", "bigtiff": bigtiff}
        case "jpg":
            return {"Q": quality or 95, "subsample_mode": "off"}
        case "webp" if quality is None:
            return {"lossless": True, "exact": True, "effort": 2}  # exact: also invisible pixels
        case "webp":
            return {"Q": quality, "smart_subsample": True, "exact": True}
        case "jxl" | "jp2" | "ppm":  # libvips does not write them
            return {}
        case _:
            # effort 4, the default, takes ten times as long for a file of the same size
            av1 = {"compression": "av1", "effort": 2, "subsample_mode": "off"}
            return av1 | {"Q": quality or 90, "bitdepth": 10 if wide else 8}
