"""Flat colours at the border of a picture, where the network's zero padding shows.

Beyond the border the convolutions see zeros, which stand for a medium colour. Weights learn to
cope with that for the colours of photos, but less so for a flat white or green: a frame a few
pixels wide comes out too dark or too bright. Where a picture is flat, its enlargement is known, so
bicubic, which is exact there, replaces the network.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_DEPTH = 6  # pixels of the input, counted from the border, that may be replaced
_FADE = 3  # the inner ones of these, over which the network takes over
_REACH = 2  # pixels on each side that have to be flat too, since bicubic reads them
_FLAT = 2 / 255  # a neighbourhood is flat if its levels differ by no more than this
_UNEVEN = 6 / 255  # nothing is replaced if its levels differ by this much or more


@dataclass(frozen=True)
class Edges:
    """Which edges of a tile are edges of the picture."""

    top: bool
    bottom: bool
    left: bool
    right: bool


def keep_flat(image: Tensor, enlarged: Tensor, scale: int, edges: Edges) -> None:
    """Replace flat borders in the network's result by bicubic.

    Args:
        image: The picture or a tile of it, `b c h w` in [0, 1].
        enlarged: The network's result, `b c h*scale w*scale`. It is changed in place.
        scale: How many times the sides grow.
        edges: Which edges of `image` are edges of the picture. Elsewhere nothing changes.
    """
    for dim, at_start, at_end in ((-2, edges.top, edges.bottom), (-1, edges.left, edges.right)):
        length = image.shape[dim]
        count = min(_DEPTH + _REACH, length)
        for is_start, start in ((True, 0), (False, length - count)):
            if not (at_start if is_start else at_end):
                continue
            strip = image.narrow(dim, start, count)
            depth = torch.arange(count, device=strip.device)
            depth = depth if is_start else depth.flip(0)
            weight = ((_DEPTH - depth) / _FADE).clamp(0, 1).to(strip.dtype)
            weight = _flatness(strip) * (weight[:, None] if dim == -2 else weight)
            if not weight.any():
                continue
            bicubic = F.interpolate(strip, scale_factor=scale, mode="bicubic").clamp_(0, 1)
            weight = F.interpolate(weight, scale_factor=scale, mode="bilinear")
            enlarged.narrow(dim, start * scale, count * scale).lerp_(bicubic, weight)


def _flatness(strip: Tensor) -> Tensor:
    """Return 1 where a pixel's neighbourhood is flat, falling to 0 where it is not: `b 1 h w`."""
    padded = F.pad(strip, (_REACH,) * 4, mode="replicate")
    side = 2 * _REACH + 1
    highest, negated_lowest = F.max_pool2d(padded, side, 1), F.max_pool2d(-padded, side, 1)
    spread = (highest + negated_lowest).amax(1, keepdim=True)
    return ((_UNEVEN - spread) / (_UNEVEN - _FLAT)).clamp_(0, 1)
