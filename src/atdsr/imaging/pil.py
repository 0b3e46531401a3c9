"""Pillow images in and out."""

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

from atdsr.imaging import colour, metadata, vips
from atdsr.imaging.picture import Metadata, Picture, PictureError, to_uint8

_GRAY = ("1", "L", "LA", "La")
_COLOUR = ("P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "YCbCr", "HSV")
WIDE_GRAY = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I;16N": "=u2", "I": "=i4"}
"""Modes of one channel with more than 8 bits, and how their samples lie in memory."""

_NO_TEXTS = ("compression", "xmp", "XML:com.adobe.xmp")  # strings in `info`, but no texts of PNG
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def from_pil(image: Image.Image) -> Picture:
    """The picture in a Pillow image (its current frame), upright, with its profile and metadata.

    Raises:
        PictureError: the mode is F or unknown, levels of mode I are not in 0 to 65535, or the
            file behind the image cannot be decoded.
    """
    with vips.as_sentence("Pillow image", "the picture cannot be read"):
        return picture_of(image, said_of(image, _exif(image)))


def _exif(image: Image.Image) -> bytes | None:
    image.load()
    try:
        return image.getexif().tobytes()
    except Exception:  # malformed in one of many ways; the picture is as good without
        return None


def upright(image: Image.Image) -> tuple[Image.Image, Metadata]:
    """A Pillow image turned as its EXIF or XMP says, and its metadata.

    Raises:
        PictureError: the file behind the image cannot be decoded.
    """
    with vips.as_sentence("Pillow image", "the picture cannot be read"):
        return _upright(image, said_of(image, _exif(image)))


def _upright(image: Image.Image, said: Metadata) -> tuple[Image.Image, Metadata]:
    image.load()
    turned = metadata.orientation(said.exif, said.xmp)
    large = image.transpose(_UPRIGHT[turned]) if turned > 1 else image
    return large, metadata.clean(said, large.width, large.height)


@contextlib.contextmanager
def pillow() -> Iterator[None]:
    """Turn what Pillow raises for damaged files, which is of many kinds, into a PictureError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which would reach the terminal
            yield
    except (MemoryError, PictureError, vips.load().Error):
        raise
    except Exception as error:
        raise PictureError(f"the picture cannot be read: {str(error).rstrip('.')}.") from error


def picture_of(image: Image.Image, said: Metadata | None = None) -> Picture:
    """The picture in a Pillow image; `said` is of its file, by default what its `info` has."""
    if 0 in image.size:
        raise PictureError(f"an image of {image.width}x{image.height} pixels holds no picture.")
    image, said = _upright(image, said or said_of(image))
    icc = image.info.get("icc_profile")
    if image.mode == "LAB":
        image, icc = _without_lab(image), None
    if image.mode == "CMYK":
        inks = vips.with_profile(vips.to_vips(np.array(image), "cmyk"), icc)
        return Picture(vips.from_vips(vips.to_srgb(inks)), metadata=said)
    if image.mode in WIDE_GRAY:
        samples = _wide_gray(image)
    elif image.mode in _GRAY + _COLOUR:
        # alpha is a channel, or one colour or palette entry declared transparent
        alpha = "A" if image.has_transparency_data else ""
        samples = np.array(image.convert(("L" if image.mode in _GRAY else "RGB") + alpha))
        samples = samples.reshape(image.height, image.width, -1)
    else:
        raise PictureError(f"the mode {image.mode} is not supported; convert it to L or RGB.")
    icc = vips.matching(icc, samples.shape[2]) or _icc_of_png(image, gray=samples.shape[2] < 3)
    return Picture(samples, icc, said)


def _wide_gray(image: Image.Image) -> np.ndarray:
    """Samples of uint16 of a mode in `WIDE_GRAY`: h w 1, or h w 2 if a level is transparent."""
    levels = np.array(image)
    if image.mode == "I" and levels.size:
        low, high = levels.min(), levels.max()
        if low < 0 or high > 65535:
            raise PictureError(
                f"an image of mode I is in 0 to 65535, not {low} to {high}; scale it first."
            )
        if 0 < high <= 255:
            raise PictureError(
                f"an image of mode I is in 0 to 65535, and this one ends at {high}; convert it to "
                "L if it is of 8 bits, or to I;16 if it is as dark as that."
            )
    samples = levels.astype(np.uint16)[..., None]
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return samples
    return np.concatenate((samples, np.where(samples == clear, 0, 65535).astype(np.uint16)), 2)


def _without_lab(image: Image.Image) -> Image.Image:
    """Mode LAB (CIELAB under D50, as ICC has it) as sRGB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None, "it is not done in place"
    return converted


def _icc_of_png(image: Image.Image, *, gray: bool) -> bytes | None:
    """A profile of the gamma and the primaries that Pillow found in a PNG file."""
    gamma, primaries = image.info.get("gamma"), image.info.get("chromaticity")
    if "srgb" in image.info:
        return None
    try:
        exponent = 1 / float(gamma) if gamma else None
        white, *others = zip(primaries[::2], primaries[1::2], strict=True) if primaries else [()]
    except (TypeError, ValueError):
        return None
    return colour.of_gamma(exponent, (*others, white) if others else None, gray=gray)


def said_of(image: Image.Image, exif: bytes | None = None) -> Metadata:
    """The metadata in the `info` of a Pillow image, beside `exif`, as they stand in its file."""
    xmp, dpi = image.info.get("xmp"), image.info.get("dpi")
    try:
        dots = dpi and metadata.sensible(float(dpi[0]), float(dpi[1]))
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        dots = None
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    text = tuple(
        (str(keyword), str(text))  # Pillow's own kind of text is not only a string
        for keyword, text in image.info.items()
        if isinstance(text, str) and keyword not in _NO_TEXTS and not str(keyword).startswith("Raw")
    )
    return Metadata(exif, xmp if isinstance(xmp, bytes) else None, dots or None, text)


def to_pil(picture: Picture, *, wide_gray: str | None = None) -> Image.Image:
    """A Pillow image: I;16 for 16-bit gray, else L, LA, RGB or RGBA, rounded to 8 bits.

    Pillow has no mode for 16-bit colour or for 16-bit gray with alpha. Profile (code points as
    one), EXIF, XMP, resolution and texts stand in its `info`, as Pillow puts them there itself.

    Args:
        picture: what to make it of.
        wide_gray: the mode for 16-bit gray, one of `WIDE_GRAY`; I;16 by default.
    """
    samples = picture.samples
    if samples.shape[2] > 1:
        samples = to_uint8(samples)
    if wide_gray is not None and samples.dtype == np.uint16:
        data = samples.astype(WIDE_GRAY[wide_gray]).tobytes()
        image = Image.frombytes(wide_gray, (picture.width, picture.height), data)
    else:
        image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    return with_info(image, picture.metadata, colour.profile(picture))


def with_info(image: Image.Image, said: Metadata, icc: bytes | None) -> Image.Image:
    """The image itself, with profile, EXIF, XMP, resolution and texts in its `info`."""
    said = metadata.clean(said, image.width, image.height)
    info = {"icc_profile": icc, "exif": said.exif, "xmp": said.xmp, "dpi": said.dpi}
    image.info.update(dict(said.text))
    image.info.update({key: value for key, value in info.items() if value is not None})
    return image
