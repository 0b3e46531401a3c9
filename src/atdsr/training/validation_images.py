"""Crops of the test pictures as a run enlarges them so far, beside bicubic and the original."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from atdsr.evaluation import regions
from atdsr.evaluation.regions import Region
from atdsr.imaging import montage

_CROP_SIZE = (96, 128)  # height and width in pixels of HR
_ZOOM = 2
_TITLE, _LABEL = 22, 16  # heights of letters
_MAX_NAME = 72  # letters
_MAX_ROWS = 6  # in a column of the sheet, up to three columns


@dataclass(frozen=True)
class ValidationImage:
    """One crop of a test picture, a row of the sheet.

    Attributes:
        name: Name of the set and of the picture.
        region: Region of the crop, the same in the whole run.
        original: The crop of HR, uint8 `h w 3`.
        bicubic: The same crop, enlarged by bicubic.
        enlarged: The same crop, enlarged by the network.
        psnr_y: PSNR-Y in dB of bicubic and of the network on the whole picture.
    """

    name: str
    region: Region
    original: np.ndarray
    bicubic: np.ndarray
    enlarged: np.ndarray
    psnr_y: tuple[float, float] = (math.nan, math.nan)

    @classmethod
    def from_pictures(
        cls, name: str, original: np.ndarray, bicubic: np.ndarray, scale: int
    ) -> "ValidationImage":
        """Cut two whole pictures in the region where bicubic differs most from the original."""
        size = regions.fit_region_size(_CROP_SIZE, original, scale)
        error_maps = regions.error_maps(original, [bicubic], scale)
        region = regions.most_different_region(error_maps, size, scale)
        bicubic_crop = region.crop(bicubic).copy()  # a view would keep the whole picture
        return cls(name, region, region.crop(original).copy(), bicubic_crop, bicubic_crop)

    def with_enlarged(self, picture: np.ndarray) -> "ValidationImage":
        """Return the same row with the crop of another enlarged picture."""
        return replace(self, enlarged=self.region.crop(picture).copy())


def draw_sheet(title: str, images: Sequence[ValidationImage]) -> np.ndarray:
    """Draw all crops on one sheet.

    Args:
        title: A line above them.
        images: At least one.

    Returns:
        The sheet, uint8 `h w 3`.
    """
    rows = [_draw_row(image) for image in images]
    column_count = min(3, math.ceil(len(rows) / _MAX_ROWS))
    height = math.ceil(len(rows) / column_count)
    columns = [montage.above(rows[i : i + height], 26) for i in range(0, len(rows), height)]
    note = montage.text("PSNR on Y of the whole picture", _LABEL, montage.palette().faint)
    heading = montage.above([montage.text(title, _TITLE), note], 2)
    return np.asarray(montage.framed(montage.above([heading, montage.beside(columns, 44)], 22)))


def _draw_row(image: ValidationImage) -> Image.Image:
    bicubic, network = image.psnr_y
    crops = [
        _draw_crop(image.bicubic, f"bicubic  {bicubic:.2f} dB"),
        _draw_crop(image.enlarged, f"ATD  {network:.2f} dB  ({network - bicubic:+.2f})"),
        _draw_crop(image.original, "HR"),
    ]
    name = image.name.encode("utf-8", "backslashreplace").decode()  # file names may be any bytes
    short = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
    return montage.above([montage.text(short, 18), montage.beside(crops, 10)], 2)


def _draw_crop(samples: np.ndarray, label: str) -> Image.Image:
    """Draw a crop with its label below, as wide as any other, however small the picture."""
    crop = montage.above(
        [montage.enlarged(samples, _ZOOM), montage.text(label, _LABEL, montage.palette().faint)], 2
    )
    canvas = montage.blank(max(crop.width, _CROP_SIZE[1] * _ZOOM), crop.height)
    canvas.paste(crop, (0, 0))
    return canvas
