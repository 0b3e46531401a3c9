"""The kinds of pictures that people hold: each is brought into one of two forms, and back.

The forms are integer samples h w c for integers, and a tensor b c h w for floats, which are never
rounded. Everything between the two ends knows only these.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atdsr.imaging import pil
from atdsr.imaging.picture import MAXIMUM, Picture, PictureError

Kind = TypeVar("Kind", Image.Image, np.ndarray, Tensor, Picture)

Content = list[np.ndarray] | Tensor
"""Samples h w c of uint8 or uint16, one array for each picture; or floats b c h w in [0, 1]."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_BEYOND = 0.5  # how far floats may be outside [0, 1], as after a resampling or an augmentation


@dataclass(frozen=True)
class Input(Generic[Kind]):
    """A picture as it was given.

    Attributes:
        content: it in one of the two forms, with 1 to 4 channels.
        restore: makes the kind that was given of a result in the same form.
    """

    content: Content
    restore: Callable[[Any], Kind]


def accept(picture: Kind) -> Input[Kind]:
    """Take a picture of any kind in the table of docs/upscaling.md.

    Raises:
        PictureError: another kind of object, or a shape, dtype, mode or range not in the table.
    """
    if isinstance(picture, Picture):
        return Input([picture.samples], lambda made: replace(picture, samples=made[0]))
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, Tensor):
        return _from_tensor(picture)
    if isinstance(picture, Image.Image):
        return _from_float_image(picture) if picture.mode == "F" else _from_image(picture)
    raise PictureError(
        f"a {type(picture).__name__} is no picture; give a PIL image, an array h w c or h w, or a "
        "tensor b c h w or c h w."
    )


def _from_array(array: np.ndarray) -> Input[np.ndarray]:
    samples = array[..., None] if array.ndim == 2 else array
    samples = samples.astype(array.dtype.newbyteorder("="), copy=False)
    is_float = samples.dtype in (np.float16, np.float32, np.float64)
    if samples.ndim != 3 or not (is_float or samples.dtype in MAXIMUM) or samples.shape[2] > 4:
        raise PictureError(
            f"an array of shape {array.shape} and dtype {array.dtype} cannot be used as a picture; "
            "expected h w c or h w, with 1 to 4 channels, of uint8, uint16, or floats in [0, 1]."
        )
    _check_not_empty(array.shape)

    def restore(made: np.ndarray) -> np.ndarray:
        made = made[..., 0] if array.ndim == 2 else made
        return made.astype(array.dtype, copy=False)

    if not is_float:
        return Input([samples], lambda made: restore(made[0]))
    # a copy: the array may be read-only or run backwards, which torch does not know
    planes = torch.from_numpy(np.array(samples.transpose(2, 0, 1), order="C"))[None]
    _check_range(planes)
    return Input(planes, lambda made: restore(made[0].permute(1, 2, 0).contiguous().numpy()))


def _from_tensor(image: Tensor) -> Input[Tensor]:
    lacking = 4 - image.ndim
    planes = image.detach()[(None,) * lacking]
    is_integer = image.dtype in (torch.uint8, torch.uint16)
    is_known = is_integer or image.dtype in _FLOATS
    if lacking not in (0, 1, 2) or not is_known or planes.shape[1] > 4:
        raise PictureError(
            f"a tensor of shape {tuple(image.shape)} and dtype {image.dtype} cannot be used as a "
            "picture; expected b c h w, c h w or h w, with 1 to 4 channels, of uint8, uint16, or "
            "floats in [0, 1]."
        )
    _check_not_empty(image.shape)
    first = (0,) * lacking
    if not is_integer:
        _check_range(planes)
        return Input(planes, lambda made: made[first])

    def restore(made: list[np.ndarray]) -> Tensor:
        stacked = torch.from_numpy(np.stack(made).transpose(0, 3, 1, 2).copy())
        return stacked.to(image.device)[first]

    return Input([each.permute(1, 2, 0).cpu().numpy() for each in planes], restore)


def _from_image(image: Image.Image) -> Input[Image.Image]:
    picture = pil.from_pil(image)
    mode = image.mode if image.mode in pil.WIDE_GRAY else None

    def restore(made: list[np.ndarray]) -> Image.Image:
        return pil.to_pil(replace(picture, samples=made[0]), wide_gray=mode)

    return Input([picture.samples], restore)


def _from_float_image(image: Image.Image) -> Input[Image.Image]:
    """Mode F, whose levels are those of mode L, as Pillow's `convert` has it."""
    upright, said = pil.upright(image)
    levels = np.array(upright)
    _check_not_empty(levels.shape)
    low, high = levels.min(), levels.max()
    if not (low >= 0 and high <= 255):
        raise PictureError(
            f"an image of mode F is in 0 to 255, not {low:g} to {high:g}; scale it, or give an "
            "array of it, which is in [0, 1]."
        )
    if 0 < high <= 1:
        raise PictureError(
            f"an image of mode F is in 0 to 255, and this one ends at {high:g}; multiply it by "
            "255, or give an array of it, which is in [0, 1]."
        )

    def restore(made: Tensor) -> Image.Image:
        large = Image.fromarray(255 * made[0, 0].numpy())
        return pil.with_info(large, said, image.info.get("icc_profile"))

    return Input(torch.from_numpy(levels / np.float32(255))[None, None], restore)


def _check_not_empty(shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise PictureError(f"a shape of {tuple(shape)} holds no picture.")


def _check_range(planes: Tensor) -> None:
    low, high = (value.item() for value in planes.aminmax())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PictureError("the picture has values that are not finite numbers.")
    if low < -_BEYOND or high > 1 + _BEYOND:
        raise PictureError(
            f"a picture of floats is in [0, 1], not {low:g} to {high:g}; scale it first."
        )
