"""Compare an evaluation with expected figures, such as those of the official weights."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from atdsr.base import files
from atdsr.base.errors import AtdsrError, unreadable
from atdsr.base.scales import RESTORING
from atdsr.evaluation.results import Evaluation

DEFAULT_TOLERANCE = 0.01
"""Tolerance in dB if a file names none: tables print hundredths."""


class ExpectError(AtdsrError):
    """Expected figures that cannot be read, or that no measured figure corresponds to."""


class ExpectedRow(BaseModel):
    """One figure; other keys that `--json` writes are ignored.

    Attributes:
        model: Name of the method.
        dataset: Name of the test set; `set` in the file.
        scale: How many times the sides grow; 1 where pictures are restored.
        psnr: PSNR in dB; `psnr_y` in the file where it is on Y. None (null in the file) stands for
            an infinite one.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    model: str
    dataset: Annotated[str, Field(alias="set")]
    scale: int
    psnr: Annotated[float | None, Field(validation_alias=AliasChoices("psnr_y", "psnr"))]


class Expected(BaseModel):
    """A file that `atdsr eval --json` writes; only the keys that are named here are needed.

    Attributes:
        format: Format of the file.
        rows: Expected figures.
        tolerance: Largest difference of a measured figure, in dB.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    format: Literal[1]
    rows: Annotated[list[ExpectedRow], Field(min_length=1)]
    tolerance: Annotated[float, Field(ge=0)] = DEFAULT_TOLERANCE


@dataclass(frozen=True)
class Agreement:
    """How far measured figures agree with expected ones.

    Attributes:
        compared: Number of compared figures.
        missing: Number of expected figures whose model or set was not measured.
        tolerance: Largest difference in dB.
        differing: A sentence for each figure that differs by more.
    """

    compared: int
    missing: int
    tolerance: float
    differing: tuple[str, ...]


def read(path: Path) -> Expected:
    """Read a file with expected figures.

    Raises:
        ExpectError: There is no such file, or it holds something else.
    """
    try:
        with files.open_regular(path) as file:
            return Expected.model_validate(json.loads(file.read()))
    except OSError as error:
        raise ExpectError(unreadable(path, error)) from None
    except (ValueError, RecursionError) as error:
        hint = ""
        if isinstance(error, ValidationError):
            location = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
            hint = f" (see {location})"
        raise ExpectError(
            f"{path} holds no expected figures{hint}; they are what `atdsr eval --json` writes."
        ) from None


def compare(evaluation: Evaluation, expected: Expected) -> Agreement:
    """Compare measured figures with expected ones.

    A figure of a model, set or scale that was not measured is left out, so that one file can
    serve for many evaluations.

    Raises:
        ExpectError: No expected figure was measured.
    """
    measured = {(row.model, row.dataset, row.scale): row.psnr for row in evaluation.rows}
    # of two rows for one figure, the last one counts
    targets = {(row.model, row.dataset, row.scale): row.psnr for row in expected.rows}
    common = [key for key in targets if key in measured]
    if not common:
        model, dataset, scale = next(iter(targets))
        raise ExpectError(
            "no expected figure is of a model, set and scale that were measured; the first is of "
            f"{_place(model, dataset, scale)}."
        )
    differing = []
    for key in common:
        target = math.inf if (figure := targets[key]) is None else figure
        if not _close(measured[key], target, expected.tolerance):
            model, dataset, scale = key
            differing.append(
                f"{_place(model, dataset, scale)}: {measured[key]:.4f} dB, expected {target:.4f}"
            )
    return Agreement(len(common), len(targets) - len(common), expected.tolerance, tuple(differing))


def _place(model: str, dataset: str, scale: int) -> str:
    return f"{model} on {dataset}" if scale == RESTORING else f"{model} on {dataset}, x{scale}"


def _close(measured: float, target: float, tolerance: float) -> bool:
    # written so that a NaN is never close; 1e-9 allows for the rounding of decimals
    return measured == target or abs(measured - target) <= tolerance + 1e-9
