"""Pictures and text on one sheet: side by side, one above the other, with captions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atdsr.base.escaping import printable

GAP = 20
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """The colours of a sheet: background, text, secondary text."""

    paper: Rgb
    ink: Rgb
    faint: Rgb


LIGHT = Palette((250, 250, 248), (32, 33, 36), (110, 112, 118))
"""For files, and for pages on a light screen."""

DARK = Palette((19, 20, 23), (233, 233, 230), (160, 164, 173))
"""For pages on a dark screen, in the colours of their style sheet."""

_palette = ContextVar("palette", default=LIGHT)


def palette() -> Palette:
    """Return the colours of the sheets that are drawn now."""
    return _palette.get()


@contextmanager
def drawn_in(colours: Palette) -> Iterator[None]:
    """Draw the sheets of the block in other colours."""
    token = _palette.set(colours)
    try:
        yield
    finally:
        _palette.reset(token)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow, so that a sheet looks the same everywhere."""
    return ImageFont.load_default(size=size)


def blank(width: int, height: int) -> Image.Image:
    """Return an empty sheet."""
    return Image.new("RGB", (max(1, width), max(1, height)), palette().paper)


def beside(images: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Put images in a row, aligned at the top."""
    sheet = blank(
        sum(image.width + gap for image in images) - gap, max(image.height for image in images)
    )
    x = 0
    for image in images:
        sheet.paste(image, (x, 0))
        x += image.width + gap
    return sheet


def above(images: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Put images in a column, aligned at the left."""
    sheet = blank(
        max(image.width for image in images), sum(image.height + gap for image in images) - gap
    )
    y = 0
    for image in images:
        sheet.paste(image, (0, y))
        y += image.height + gap
    return sheet


def in_rows(images: Sequence[Image.Image], columns: int, gap: int = GAP) -> Image.Image:
    """Put images into rows."""
    rows = [beside(images[i : i + columns], gap) for i in range(0, len(images), columns)]
    return above(rows, gap)


def framed(image: Image.Image, margin: int = 28) -> Image.Image:
    """Put a margin around an image."""
    sheet = blank(image.width + 2 * margin, image.height + 2 * margin)
    sheet.paste(image, (margin, margin))
    return sheet


def text(line: str, size: int = 19, colour: Rgb | None = None) -> Image.Image:
    """Draw a line of text, or several lines where it contains newlines, by default in ink."""
    lines = [printable(line_text) for line_text in line.split("\n")]
    step = round(size * 1.45)  # whatever the letters, so that images side by side align
    width = max(font(size).getlength(line_text) for line_text in lines)
    sheet = blank(int(width) + 2, step * len(lines))
    draw = ImageDraw.Draw(sheet)
    for row, line_text in enumerate(lines):
        draw.text((0, row * step), line_text, colour or palette().ink, font(size))
    return sheet


def captioned(image: Image.Image, title: str, note: str = "") -> Image.Image:
    """Put a title above an image, and a note in smaller letters below it."""
    notes = [text(note, 16, palette().faint)] if note else []
    return above([text(title), image, *notes], 6)


def enlarged(samples: np.ndarray, factor: int, *, smooth: bool = False) -> Image.Image:
    """Enlarge samples uint8 `h w 3` by a factor, with pixels as squares or interpolated."""
    image = Image.fromarray(samples)
    kind = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return image.resize((image.width * factor, image.height * factor), kind)


def factor_for(samples: np.ndarray, side: int) -> int:
    """Return the factor by which the longer side can grow to at most `side` pixels; at least 1."""
    return max(1, side // max(samples.shape[:2]))
