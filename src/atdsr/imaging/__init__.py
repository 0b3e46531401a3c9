"""Picture file <-> integer samples h w c <-> float tensor n c h w in [0, 1].

Everything about files is decided here and nowhere else: colour, alpha, bit depth, orientation,
colour profiles, atomic writes, and the only rounding of the project (`to_array`; samples of one
depth are brought to another by `rescale`, which rounds the same way).

The formats are PNG, TIFF, JPEG and WebP through libvips, BMP, GIF and ICO through Pillow, and those
that have a module here (`avif`, `heif`, `jp2`, `jxl`, `netpbm`); frames of animations are
composited by Pillow and written by `animation`. A file is recognised by its
first bytes and handed to the one decoder for that format by name, so no other decoder ever sees
it and characters that libvips would read as options in a name mean nothing.

EXIF, XMP, texts and resolution stay with a picture where the format holds them, without what would
be wrong for another picture (see `metadata`). A picture without a profile or code points is sRGB
(see `colour`). libvips is loaded on first use; nothing here prints or changes global state.
"""

from atdsr.imaging.alpha import visible_colours
from atdsr.imaging.disk import release, scratch
from atdsr.imaging.encode import check_target, write
from atdsr.imaging.formats import (
    EXTRA_KINDS,
    FORMATS,
    READABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    format_of,
    is_picture_file,
    recognise,
    unreadable_kind,
)
from atdsr.imaging.frames import MAX_FRAMES, MAX_PIXELS, Frames, open_frames, read, write_frames
from atdsr.imaging.kinds import Content, Kind, accept
from atdsr.imaging.picture import (
    CodePoints,
    Metadata,
    Picture,
    PictureError,
    join_alpha,
    replicate_gray,
    split_alpha,
    to_uint8,
    without_metadata,
)
from atdsr.imaging.pil import from_pil, to_pil
from atdsr.imaging.saving import notices
from atdsr.imaging.tensors import gray_to_rgb, luma, to_array, to_tensor

__all__ = [
    "EXTRA_KINDS",
    "FORMATS",
    "MAX_FRAMES",
    "MAX_PIXELS",
    "READABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "CodePoints",
    "Content",
    "Frames",
    "Kind",
    "Metadata",
    "Picture",
    "PictureError",
    "accept",
    "check_target",
    "format_of",
    "from_pil",
    "gray_to_rgb",
    "is_picture_file",
    "join_alpha",
    "luma",
    "notices",
    "open_frames",
    "read",
    "recognise",
    "release",
    "replicate_gray",
    "scratch",
    "split_alpha",
    "to_array",
    "to_pil",
    "to_tensor",
    "to_uint8",
    "unreadable_kind",
    "visible_colours",
    "without_metadata",
    "write",
    "write_frames",
]
