"""What a packed set says of itself: `index.json`, checked when it is read."""

import hashlib
import re
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from atdsr.base import files
from atdsr.base.errors import AtdsrError

SIDE_MULTIPLE = 12
"""HR sides are cut to a multiple of this, so that every scale (2, 3, 4) divides them."""

INDEX = "index.json"
FORMAT = 2

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST_NAME = 4096
_PARTS = {"hr": 1, "x2": 2, "x3": 3, "x4": 4}


class DataError(AtdsrError):
    """A training set that cannot be made, read or used."""


def part(scale: int) -> str:
    """What an index calls the LR pictures of a scale; the HR pictures are `hr`."""
    return f"x{scale}"


def file_name(part: str) -> str:
    """The file with the pixels of a part."""
    return f"{part}.bin" if part == "hr" else f"lr_{part}.bin"


def checksum(samples: NDArray[np.uint8]) -> str:
    """BLAKE2b of a contiguous picture's bytes, 128 bits as hexadecimal digits."""
    return hashlib.blake2b(samples.data, digest_size=16).hexdigest()


def is_name(text: str) -> bool:
    """Whether a text can be told as a name: on one line and in any encoding."""
    return 0 < len(text) <= _LONGEST_NAME and not _UNPRINTABLE.search(text)


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("no name of a picture")
    return text


_Side = Annotated[int, Field(ge=SIDE_MULTIPLE, lt=2**31, multiple_of=SIDE_MULTIPLE)]
_Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}\z")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Entry(_Strict):
    """One picture of a packed set.

    Attributes:
        name: path of the HR file it came from, within the packed folder.
        height: of the HR picture in pixels, as it was cut.
        width: likewise.
        offset: pixels of all HR pictures before it.
        blake2b: `checksum` of its pixels in each part: `hr`, `x2` ...
        sources: size in bytes and modification time in nanoseconds of the file it came from, and
            of its LR files where they were given.
    """

    name: Annotated[str, AfterValidator(_name)]
    height: _Side
    width: _Side
    offset: Annotated[int, Field(ge=0)]
    blake2b: dict[str, _Hash]
    sources: dict[str, tuple[int, int]]

    def span(self, part: str) -> tuple[int, int]:
        """Where its pixels begin and how many they are, in the file of a part."""
        area = _PARTS[part] ** 2
        return self.offset // area, self.height * self.width // area


class Index(_Strict):
    """A packed set in words.

    Attributes:
        format: of the set.
        scales: of the LR pictures that it holds.
        lr: "matlab" where they were made, "given" where they were there.
        pictures: in the order of their pixels.
    """

    format: Literal[2]
    scales: Annotated[tuple[Literal[2, 3, 4], ...], Field(min_length=1)]
    lr: Literal["matlab", "given"]
    pictures: Annotated[tuple[Entry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.scales)) < len(self.scales):
            raise ValueError("a scale comes twice")
        parts = set(self.parts)
        sources = parts if self.lr == "given" else {"hr"}
        counts = (entry.height * entry.width for entry in self.pictures)
        for entry, offset in zip(self.pictures, accumulate(counts, initial=0), strict=False):
            if entry.offset != offset:
                raise ValueError(f"{entry.name} does not begin where the one before it ends")
            if entry.blake2b.keys() != parts or entry.sources.keys() != sources:
                raise ValueError(f"{entry.name} has not the parts of the others")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """HR and the LR of each scale, as the files are called for."""
        return ("hr", *(part(scale) for scale in self.scales))

    def nbytes(self, part: str) -> int:
        """The size that the file of a part must have."""
        start, count = self.pictures[-1].span(part)
        return 3 * (start + count)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The index of a packed set.

        Raises:
            DataError: no packed set, one of another version, or damaged.
        """
        path = folder / INDEX
        try:
            with files.open_regular(path) as file:
                return cls.model_validate_json(file.read())
        except OSError:
            raise DataError(
                f"{folder} is no packed set (no {INDEX}); make one with `atdsr data pack`."
            ) from None
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if problem["loc"] == ("format",) and problem["type"] == "literal_error":
            raise DataError(f"{folder} was packed by another version of atdsr; pack anew.")
        where = ".".join(str(step)[:40] for step in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise DataError(
            f"{path} is damaged{f' at {where}' if where else ''} ({message}); pack the pictures "
            "anew."
        )


def text_of(scales: tuple[int, ...], lr: str, lines: list[str]) -> str:
    """An index of these lines, each of which is an `Entry` as JSON."""
    listed = ",\n".join(lines)
    scales_text = ", ".join(map(str, scales))
    return (
        f'{{"format": {FORMAT}, "scales": [{scales_text}], "lr": "{lr}", "pictures": [\n'
        f"{listed}\n]}}\n"
    )
