"""Folders of pictures to pack, and packed sets of any size."""

import itertools
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image

from atdsr import datasets
from atdsr.datasets import DataError, PackedSet, pack_writer
from helpers.pictures import noise


def noise_folder(folder: Path, count: int, h: int = 48, w: int = 60) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(noise(h=h, w=w, seed=number)).save(folder / f"{number:04}.png")
    return folder


def entry(name: str, height: int, width: int, offset: int, parts: Sequence[str]) -> dict:
    """A picture of an index, with hashes of nothing."""
    return {
        "name": name,
        "height": height,
        "width": width,
        "offset": offset,
        "blake2b": dict.fromkeys(parts, "0" * 32),
        "sources": {"hr": [1, 2]},
    }


def empty_set(folder: Path, sizes: Sequence[tuple[int, int]], scale: int = 2) -> PackedSet:
    """A set of black pictures (height, width), however large: its files have holes."""
    folder.mkdir()
    parts, entries, offset = ("hr", f"x{scale}"), [], 0
    for number, (height, width) in enumerate(sizes):
        entries.append(entry(f"{number}.png", height, width, offset, parts))
        offset += height * width
    index = {"format": 2, "scales": [scale], "lr": "matlab", "pictures": entries}
    (folder / "index.json").write_text(json.dumps(index))
    for name, share in (("hr.bin", 1), (f"lr_x{scale}.bin", scale**2)):
        with (folder / name).open("wb") as file:
            file.truncate(3 * offset // share)
    return PackedSet(folder, scale)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a packed set."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pack_to_be_killed(folder: Path, out: Path, at_most: int) -> None:
    """Pack with a journal line for each picture at once, and hang after so many of them."""
    pack_writer._COMMIT_BYTES = 0
    add, added = pack_writer.PackWriter.add, itertools.count(1)

    def add_or_hang(self: pack_writer.PackWriter, *picture: Any) -> None:
        add(self, *picture)
        if next(added) == at_most:
            time.sleep(600)

    with mock.patch.object(pack_writer.PackWriter, "add", add_or_hang):
        datasets.pack(folder, out)


def pack_with_limit(folder: Path, out: Path, limit: int) -> None:
    """Pack where no file may grow beyond a limit; the error goes to the file `said`."""
    pack_writer._COMMIT_BYTES = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        datasets.pack(folder, out)
    except DataError as error:
        (out.parent / "said").write_text(str(error))
