"""A first look: a sample photo enlarged, beside bicubic and the original."""

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atdsr import imaging
from atdsr.base.files import check_target
from atdsr.base.reporter import SILENT, Reporter
from atdsr.imaging import Picture, metrics, resample
from atdsr.inference.upscaler import Upscaler

_DETAIL = (96, 64)  # width and height in pixels of what is shown magnified
_MAGNIFICATION = 5
_MARGIN = 12
_LABEL = 30
_PAPER, _INK = (250, 250, 248), (40, 40, 40)


@dataclass(frozen=True)
class Demo:
    """The results of the demo.

    Attributes:
        enlarged: File with the picture that the network enlarged.
        comparison: File with bicubic, the network and the original side by side.
        psnr_y: PSNR on Y in dB, by method.
    """

    enlarged: Path
    comparison: Path
    psnr_y: dict[str, float]


def run(
    upscaler: Upscaler, folder: Path, *, overwrite: bool = False, reporter: Reporter = SILENT
) -> Demo:
    """Reduce the sample photo, enlarge it again, and write the results into a folder.

    Args:
        upscaler: Enlarges the photo.
        folder: Folder for the results, made if it is missing.
        overwrite: Whether existing files are replaced.
        reporter: Receives the progress.

    Raises:
        FileError: One of the files exists and may not be replaced, or cannot be written.
    """
    enlarged, comparison = folder / f"coffee_x{upscaler.scale}.png", folder / "comparison.png"
    for path in (folder / "coffee.png", enlarged, comparison):
        check_target(path, overwrite=overwrite)  # before the work
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
    for path, samples in (
        (folder / "coffee.png", small),
        (enlarged, pictures["ATD-light"]),
        (comparison, side_by_side(labelled | {"original": original})),
    ):
        imaging.write(Picture(samples), path, overwrite=overwrite)
    return Demo(enlarged, comparison, psnr_y)


def side_by_side(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Put labelled pictures side by side, each above the same magnified detail of it.

    The detail is where the error of the second picture is furthest below that of the first.

    Args:
        pictures: Pictures uint8 `h w 3` of one size, by label; the last one is the original.

    Returns:
        One picture, uint8 `h w 3`.
    """
    first, second, *_, original = pictures.values()
    top, left = _most_gained(first, second, original)
    width, height = _DETAIL[0] * _MAGNIFICATION, _DETAIL[1] * _MAGNIFICATION
    reduced_height = first.shape[0] * width // first.shape[1]
    canvas = Image.new(
        "RGB",
        (
            _MARGIN + len(pictures) * (width + _MARGIN),
            _LABEL + reduced_height + height + 2 * _MARGIN,
        ),
        _PAPER,
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=18)
    for column, (label, samples) in enumerate(pictures.items()):
        x = _MARGIN + column * (width + _MARGIN)
        picture = Image.fromarray(samples)
        detail = picture.crop((left, top, left + _DETAIL[0], top + _DETAIL[1]))
        draw.text((x, 5), label, _INK, font)
        frame = ImageDraw.Draw(picture)
        frame.rectangle((left, top, left + _DETAIL[0], top + _DETAIL[1]), outline=(255, 210, 60))
        picture = picture.resize((width, reduced_height), Image.Resampling.LANCZOS)
        detail = detail.resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(picture, (x, _LABEL))
        canvas.paste(detail, (x, _LABEL + reduced_height + _MARGIN))
    return np.asarray(canvas)


def _most_gained(first: np.ndarray, second: np.ndarray, original: np.ndarray) -> tuple[int, int]:
    """Return top and left of the detail in which the second picture's error falls most."""
    before, after = ((p.astype(np.int64) - original) ** 2 for p in (first, second))
    gain = (before - after).sum(axis=2)
    width, height = _DETAIL
    sums = metrics.window_sums(gain, height, width)
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return int(top), int(left)
