"""Cutting a picture into overlapping tiles, and joining the enlarged tiles without a seam.

Tiles begin at multiples of a step, the network's window, so that the windows inside a tile are
those of the whole picture. The outer quarters of every overlap, where a tile lacks context, are
thrown away. Across the middle half, one tile fades into the next by a raised cosine. Each axis is
treated on its own, and the weight of a tile is the product of both.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Enlarge = Callable[[slice, slice], Tensor]
"""Rows and columns of the input -> that tile enlarged, `b c rows*scale columns*scale`."""


@dataclass(frozen=True)
class Span:
    """Where a tile lies on one axis, and where it counts in the result, in pixels of the input.

    Attributes:
        start: The first pixel that is read.
        stop: The pixel after the last that is read.
        fade_in: Where the tile's weight begins to rise from 0, and where it reaches 1.
        fade_out: Where the tile's weight begins to fall from 1, and where it reaches 0.
    """

    start: int
    stop: int
    fade_in: tuple[int, int]
    fade_out: tuple[int, int]

    def weights(self, scale: int, like: Tensor) -> Tensor:
        """Return the weights of the enlarged pixels from `fade_in[0]` to `fade_out[1]`.

        The weights of neighbouring tiles add up to 1.
        """
        weights = (
            _ramp(self.fade_in, scale),
            torch.ones(scale * (self.fade_out[0] - self.fade_in[1]), dtype=torch.float64),
            1 - _ramp(self.fade_out, scale),
        )
        return torch.cat(weights).to(like)


def _ramp(fade: tuple[int, int], scale: int) -> Tensor:
    length = scale * (fade[1] - fade[0])
    position = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    return (1 - torch.cos(math.pi * position)) / 2


def spans(length: int, tile: int, overlap: int, step: int) -> list[Span]:
    """Return the tiles that cover an axis, as few as possible and evenly spaced.

    Args:
        length: Length of the axis in pixels.
        tile: Pixels in a tile, a multiple of `step`. Only the last tile may have fewer.
        overlap: The least number of pixels that neighbours share, at most half a tile.
        step: All tiles start at multiples of this, which is at most half a tile.
    """
    if length <= tile:
        return [Span(0, length, (0, 0), (length, length))]
    stride = (tile - overlap) // step
    beyond = -(-(length - tile) // step)  # steps from the first start to the last
    count = -(-beyond // stride)
    starts = [step * (number * beyond // count) for number in range(count + 1)]
    reach = overlap // 4  # seams are at least twice as far apart, since an overlap is half a tile
    seams = [(first + tile + second) // 2 for first, second in itertools.pairwise(starts)]
    fades = [(0, 0), *((seam - reach, seam + reach) for seam in seams), (length, length)]
    return [
        Span(start, min(start + tile, length), fade_in, fade_out)
        for start, (fade_in, fade_out) in zip(starts, itertools.pairwise(fades), strict=True)
    ]


def join_rows(
    rows: list[Span], columns: list[Span], scale: int, enlarge: Enlarge
) -> Iterator[tuple[int, Tensor]]:
    """Enlarge a picture tile by tile, and yield the result in bands.

    Only one row of tiles is in memory at a time, so that memory does not grow with the height.

    Args:
        rows: The spans of the height.
        columns: The spans of the width.
        scale: How many times `enlarge` makes the sides grow.
        enlarge: Called for each tile, from left to right and from top to bottom.

    Yields:
        The row of the result at which a finished band begins, and the band,
        `b c rows width*scale`.
    """
    carry: Tensor | None = None  # what the row of tiles above adds to the start of this one
    for row in rows:
        top, bottom = row.fade_in[0], row.fade_out[1]
        strip = _join_columns(row, columns, scale, enlarge)
        strip = strip[..., scale * (top - row.start) : scale * (bottom - row.start), :]
        strip *= row.weights(scale, strip)[:, None]
        if carry is not None:
            strip[..., : carry.shape[-2], :] += carry
        finished = scale * (row.fade_out[0] - top)
        carry = strip[..., finished:, :].clone()
        yield scale * top, strip[..., :finished, :]


def _join_columns(row: Span, columns: list[Span], scale: int, enlarge: Enlarge) -> Tensor:
    """Enlarge one row of tiles and join them: `b c (row.stop - row.start)*scale width*scale`."""
    joined: Tensor | None = None
    for column in columns:
        out = enlarge(slice(row.start, row.stop), slice(column.start, column.stop))
        if joined is None:
            joined = out.new_zeros(*out.shape[:-1], scale * columns[-1].stop)
        left, right = column.fade_in[0], column.fade_out[1]
        out = out[..., scale * (left - column.start) : scale * (right - column.start)]
        joined[..., scale * left : scale * right] += out * column.weights(scale, out)
    assert joined is not None, "an axis has at least one span"
    return joined
