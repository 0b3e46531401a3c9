"""What the codecs that use libvips share: decoding a file, and preparing a picture for a saver."""

from typing import Any

from atdsr.imaging import colour, vips
from atdsr.imaging.formats import TABLE
from atdsr.imaging.metadata import (
    clean_metadata,
    exif_from_dpi,
    is_adobe_rgb,
    orientation,
    plausible_dpi,
    resolution,
    with_text_in_exif,
)
from atdsr.imaging.picture import Metadata, Picture, PictureError

_CHANNELS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "cmyk": 4}
_DEFAULT_DPI = 72.0  # what readers assume where none is stated; libvips would write 25.4


def load_image(data: bytes, loader: str, fail_on: str = "error") -> Any:
    """Return a libvips image whose samples are decoded when they are asked for.

    Args:
        data: The file.
        loader: Name of the format in libvips.
        fail_on: The least problem that makes decoding fail, in libvips' words.

    Raises:
        PictureError: The picture has channels or samples that are not supported.
        pyvips.Error: The file is damaged.
    """
    load = getattr(vips.load().Image, f"{loader}load_buffer")
    image = load(data, access="sequential", fail_on=fail_on)
    channels = _CHANNELS.get(image.interpretation)
    if channels is None or not channels <= image.bands <= channels + 1:
        raise PictureError(
            f"{image.bands} channels of the kind {image.interpretation} are not supported; save "
            "it as gray or RGB, with or without alpha."
        )
    if image.format not in ("uchar", "ushort"):
        raise PictureError(
            f"its samples are of the type {image.format}; save it with unsigned integers of 8 or "
            "16 bits."
        )
    return image


def metadata_of(image: Any) -> Metadata:
    """Return the metadata as it is in the file."""
    exif = vips.blob(image, "exif-data")
    dpi = plausible_dpi(image.xres * 25.4, image.yres * 25.4)
    return Metadata(exif, vips.blob(image, "xmp-data"), dpi or resolution(exif))


def upright(image: Any, metadata: Metadata) -> Any:
    """Turn an image as its file demands; libvips itself knows only EXIF before the pixels."""
    turned = orientation(metadata.exif, metadata.xmp)
    known = image.get("orientation") if image.get_typeof("orientation") else 1
    if turned > 1 and known == 1:
        image = image.copy()
        image.set_type(vips.load().GValue.gint_type, "orientation", turned)
    return image.autorot()


def to_picture(image: Any, metadata: Metadata, *, adobe_by_exif: bool = True) -> Picture:
    """Return the picture in an image that is decoded already.

    Args:
        image: The image; turning it needs all of its samples.
        metadata: Metadata as it is in the file.
        adobe_by_exif: Whether EXIF may state Adobe RGB where there is no profile.
    """
    image = upright(image, metadata)
    is_cmyk = image.interpretation == "cmyk"
    samples = vips.from_vips(vips.to_srgb(image) if is_cmyk else image)
    height, width, channels = samples.shape
    icc = vips.matching_profile(vips.blob(image, "icc-profile-data"), channels)
    if is_cmyk:
        icc = None
    elif icc is None and adobe_by_exif and channels >= 3 and is_adobe_rgb(metadata.exif):
        icc = colour.adobe_rgb()
    return Picture(samples, icc, clean_metadata(metadata, width, height))


def metadata_for(picture: Picture, name: str) -> Metadata:
    """Return the metadata of a picture as a format holds it: texts in PNG, in EXIF elsewhere."""
    metadata = clean_metadata(picture.metadata, picture.width, picture.height)
    return metadata if name == "png" else with_text_in_exif(metadata)[0]


def prepare(picture: Picture, name: str, metadata: Metadata) -> tuple[Any, str]:
    """Return a picture as a libvips image for a saver, and its option `keep`.

    Nothing is computed yet: samples pass through piece by piece while the file is written.

    Args:
        picture: The picture. If the format has no alpha, it is dropped: it is full.
        name: Name of the format.
        metadata: Metadata as `metadata_for` returns it.
    """
    row, image = TABLE[name], vips.to_vips(picture.samples)
    if picture.has_alpha and not row.holds_alpha:
        image = image.extract_band(0, n=image.bands - 1)
    icc = vips.matching_profile(picture.icc, image.bands)
    if name == "png":  # `png` adds it itself, even a profile that libpng would refuse
        icc = None
    elif icc and picture.is_gray and not row.holds_gray:  # it would not fit the RGB of the file
        rgb_profile = colour.rgb_from_gray_profile(icc)
        if rgb_profile is None and not colour.is_srgb(icc):
            image = vips.to_srgb(vips.with_profile(image, icc))
        icc = rgb_profile
    elif icc is None and not row.holds_code_points:
        icc = colour.profile_of(picture, image.bands if row.holds_gray else 3)
    image = _round(image, row.gray_bits if image.bands == 1 else row.colour_bits)
    xmp = None if name == "png" else metadata.xmp  # `png` adds it itself
    if xmp and row.largest_xmp and len(xmp) > row.largest_xmp:
        xmp = None
    exif = None if name == "tiff" else metadata.exif  # `tiff` adds it itself; libvips cannot
    if exif is None and metadata.dpi is not None and row.dpi_in_exif:
        exif = exif_from_dpi(metadata.dpi)
    x, y = metadata.dpi or (_DEFAULT_DPI, _DEFAULT_DPI)
    image = image.copy(xres=x / 25.4, yres=y / 25.4)
    fields = {"icc": icc, "exif": exif, "xmp": xmp}
    names = {"icc": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data"}
    present = {key: value for key, value in fields.items() if value}
    image = vips.with_blobs(image, {names[key]: value for key, value in present.items()})
    return image, "|".join(present) or "none"


def _round(image: Any, bits: int) -> Any:
    """Round samples of 16 bits half up to the bits of a format; others stay."""
    if image.format != "ushort" or bits == 16:
        return image
    if bits == 8:
        # a float of 32 bits distinguishes x / 257 from a half, which it never is
        rounded = image.linear(255 / 65535, 0.5).cast("uchar")
        return rounded.copy(interpretation="b-w" if image.bands < 3 else "srgb")
    # libvips would shift 16 bits down to 10, which rounds towards zero
    rounded = image.cast("double").linear(1023 / 65535, 0.5).cast("ushort") * 64
    return rounded.cast("ushort").copy(interpretation=image.interpretation)
