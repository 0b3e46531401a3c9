"""A packed training set: its index, its mapped pixels, and a check of all of it.

A packed set is a folder: `hr.bin` with the pixels of every picture one after another (uint8, HWC,
sides cut to a multiple of all scales), `lr_x2.bin` and so on with their LR pictures in the same
order, and `index.json`, which is written last. The files are mapped into memory, so a crop costs
one small copy and opening costs nothing.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO, Annotated, Literal, Self

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
from atdsr.base.errors import AtdsrError, no_folder
from atdsr.base.reporter import SILENT, Reporter
from atdsr.base.scales import RESTORING, SCALES

SIDE_MULTIPLE = math.lcm(*SCALES)
"""HR sides are cut to a multiple of this, so that every scale divides them."""

INDEX = "index.json"
FORMAT = 2

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MAX_NAME = 4096  # letters
_CHUNK_BYTES = 1 << 22


class DataError(AtdsrError):
    """A training set that cannot be made, read or used."""


def lr_resolution(scale: int) -> str:
    """Return what an index calls the LR pictures of a scale.

    The HR pictures are `hr`, and those of scale 1, for networks that restore, are the same ones.
    """
    return "hr" if scale == RESTORING else f"x{scale}"


def file_name(resolution: str) -> str:
    """Return the name of the file with the pixels of a resolution."""
    return f"{resolution}.bin" if resolution == "hr" else f"lr_{resolution}.bin"


def checksum(samples: NDArray[np.uint8]) -> str:
    """Return BLAKE2b of a contiguous picture's bytes, 128 bits as hexadecimal digits."""
    return hashlib.blake2b(samples.data, digest_size=16).hexdigest()


def is_printable_name(text: str) -> bool:
    """Return whether a name can be printed: on one line and in any encoding."""
    return 0 < len(text) <= _MAX_NAME and not _UNPRINTABLE.search(text)


# ------------------------------------------------------------------------------------- the index


def _check_name(text: str) -> str:
    if not is_printable_name(text):
        raise ValueError("no name of a picture")
    return text


def _check_scale(scale: int) -> int:
    if scale not in (RESTORING, *SCALES):
        raise ValueError("no scale of a network")
    return scale


_Scale = Annotated[int, AfterValidator(_check_scale)]
_Side = Annotated[int, Field(gt=0, lt=2**31)]
_Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}\z")]


class _StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ImageRecord(_StrictModel):
    """The index entry of one picture.

    Attributes:
        name: Path of the HR file it came from, within the packed folder.
        height: Height of the HR picture in pixels, after cutting.
        width: Width of the HR picture in pixels, after cutting.
        offset: Number of pixels of all HR pictures before it.
        blake2b: `checksum` of its pixels in each resolution: `hr`, `x2` ...
        sources: Size in bytes and modification time in nanoseconds of the file it came from, and
            of its LR files if they were given.
    """

    name: Annotated[str, AfterValidator(_check_name)]
    height: _Side
    width: _Side
    offset: Annotated[int, Field(ge=0)]
    blake2b: dict[str, _Hash]
    sources: dict[str, tuple[int, int]]

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        # not against SIDE_MULTIPLE: sets that were packed for fewer scales stay valid
        for scale in SCALES:
            if lr_resolution(scale) in self.blake2b and (self.height % scale or self.width % scale):
                raise ValueError(f"{self.name} has sides that {scale} does not divide")
        return self

    def span(self, resolution: str) -> tuple[int, int]:
        """Return the first pixel and the number of pixels in the file of a resolution."""
        area = 1 if resolution == "hr" else int(resolution.removeprefix("x")) ** 2
        return self.offset // area, self.height * self.width // area


class Index(_StrictModel):
    """The content of `index.json`.

    Attributes:
        format: Version of the format.
        scales: Scales of the LR pictures in the set; 1 alone if it has none.
        lr: "matlab" if the LR pictures were made, "given" if they came with the HR pictures.
        teacher: The network whose results are in the place of the HR pictures; None if there is
            none.
        pictures: The pictures in the order of their pixels.
    """

    format: Literal[2]
    scales: Annotated[tuple[_Scale, ...], Field(min_length=1)]
    lr: Literal["matlab", "given"]
    teacher: str | None = None
    pictures: Annotated[tuple[ImageRecord, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.scales)) < len(self.scales):
            raise ValueError("a scale comes twice")
        resolutions = set(self.resolutions)
        sources = resolutions if self.lr == "given" else {"hr"}
        counts = (record.height * record.width for record in self.pictures)
        for record, offset in zip(self.pictures, accumulate(counts, initial=0), strict=False):
            if record.offset != offset:
                raise ValueError(f"{record.name} does not begin where the one before it ends")
            if record.blake2b.keys() != resolutions or record.sources.keys() != sources:
                raise ValueError(f"{record.name} has not the parts of the others")
        return self

    @property
    def resolutions(self) -> tuple[str, ...]:
        """`hr` and the LR resolution of each scale; every one has a file of its own."""
        return tuple(dict.fromkeys(("hr", *map(lr_resolution, self.scales))))

    def nbytes(self, resolution: str) -> int:
        """Return the size that the file of a resolution must have."""
        start, count = self.pictures[-1].span(resolution)
        return 3 * (start + count)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the index of a packed set.

        Raises:
            DataError: There is no packed set, or one of another version, or it is damaged.
        """
        path = folder / INDEX
        if not folder.is_dir():
            raise DataError(no_folder(folder))
        try:
            with files.open_regular(path) as file:
                return cls.model_validate_json(file.read())
        except OSError:
            raise DataError(
                f"{folder} is not a packed set (no {INDEX}); make one with `atdsr data pack`."
            ) from None
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if problem["loc"] == ("format",) and problem["type"] == "literal_error":
            raise DataError(f"{folder} was packed by another version of atdsr; pack anew.")
        location = ".".join(str(key)[:40] for key in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise DataError(
            f"{path} is damaged{f' at {location}' if location else ''} ({message}); pack the "
            "pictures anew."
        )


def index_text(origin: Mapping[str, object], records: list[str]) -> str:
    """Return the text of an index.

    Args:
        origin: Its other fields, but for the format.
        records: The pictures, as JSON.
    """
    head = json.dumps({"format": FORMAT, **origin}).removesuffix("}")
    records_text = ",\n".join(records)
    return f'{head}, "pictures": [\n{records_text}\n]}}\n'


# --------------------------------------------------------------------------------------- the set


class PackedSet:
    """A packed training set, open for reading.

    Args:
        folder: Folder that `pack` made.
        scale: Scale of the LR pictures to pair the HR pictures with; 1 pairs them with themselves,
            which any set can do.

    Attributes:
        folder: As given.
        scale: As given.
        records: Index entries of the pictures.
        hr: Pixels of all HR pictures, uint8 `n 3`, mapped.
        lr: Pixels of all LR pictures, likewise.

    Raises:
        DataError: There is no packed set, it is damaged or cut short, or it lacks that scale.
    """

    def __init__(self, folder: str | Path, scale: int) -> None:
        self.folder = Path(folder)
        self.scale = scale
        index = Index.read(self.folder)
        if scale not in (RESTORING, *index.scales):
            scales = ", ".join(map(str, index.scales))
            raise DataError(f"{folder} is packed for the scales {scales}, not {scale}; pack anew.")
        self.records = index.pictures
        self.hr = _map_pixels(self.folder, "hr", index)
        self.lr = _map_pixels(self.folder, lr_resolution(scale), index)

    def pair(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return LR `h/scale w/scale 3` and HR `h w 3` of a picture, uint8, mapped, not copied."""
        record = self.records[number]
        height, width = record.height // self.scale, record.width // self.scale
        start, count = record.span(lr_resolution(self.scale))
        lr = self.lr[start : start + count].reshape(height, width, 3)
        start, count = record.span("hr")
        return lr, self.hr[start : start + count].reshape(record.height, record.width, 3)


def _map_pixels(folder: Path, resolution: str, index: Index) -> NDArray[np.uint8]:
    path = folder / file_name(resolution)
    expected = index.nbytes(resolution)
    try:
        size = path.stat().st_size
        if size == expected:
            # a plain array: the class memmap makes every slice slow
            return np.asarray(np.memmap(path, np.uint8, mode="r")).reshape(-1, 3)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; pack anew.") from None
    raise DataError(
        f"{path} has {size} bytes where the index says {expected}; `atdsr data check {folder}` "
        "tells which pictures are damaged, and packing anew mends them."
    )


# ------------------------------------------------------------------------------------- the check


@dataclass(frozen=True)
class CheckResult:
    """The result of `check`.

    Attributes:
        pictures: Number of pictures.
        nbytes: Size of all pixels in bytes by the index.
        scales: Scales of the LR pictures.
        damage: A sentence for each damaged file or picture, which it names; empty if the set is
            intact.
    """

    pictures: int
    nbytes: int
    scales: tuple[int, ...]
    damage: tuple[str, ...]


def check(folder: str | Path, reporter: Reporter = SILENT) -> CheckResult:
    """Read a packed set to the last byte and compare it with the sizes and hashes of its index.

    Args:
        folder: Folder of the set.
        reporter: Receives the progress.

    Raises:
        DataError: There is no packed set, or the index itself is damaged.
    """
    folder = Path(folder)
    index = Index.read(folder)
    damage: list[str] = []
    with ExitStack() as stack:
        open_files: dict[str, IO[bytes]] = {}
        for resolution in index.resolutions:
            path, expected = folder / file_name(resolution), index.nbytes(resolution)
            try:
                file = stack.enter_context(path.open("rb"))
                size = path.stat().st_size
            except OSError as error:
                damage.append(f"{path.name} cannot be read: {error.strerror}")
                continue
            open_files[resolution] = file
            if size != expected:
                damage.append(f"{path.name} has {size} bytes instead of {expected}")
        for number, record in enumerate(index.pictures):
            reporter.progress(number / len(index.pictures))
            for resolution, file in open_files.items():
                if _file_checksum(file, record, resolution) != record.blake2b[resolution]:
                    side = "HR" if resolution == "hr" else f"LR {resolution}"
                    damage.append(f"{record.name}: {side} is damaged ({file_name(resolution)})")
    nbytes = sum(map(index.nbytes, index.resolutions))
    return CheckResult(len(index.pictures), nbytes, index.scales, tuple(damage))


def _file_checksum(file: IO[bytes], record: ImageRecord, resolution: str) -> str | None:
    """Return the `checksum` of a picture in a file; None if the file cannot be read."""
    start, count = record.span(resolution)
    remaining = 3 * count
    digest = hashlib.blake2b(digest_size=16)
    try:
        file.seek(3 * start)
        while remaining and (chunk := file.read(min(remaining, _CHUNK_BYTES))):
            digest.update(chunk)
            remaining -= len(chunk)
    except OSError:
        return None
    return digest.hexdigest()
