"""One module for each format, and which of them reads and writes it.

`interface.py` describes what such a module offers.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from atdsr.imaging.codecs import avif, bmp, gif, heif, jp2, jpeg, jxl, netpbm, png, tiff, webp
from atdsr.imaging.codecs.interface import Animation, AnimationOptions, Still
from atdsr.imaging.picture import Picture

OPENERS: dict[str, Callable[[bytes], list[Still] | Animation]] = {
    "png": png.open_file,
    "tiff": tiff.open_file,
    "jpg": jpeg.open_file,
    "webp": webp.open_file,
    "avif": avif.open_file,
    "bmp": bmp.open_file,
    "gif": gif.open_file,
    "jxl": jxl.open_file,
    "jp2": jp2.open_file,
    "ppm": netpbm.open_file,
    "heic": heif.open_file,
    "ico": bmp.open_icon_file,
}
"""What looks at a file of each format, without decoding it."""

WRITERS: dict[str, Callable[[Picture, Path, int | None], None]] = {
    "png": png.write,
    "tiff": tiff.write,
    "jpg": jpeg.write,
    "webp": webp.write,
    "avif": avif.write,
    "bmp": bmp.write,
    "gif": gif.write,
    "jxl": jxl.write,
    "jp2": jp2.write,
    "ppm": netpbm.write,
}
"""What writes a picture in each format: the picture, the path, and the quality or None."""

FRAME_WRITERS: dict[str, Callable[[BinaryIO, Iterator[Picture], AnimationOptions], None]] = {
    "png": png.write_frames,
    "webp": webp.write_frames,
    "avif": avif.write_frames,
    "gif": gif.write_frames,
}
"""What writes an animation in each format."""
