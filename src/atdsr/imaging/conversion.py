"""What callers hand over (PIL images, arrays, tensors, pictures) <-> what the network takes.

Each kind is brought into one of two forms, and back: integer samples h w c, or a float tensor
b c h w, which is never rounded. Everything between the two ends knows only these. Samples become
tensors in [0, 1] by `to_tensor`, and results become samples by `to_array`, which is the only
rounding of results.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import DTypeLike
from PIL import Image
from torch import Tensor

from atdsr.imaging import pillow
from atdsr.imaging.picture import MAXIMUM, Picture, PictureError

PictureLike = TypeVar("PictureLike", Image.Image, np.ndarray, Tensor, Picture)

AnyPicture = Image.Image | np.ndarray | Tensor | Picture
"""One of the kinds of `PictureLike`, where nothing of the same kind comes back."""

Content = list[np.ndarray] | Tensor
"""Samples h w c of uint8 or uint16, one array for each picture; or floats b c h w in [0, 1]."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MARGIN = 0.5  # floats may lie this far outside [0, 1], as after a resampling or an augmentation
_NOISE = 2.5  # and this far with noise: six standard deviations of 99 levels of 255
_CONVERT = "convert it to uint8, uint16, or floats in [0, 1]."
_GRAY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601, full range


def to_tensor(
    samples: np.ndarray,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return samples h w c (uint8 or uint16) as a tensor 1 c h w in [0, 1].

    The division is done in float32 (float64 if asked for), which tells all 65536 levels apart;
    a narrower dtype rounds afterwards.
    """
    working = torch.float64 if dtype == torch.float64 else torch.float32
    # always a copy: the samples may be read-only, and the tensor must not write through to them
    planes = torch.from_numpy(np.array(samples.transpose(2, 0, 1), order="C"))
    tensor = planes.to(working).div_(MAXIMUM[samples.dtype])
    return tensor.unsqueeze(0).to(device=device, dtype=dtype)


def to_array(tensor: Tensor, dtype: DTypeLike = np.uint8) -> np.ndarray:
    """Return a tensor 1 c h w, clamped to [0, 1], as samples h w c, rounded half up.

    Raises:
        PictureError: The tensor is not one picture, or a value is not a finite number.
    """
    if tensor.ndim != 4 or tensor.shape[0] != 1:
        raise PictureError(f"one picture is a tensor 1 c h w, not {tuple(tensor.shape)}.")
    if not torch.isfinite(tensor).all():
        raise PictureError(
            "the result has values that are not finite numbers; the weights may be damaged."
        )
    dtype = np.dtype(dtype)
    working = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    # values are not negative, so the conversion to integers, which truncates, is a floor
    scaled = tensor.detach()[0].to(working).clamp(0, 1).mul_(MAXIMUM[dtype]).add_(0.5)
    # torch has few operations for its uint16
    integers = scaled.to(torch.uint8 if dtype == np.uint8 else torch.int32).permute(1, 2, 0)
    return np.ascontiguousarray(integers.cpu().numpy().astype(dtype, copy=False))


def gray_to_rgb(tensor: Tensor) -> Tensor:
    """Return a tensor n 1 h w as n 3 h w (a view); n 3 h w comes back unchanged."""
    return tensor.expand(-1, 3, -1, -1)


def gray_from_rgb(tensor: Tensor) -> Tensor:
    """Return the gray of RGB: a tensor n 3 h w as its full-range BT.601 luma n 1 h w."""
    red, green, blue = tensor.unbind(1)
    weights = _GRAY_WEIGHTS
    return (weights[0] * red + weights[1] * green + weights[2] * blue).unsqueeze(1)


def to_picture(picture: AnyPicture) -> Picture:
    """Return what `convert_input` takes as a picture; floats are rounded to 8 bits.

    Raises:
        PictureError: As in `convert_input`; also for a tensor of several pictures.
    """
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, Image.Image) and picture.mode != "F":
        return pillow.from_pil(picture)
    content = convert_input(cast(Any, picture)).content  # which kind it is does not matter here
    if len(content) > 1:
        raise PictureError(f"a tensor holds {len(content)} pictures; write them one by one.")
    return Picture(to_array(content) if isinstance(content, Tensor) else content[0])


@dataclass(frozen=True)
class ConvertedInput(Generic[PictureLike]):
    """A picture that a caller handed over, ready for the network.

    Attributes:
        content: The picture in one of the two forms, with 1 to 4 channels.
        restore: Turns a result in the same form back into the kind that was handed over.
    """

    content: Content
    restore: Callable[[Any], PictureLike]


def convert_input(picture: PictureLike, *, noisy: bool = False) -> ConvertedInput[PictureLike]:
    """Convert a picture of any kind in the table of docs/upscaling.md.

    Args:
        picture: The picture.
        noisy: Whether floats may be beyond [0, 1] by as much as strong noise brings them.

    Raises:
        PictureError: The object, its shape, dtype, mode or range is not in the table.
    """
    if isinstance(picture, Picture):
        return ConvertedInput([picture.samples], lambda out: replace(picture, samples=out[0]))
    if isinstance(picture, np.ndarray):
        return _from_array(picture, noisy)
    if isinstance(picture, Tensor):
        return _from_tensor(picture, noisy)
    if isinstance(picture, Image.Image):
        return _from_float_image(picture) if picture.mode == "F" else _from_image(picture)
    if isinstance(picture, str | os.PathLike):
        raise PictureError("the name of a file is not a picture; open it, as by PIL.Image.open.")
    name = "None" if picture is None else f"an object of type {type(picture).__name__}"
    raise PictureError(
        f"{name} is not a picture; pass a PIL image, an array h w c or h w, or a tensor b c h w "
        "or c h w."
    )


def _from_array(array: np.ndarray, noisy: bool) -> ConvertedInput[np.ndarray]:
    samples = array[..., None] if array.ndim == 2 else array
    if samples.ndim != 3 or samples.shape[2] > 4:
        swapped = array.ndim == 3 and array.shape[0] <= 4
        raise PictureError(
            f"an array of shape {array.shape} cannot be used as a picture, which is h w c or h w "
            f"with 1 to 4 channels; {'transpose it from c h w' if swapped else 'reshape it'}."
        )
    _check_not_empty(array.shape)
    samples = samples.astype(array.dtype.newbyteorder("="), copy=False)
    is_float = samples.dtype in (np.float16, np.float32, np.float64)
    if not (is_float or samples.dtype in MAXIMUM):
        known = samples.dtype.kind in "biuf"
        low, high = (float(samples.min()), float(samples.max())) if known else (0, 0)
        values = f" and values from {low:g} to {high:g}" if known else ""
        raise PictureError(
            f"an array of dtype {array.dtype}{values} cannot be used as a picture; {_CONVERT}"
        )

    def restore(out: np.ndarray) -> np.ndarray:
        out = out[..., 0] if array.ndim == 2 else out
        return out.astype(array.dtype, copy=False)

    if not is_float:
        return ConvertedInput([samples], lambda out: restore(out[0]))
    # a copy: the array may be read-only or have negative strides, which torch does not support
    planes = torch.from_numpy(np.array(samples.transpose(2, 0, 1), order="C"))[None]
    _check_range(planes, noisy)
    return ConvertedInput(planes, lambda out: restore(out[0].permute(1, 2, 0).contiguous().numpy()))


def _from_tensor(image: Tensor, noisy: bool) -> ConvertedInput[Tensor]:
    missing_axes = 4 - image.ndim
    planes = image.detach()[(None,) * missing_axes]
    if missing_axes not in (0, 1, 2) or planes.shape[1] > 4:
        swapped = missing_axes in (0, 1) and image.shape[-1] <= 4
        raise PictureError(
            f"a tensor of shape {tuple(image.shape)} cannot be used as a picture, which is b c "
            "h w, c h w or h w with 1 to 4 channels; "
            f"{'permute it from h w c' if swapped else 'reshape it'}."
        )
    _check_not_empty(image.shape)
    is_integer = image.dtype in (torch.uint8, torch.uint16)
    if not (is_integer or image.dtype in _FLOATS):
        known = not image.is_complex() and not image.is_quantized
        low, high = (value.item() for value in image.double().aminmax()) if known else (0, 0)
        values = f" and values from {low:g} to {high:g}" if known else ""
        name = str(image.dtype).removeprefix("torch.")
        raise PictureError(
            f"a tensor of dtype {name}{values} cannot be used as a picture; {_CONVERT}"
        )
    without_added_axes = (0,) * missing_axes
    if not is_integer:
        _check_range(planes, noisy)
        return ConvertedInput(planes, lambda out: out[without_added_axes])

    def restore(out: list[np.ndarray]) -> Tensor:
        stacked = torch.from_numpy(np.stack(out).transpose(0, 3, 1, 2).copy())
        return stacked.to(image.device)[without_added_axes]

    return ConvertedInput([plane.permute(1, 2, 0).cpu().numpy() for plane in planes], restore)


def _from_image(image: Image.Image) -> ConvertedInput[Image.Image]:
    picture = pillow.from_pil(image)
    mode = image.mode if image.mode in pillow.WIDE_GRAY else None

    def restore(out: list[np.ndarray]) -> Image.Image:
        return pillow.to_pil(replace(picture, samples=out[0]), wide_gray=mode)

    return ConvertedInput([picture.samples], restore)


def _from_float_image(image: Image.Image) -> ConvertedInput[Image.Image]:
    """Convert mode F, whose levels are those of mode L, as in Pillow's `convert`."""
    upright, metadata = pillow.upright(image)
    levels = np.array(upright)
    _check_not_empty(levels.shape)
    low, high = levels.min(), levels.max()
    if not (low >= 0 and high <= 255):
        raise PictureError(
            f"an image of mode F is in 0 to 255, not {low:g} to {high:g}; scale it, or pass it as "
            "an array, which is in [0, 1]."
        )
    if 0 < high <= 1:
        raise PictureError(
            f"an image of mode F is in 0 to 255, and this one ends at {high:g}; multiply it by "
            "255, or pass it as an array, which is in [0, 1]."
        )

    def restore(out: Tensor) -> Image.Image:
        enlarged = Image.fromarray(255 * out[0, 0].numpy())
        return pillow.with_info(enlarged, metadata, image.info.get("icc_profile"))

    return ConvertedInput(torch.from_numpy(levels / np.float32(255))[None, None], restore)


def _check_not_empty(shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise PictureError(f"a picture of shape {tuple(shape)} is empty.")


def _check_range(planes: Tensor, noisy: bool) -> None:
    low, high = (value.item() for value in planes.aminmax())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PictureError("the picture has values that are not finite numbers; replace them.")
    margin = _NOISE if noisy else _MARGIN
    if low < -margin or high > 1 + margin:
        if low >= -margin:
            advice = "divide them by their white, such as 255"
        else:
            advice = "bring them there, such as by (x + 1) / 2 from [-1, 1]"
        raise PictureError(
            f"floats of a picture are in [0, 1], and these are from {low:g} to {high:g}; {advice}."
        )
