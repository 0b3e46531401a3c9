"""Metadata of pictures: EXIF, XMP, and the tag tables of TIFF that EXIF is made of."""

from atdsr.imaging.metadata.exif import (
    clean_metadata,
    exif_from_dpi,
    exif_of_page,
    is_adobe_rgb,
    orientation,
    plausible_dpi,
    resolution,
    tiff_tags_from_exif,
    with_text_in_exif,
    without_exif_prefix,
)

__all__ = [
    "clean_metadata",
    "exif_from_dpi",
    "exif_of_page",
    "is_adobe_rgb",
    "orientation",
    "plausible_dpi",
    "resolution",
    "tiff_tags_from_exif",
    "with_text_in_exif",
    "without_exif_prefix",
]
