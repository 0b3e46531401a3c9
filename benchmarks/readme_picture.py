"""Draw docs/figures/comparison.webp, the picture of the README.

A face, a facade and a timetable are reduced by 2 and enlarged again, by bicubic and by `atdsr
upscale` with its default settings. Each crop shows the pixels of the files as they are, magnified
2 times.

    pip install scikit-image scikit-learn matplotlib    # the photos and the font come with them
    python benchmarks/readme_picture.py [docs/figures/comparison.webp]

The face is `astronaut` of scikit-image (NASA, public domain), the facade `china.jpg` of
scikit-learn (danielbuechele, CC BY 2.0).
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.imaging import Picture, metrics, resample
from script import run_script

SCALE = 2
MAGNIFIED = 2
CROP = (176, 128)  # width and height
COLUMNS = ("bicubic", "atdsr upscale", "original")
MARGIN, LABEL = 10, 26
BACKGROUND, TEXT = (255, 255, 255), (40, 40, 40)


def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a DejaVu font, as matplotlib brings it."""
    path = files("matplotlib") / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), size)


def photo(package: str, path: str) -> np.ndarray:
    """Return a sample photo of an installed package, uint8 `h w 3`."""
    try:
        folder = files(package)
    except ModuleNotFoundError as error:
        raise AtdsrError(
            f"{package} is not installed, whose sample photo this takes; install it with "
            "pip install scikit-image scikit-learn."
        ) from error
    return np.asarray(Image.open(str(folder / path)).convert("RGB"))


def timetable() -> np.ndarray:
    """Return a rendering of small text, uint8 `h w 3`."""
    sheet = Image.new("RGB", CROP, (250, 248, 240))
    draw = ImageDraw.Draw(sheet)
    draw.text((10, 6), "Departures", (20, 20, 30), font("DejaVuSerif-Bold", 24))
    trains = ("08:15  Lisboa Oriente", "09:40  København H", "11:05  Zürich HB")
    for number, train in enumerate(trains):
        draw.text((10, 42 + 27 * number), train, (20, 20, 30), font("DejaVuSans", 15))
    return np.asarray(sheet)


def enlarge(
    small: np.ndarray, folder: Path, scale: int = SCALE, model: str | None = None
) -> np.ndarray:
    """Return what `atdsr upscale` makes of a picture, by its default model or another one."""
    imaging.write(Picture(small), folder / "small.png", overwrite=True)
    command = [sys.executable, "-m", "atdsr", "upscale", "small.png", "-o", "large.png"]
    command += ["--scale", str(scale), "--overwrite", "--quiet"]
    command += ["--model", model] if model else []
    subprocess.run(command, cwd=folder, check=True)
    return imaging.read(folder / "large.png").samples


def sheet(
    columns: Sequence[str],
    rows: Mapping[str, tuple[Sequence[np.ndarray], tuple[int, int]]],
    crop: tuple[int, int] = CROP,
    magnified: int = MAGNIFIED,
) -> Image.Image:
    """Return a table of crops.

    Args:
        columns: Labels of the columns.
        rows: A row by name: a picture `h w 3` for each column, all of one size, and the left top
            corner of the crop.
        crop: Width and height of the crops.
        magnified: How many pixels of the sheet a pixel becomes, along each side.
    """
    width, height = crop[0] * magnified, crop[1] * magnified
    size = (MARGIN + len(columns) * (width + MARGIN), LABEL + len(rows) * (height + MARGIN))
    result = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(result)
    for column, label in enumerate(columns):
        draw.text((MARGIN + column * (width + MARGIN), 4), label, TEXT, font("DejaVuSans", 16))
    for row, (pictures, (left, top)) in enumerate(rows.values()):
        for column, samples in enumerate(pictures):
            part = Image.fromarray(samples).crop((left, top, left + crop[0], top + crop[1]))
            place = (MARGIN + column * (width + MARGIN), LABEL + row * (height + MARGIN))
            result.paste(part.resize((width, height), Image.Resampling.NEAREST), place)
    return result


def compared(
    name: str,
    photograph: np.ndarray,
    scale: int = SCALE,
    quality: int | None = None,
    others: Sequence[str] = (),
) -> list[np.ndarray]:
    """Return a photo reduced and enlarged by bicubic and by atdsr, and the photo; print PSNR-Y.

    Args:
        name: What is printed before the figures.
        photograph: Samples `h w 3`, cropped here to a multiple of the scale.
        scale: By how much the photo is reduced.
        quality: Quality of a JPEG file that the reduced photo is saved as in between, if any.
        others: Models whose results come before the photo.
    """
    original = resample.crop_to_multiple(photograph, scale)
    small = resample.downscale(original, scale)
    with tempfile.TemporaryDirectory() as folder:
        if quality is not None:
            path = Path(folder) / "small.jpg"
            Image.fromarray(small).save(path, quality=quality)
            small = imaging.read(path).samples
        results = [resample.upscale(small, scale)]
        results += [enlarge(small, Path(folder), scale, model) for model in (None, *others)]
    for label, samples in zip((*COLUMNS[:2], *others), results, strict=True):
        print(f"{name}: {label} {metrics.psnr_y(original, samples, scale):.2f} dB")
    return [*results, original]


def main() -> None:
    """Write the picture and print PSNR on Y of the whole pictures."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/figures/comparison.webp")
    pictures = {
        "face": (photo("skimage", "data/astronaut.png"), (148, 52)),
        "facade": (photo("sklearn", "datasets/images/china.jpg"), (176, 108)),
        "text": (timetable(), (0, 0)),
    }
    rows = {name: (compared(name, picture), place) for name, (picture, place) in pictures.items()}
    sheet(COLUMNS, rows).save(out, lossless=True, method=6)


if __name__ == "__main__":
    run_script(main)
