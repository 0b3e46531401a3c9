"""A first look: a sample photo enlarged, beside bicubic and the original."""

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atdsr import imaging
from atdsr.base.reporter import SILENT, Reporter
from atdsr.imaging import Picture, metrics, resample
from atdsr.inference.upscaler import Upscaler

_DETAIL = (96, 64)  # width and height in pixels of the part that is shown magnified
_MAGNIFIED = 5
_MARGIN = 12
_LABEL = 30
_PAPER, _INK = (250, 250, 248), (40, 40, 40)


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes:
        enlarged: file with the network's picture.
        comparison: file with bicubic, the network and the original side by side.
        psnr_y: PSNR on Y in dB, by method.
    """

    enlarged: Path
    comparison: Path
    psnr_y: dict[str, float]


def run(upscaler: Upscaler, folder: Path, reporter: Reporter = SILENT) -> Demo:
    """Reduce the sample photo, enlarge it again, and write what came out into a folder.

    Raises:
        FileError: the folder or a file in it cannot be written.
    """
    with as_file(files("atdsr.reports") / "sample" / "coffee.png") as path:
        original = resample.crop_to_multiple(imaging.read(path).samples, upscaler.scale)
    small = resample.downscale(original, upscaler.scale)
    pictures = {
        "bicubic": resample.upscale(small, upscaler.scale),
        "ATD-light": upscaler(small, progress=reporter.progress),
    }
    psnr_y = {
        name: metrics.psnr_y(original, samples, upscaler.scale)
        for name, samples in pictures.items()
    }
    labelled = {f"{name}  {psnr_y[name]:.2f} dB": samples for name, samples in pictures.items()}
    demo = Demo(folder / f"coffee_x{upscaler.scale}.png", folder / "comparison.png", psnr_y)
    for path, samples in (
        (folder / "coffee.png", small),
        (demo.enlarged, pictures["ATD-light"]),
        (demo.comparison, side_by_side(labelled | {"original": original})),
    ):
        imaging.write(Picture(samples), path, overwrite=True)
    return demo


def side_by_side(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Labelled pictures of one size in a row, each above the same magnified part of it.

    Args:
        pictures: uint8 `h w 3`, by label, the last being the original; the part shown is where
            the second's error falls furthest below the first's.

    Returns:
        One picture, uint8 `h w 3`.
    """
    first, second, *_, original = pictures.values()
    top, left = _most_gained(first, second, original)
    width, height = _DETAIL[0] * _MAGNIFIED, _DETAIL[1] * _MAGNIFIED
    shown = first.shape[0] * width // first.shape[1]
    sheet = Image.new(
        "RGB",
        (_MARGIN + len(pictures) * (width + _MARGIN), _LABEL + shown + height + 2 * _MARGIN),
        _PAPER,
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for column, (label, samples) in enumerate(pictures.items()):
        x = _MARGIN + column * (width + _MARGIN)
        whole = Image.fromarray(samples)
        part = whole.crop((left, top, left + _DETAIL[0], top + _DETAIL[1]))
        draw.text((x, 5), label, _INK, font)
        frame = ImageDraw.Draw(whole)
        frame.rectangle((left, top, left + _DETAIL[0], top + _DETAIL[1]), outline=(255, 210, 60))
        sheet.paste(whole.resize((width, shown), Image.Resampling.LANCZOS), (x, _LABEL))
        sheet.paste(
            part.resize((width, height), Image.Resampling.NEAREST), (x, _LABEL + shown + _MARGIN)
        )
    return np.asarray(sheet)


def _most_gained(first: np.ndarray, second: np.ndarray, original: np.ndarray) -> tuple[int, int]:
    """Top and left of the part in which the squared error falls most from first to second."""
    before, after = ((p.astype(np.int64) - original) ** 2 for p in (first, second))
    gain = (before - after).sum(axis=2)
    width, height = _DETAIL
    sums = metrics.window_sums(gain, height, width)
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return int(top), int(left)
