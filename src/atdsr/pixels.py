"""Picture file <-> integer samples h w c <-> float tensor n c h w in [0, 1].

Everything about files is decided here and nowhere else: colour, alpha, bit depth, orientation,
colour profiles, atomic writes, and the only rounding of the project (`to_array`; samples of one
depth are brought to another by `_rescale`, which rounds the same way).

The formats are PNG, TIFF, JPEG, WebP and AVIF through libvips, and BMP through Pillow. A file is
recognised by its first bytes and handed to the one decoder for that format by name, so no other
decoder ever sees it and characters that libvips would read as options in a name mean nothing.

What a file carries beside samples and profile (EXIF, XMP, resolution) is not kept: thumbnails,
pixel sizes and orientation in it would be wrong for another picture. A picture without a profile
is sRGB. libvips is loaded on first use; nothing here prints or changes global state.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from torch import Tensor

from atdsr import files
from atdsr.errors import AtdsrError

MAX_PIXELS = 2**28
"""Height times width of the largest picture that `read` decodes: a square of 16384."""

FORMATS = {
    "png": ".png",
    "tiff": ".tiff",
    "jpg": ".jpg",
    "webp": ".webp",
    "avif": ".avif",
    "bmp": ".bmp",
}
"""The name of each format and the suffix that a new file of it gets."""

_FORMAT_OF_SUFFIX = {suffix: name for name, suffix in FORMATS.items()} | {
    ".tif": "tiff",
    ".jpeg": "jpg",
    ".jfif": "jpg",
}

READABLE_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)
"""Suffixes, in lower case, of files worth opening in a folder; `read` itself goes by content."""

WRITABLE_SUFFIXES = READABLE_SUFFIXES
"""Suffixes, in lower case, that `write` takes."""

_VIPS_NAMES = {"jpg": "jpeg", "avif": "heif"}  # where libvips calls a format otherwise
_WITHOUT_ALPHA = {"jpg", "bmp"}
_WITHOUT_GRAY = {"webp", "avif"}
_MAXIMUM = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
_PIL_GRAY = ("1", "L", "LA", "La")
_PIL_COLOUR = ("P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "YCbCr", "HSV")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, full range


class PictureError(AtdsrError):
    """A picture cannot be read, written or converted; the sentence names the file."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture as integers, with the colour profile that they are meant in.

    Attributes:
        samples: h w c, uint8 or uint16 over their full range; c = 1 is gray, 2 gray and alpha,
            3 RGB, 4 RGB and alpha. Alpha is straight (not multiplied into the colours).
        icc: the ICC profile, of the class (gray or RGB) of the samples; None is sRGB.
    """

    samples: np.ndarray
    icc: bytes | None = None

    def __post_init__(self) -> None:
        if self.samples.ndim != 3 or self.samples.dtype not in _MAXIMUM:
            raise PictureError("A picture is an array h w c of uint8 or uint16.")
        if 0 in self.samples.shape or self.samples.shape[2] > 4:
            raise PictureError("A picture has 1 to 4 channels and at least one pixel.")

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.samples.shape[0]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.samples.shape[1]

    @property
    def is_gray(self) -> bool:
        """Whether there is one channel of colour."""
        return self.samples.shape[2] < 3

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.samples.shape[2] in (2, 4)

    @property
    def is_transparent(self) -> bool:
        """Whether any pixel's alpha is below full, so that dropping it would lose something."""
        alpha = self.samples[..., -1]
        return self.has_alpha and bool(alpha.min() < _MAXIMUM[self.samples.dtype])


def read(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a PNG, TIFF, JPEG, WebP, AVIF or BMP file, whatever its suffix.

    Palettes are expanded, 1-bit samples become 8-bit gray, AVIF of 10 or 12 bits becomes uint16,
    CMYK becomes sRGB through the file's profile (libvips' own where it has none), and the EXIF
    orientation is applied.

    Args:
        path: the file.
        max_pixels: refuse a larger picture (height times width) before decoding it.

    Raises:
        PictureError: the file is missing, unreadable, empty, not a picture of these formats,
            damaged or cut short, too large, of several pages or frames, or of samples other
            than unsigned integers of 1 to 16 bits.
    """
    with _as_sentence(path, "the picture cannot be read"):
        data, name = _load(Path(path))
        return _decode_bmp(data, max_pixels) if name == "bmp" else _decode(data, name, max_pixels)


def _load(path: Path) -> tuple[bytes, str]:
    """The content of a file and the name of its format; a foreign file is not read to its end."""
    with path.open("rb") as file:
        head = file.read(64)
        name = _recognise(head)
        if name is not None:
            return head + file.read(), name
    if not head:
        raise PictureError("the file is empty.")
    raise PictureError(f"not a picture in one of the formats {', '.join(FORMATS)}.")


def _recognise(head: bytes) -> str | None:
    """The format that the first bytes of a file announce."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and (b"avif" in head or b"avis" in head):
        return "avif"
    return "bmp" if head.startswith(b"BM") else None


def _decode(data: bytes, name: str, max_pixels: int) -> Picture:
    """Decode everything but BMP."""
    load = getattr(_vips().Image, f"{_VIPS_NAMES.get(name, name)}load_buffer")
    image = load(data, access="sequential", fail_on="error")
    _check_pixels(image.width, image.height, max_pixels)
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    # libvips shows the first frame of these two as if it were the whole file
    moves = (name == "png" and data.find(b"acTL", 0, data.find(b"IDAT")) > 0) or (
        name == "avif" and data[8:12] == b"avis"
    )
    if moves or pages > 1:
        raise PictureError(
            "the file holds several pages or frames; save the one you want as a file of its own."
        )
    colours = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb16": 3, "cmyk": 4}.get(image.interpretation)
    if colours is None or not colours <= image.bands <= colours + 1:
        raise PictureError(
            f"{image.bands} channels of the kind {image.interpretation} are not supported; save "
            "it as gray or RGB, with or without alpha."
        )
    if image.format not in ("uchar", "ushort"):
        raise PictureError(
            f"its samples are of the type {image.format}; save it with unsigned integers of 8 or "
            "16 bits."
        )
    image = image.copy_memory().autorot()  # a rotation needs the whole picture
    samples = _to_srgb(image) if image.interpretation == "cmyk" else _samples(image)
    if name == "avif" and image.format == "ushort":
        # libvips shifts 10 or 12 bits up, which would leave white short of 65535
        bits = image.get("bits-per-sample")
        samples = _rescale(samples >> (16 - bits), 2**bits - 1, np.uint16)
    icc = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else None
    return Picture(samples, _matching(icc, samples))


def _decode_bmp(data: bytes, max_pixels: int) -> Picture:
    """Decode BMP, which the libvips wheels cannot."""
    image = BmpImageFile(io.BytesIO(data))
    _check_pixels(image.width, image.height, max_pixels)
    return _from_pil(image)


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PictureError(
            f"{width}x{height} is {width * height:,} pixels, more than the limit of "
            f"{max_pixels:,}; cut it into parts, or raise the limit if you trust the file."
        )


def _samples(image: Any) -> np.ndarray:
    """A libvips image as h w c; its own `numpy` has no third axis for one band."""
    return image.numpy().reshape(image.height, image.width, image.bands)


def _vips_image(samples: np.ndarray, icc: bytes | None, kind: str = "") -> Any:
    """Samples h w c as a libvips image; kind is the interpretation where it is not gray or RGB."""
    vips, wide = _vips(), samples.dtype == np.uint16
    gray, colour = ("grey16", "rgb16") if wide else ("b-w", "srgb")
    kind = kind or (gray if samples.shape[2] < 3 else colour)
    # without a resolution libvips writes 25.4 dots an inch; 72 is what readers assume of none
    dots = 72 / 25.4
    image = vips.Image.new_from_array(samples).copy(interpretation=kind, xres=dots, yres=dots)
    if icc:
        image.set_type(vips.GValue.blob_type, "icc-profile-data", icc)
    return image


def _to_srgb(image: Any) -> np.ndarray:
    """A libvips image through its profile (libvips' own CMYK profile where it has none)."""
    depth = 16 if image.format == "ushort" else 8
    fallback = {"input_profile": "cmyk"} if image.interpretation == "cmyk" else {}
    options = {"embedded": True, "intent": "relative", "black_point_compensation": True}
    return _samples(image.icc_transform("srgb", depth=depth, **options, **fallback))


def _matching(icc: bytes | None, samples: np.ndarray) -> bytes | None:
    """The profile if it is for this kind of samples (ICC.1, 7.2.6: data colour space)."""
    kind = b"GRAY" if samples.shape[2] < 3 else b"RGB "
    return icc if icc is not None and icc[16:20] == kind else None


def _vips() -> Any:
    """The pyvips module, loaded on first use so that a broken libvips is a sentence."""
    try:
        import pyvips
    except (ImportError, OSError) as error:
        raise PictureError(
            f"pyvips cannot be loaded ({error}); install it with: pip install 'pyvips[binary]'."
        ) from error
    return pyvips


@contextlib.contextmanager
def _as_sentence(subject: object, what: str) -> Iterator[None]:
    """Put the subject before a PictureError, and turn what the libraries raise into one."""
    try:
        yield
    except PictureError as error:
        raise PictureError(f"{subject}: {error}") from error.__cause__
    # what Python, Pillow (also SyntaxError and ValueError, for damaged headers) and libvips raise
    except (OSError, SyntaxError, ValueError, _vips().Error) as error:
        # libvips adds a line at each level; the last one that is not about bytes it tried says why
        lines = [
            line.strip() for line in (getattr(error, "strerror", None) or str(error)).split("\n")
        ]
        noise = ("unable to ", "source: ")
        reasons = [line for line in lines if line and not line.startswith(noise)]
        reason = reasons[-1] if reasons else "it is damaged or cut short"
        raise PictureError(f"{subject}: {what}: {reason}.") from error


def check_target(
    path: str | os.PathLike[str], *, overwrite: bool = False, alpha: bool = False
) -> None:
    """Find out before the work whether `write` would refuse the path.

    Args:
        path: the file to be.
        overwrite: whether an existing file may be replaced.
        alpha: whether the picture will be transparent.

    Raises:
        PictureError: an unknown suffix, or a format without alpha for a transparent picture.
        FileError: something is in the way, or the folder may not be written.
    """
    path = Path(path)
    with _as_sentence(path, "the picture cannot be written"):
        name = format_of(path)
        if alpha and name in _WITHOUT_ALPHA:
            raise PictureError(f"no transparency in {name}; write PNG, TIFF, WebP or AVIF.")
        files.check_target(path, overwrite=overwrite)


def write(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Write a picture in the format of the suffix, wholly or not at all.

    16-bit samples stay so in PNG and TIFF, become 10-bit in AVIF, and are rounded to 8-bit
    elsewhere. WebP and AVIF have no gray: it is written as RGB. JPEG and BMP have no alpha: full
    alpha is dropped, transparency is refused. BMP has no profile. Colour is never subsampled,
    but by lossy WebP, which can do no other.

    Args:
        picture: what to write.
        path: the file; its folder is made if need be.
        overwrite: whether an existing file may be replaced.
        quality: 1 to 100 for the lossy formats; ignored by PNG, TIFF and BMP. By default JPEG
            takes 95, AVIF 90, and WebP is lossless.

    Raises:
        PictureError: the format is unknown or cannot hold the picture.
        FileError: a file is in the way, or the disk refuses; it is then as it was.
    """
    path = Path(path)
    check_target(path, overwrite=overwrite, alpha=picture.is_transparent)
    with _as_sentence(path, "the picture cannot be written"):
        if quality is not None and not 1 <= quality <= 100:
            raise PictureError(f"quality is from 1 to 100, not {quality}.")
        name = format_of(path)
        data = _encode_bmp(picture) if name == "bmp" else _encode(picture, name, quality)
        with files.replacing(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(data)


def format_of(path: Path) -> str:
    """The name of the format that a path's suffix stands for, of `FORMATS`.

    Raises:
        PictureError: none has that suffix.
    """
    name = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if name is None:
        known = " ".join(FORMATS.values())
        raise PictureError(f"no format has the suffix '{path.suffix}'; use one of {known}.")
    return name


def _encode(picture: Picture, name: str, quality: int | None) -> bytes:
    """The bytes of a file of any format but BMP."""
    samples = _without_full_alpha(picture.samples, name)
    icc = _matching(picture.icc, samples)
    if icc and picture.is_gray and name in _WITHOUT_GRAY:  # it would not fit the RGB of the file
        samples, icc = _to_srgb(_vips_image(samples, icc)), None
    if name in ("jpg", "webp"):
        samples = to_uint8(samples)
    elif name == "avif" and samples.dtype == np.uint16:
        # libvips would shift 16 bits down to 10, which rounds towards zero
        samples = _rescale(samples, 65535, np.uint16, maximum=1023) << 6
    options = _save_options(name, samples.dtype == np.uint16, quality, samples.nbytes)
    save = f"{_VIPS_NAMES.get(name, name)}save_buffer"
    return getattr(_vips_image(samples, icc), save)(keep="icc", **options)


def _save_options(name: str, wide: bool, quality: int | None, size: int) -> dict[str, Any]:
    """The options of libvips for a format; wide is 16-bit, size is in bytes."""
    match name:
        case "png":
            return {"compression": 6, "filter": "all"}
        case "tiff":
            bigtiff = size > 2**32 - 2**26  # offsets of a plain TIFF end at 4 GiB
            return {"compression": "deflate", "predictor": "horizontal", "bigtiff": bigtiff}
        case "jpg":
            return {"Q": quality or 95, "subsample_mode": "off"}
        case "webp" if quality is None:
            return {"lossless": True, "exact": True, "effort": 2}  # exact: also invisible pixels
        case "webp":
            return {"Q": quality, "smart_subsample": True, "exact": True}
        case _:
            # effort 4, the default, takes ten times as long for a file of the same size
            av1 = {"compression": "av1", "effort": 2, "subsample_mode": "off"}
            return av1 | {"Q": quality or 90, "bitdepth": 10 if wide else 8}


def _encode_bmp(picture: Picture) -> bytes:
    samples = to_uint8(_without_full_alpha(picture.samples, "bmp"))
    file = io.BytesIO()
    Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples).save(file, "BMP")
    return file.getvalue()


def _without_full_alpha(samples: np.ndarray, name: str) -> np.ndarray:
    """Drop alpha, which is full (`check_target` saw to it), where the format has none."""
    return split_alpha(samples)[0] if name in _WITHOUT_ALPHA else samples


def to_tensor(
    samples: np.ndarray,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Samples h w c (uint8 or uint16) as a tensor 1 c h w in [0, 1].

    The division is done in float32 (float64 if asked for), which tells all 65536 levels apart;
    a narrower dtype rounds afterwards.
    """
    work = torch.float64 if dtype == torch.float64 else torch.float32
    # always a copy: the samples may be read-only, and the tensor must not write through to them
    planes = torch.from_numpy(np.array(samples.transpose(2, 0, 1), order="C"))
    tensor = planes.to(work).div_(_MAXIMUM[samples.dtype])
    return tensor.unsqueeze(0).to(device=device, dtype=dtype)


def to_array(tensor: Tensor, dtype: DTypeLike = np.uint8) -> np.ndarray:
    """A tensor 1 c h w, clamped to [0, 1], as samples h w c of uint8 or uint16, half up.

    Raises:
        PictureError: not one picture, or a value is not a finite number.
    """
    if tensor.ndim != 4 or tensor.shape[0] != 1:
        raise PictureError(f"One picture is a tensor 1 c h w, not {tuple(tensor.shape)}.")
    if not torch.isfinite(tensor).all():
        raise PictureError("The result has values that are not finite numbers.")
    dtype = np.dtype(dtype)
    work = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    # values are not negative, so that the conversion to integers, which cuts, is a floor
    scaled = tensor.detach()[0].to(work).clamp(0, 1).mul_(_MAXIMUM[dtype]).add_(0.5)
    # torch has few operations for its uint16
    integers = scaled.to(torch.uint8 if dtype == np.uint8 else torch.int32).permute(1, 2, 0)
    return np.ascontiguousarray(integers.cpu().numpy().astype(dtype, copy=False))


def split_alpha(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples h w c as colour (h w 1 or h w 3) and alpha (h w 1, or None without one)."""
    if samples.shape[2] in (2, 4):
        return samples[..., :-1], samples[..., -1:]
    return samples, None


def join_alpha(colour: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """The inverse of `split_alpha`."""
    return colour if alpha is None else np.concatenate((colour, alpha), axis=2)


def is_picture_file(path: Path) -> bool:
    """Whether this is a file that a folder's listing should open, by its suffix."""
    return path.suffix.lower() in READABLE_SUFFIXES and path.is_file()


def replicate_gray(samples: np.ndarray) -> np.ndarray:
    """Samples h w 1 as h w 3; h w 3 is returned as it is."""
    return samples.repeat(3, axis=2) if samples.shape[2] == 1 else samples


def gray_to_rgb(tensor: Tensor) -> Tensor:
    """A tensor n 1 h w as n 3 h w (a view); n 3 h w is returned as it is."""
    return tensor.expand(-1, 3, -1, -1)


def luma(tensor: Tensor) -> Tensor:
    """A tensor n 3 h w (R, G, B) as its full-range BT.601 luma n 1 h w: the gray of a picture."""
    red, green, blue = tensor.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)


def to_uint8(samples: np.ndarray) -> np.ndarray:
    """Samples of any depth as uint8, rounded half up; uint8 is returned as it is."""
    return samples if samples.dtype == np.uint8 else _rescale(samples, 65535, np.uint8)


def _rescale(
    samples: np.ndarray, old: int, dtype: DTypeLike, maximum: int | None = None
) -> np.ndarray:
    """Samples in 0..old as integers in 0..maximum (by default all of dtype), rounded half up."""
    new = maximum or _MAXIMUM[np.dtype(dtype)]
    return ((samples.astype(np.uint32) * (2 * new) + old) // (2 * old)).astype(dtype)


def from_pil(image: Image.Image) -> Picture:
    """The picture in a Pillow image (its current frame), upright, with its profile.

    Raises:
        PictureError: the mode is LAB, I or F, or the file behind the image cannot be decoded.
    """
    with _as_sentence("Pillow image", "the picture cannot be read"):
        return _from_pil(image)


def _from_pil(image: Image.Image) -> Picture:
    image.load()
    if image.getexif().get(0x0112, 1) != 1:  # 0x0112 is the orientation
        image = ImageOps.exif_transpose(image)
    icc = image.info.get("icc_profile")
    if image.mode == "CMYK":
        return Picture(_to_srgb(_vips_image(np.array(image), icc, "cmyk")))
    if image.mode.startswith("I;16"):
        samples = np.array(image).astype(np.uint16)[..., None]
    elif image.mode in _PIL_GRAY + _PIL_COLOUR:
        # alpha is a channel, or one colour or palette entry declared transparent
        alpha = "A" if image.has_transparency_data else ""
        samples = np.array(image.convert(("L" if image.mode in _PIL_GRAY else "RGB") + alpha))
        samples = samples.reshape(image.height, image.width, -1)
    else:
        raise PictureError(f"the mode {image.mode} is not supported; convert it to L or RGB.")
    return Picture(samples, _matching(icc, samples))


def to_pil(picture: Picture) -> Image.Image:
    """A Pillow image: I;16 for 16-bit gray, else L, LA, RGB or RGBA, rounded to 8 bits.

    Pillow has no mode for 16-bit colour or for 16-bit gray with alpha.
    """
    samples = picture.samples
    if samples.shape[2] > 1:
        samples = to_uint8(samples)
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    if picture.icc is not None:
        image.info["icc_profile"] = picture.icc
    return image
