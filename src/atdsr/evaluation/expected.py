"""Figures that an evaluation is to reproduce, such as those of the official weights."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.evaluation.protocol import Evaluation

TOLERANCE = 0.01
"""In dB, where a file names none: a hundredth is what tables print."""


class ExpectError(AtdsrError):
    """Figures that cannot be read, or that nothing measured can be compared with."""


class ExpectedRow(BaseModel):
    """One figure; what else `--json` writes beside it is passed over.

    Attributes:
        model: name of the method.
        dataset: name of the set; `set` in the file.
        scale: how many times the sides grow.
        psnr_y: in dB; infinite (null in the file) where every picture is to be HR itself.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    model: str
    dataset: Annotated[str, Field(alias="set")]
    scale: int
    psnr_y: float | None


class Expected(BaseModel):
    """A file of figures: what `atdsr eval --json` writes, or the part of it that is named here.

    Attributes:
        format: of the file.
        rows: the figures.
        tolerance: by how much a measured one may differ, in dB.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    format: Literal[1]
    rows: Annotated[list[ExpectedRow], Field(min_length=1)]
    tolerance: Annotated[float, Field(ge=0)] = TOLERANCE


@dataclass(frozen=True)
class Verdict:
    """How measured figures stand to the expected ones.

    Attributes:
        compared: how many figures were.
        missing: how many of the file were not, since their model or set was not measured.
        tolerance: in dB.
        differing: a sentence for each figure that differs by more.
    """

    compared: int
    missing: int
    tolerance: float
    differing: tuple[str, ...]


def read(path: Path) -> Expected:
    """The figures in a file.

    Raises:
        ExpectError: there is no such file, or something else is in it.
    """
    try:
        with files.open_regular(path) as file:
            return Expected.model_validate(json.loads(file.read()))
    except OSError as error:
        raise ExpectError(f"{path}: it cannot be read ({error.strerror or error}).") from None
    except (ValueError, RecursionError) as error:
        where = ""
        if isinstance(error, ValidationError):
            place = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
            where = f" (see {place})"
        raise ExpectError(
            f"{path} holds no expected figures{where}; they are what `atdsr eval --json` writes."
        ) from None


def compare(evaluation: Evaluation, expected: Expected) -> Verdict:
    """Hold what was measured to what was expected.

    A figure of a model, set or scale that was not measured is left out, so that one file can
    serve for many evaluations.

    Raises:
        ExpectError: that leaves nothing.
    """
    measured = {(row.model, row.dataset, row.scale): row.psnr_y for row in evaluation.rows}
    # with the last of two rows for one figure, as in any mapping
    wanted = {(row.model, row.dataset, row.scale): row.psnr_y for row in expected.rows}
    both = [key for key in wanted if key in measured]
    if not both:
        model, dataset, scale = next(iter(wanted))
        raise ExpectError(
            "no expected figure is of a model, set and scale that were measured; the first is of "
            f"{model} on {dataset}, x{scale}."
        )
    differing = []
    for key in both:
        target = math.inf if (figure := wanted[key]) is None else figure
        if not _close(measured[key], target, expected.tolerance):
            model, dataset, scale = key
            differing.append(
                f"{model} on {dataset}, x{scale}: {measured[key]:.4f} dB, expected {target:.4f}"
            )
    return Verdict(len(both), len(wanted) - len(both), expected.tolerance, tuple(differing))


def _close(measured: float, target: float, tolerance: float) -> bool:
    # written so that a NaN is never close; the sum of decimals may be off by a rounding
    return measured == target or abs(measured - target) <= tolerance + 1e-9
