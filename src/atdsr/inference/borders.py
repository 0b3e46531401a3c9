"""Flat colours at the border of a picture, where the network's zero padding shows.

Beyond the border the convolutions see zeros, which stand for a medium colour. Weights learn to
cope with that for the colours of photos, less so for a flat white or green: a frame a few pixels
wide comes out too dark or too bright. Where a picture is flat, what it is when enlarged is known,
so the bicubic, which is exact there, takes the place of the network.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_DEPTH = 6  # pixels of the small picture from the border on that may be replaced
_FADE = 3  # of these, the inner ones, over which the network takes over
_REACH = 2  # pixels on each side that have to be flat too: those that the bicubic uses
_FLAT = 2 / 255  # range of levels that is flat
_UNEVEN = 6 / 255  # range of levels from which on nothing is replaced


@dataclass(frozen=True)
class Edges:
    """Which edges of a part of a picture are edges of the picture."""

    top: bool
    bottom: bool
    left: bool
    right: bool


def keep_flat(image: Tensor, enlarged: Tensor, scale: int, edges: Edges) -> None:
    """Let flat borders of a part of a picture be what they were, in the place of `enlarged`.

    Args:
        image: the part, `b c h w` in [0, 1].
        enlarged: what the network made of it, `b c h*scale w*scale`.
        scale: how many times the sides grow.
        edges: where the part ends with the picture; elsewhere nothing changes.
    """
    for dim, at_start, at_end in ((-2, edges.top, edges.bottom), (-1, edges.left, edges.right)):
        length = image.shape[dim]
        count = min(_DEPTH + _REACH, length)
        for begins, start in ((True, 0), (False, length - count)):
            if not (at_start if begins else at_end):
                continue
            strip = image.narrow(dim, start, count)
            share = _flatness(strip) * _depths(strip, dim, begins)
            if not share.any():
                continue
            large = F.interpolate(strip, scale_factor=scale, mode="bicubic").clamp_(0, 1)
            share = F.interpolate(share, scale_factor=scale, mode="bilinear")
            enlarged.narrow(dim, start * scale, count * scale).lerp_(large, share)


def _flatness(strip: Tensor) -> Tensor:
    """From 1 where the neighbourhood of a pixel is flat to 0 where it is uneven: `b 1 h w`."""
    padded = F.pad(strip, (_REACH,) * 4, mode="replicate")
    side = 2 * _REACH + 1
    highest, negated_lowest = (F.max_pool2d(each, side, 1) for each in (padded, -padded))
    spread = (highest + negated_lowest).amax(1, keepdim=True)
    return ((_UNEVEN - spread) / (_UNEVEN - _FLAT)).clamp_(0, 1)


def _depths(strip: Tensor, dim: int, begins: bool) -> Tensor:
    """From 1 at the border to 0 at the depth from which on the network is right."""
    depth = torch.arange(strip.shape[dim], device=strip.device)
    depth = depth if begins else depth.flip(0)
    share = ((_DEPTH - depth) / _FADE).clamp(0, 1).to(strip.dtype)
    return share[:, None] if dim == -2 else share
