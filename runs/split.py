"""Keep pictures out of a training set, for choosing weights by.

    python runs/split.py PICTURES WORK

Of the pictures in PICTURES and its folders, in the order of their names, the 16th, 46th, 76th and
so on are kept out: the middle 256x256 of each becomes a PNG in WORK/validate, and WORK/train has
links to all others.
"""

import sys
from pathlib import Path

from PIL import Image

EVERY, FIRST = 30, 15
SIDE = 256


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder and its folders, in the order of their names."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tsv")
    return sorted((path.resolve() for path in paths), key=lambda path: path.name)


def is_kept_out(number: int) -> bool:
    """Whether no training sees the picture of this number, counted from 0."""
    return number % EVERY == FIRST


def main(pictures: Path, work: Path) -> None:
    """Make both folders."""
    train, validate = work / "train", work / "validate"
    for folder in (train, validate):
        folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(pictures_in(pictures)):
        if not is_kept_out(number):
            link = train / path.name
            link.unlink(missing_ok=True)  # of an attempt that was interrupted
            link.symlink_to(path)
            continue
        with Image.open(path) as picture:
            left, top = ((side - SIDE) // 2 for side in picture.size)
            middle = picture.convert("RGB").crop((left, top, left + SIDE, top + SIDE))
        middle.save(validate / f"{path.stem}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
