"""A training run as one web page: figures, curves, validation images, notices, recipe."""

import math
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from atdsr.base import units
from atdsr.reports import html, run_curves
from atdsr.reports.training_runs import TrainingRun, facts
from atdsr.training.validation import VALIDATION_FOLDER

_RECIPE = "recipe.yaml"
_LONGEST_RECIPE = 2**18  # characters that are shown
_MOST_NOTICES = 1_000  # that are shown, the last ones
_LARGEST_IMAGE = 2**26  # bytes of a validation image that is shown


@dataclass(frozen=True)
class _ValidationImage:
    """The image of a validation.

    Attributes:
        step: Step of the validation.
        names: What kind of validation it is, such as `last and best`.
        path: PNG file.
    """

    step: int
    names: str
    path: Path

    def load(self) -> Markup:
        """Return the file as a `data:` URL; read only here, so that one is in memory at a time."""
        return html.data_url(self.path.read_bytes(), "image/png")


def write(run: TrainingRun, path: Path, *, overwrite: bool) -> None:
    """Write the page of a run.

    Raises:
        FileError: The file cannot be written.
    """
    html.write(
        path,
        "run.html",
        overwrite=overwrite,
        run=run,
        facts=facts(run),
        curves=run_curves.svgs(run),
        best={name: _best(run, name) for name in run.sets},
        best_mean=run.best.mean_psnr if run.best else None,
        ssim=lambda value: (
            f"{value:.4f}" if value is not None and value == value else units.UNKNOWN
        ),
        images=_validation_images(run),
        notices=run.notices[-_MOST_NOTICES:],
        recipe=_recipe(run),
    )


def _best(run: TrainingRun, name: str) -> float | None:
    """Return the highest PSNR on a test set; None where no validation has one."""
    values = [validated.psnr.get(name, math.nan) for validated in run.validations]
    return max((value for value in values if not math.isnan(value)), default=None)


def _validation_images(run: TrainingRun) -> list[_ValidationImage]:
    """Return the images of the last, the best and the first validation, as far as they exist."""
    names: dict[int, list[str]] = {}
    if run.best:
        for validated, name in (
            (run.validations[-1], "last"),
            (run.best, "best"),
            (run.validations[0], "first"),
        ):
            names.setdefault(validated.step, []).append(name)
    images = [
        _ValidationImage(
            step, " and ".join(kinds), run.folder / VALIDATION_FOLDER / f"{step:08}.png"
        )
        for step, kinds in names.items()
    ]
    return [
        image
        for image in images
        if image.path.is_file() and image.path.stat().st_size <= _LARGEST_IMAGE
    ]


def _recipe(run: TrainingRun) -> str | None:
    path = run.folder / _RECIPE
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_LONGEST_RECIPE)
