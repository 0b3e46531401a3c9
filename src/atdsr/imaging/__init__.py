"""Picture file <-> integer samples h w c <-> float tensor n c h w in [0, 1].

Everything about picture files is decided here and nowhere else: colour, alpha, bit depth,
orientation, colour profiles, atomic writes, and the only rounding of the project (`to_array`;
samples of one depth are brought to another by `rescale`, which rounds the same way).

`reading.read` recognises a file by its first bytes (`formats`) and passes it to the one module of
`codecs` for that format. So no other decoder ever sees it, and characters that libvips would read
as options in a file name mean nothing. PNG, TIFF, JPEG and WebP go through libvips, BMP, GIF, ICO
and JPEG 2000 through Pillow, AVIF through both, HEIC and JPEG XL through the libraries of an
extra; Netpbm is read and written here. Pillow composites the frames of animations.
`writing.write` goes the other way.

EXIF, XMP, texts and resolution stay with a picture where the format holds them, without what would
be wrong for another picture (see `metadata`). A picture without a profile or code points is sRGB
(see `colour`). libvips is loaded on first use; nothing here prints or changes global state.
"""

from atdsr.imaging.alpha import visible_colours
from atdsr.imaging.codecs.jpeg import quality as jpeg_quality
from atdsr.imaging.conversion import (
    Content,
    PictureLike,
    convert_input,
    gray_from_rgb,
    gray_to_rgb,
    to_array,
    to_tensor,
)
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
from atdsr.imaging.memmap import release_memory, temporary_array
from atdsr.imaging.picture import (
    CodePoints,
    Metadata,
    Picture,
    PictureError,
    TooLargeError,
    UnsupportedError,
    join_alpha,
    replicate_gray,
    split_alpha,
    to_uint8,
    without_metadata,
)
from atdsr.imaging.pillow import from_pil, to_pil
from atdsr.imaging.reading import Frames, open_frames, read
from atdsr.imaging.writing import check_target, notices, write, write_frames

__all__ = [
    "EXTRA_KINDS",
    "FORMATS",
    "READABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "CodePoints",
    "Content",
    "Frames",
    "Metadata",
    "Picture",
    "PictureError",
    "PictureLike",
    "TooLargeError",
    "UnsupportedError",
    "check_target",
    "convert_input",
    "format_of",
    "from_pil",
    "gray_from_rgb",
    "gray_to_rgb",
    "is_picture_file",
    "join_alpha",
    "jpeg_quality",
    "notices",
    "open_frames",
    "read",
    "recognise",
    "release_memory",
    "replicate_gray",
    "split_alpha",
    "temporary_array",
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
