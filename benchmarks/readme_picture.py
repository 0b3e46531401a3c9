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
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atdsr import imaging
from atdsr.imaging import Picture, metrics, resample
from script import run_script

SCALE = 2
MAGNIFIED = 2
CROP = (176, 128)  # width and height
MARGIN, LABEL = 10, 26
BACKGROUND, TEXT = (255, 255, 255), (40, 40, 40)


def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a DejaVu font, as matplotlib brings it."""
    path = files("matplotlib") / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), size)


def photo(package: str, path: str) -> np.ndarray:
    """Return a sample photo of an installed package, uint8 `h w 3`."""
    return np.asarray(Image.open(str(files(package) / path)).convert("RGB"))


def timetable() -> np.ndarray:
    """Return a rendering of small text, uint8 `h w 3`."""
    sheet = Image.new("RGB", CROP, (250, 248, 240))
    draw = ImageDraw.Draw(sheet)
    draw.text((10, 6), "Departures", (20, 20, 30), font("DejaVuSerif-Bold", 24))
    trains = ("08:15  Lisboa Oriente", "09:40  København H", "11:05  Zürich HB")
    for number, train in enumerate(trains):
        draw.text((10, 42 + 27 * number), train, (20, 20, 30), font("DejaVuSans", 15))
    return np.asarray(sheet)


def enlarge(small: np.ndarray, folder: Path) -> np.ndarray:
    """Return what `atdsr upscale` makes of a picture."""
    imaging.write(Picture(small), folder / "small.png", overwrite=True)
    command = [sys.executable, "-m", "atdsr", "upscale", "small.png", "-o", "large.png"]
    subprocess.run([*command, "--overwrite"], cwd=folder, check=True)
    return imaging.read(folder / "large.png").samples


def main() -> None:
    """Write the picture and print PSNR on Y of the whole pictures."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/figures/comparison.webp")
    pictures = {
        "face": (photo("skimage", "data/astronaut.png"), (148, 52)),
        "facade": (photo("sklearn", "datasets/images/china.jpg"), (176, 108)),
        "text": (timetable(), (0, 0)),
    }
    width, height = CROP[0] * MAGNIFIED, CROP[1] * MAGNIFIED
    columns = ("bicubic", "atdsr upscale", "original")
    size = (
        MARGIN + len(columns) * (width + MARGIN),
        LABEL + len(pictures) * (height + MARGIN),
    )
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(columns):
        x = MARGIN + column * (width + MARGIN)
        draw.text((x, 4), label, TEXT, font("DejaVuSans", 16))
    for row, (name, (photograph, (left, top))) in enumerate(pictures.items()):
        original = resample.crop_to_multiple(photograph, SCALE)
        small = resample.downscale(original, SCALE)
        with tempfile.TemporaryDirectory() as folder:
            results = (resample.upscale(small, SCALE), enlarge(small, Path(folder)), original)
        for label, samples in zip(columns[:2], results, strict=False):
            print(f"{name}: {label} {metrics.psnr_y(original, samples, SCALE):.2f} dB")
        for column, samples in enumerate(results):
            crop = Image.fromarray(samples).crop((left, top, left + CROP[0], top + CROP[1]))
            position = (MARGIN + column * (width + MARGIN), LABEL + row * (height + MARGIN))
            sheet.paste(crop.resize((width, height), Image.Resampling.NEAREST), position)
    sheet.save(out, lossless=True, method=6)


if __name__ == "__main__":
    run_script(main)
