"""The test sets of the papers: where they come from, and the pixels that they consist of.

A folder called Set5 need not hold Set5. Published figures can be compared with measured ones only
if the pictures are the same, which a digest of their pixels shows whatever the files are called
and however they are compressed.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np


@dataclass(frozen=True)
class StandardSet:
    """A test set that papers use.

    Attributes:
        name: Its name.
        pictures: Number of pictures.
        paper: Where it was introduced.
        source: Address of the page of its authors.
        digests: `set_digest` of the HR pictures by scale, each picture cropped to a multiple of
            the scale, which is 1 where pictures are restored; empty if it is not known.
    """

    name: str
    pictures: int
    paper: str
    source: str
    digests: dict[int, str]


@cache
def standard_sets() -> tuple[StandardSet, ...]:
    """Return the test sets of the papers, in the order of their tables."""
    content = json.loads((files("atdsr") / "evaluation" / "testsets.json").read_text("utf-8"))
    return tuple(
        StandardSet(
            name,
            entry["pictures"],
            entry["paper"],
            entry["source"],
            {int(scale): digest for scale, digest in entry["sha256"].items()},
        )
        for name, entry in content.items()
    )


def known_name(folder: str) -> str:
    """Return what papers call the set of a folder, such as CBSD68 for `cbsd68` or `CBSD68HQ`.

    The folder of a set that they do not use gives its name to the set. BSD100 is B100.
    """
    names = {each.name.lower(): each.name for each in standard_sets()} | {"bsd100": "B100"}
    bare = folder.lower().removesuffix("hq").removesuffix("_")
    return names.get(folder.lower()) or names.get(bare) or folder


def picture_digest(samples: np.ndarray) -> str:
    """Return the SHA-256 of a picture's size and samples.

    Args:
        samples: Samples h w 3 of uint8.

    Returns:
        64 hexadecimal digits: the hash of `WIDTHxHEIGHT`, a line feed, and 3 bytes RGB for each
        pixel, rows from top to bottom.
    """
    height, width = samples.shape[:2]
    return hashlib.sha256(f"{width}x{height}\n".encode() + samples.tobytes()).hexdigest()


def set_digest(pictures: Iterable[str]) -> str:
    """Return the SHA-256 of the sorted `picture_digest`s of a set, each followed by a line feed."""
    lines = "".join(f"{digest}\n" for digest in sorted(pictures))
    return hashlib.sha256(lines.encode()).hexdigest()


def identify(digest: str, scale: int) -> StandardSet | None:
    """Return the standard set with this digest at this scale; None if there is none."""
    return next((each for each in standard_sets() if each.digests.get(scale) == digest), None)
