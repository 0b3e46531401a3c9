"""Pages of text to fine-tune on: this project's documentation, drawn as a screen shows it.

python runs/text/pages.py docs work/text
"""

import random
import sys
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 600
COLOURS = (
    ("white", "black"),
    ("#fdf6e3", "#586e75"),
    ("#1e1e1e", "#d4d4d4"),
    ("#0d1117", "#58a6ff"),
)
HELD_OUT = 12
"""Every such page is for validation."""


def draw(text: str, chance: random.Random) -> Image.Image:
    """A page full of text, from its beginning on."""
    size = chance.randint(11, 20)
    paper, ink = chance.choice(COLOURS)
    page = Image.new("RGB", (SIDE, SIDE), paper)
    lines = [
        part for line in text.splitlines() for part in textwrap.wrap(line, 2 * SIDE // size) or [""]
    ]
    ImageDraw.Draw(page).multiline_text(
        (12, 12), "\n".join(lines), ink, ImageFont.load_default(size), spacing=size // 3
    )
    return page


def main() -> None:
    """Draw a page or two of every text."""
    source, out = map(Path, sys.argv[1:])
    chance = random.Random(0)
    texts = sorted(source.rglob("*.md"))
    pages = [path.read_text(encoding="utf-8")[start:] for path in texts for start in (0, 1500)]
    for number, text in enumerate(pages):
        folder = out / ("validate" if number % HELD_OUT == 2 else "train")
        folder.mkdir(parents=True, exist_ok=True)
        draw(text, chance).save(folder / f"{number:03}.png")


if __name__ == "__main__":
    main()
