"""Colours for the pixels that alpha hides, so that what they hold does not bleed into edges.

A network and a bicubic kernel mix a pixel with its neighbours and know nothing of alpha. The colour
of a hidden pixel is often arbitrary, mostly black, so it gets a colour that continues the visible
ones: near them a mean of its known neighbours, weighted by alpha, ring after ring; farther away it
is interpolated between the means of cells. What is next to invisible hides its colour just as
well, and would bleed no less, so near clearly visible pixels it gets their colours too.

Inside, a part of a picture is float32 of shape c+1 h w: colours times alpha, and alpha as a weight.
"""

import numpy as np

from atdsr.imaging.picture import MAXIMUM, split_alpha

_RINGS = 8  # pixels around what is visible that continue it closely
_CELL = 16  # pixels of a side of the cells for what is farther away
_BAND = 2**20  # pixels whose cells are averaged at a time
_SEEN = 1 / 510  # alpha below which a pixel is hidden: it is 0 of 255
_CLEAR = 7 / 510  # below this it is faint: a background shifts its colour by 3 of 255 at most
_BESIDE = 3  # faint pixels around one that make it part of a haze


class FilledColours:
    """The colours of a picture, hidden ones and faint ones at edges filled; others stay exactly.

    A part is computed when it is read, and is the same whatever part it is read with, so that a
    picture of any size takes little memory.

    Attributes:
        shape: h w c of the colours.
        dtype: of the samples.
    """

    def __init__(self, samples: np.ndarray, clear: float) -> None:
        """Take samples h w 2 or h w 4 with alpha as last channel, from `clear` on in some pixel."""
        self._samples = samples
        self._clear = clear
        self.shape = (*samples.shape[:2], samples.shape[2] - 1)
        self.dtype = samples.dtype
        self._cells = _completed(self._averaged())

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        """The colours h w c of some rows and columns, whose steps are 1."""
        (top, bottom), (left, right) = (part[axis].indices(self.shape[axis])[:2] for axis in (0, 1))
        inside = self._samples[top:bottom, left:right]
        colours = inside[..., :-1]
        if not _is_below(self._clear, inside[..., -1]).any():
            return colours
        above, before = min(top, _RINGS), min(left, _RINGS)
        around = self._samples[top - above : bottom + _RINGS, left - before : right + _RINGS]
        here = (slice(above, above + bottom - top), slice(before, before + right - left))
        hidden = _is_below(_SEEN, around[..., -1])
        haze = _is_haze(_is_below(self._clear, around[..., -1]) & ~hidden)
        known = _with_rings(_weighted(around, hidden | haze))[:, *here]
        far = known[-1] == 0
        filled = hidden[here] | haze[here] & ~far
        if far.any():
            known[:, far] = _interpolated(self._cells, (top, bottom), (left, right))[:, far]
        found = known[:, filled]
        found = (found[:-1] / found[-1]).T
        made = colours.copy()
        made[filled] = np.floor(found + 0.5) if self.dtype in MAXIMUM else found
        return made

    def _averaged(self) -> np.ndarray:
        """The means of the cells."""
        height, width = self.shape[:2]
        step = max(1, _BAND // (width * _CELL)) * _CELL
        tops = range(0, height, step)
        bands = (self._samples[top : top + step] for top in tops)
        return np.concatenate(
            [
                _block_means(_weighted(band, _is_below(_SEEN, band[..., -1])), _CELL)
                for band in bands
            ],
            axis=1,
        )


def visible_colours(samples: np.ndarray) -> np.ndarray | FilledColours:
    """The colours of samples h w c as a network or a kernel should see them.

    Args:
        samples: uint8, uint16 or floats in [0, 1]; with 2 or 4 channels the last is alpha.

    Returns:
        The samples themselves without alpha; their colours where nothing or all is hidden; else
        colours in which the hidden ones are filled, and haze near clear ones.
    """
    colours, alpha = split_alpha(samples)
    if alpha is None:
        return colours
    lowest, highest = alpha.min(), alpha.max()
    clear = _SEEN if _is_below(_CLEAR, highest) else _CLEAR
    if not _is_below(clear, lowest) or _is_below(_SEEN, highest):
        return colours
    return FilledColours(samples, clear)


def _is_below(share: float, alpha: np.ndarray) -> np.ndarray:
    return alpha < share * MAXIMUM.get(alpha.dtype, 1)


def _is_haze(faint: np.ndarray) -> np.ndarray:
    """The faint pixels that have others beside them: three of eight, as in the corner of an L."""
    padded = np.pad(faint, 1, "edge").astype(np.uint8)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return faint & (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] > _BESIDE)


def _weighted(samples: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Colours times alpha, and alpha; both are 0 where a colour is unknown."""
    known = np.empty((samples.shape[2], *samples.shape[:2]), np.float32)
    known[...] = samples.transpose(2, 0, 1)
    known[-1] /= MAXIMUM.get(samples.dtype, 1)
    known[-1][unknown] = 0
    known[:-1] *= known[-1]
    return known


def _with_rings(known: np.ndarray) -> np.ndarray:
    """Rings of means around what has a weight, each pixel's of its known neighbours."""
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


def _completed(cells: np.ndarray) -> np.ndarray:
    """Cells, those without a weight interpolated from cells of twice the side."""
    empty = cells[-1] == 0
    if not empty.any():
        return cells
    wide = _completed(_block_means(cells, 2))
    return np.where(empty, _interpolated(wide, *((0, side) for side in empty.shape), cell=2), cells)


def _block_means(known: np.ndarray, side: int) -> np.ndarray:
    """Means of squares, which at the bottom and right are completed by zeros."""
    channels, height, width = known.shape
    padded = np.pad(known, ((0, 0), (0, -height % side), (0, -width % side)))
    rows = padded.reshape(channels, -1, side, padded.shape[2]).mean(2)
    return rows.reshape(channels, rows.shape[1], -1, side).mean(3)


def _interpolated(
    cells: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], cell: int = _CELL
) -> np.ndarray:
    """Pixels from one to another, linearly between the centres of cells, constant beyond these."""
    for axis, (start, stop) in ((1, rows), (2, columns)):
        at = ((np.arange(start, stop) + 0.5) / cell - 0.5).clip(0, cells.shape[axis] - 1)
        before = at.astype(int)
        after = np.minimum(before + 1, cells.shape[axis] - 1)
        share = (at - before).astype(np.float32).reshape(-1, *[1] * (2 - axis))
        first, second = cells.take(before, axis), cells.take(after, axis)
        cells = first + (second - first) * share
    return cells
