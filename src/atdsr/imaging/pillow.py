"""Pillow images in and out."""

import numpy as np
from PIL import Image, ImageCms

from atdsr.imaging import colour, vips
from atdsr.imaging.metadata import clean_metadata, orientation, plausible_dpi
from atdsr.imaging.picture import Metadata, Picture, PictureError, to_uint8

_GRAY = ("1", "L", "LA", "La")
_COLOUR = ("P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "YCbCr", "HSV")
WIDE_GRAY = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I;16N": "=u2", "I": "=i4"}
"""Modes of one channel with more than 8 bits, and how their samples lie in memory."""

_NOT_TEXTS = ("compression", "xmp", "XML:com.adobe.xmp")  # strings in `info` that PNG has not
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
    """Return the picture in a Pillow image (its current frame), upright, with its metadata.

    Raises:
        PictureError: The mode is F or unknown, levels of mode I are not in 0 to 65535, or the
            file behind the image cannot be decoded.
    """
    with vips.named_errors("Pillow image", vips.UNREADABLE):
        return to_picture(image, metadata_of(image, _exif(image)))


def _exif(image: Image.Image) -> bytes | None:
    image.load()
    try:
        return image.getexif().tobytes()
    except Exception:  # malformed in one of many ways; the picture is fine without
        return None


def upright(image: Image.Image) -> tuple[Image.Image, Metadata]:
    """Return a Pillow image turned as its EXIF or XMP says, and its metadata.

    Raises:
        PictureError: The file behind the image cannot be decoded.
    """
    with vips.named_errors("Pillow image", vips.UNREADABLE):
        return _upright(image, metadata_of(image, _exif(image)))


def _upright(image: Image.Image, metadata: Metadata) -> tuple[Image.Image, Metadata]:
    image.load()
    turned = orientation(metadata.exif, metadata.xmp)
    if turned > 1:
        image = image.transpose(_UPRIGHT[turned])
    return image, clean_metadata(metadata, image.width, image.height)


def to_picture(image: Image.Image, metadata: Metadata | None = None) -> Picture:
    """Return the picture in a Pillow image.

    Args:
        image: The image; its profile is taken from its `info`.
        metadata: Metadata of its file; by default what `info` has.
    """
    if 0 in image.size:
        raise PictureError(f"an image of {image.width}x{image.height} pixels is empty.")
    image, metadata = _upright(image, metadata or metadata_of(image))
    icc = image.info.get("icc_profile")
    if image.mode == "LAB":
        image, icc = _without_lab(image), None
    if image.mode == "CMYK":
        inks = vips.with_profile(vips.to_vips(np.array(image), "cmyk"), icc)
        return Picture(vips.from_vips(vips.to_srgb(inks)), metadata=metadata)
    if image.mode in WIDE_GRAY:
        samples = _wide_gray(image)
    elif image.mode in _GRAY + _COLOUR:
        # alpha is a channel, or one colour or palette entry declared transparent
        alpha = "A" if image.has_transparency_data else ""
        samples = np.array(image.convert(("L" if image.mode in _GRAY else "RGB") + alpha))
        samples = samples.reshape(image.height, image.width, -1)
    else:
        raise PictureError(f"the mode {image.mode} is not supported; convert it to L or RGB.")
    icc = vips.matching_profile(icc, samples.shape[2]) or _icc_of_png(
        image, gray=samples.shape[2] < 3
    )
    return Picture(samples, icc, metadata)


def _wide_gray(image: Image.Image) -> np.ndarray:
    """Return a mode of `WIDE_GRAY` as uint16: h w 1, or h w 2 if one level is transparent."""
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
                "L if it has 8 bits, or to I;16 if it is meant to be that dark."
            )
    samples = levels.astype(np.uint16)[..., None]
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return samples
    alpha = np.where(samples == transparent, 0, 65535).astype(np.uint16)
    return np.concatenate((samples, alpha), 2)


def _without_lab(image: Image.Image) -> Image.Image:
    """Convert mode LAB (CIELAB under D50, as in ICC) to sRGB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None, "not converted in place"
    return converted


def _icc_of_png(image: Image.Image, *, gray: bool) -> bytes | None:
    """Return a profile made of the gamma and the primaries that Pillow read from a PNG file."""
    gamma, primaries = image.info.get("gamma"), image.info.get("chromaticity")
    if "srgb" in image.info:
        return None
    try:
        exponent = 1 / float(gamma) if gamma else None
        white, *others = zip(primaries[::2], primaries[1::2], strict=True) if primaries else [()]
    except (TypeError, ValueError):
        return None
    return colour.icc_from_gamma(exponent, (*others, white) if others else None, gray=gray)


def metadata_of(image: Image.Image, exif: bytes | None = None) -> Metadata:
    """Return `exif` and the metadata in the `info` of a Pillow image, unchanged."""
    xmp, dpi = image.info.get("xmp"), image.info.get("dpi")
    try:
        dots = dpi and plausible_dpi(float(dpi[0]), float(dpi[1]))
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        dots = None
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    text = tuple(
        (str(keyword), str(text))  # Pillow's own type of text is a subclass of str
        for keyword, text in image.info.items()
        if isinstance(text, str)
        and keyword not in _NOT_TEXTS
        and not str(keyword).startswith("Raw")
    )
    return Metadata(exif, xmp if isinstance(xmp, bytes) else None, dots or None, text)


def to_pil(picture: Picture, *, wide_gray: str | None = None) -> Image.Image:
    """Return a Pillow image: I;16 for 16-bit gray, else L, LA, RGB or RGBA, rounded to 8 bits.

    Pillow has no mode for 16-bit colour or for 16-bit gray with alpha. Profile (also for code
    points), EXIF, XMP, resolution and texts are in its `info`, where Pillow puts them itself.

    Args:
        picture: The picture to convert.
        wide_gray: Mode for 16-bit gray, one of `WIDE_GRAY`; I;16 by default.
    """
    samples = picture.samples
    if samples.shape[2] > 1:
        samples = to_uint8(samples)
    if wide_gray is not None and samples.dtype == np.uint16:
        data = samples.astype(WIDE_GRAY[wide_gray]).tobytes()
        image = Image.frombytes(wide_gray, (picture.width, picture.height), data)
    else:
        image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    return with_info(image, picture.metadata, colour.profile_of(picture))


def with_info(image: Image.Image, metadata: Metadata, icc: bytes | None) -> Image.Image:
    """Put profile, EXIF, XMP, resolution and texts into the `info` of an image, and return it."""
    metadata = clean_metadata(metadata, image.width, image.height)
    info = {"icc_profile": icc, "exif": metadata.exif, "xmp": metadata.xmp, "dpi": metadata.dpi}
    image.info.update(dict(metadata.text))
    image.info.update({key: value for key, value in info.items() if value is not None})
    return image
