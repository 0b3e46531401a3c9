"""Windows of a feature map: inverse pairs of a few lines, and what a shift does to them.

Features travel as `b h w c`. Every height and width here is a multiple of the window's side.
"""

import torch
from torch import Tensor

SHIFT_PENALTY = -100.0
"""Added to the score of two tokens that only the roll made neighbours (a number, not -inf, so
that it means the same in every dtype and in the official weights' training)."""


def partition(x: Tensor, side: int) -> Tensor:
    """Cut `b h w c` into windows, `b h/side w/side side*side c`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c)
    return x.transpose(2, 3).reshape(b, h // side, w // side, side * side, c)


def merge(windows: Tensor, side: int) -> Tensor:
    """Inverse of `partition`."""
    b, rows, columns, _, c = windows.shape
    x = windows.reshape(b, rows, columns, side, side, c)
    return x.transpose(2, 3).reshape(b, rows * side, columns * side, c)


def shift(x: Tensor, side: int) -> Tensor:
    """Roll `b h w c` up and left by half a window."""
    return x.roll((-(side // 2), -(side // 2)), dims=(1, 2))


def unshift(x: Tensor, side: int) -> Tensor:
    """Inverse of `shift`."""
    return x.roll((side // 2, side // 2), dims=(1, 2))


def position_index(side: int, device: torch.device | None = None) -> Tensor:
    """Return the row of the bias table for each (query, key) pair of a window.

    Returns int64 `side*side side*side`; for d = query - key it holds
    `(dy + side - 1) * (2 * side - 1) + (dx + side - 1)` (as in Swin Transformer).
    """
    axis = torch.arange(side, device=device)
    y, x = (g.flatten() for g in torch.meshgrid(axis, axis, indexing="ij"))
    dy = y[:, None] - y[None, :]
    dx = x[:, None] - x[None, :]
    return (dy + side - 1) * (2 * side - 1) + (dx + side - 1)


def shift_penalties(side: int, device: torch.device | None = None) -> Tensor:
    """Return what to add to the scores of each kind of window after `shift`.

    Only windows of the last row and the last column hold tokens that were no neighbours before
    the roll, so there are four kinds, whatever the picture's size.

    Returns float32 `2 2 side*side side*side`, indexed by (in the last row, in the last column).
    """
    wrapped = torch.arange(side, device=device) >= side - side // 2
    row = wrapped[:, None].expand(side, side).flatten()
    column = wrapped[None, :].expand(side, side).flatten()
    differs_in_row = row[:, None] != row[None, :]
    differs_in_column = column[:, None] != column[None, :]
    nowhere = torch.zeros_like(differs_in_row)
    kinds = [
        [nowhere, differs_in_column],
        [differs_in_row, differs_in_row | differs_in_column],
    ]
    return torch.stack([torch.stack(row) for row in kinds]).float() * SHIFT_PENALTY
