"""Draw the pictures of docs/gallery.md and docs/choosing.md into docs/figures, and print PSNR on Y.

    pip install scikit-image scikit-learn matplotlib    # photos and the font come with them
    python benchmarks/gallery.py [docs/figures]

Everything is enlarged by `atdsr upscale` with its default settings, that is, by the bundled
weights for clean pictures, and by those for everyday photos where a column says so. The face is
`astronaut` of scikit-image (NASA, public domain), the facade `china.jpg` of scikit-learn
(danielbuechele, CC BY 2.0), the cup the sample photo of atdsr (Rachel Michetti, CC0).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from atdsr.imaging import resample
from readme_picture import COLUMNS, compared, enlarge, photo, sheet, timetable

QUALITY = 50
"""Of the JPEG file in between: low enough that its blocks are seen."""

PHOTO = "atd-light-photo-x2"
WITH_PHOTO = (*COLUMNS[:2], PHOTO, COLUMNS[2])


def scales(face: np.ndarray, folder: Path) -> None:
    """The face, reduced and enlarged by 2, 3 and 4."""
    rows = {f"x{n}": (compared(f"face x{n}", face, n), (148, 52)) for n in (2, 3, 4)}
    sheet(COLUMNS, rows).save(folder / "gallery-scales.webp", lossless=True, method=6)


def jpeg(facade: np.ndarray, folder: Path) -> None:
    """The facade from a clean reduced picture, and from one that was a JPEG file."""
    rows = {
        name: (compared(f"facade, {name}", facade, quality=quality, others=[PHOTO]), (176, 108))
        for name, quality in (("clean", None), (f"JPEG {QUALITY}", QUALITY))
    }
    picture = sheet(WITH_PHOTO, rows)
    picture.save(folder / "gallery-jpeg.webp", lossless=True, method=6)


def choosing(face: np.ndarray, folder: Path) -> None:
    """A face and small text, from a clean reduced picture and from a usual JPEG file."""
    rows = {
        f"{name}, {kind}": (
            compared(f"{name}, {kind}", picture, quality=quality, others=[PHOTO]),
            corner,
        )
        for name, picture, corner in (("face", face, (148, 52)), ("text", timetable(), (0, 0)))
        for kind, quality in (("clean", None), ("JPEG 75", 75))
    }
    sheet(WITH_PHOTO, rows).save(folder / "choosing.webp", lossless=True, method=6)


def cup(folder: Path) -> None:
    """The sample photo enlarged by 4 as it is; there is no original of that size."""
    left, top, width, height = 325, 250, 84, 64  # the bowl of the spoon
    small = photo("atdsr.reports", "sample/coffee.png")
    around = small[top - 32 : top + height + 32, left - 32 : left + width + 32]
    with tempfile.TemporaryDirectory() as scratch:
        enlarged = enlarge(around, Path(scratch), 4)
    pixels = around.repeat(4, 0).repeat(4, 1)
    columns = ("pixels of the photo", "bicubic", "atdsr upscale --scale 4")
    row = ([pixels, resample.upscale(around, 4), enlarged], (128, 128))
    picture = sheet(columns, {"cup": row}, (4 * width, 4 * height), 1)
    picture.save(folder / "gallery-cup.webp", lossless=True, method=6)


def main() -> None:
    """Write the pictures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/figures")
    face = photo("skimage", "data/astronaut.png")
    scales(face, folder)
    choosing(face, folder)
    jpeg(photo("sklearn", "datasets/images/china.jpg"), folder)
    cup(folder)


if __name__ == "__main__":
    main()
