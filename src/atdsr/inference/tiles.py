"""Cutting a picture into overlapping tiles, and joining what is made of them without a seam.

Tiles begin at multiples of a step, the network's window, so that inside a tile the windows are
those of the whole picture. Of every overlap the outer quarters, where a tile lacks context, are
thrown away; across the middle half, one tile fades into the next by a raised cosine. Each axis is
treated alone, and a tile's weight is the product of both.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Enlarge = Callable[[slice, slice], Tensor]
"""Rows and columns of the small picture -> that part enlarged, `b c rows*scale columns*scale`."""


@dataclass(frozen=True)
class Span:
    """What a tile reads of one axis, and what it has a say in, in pixels of the small picture.

    Attributes:
        start: the first pixel that is read.
        stop: the one after the last that is read.
        fade_in: where its weight begins to rise from 0 and where it has become 1.
        fade_out: where its weight begins to fall from 1 and where it has become 0.
    """

    start: int
    stop: int
    fade_in: tuple[int, int]
    fade_out: tuple[int, int]

    def weights(self, scale: int, like: Tensor) -> Tensor:
        """The weight of each enlarged pixel from the begin of `fade_in` to the end of `fade_out`.

        Those of neighbours add up to 1.
        """
        parts = (
            _ramp(self.fade_in, scale),
            torch.ones(scale * (self.fade_out[0] - self.fade_in[1]), dtype=torch.float64),
            1 - _ramp(self.fade_out, scale),
        )
        return torch.cat(parts).to(like)


def _ramp(fade: tuple[int, int], scale: int) -> Tensor:
    length = scale * (fade[1] - fade[0])
    position = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    return (1 - torch.cos(math.pi * position)) / 2


def spans(length: int, tile: int, overlap: int, step: int) -> list[Span]:
    """The tiles of one axis, as few as can be and evenly spaced.

    Args:
        length: of the axis in pixels.
        tile: pixels in a tile, a multiple of `step`; only the last may have fewer.
        overlap: pixels that neighbours share, at least; at most half a tile.
        step: all tiles start at multiples of it; at most half a tile.
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
    """Enlarge a picture tile by tile, row by row.

    Only one row of tiles is held at a time, so that memory does not grow with the height.

    Args:
        rows: the spans of the height.
        columns: the spans of the width.
        scale: how many times `enlarge` makes the sides grow.
        enlarge: called for each tile, from left to right and from top to bottom.

    Yields:
        The enlarged row at which a finished part begins, and the part, `b c rows width*scale`.
    """
    carry: Tensor | None = None  # what the row of tiles above adds to the begin of this one
    for row in rows:
        top, bottom = row.fade_in[0], row.fade_out[1]
        strip = _join_columns(row, columns, scale, enlarge)
        strip = strip[..., scale * (top - row.start) : scale * (bottom - row.start), :]
        strip *= row.weights(scale, strip)[:, None]
        if carry is not None:
            strip[..., : carry.shape[-2], :] += carry
        whole = scale * (row.fade_out[0] - top)
        carry = strip[..., whole:, :].clone()
        yield scale * top, strip[..., :whole, :]


def _join_columns(row: Span, columns: list[Span], scale: int, enlarge: Enlarge) -> Tensor:
    """One row of tiles, `b c (row.stop - row.start)*scale width*scale`."""
    joined: Tensor | None = None
    for column in columns:
        out = enlarge(slice(row.start, row.stop), slice(column.start, column.stop))
        if joined is None:
            joined = out.new_zeros(*out.shape[:-1], scale * columns[-1].stop)
        left, right = column.fade_in[0], column.fade_out[1]
        out = out[..., scale * (left - column.start) : scale * (right - column.start)]
        joined[..., scale * left : scale * right] += out * column.weights(scale, out)
    assert joined is not None, "an axis has a span at least"
    return joined
