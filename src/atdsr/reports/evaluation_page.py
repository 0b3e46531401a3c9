"""An evaluation as one web page: a table, plots, and the pictures of all methods side by side."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

import atdsr
from atdsr.base import units
from atdsr.base.reporter import SILENT, Reporter
from atdsr.base.scales import RESTORING
from atdsr.evaluation import Evaluation, Row, tables
from atdsr.evaluation.published import PublishedRow
from atdsr.evaluation.testsets import TestSet
from atdsr.reports import evaluation_gallery as gallery
from atdsr.reports import html, plots
from atdsr.reports.plots import Point

_PSNR_B = "PSNR-B"
_COMMAND = "command"  # entry of `Evaluation.machine` that has a section of its own


@dataclass(frozen=True)
class _Cell:
    """A figure in a table."""

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class _TableRow:
    """A method in a table; see `evaluation.html`."""

    model: str
    cells: tuple[_Cell, ...]
    parameters: str
    seconds: str = ""
    pace: str = ""
    memory: str = ""


@dataclass(frozen=True)
class _Table:
    """All methods at one scale or of one damage, and published figures by group."""

    task: str
    datasets: tuple[str, ...]
    columns: tuple[str, ...]
    measured: tuple[_TableRow, ...]
    published: dict[str, list[_TableRow]]


@dataclass(frozen=True)
class _Plot:
    """A plot with what stands above and below it."""

    subject: str
    title: str
    svg: Markup
    note: str = ""


def write(
    evaluation: Evaluation,
    sets: Sequence[TestSet],
    images: Path,
    path: Path,
    *,
    overwrite: bool,
    reporter: Reporter = SILENT,
) -> None:
    """Write the report of an evaluation as an HTML file.

    Args:
        evaluation: Scores to report.
        sets: Test sets of its rows, whose pictures are shown beside the results; a set that is
            not given has its figures only.
        images: Folder with the enlarged pictures, by `evaluation.image_path`.
        path: File to write.
        overwrite: Whether an existing file may be replaced.
        reporter: Receives the progress.

    Raises:
        ReportError: An enlarged picture is missing, or is not of the size it should be.
        TestSetError, PictureError: A picture cannot be read.
        FileError: The file cannot be written.
    """
    pictures = gallery.Gallery(evaluation, sets, images, reporter)
    datasets = list(dict.fromkeys(row.dataset for row in evaluation.rows))
    tasks = list(dict.fromkeys(row.task for row in evaluation.rows))
    scales = list(dict.fromkeys(row.task for row in evaluation.rows if row.scale != RESTORING))
    facts = {**evaluation.machine, "atdsr": atdsr.__version__}
    html.write(
        path,
        "evaluation.html",
        overwrite=overwrite,
        title=", ".join(datasets) + (f" at {', '.join(scales)}" if scales else ""),
        command=facts.pop(_COMMAND, None),
        facts=facts,
        tables=[_table(evaluation, task) for task in tasks],
        kinds={row.scale == RESTORING for row in evaluation.rows},
        notes=evaluation.notes,
        plots=list(_plots(evaluation)),
        groups=pictures.groups,
        pictures=pictures.pictures,
        error_colours=gallery.ERROR_COLOURS,
        full_error=gallery.FULL_ERROR,
        infinity=math.inf,
    )


def _table(evaluation: Evaluation, task: str) -> _Table:
    rows = [row for row in evaluation.rows if row.task == task]
    datasets = tuple(dict.fromkeys(row.dataset for row in rows))
    columns = tuple(dict.fromkeys(name for row in rows for name in _figures(row)))
    best = {dataset: _best([row for row in rows if row.dataset == dataset]) for dataset in datasets}
    published: dict[str, list[_TableRow]] = {}
    papers = tables.published_of(evaluation, rows)
    for group, model in dict.fromkeys((row.group, row.model) for row in papers):
        members = [row for row in papers if (row.group, row.model) == (group, model)]
        published.setdefault(group, []).append(_published_row(members, datasets, columns))
    return _Table(
        task,
        datasets,
        columns,
        tuple(
            _measured_row([row for row in rows if row.model == model], datasets, columns, best)
            for model in dict.fromkeys(row.model for row in rows)
        ),
        published,
    )


def _figures(row: Row) -> dict[str, str]:
    """Return the figures of a row by column, as the table shows them."""
    figures = {"PSNR": units.decibels(row.psnr), "SSIM": f"{row.ssim:.4f}"}
    if row.psnr_b is not None:
        figures[_PSNR_B] = units.decibels(row.psnr_b)
    return figures | {name: f"{value:.4f}" for name, value in row.metrics.items()}


def _best(rows: Sequence[Row]) -> dict[str, str]:
    """Return the best figure of each column as text; none where nothing is compared."""
    if len(rows) < 2:
        return {}
    best = {
        "PSNR": units.decibels(max(row.psnr for row in rows)),
        "SSIM": f"{max(row.ssim for row in rows):.4f}",
    }
    if with_edges := [row.psnr_b for row in rows if row.psnr_b is not None]:
        best[_PSNR_B] = units.decibels(max(with_edges))
    for name in rows[0].metrics:  # all other metrics are distances
        best[name] = f"{min(row.metrics[name] for row in rows if name in row.metrics):.4f}"
    return best


def _measured_row(
    rows: Sequence[Row],
    datasets: Sequence[str],
    columns: Sequence[str],
    best: dict[str, dict[str, str]],
) -> _TableRow:
    by_dataset = {row.dataset: _figures(row) for row in rows}
    cells = []
    for dataset in datasets:
        for column in columns:
            text = by_dataset.get(dataset, {}).get(column, units.UNKNOWN)
            cells.append(_Cell(text, text == best[dataset].get(column)))
    peak = max((row.peak_bytes for row in rows if row.peak_bytes is not None), default=None)
    seconds = sum(score.seconds for row in rows for score in row.pictures)
    return _TableRow(
        rows[0].model,
        tuple(cells),
        units.short_number(rows[0].parameters),
        units.significant(seconds, 2),
        units.significant(_pace(rows), 2),
        units.byte_size(peak),
    )


def _published_row(
    rows: Sequence[PublishedRow], datasets: Sequence[str], columns: Sequence[str]
) -> _TableRow:
    by_dataset = {row.dataset: row for row in rows}
    cells = []
    for dataset in datasets:
        row = by_dataset.get(dataset)
        psnr, ssim = (None, None) if row is None else (row.psnr, row.ssim)
        cells.append(_Cell(units.decibels(psnr)))
        cells.append(_Cell(units.UNKNOWN if ssim is None else f"{ssim:.4f}"))
        cells += [_Cell(units.UNKNOWN)] * (len(columns) - 2)
    return _TableRow(rows[0].model, tuple(cells), units.short_number(rows[0].parameters))


def _pace(rows: Sequence[Row]) -> float:
    """Return the seconds for a million pixels of the result."""
    scores = [score for row in rows for score in row.pictures]
    seconds = sum(score.seconds for score in scores)
    return seconds * 1e6 / sum(score.width * score.height for score in scores)


def _plots(evaluation: Evaluation) -> Iterator[_Plot]:
    """Yield PSNR against parameters and time, by set, where there is anything to compare."""
    number = 0
    for dataset, scale in dict.fromkeys((row.dataset, row.scale) for row in evaluation.rows):
        rows = [row for row in evaluation.rows if (row.dataset, row.scale) == (dataset, scale)]
        rows = [row for row in rows if math.isfinite(row.psnr)]
        published = [
            row for row in evaluation.published if (row.dataset, row.scale) == (dataset, scale)
        ]
        by_size = [_by_parameters(row, "measured here") for row in rows if row.parameters]
        by_size += [_by_parameters(row, "published") for row in published if row.parameters]
        without = [f"{row.model} {row.psnr:.2f} dB" for row in rows if not row.parameters]
        note = f"Without parameters: {', '.join(without)}." if without else ""
        by_time = [_by_time(row) for row in rows if _pace([row]) > 0]
        for points, title, x_label, below in (
            (by_size, "PSNR against parameters", "parameters", note),
            (by_time, "PSNR against time", "seconds per megapixel of the result", ""),
        ):
            if len(points) > 1:  # a single one says no more than the table
                subject = dataset if scale == RESTORING else f"{dataset} x{scale}"
                with plots.style():
                    figure = plots.scatter(points, x_label, "PSNR (dB)", plots.ON_PAGE)
                    svg = plots.inline_svg(
                        figure,
                        f"plot-{number}",
                        f"{subject}: {title}",
                        [point.title for point in points],
                    )
                yield _Plot(subject, title, svg, below)
                number += 1


def _by_parameters(row: Row | PublishedRow, source: str) -> Point:
    parameters = row.parameters or 0
    title = f"{row.model}: {row.psnr:.2f} dB with {units.short_number(parameters)} parameters"
    return Point(row.model, parameters, row.psnr, isinstance(row, Row), f"{title}, {source}")


def _by_time(row: Row) -> Point:
    pace = _pace([row])
    title = f"{row.model}: {row.psnr:.2f} dB at {units.significant(pace, 2)} s per megapixel"
    return Point(row.model, pace, row.psnr, True, title)
