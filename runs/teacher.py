"""Tiles of pictures, and what a larger network makes of them: targets to distil from.

    python runs/teacher.py cut PICTURES TILES [SIDE]
    python runs/teacher.py teach TILES WEIGHTS [PART PARTS]

`cut` writes a square of each picture to TILES/hr, 256 pixels wide or SIDE: of six places drawn at
random the one with the most detail. The pictures that `split.py` keeps out have none, nor have
those that are smaller. `teach` reduces the squares
by the scale of the network in WEIGHTS, any that spandrel reads, and lets it enlarge them: for scale
2 TILES/x2/lr and TILES/x2/target. With PART and PARTS it does one of several equal parts, counted
from 0, for a process each. Both pass over what is there, so the same command goes on.
"""

import sys
from pathlib import Path

import numpy as np
import split
import torch
from numpy.typing import NDArray
from PIL import Image

from atdsr import imaging
from atdsr.base import memory
from atdsr.evaluation import other_networks
from atdsr.imaging import resample

PLACES = 6


def detail(square: NDArray[np.uint8]) -> float:
    """How far samples lie from the mean of their 2x2 block, on average."""
    half = len(square) // 2
    blocks = square.astype(np.float32).reshape(half, 2, half, 2, 3)
    return float(np.abs(blocks - blocks.mean((1, 3), keepdims=True)).mean())


def cut(pictures: Path, tiles: Path, side: int = split.SIDE) -> None:
    """Write the most detailed of some squares of each picture that is not kept out."""
    for number, path in enumerate(split.pictures_in(pictures)):
        tile = tiles / "hr" / f"{number:04d}-0.png"
        if split.is_kept_out(number) or tile.exists():
            continue
        with Image.open(path) as picture:
            samples = np.asarray(picture.convert("RGB"))
        room = [length - side + 1 for length in samples.shape[:2]]
        if min(room) < 1:
            continue
        places = np.random.default_rng(number).integers(0, room, (PLACES, 2)) // 2 * 2
        squares = [samples[top : top + side, left : left + side] for top, left in places]
        imaging.write(max(squares, key=detail), tile)


def teach(tiles: Path, weights: Path, part: int = 0, parts: int = 1) -> None:
    """Write the LR squares, and the network's answers to them."""
    torch.set_num_threads(1)
    memory.keep_freed_memory()  # more than halves the time
    network = other_networks.load(weights, torch.device("cpu"))
    folder = tiles / f"x{network.scale}"
    for path in sorted((tiles / "hr").glob("*.png"))[part::parts]:
        lr_path, target = folder / "lr" / path.name, folder / "target" / path.name
        if target.exists():
            continue
        hr = resample.crop_to_multiple(imaging.read(path).samples, network.scale)
        lr = resample.downscale(hr, network.scale)
        imaging.write(lr, lr_path, overwrite=True)
        answer = network(torch.from_numpy(lr).permute(2, 0, 1)[None].float() / 255)
        imaging.write((answer[0] * 255).round().byte(), target)


if __name__ == "__main__":
    if sys.argv[1] == "cut":
        cut(*map(Path, sys.argv[2:4]), *map(int, sys.argv[4:]))
    else:
        teach(*map(Path, sys.argv[2:4]), *map(int, sys.argv[4:]))
