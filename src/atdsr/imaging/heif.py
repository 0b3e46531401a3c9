"""HEIC and HEIF through pillow-heif, which comes with the extra `formats`.

libheif behind it turns and crops pictures, and leaves cells of a grid that it cannot decode in
one colour. Such cells are decoded once more by themselves, which fails if they are damaged.
"""

import io
from types import ModuleType
from typing import Any

import numpy as np

from atdsr.imaging import avif, boxes, extra, metadata, vips
from atdsr.imaging.picture import (
    Metadata,
    Picture,
    PictureError,
    join_alpha,
    rescale,
    split_alpha,
    straight,
)

_NEVER = bytes(4)  # HEVC puts other bytes between so many zeros; here data were overwritten


def _library() -> ModuleType:
    return extra.load("pillow_heif", "HEIC")


def _primary(data: bytes) -> Any:
    """The picture to be shown, with the bits that it has; it is decoded when it is asked for."""
    if data[8:12] in (b"hevc", b"hevx", b"msf1"):
        raise PictureError("a HEIF sequence is not supported; save the picture you want by itself.")
    with extra.errors():
        file = _library().open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
        return file[file.primary_index]


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the picture, upright.

    Raises:
        PictureError: it is damaged, or a sequence.
    """
    return _primary(data).size


def decode(data: bytes) -> Picture:
    """The picture in a file.

    Raises:
        PictureError: it is damaged or cut short, or a sequence.
    """
    image = _primary(data)
    with extra.errors():
        samples = np.array(image)
    samples = samples.reshape(*samples.shape[:2], -1)
    said = boxes.still(data)
    _check_parts(data, said)
    kind, _, bits = image.mode.partition(";")
    samples = _whole_range(samples, int(bits or 8), kind, said)
    icc = vips.matching(image.info.get("icc_profile"), samples.shape[2])
    exif, xmp = image.info.get("exif"), image.info.get("xmp")
    height, width = samples.shape[:2]
    about = metadata.clean(Metadata(exif, xmp, metadata.resolution(exif)), width, height)
    points = None if icc else avif.code_points(said.colour)
    return Picture(samples, icc, about, points)


def _check_parts(data: bytes, said: boxes.Still) -> None:
    """See that nothing was lost, and that each cell of a grid can be decoded.

    Raises:
        PictureError: something was, or one cannot.
    """
    if any(_NEVER in part for part in boxes.coded(data, b"hvcC")):
        raise boxes.damaged()
    for cell in said.cells:
        image = _primary(boxes.shown(data, cell))
        with extra.errors():
            image.load()


def _whole_range(samples: np.ndarray, bits: int, kind: str, said: boxes.Still) -> np.ndarray:
    """Samples of any number of bits as uint8 or uint16, with straight alpha."""
    white = 2**bits - 1
    colour, alpha = split_alpha(samples)
    if kind in ("L", "I") and said.colour is not None and not said.colour.full:
        colour = avif.stretched(colour, bits)
    joined = join_alpha(colour, alpha)
    if kind == "RGBa":
        joined = straight(joined, white)
    return joined.astype(np.uint8) if bits == 8 else rescale(joined, white, np.uint16)
