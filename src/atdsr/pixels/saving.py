"""A picture made ready for one of libvips' savers, and the settings of that saver."""

from typing import Any

from atdsr.pixels import metadata, vips
from atdsr.pixels.formats import WITHOUT_ALPHA, WITHOUT_GRAY, WITHOUT_PROFILE
from atdsr.pixels.picture import Metadata, Picture

_DOTS = 72.0  # an inch: what readers assume of none; libvips would write 25.4
_TIFF_BYTES = 2**32 - 2**26  # offsets of a plain TIFF end at 4 GiB


def prepared(
    picture: Picture, name: str, said: Metadata, quality: int | None
) -> tuple[Any, dict[str, Any]]:
    """A picture as a libvips image for a format, and the options for its saver.

    Nothing is computed yet: samples pass through piece by piece while the file is written.

    Args:
        picture: what to write; transparency in a format without alpha is gone afterwards.
        name: the format, of those that libvips writes.
        said: the metadata as `metadata.clean` leaves them.
        quality: of a lossy format, or None for the default.
    """
    image = vips.to_vips(picture.samples)
    if name in WITHOUT_ALPHA and picture.has_alpha:  # it is full: `check_target` saw to it
        image = image.extract_band(0, n=image.bands - 1)
    icc = vips.matching(picture.icc, image.bands)
    if icc and picture.is_gray and name in WITHOUT_GRAY:  # it would not fit the RGB of the file
        image, icc = vips.to_srgb(vips.with_profile(image, icc)), None
    elif icc and name in WITHOUT_PROFILE:
        image, icc = vips.to_srgb(vips.with_profile(image, icc)), None
        image = image.extract_band(0) if picture.is_gray else image
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
