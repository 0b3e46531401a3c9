"""Integer samples h w c <-> float tensors n c h w in [0, 1]; the rounding of results."""

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from atdsr.imaging.picture import MAXIMUM, PictureError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, full range


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
    tensor = planes.to(work).div_(MAXIMUM[samples.dtype])
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
    scaled = tensor.detach()[0].to(work).clamp(0, 1).mul_(MAXIMUM[dtype]).add_(0.5)
    # torch has few operations for its uint16
    integers = scaled.to(torch.uint8 if dtype == np.uint8 else torch.int32).permute(1, 2, 0)
    return np.ascontiguousarray(integers.cpu().numpy().astype(dtype, copy=False))


def gray_to_rgb(tensor: Tensor) -> Tensor:
    """A tensor n 1 h w as n 3 h w (a view); n 3 h w is returned as it is."""
    return tensor.expand(-1, 3, -1, -1)


def luma(tensor: Tensor) -> Tensor:
    """A tensor n 3 h w (R, G, B) as its full-range BT.601 luma n 1 h w: the gray of a picture."""
    red, green, blue = tensor.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)
