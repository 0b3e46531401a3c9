"""Pictures and words on a sheet of paper: side by side, one above the other, with captions."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atdsr.base.escaping import printable

PAPER, INK, FAINT = (250, 250, 248), (32, 33, 36), (110, 112, 118)
GAP = 20
Rgb = tuple[int, int, int]


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow, so that a sheet looks the same everywhere."""
    return ImageFont.load_default(size=size)


def blank(width: int, height: int) -> Image.Image:
    """A piece of paper."""
    return Image.new("RGB", (max(1, width), max(1, height)), PAPER)


def beside(parts: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Parts in a row, aligned at the top."""
    sheet = blank(sum(part.width + gap for part in parts) - gap, max(p.height for p in parts))
    x = 0
    for part in parts:
        sheet.paste(part, (x, 0))
        x += part.width + gap
    return sheet


def above(parts: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Parts in a column, aligned at the left."""
    sheet = blank(max(p.width for p in parts), sum(part.height + gap for part in parts) - gap)
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height + gap
    return sheet


def in_rows(parts: Sequence[Image.Image], columns: int, gap: int = GAP) -> Image.Image:
    """Parts row by row."""
    rows = [beside(parts[i : i + columns], gap) for i in range(0, len(parts), columns)]
    return above(rows, gap)


def framed(part: Image.Image, margin: int = 28) -> Image.Image:
    """A part with empty paper around it."""
    sheet = blank(part.width + 2 * margin, part.height + 2 * margin)
    sheet.paste(part, (margin, margin))
    return sheet


def text(line: str, size: int = 19, colour: Rgb = INK) -> Image.Image:
    """A line of words; of several lines where it holds newlines."""
    lines = [printable(words) for words in line.split("\n")]
    step = round(size * 1.45)  # whatever the letters, so that parts side by side align
    width = max(font(size).getlength(words) for words in lines)
    sheet = blank(int(width) + 2, step * len(lines))
    draw = ImageDraw.Draw(sheet)
    for row, words in enumerate(lines):
        draw.text((0, row * step), words, colour, font(size))
    return sheet


def captioned(part: Image.Image, title: str, note: str = "") -> Image.Image:
    """A part under its title, and under it a note in smaller letters."""
    notes = [text(note, 16, FAINT)] if note else []
    return above([text(title), part, *notes], 6)


def enlarged(samples: np.ndarray, factor: int, *, smooth: bool = False) -> Image.Image:
    """Samples uint8 `h w 3` with sides so many times as long; each pixel a square or smooth."""
    image = Image.fromarray(samples)
    kind = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return image.resize((image.width * factor, image.height * factor), kind)


def factor_for(samples: np.ndarray, side: int) -> int:
    """How many times as long the longer side can be to stay within so many pixels; at least 1."""
    return max(1, side // max(samples.shape[:2]))
