"""Reading a packed set back."""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from atdsr.datasets.index import Entry, Index, file_name
from atdsr.datasets.packing import Progress, unwatched

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Checked:
    """What was found in a packed set.

    Attributes:
        pictures: how many.
        nbytes: of all pixels as the index has them.
        scales: of the LR pictures.
        damage: a sentence for each damaged file or picture, which it names; none if all is whole.
    """

    pictures: int
    nbytes: int
    scales: tuple[int, ...]
    damage: tuple[str, ...]


def check(folder: str | Path, progress: Progress = unwatched) -> Checked:
    """Read a packed set to the last byte and compare it with the sizes and hashes of its index.

    Args:
        folder: the set.
        progress: wraps the list of pictures, for a progress bar.

    Raises:
        DataError: no packed set, or the index itself is damaged.
    """
    folder = Path(folder)
    index = Index.read(folder)
    damage: list[str] = []
    with ExitStack() as stack:
        opened: dict[str, IO[bytes]] = {}
        for part in index.parts:
            path, wanted = folder / file_name(part), index.nbytes(part)
            try:
                file = stack.enter_context(path.open("rb"))
                size = path.stat().st_size
            except OSError as error:
                damage.append(f"{path.name} cannot be read: {error.strerror}")
                continue
            opened[part] = file
            if size != wanted:
                damage.append(f"{path.name} has {size} bytes instead of {wanted}")
        for entry in progress(index.pictures):
            for part, file in opened.items():
                if _checksum(file, entry, part) != entry.blake2b[part]:
                    side = "HR" if part == "hr" else f"LR {part}"
                    damage.append(f"{entry.name}: {side} is damaged ({file_name(part)})")
    nbytes = sum(index.nbytes(part) for part in index.parts)
    return Checked(len(index.pictures), nbytes, index.scales, tuple(damage))


def _checksum(file: IO[bytes], entry: Entry, part: str) -> str | None:
    """As `index.checksum`; None where the file cannot be read."""
    start, count = entry.span(part)
    left = 3 * count
    digest = hashlib.blake2b(digest_size=16)
    try:
        file.seek(3 * start)
        while left and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    except OSError:
        return None
    return digest.hexdigest()
