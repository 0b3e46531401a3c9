"""Parts of test pictures as a run enlarges them so far, beside bicubic and the original."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from atdsr.evaluation import regions
from atdsr.evaluation.regions import Region
from atdsr.imaging import montage

_SIZE = (96, 128)  # height and width of a part in pixels of HR
_FACTOR = 2
_TITLE, _LABEL = 22, 16  # heights of letters
_NAME = 72  # the most letters of a picture's name
_ROWS = 6  # the most rows of a column of the sheet, up to three columns


@dataclass(frozen=True)
class Strip:
    """A row of the sheet.

    Attributes:
        name: of the picture, with its set.
        place: the part that is shown, the same in the whole run.
        original: that part of HR, uint8 `h w 3`.
        bicubic: the same part, enlarged by bicubic.
        enlarged: the same part, enlarged by the network.
        psnr_y: of bicubic and of the network on the whole picture, in dB.
    """

    name: str
    region: Region
    original: np.ndarray
    bicubic: np.ndarray
    enlarged: np.ndarray
    psnr_y: tuple[float, float] = (math.nan, math.nan)

    @classmethod
    def begin(cls, name: str, original: np.ndarray, bicubic: np.ndarray, scale: int) -> "Strip":
        """A strip of whole pictures, of the region where bicubic errs most."""
        size = regions.fit_region_size(_SIZE, original, scale)
        region = regions.most_different_region(
            regions.error_maps(original, [bicubic], scale), size, scale
        )
        reduced = region.crop(bicubic).copy()  # not a view, which would keep the whole
        return cls(name, region, region.crop(original).copy(), reduced, reduced)

    def with_result(self, enlarged: np.ndarray) -> "Strip":
        """The strip with that part of another whole picture."""
        return replace(self, enlarged=self.region.crop(enlarged).copy())


def sheet(title: str, strips: Sequence[Strip]) -> np.ndarray:
    """All strips on one sheet.

    Args:
        title: a line above them.
        strips: at least one.

    Returns:
        uint8 `h w 3`.
    """
    rows = [_row(strip) for strip in strips]
    columns = min(3, math.ceil(len(rows) / _ROWS))
    height = math.ceil(len(rows) / columns)
    parts = [montage.above(rows[i : i + height], 26) for i in range(0, len(rows), height)]
    note = montage.text("PSNR on Y of the whole picture", _LABEL, montage.FAINT)
    words = montage.above([montage.text(title, _TITLE), note], 2)
    return np.asarray(montage.framed(montage.above([words, montage.beside(parts, 44)], 22)))


def _row(strip: Strip) -> Image.Image:
    before, after = strip.psnr_y
    tiles = [
        _tile(strip.bicubic, f"bicubic  {before:.2f} dB"),
        _tile(strip.enlarged, f"ATD  {after:.2f} dB  ({after - before:+.2f})"),
        _tile(strip.original, "HR"),
    ]
    name = strip.name.encode("utf-8", "backslashreplace").decode()  # a file's, whatever its bytes
    short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
    return montage.above([montage.text(short, 18), montage.beside(tiles, 10)], 2)


def _tile(samples: np.ndarray, label: str) -> Image.Image:
    """A part with its label below; the tile is as wide as any, however small the picture."""
    tile = montage.above(
        [montage.enlarged(samples, _FACTOR), montage.text(label, _LABEL, montage.FAINT)], 2
    )
    full = montage.blank(max(tile.width, _SIZE[1] * _FACTOR), tile.height)
    full.paste(tile, (0, 0))
    return full
