"""Colours for the pixels that alpha hides, so that these do not bleed into edges.

A network and a bicubic kernel mix a pixel with its neighbours and ignore alpha. The colour of a
hidden pixel is often arbitrary, mostly black, so it is replaced by one that continues the visible
colours. Near them this is a mean of its known neighbours, weighted by alpha, ring after ring;
farther away it is interpolated between the means of cells. A pixel that is almost invisible hides
its colour just as well, and would bleed as much, so near clearly visible pixels it gets their
colours too.

Internally, a region of a picture is float32 of shape c+1 h w: colours times alpha, and alpha as a
weight.
"""

import numpy as np

from atdsr.imaging.picture import MAXIMUM, split_alpha

_RINGS = 8  # rings of pixels around visible ones that are filled from their neighbours
_CELL = 16  # side in pixels of the cells for pixels that are farther away
_BAND = 2**20  # pixels whose cells are averaged at a time
_VISIBLE = 1 / 510  # below this alpha a pixel is hidden: it is 0 of 255
_CLEAR = 7 / 510  # below this it is faint: a background shifts its colour by 3 of 255 at most
_NEIGHBOURS = 3  # faint pixels around one that make it part of a haze


class FilledColours:
    """The colours of a picture, with hidden ones and faint ones at edges filled.

    All others are unchanged. Colours are computed when they are read, and do not depend on which
    others are read with them, so a picture of any size takes little memory.

    Attributes:
        shape: Shape h w c of the colours.
        dtype: Type of the samples.
    """

    def __init__(self, samples: np.ndarray, clear: float) -> None:
        """Take samples h w 2 or h w 4 whose alpha is the last channel.

        Args:
            samples: Samples, at least one of them with an alpha of `clear` or more.
            clear: Alpha below which a pixel may be faint, relative to 1.
        """
        self._samples = samples
        self._clear = clear
        self.shape = (*samples.shape[:2], samples.shape[2] - 1)
        self.dtype = samples.dtype
        self._cells = _fill_empty_cells(self._cell_means())

    def __getitem__(self, rows_and_columns: tuple[slice, slice]) -> np.ndarray:
        """Return the colours h w c of some rows and columns, with steps of 1."""
        (top, bottom), (left, right) = (
            axis.indices(length)[:2]
            for axis, length in zip(rows_and_columns, self.shape[:2], strict=True)
        )
        inside = self._samples[top:bottom, left:right]
        colours = inside[..., :-1]
        if not _is_below(self._clear, inside[..., -1]).any():
            return colours
        above, before = min(top, _RINGS), min(left, _RINGS)
        around = self._samples[top - above : bottom + _RINGS, left - before : right + _RINGS]
        here = (slice(above, above + bottom - top), slice(before, before + right - left))
        hidden = _is_below(_VISIBLE, around[..., -1])
        haze = _is_haze(_is_below(self._clear, around[..., -1]) & ~hidden)
        known = _with_rings(_weighted(around, hidden | haze))[:, *here]
        far = known[-1] == 0
        filled = hidden[here] | haze[here] & ~far
        if far.any():
            known[:, far] = _interpolated(self._cells, (top, bottom), (left, right))[:, far]
        weighted = known[:, filled]
        replacements = (weighted[:-1] / weighted[-1]).T
        result = colours.copy()
        is_integer = self.dtype in MAXIMUM
        result[filled] = np.floor(replacements + 0.5) if is_integer else replacements
        return result

    def _cell_means(self) -> np.ndarray:
        """Return the means of the cells."""
        height, width = self.shape[:2]
        step = max(1, _BAND // (width * _CELL)) * _CELL
        tops = range(0, height, step)
        bands = (self._samples[top : top + step] for top in tops)
        return np.concatenate(
            [
                _block_means(_weighted(band, _is_below(_VISIBLE, band[..., -1])), _CELL)
                for band in bands
            ],
            axis=1,
        )


def visible_colours(samples: np.ndarray) -> np.ndarray | FilledColours:
    """Return the colours of samples h w c as a network or a kernel should see them.

    Args:
        samples: Samples of uint8, uint16 or floats in [0, 1]; with 2 or 4 channels the last is
            alpha.

    Returns:
        The samples themselves if there is no alpha; their colours where nothing or everything is
        hidden; otherwise colours in which the hidden ones are filled, and haze near clear ones.
    """
    colours, alpha = split_alpha(samples)
    if alpha is None:
        return colours
    lowest, highest = alpha.min(), alpha.max()
    clear = _VISIBLE if _is_below(_CLEAR, highest) else _CLEAR
    if not _is_below(clear, lowest) or _is_below(_VISIBLE, highest):
        return colours
    return FilledColours(samples, clear)


def _is_below(share: float, alpha: np.ndarray) -> np.ndarray:
    return alpha < share * MAXIMUM.get(alpha.dtype, 1)


def _is_haze(faint: np.ndarray) -> np.ndarray:
    """Select faint pixels with at least three faint neighbours, as in the corner of an L."""
    padded = np.pad(faint, 1, "edge").astype(np.uint8)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return faint & (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] > _NEIGHBOURS)


def _weighted(samples: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return colours times alpha, and alpha; both are 0 where a colour is unknown."""
    known = np.empty((samples.shape[2], *samples.shape[:2]), np.float32)
    known[...] = samples.transpose(2, 0, 1)
    known[-1] /= MAXIMUM.get(samples.dtype, 1)
    known[-1][unknown] = 0
    known[:-1] *= known[-1]
    return known


def _with_rings(known: np.ndarray) -> np.ndarray:
    """Add rings around the pixels with a weight, each pixel a mean of its known neighbours."""
    padded = np.pad(known, ((0, 0), (1, 1), (1, 1)))
    is_known = padded[-1] > 0
    for _ in range(_RINGS):
        rows = is_known[:-2] | is_known[1:-1] | is_known[2:]
        beside = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
        y, x = np.nonzero(beside & ~is_known[1:-1, 1:-1])
        if not len(y):
            break
        around = [padded[:, y + dy, x + dx] for dy in range(3) for dx in range(3)]
        padded[:, y + 1, x + 1] = np.mean(around, axis=0)
        is_known[y + 1, x + 1] = True
    return padded[:, 1:-1, 1:-1]


def _fill_empty_cells(cells: np.ndarray) -> np.ndarray:
    """Interpolate the cells without a weight from cells of twice the side."""
    empty = cells[-1] == 0
    if not empty.any():
        return cells
    wide = _fill_empty_cells(_block_means(cells, 2))
    return np.where(empty, _interpolated(wide, *((0, side) for side in empty.shape), cell=2), cells)


def _block_means(known: np.ndarray, side: int) -> np.ndarray:
    """Return means of squares; those at the bottom and right are padded with zeros."""
    channels, height, width = known.shape
    padded = np.pad(known, ((0, 0), (0, -height % side), (0, -width % side)))
    rows = padded.reshape(channels, -1, side, padded.shape[2]).mean(2)
    return rows.reshape(channels, rows.shape[1], -1, side).mean(3)


def _interpolated(
    cells: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], cell: int = _CELL
) -> np.ndarray:
    """Interpolate pixels linearly between the centres of cells; beyond these they are constant.

    Args:
        cells: Values of the cells.
        rows: First row, and the row after the last.
        columns: First column, and the column after the last.
        cell: Side of a cell in pixels.
    """
    for axis, (start, stop) in ((1, rows), (2, columns)):
        at = ((np.arange(start, stop) + 0.5) / cell - 0.5).clip(0, cells.shape[axis] - 1)
        before = at.astype(int)
        after = np.minimum(before + 1, cells.shape[axis] - 1)
        share = (at - before).astype(np.float32).reshape(-1, *[1] * (2 - axis))
        first, second = cells.take(before, axis), cells.take(after, axis)
        cells = first + (second - first) * share
    return cells
