"""Turn an `Evaluation` into tables for people, Markdown and JSON (`docs/evaluation.md`)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import atdsr
from atdsr.base import escaping, files, units
from atdsr.base.scales import RESTORING
from atdsr.evaluation.published import PublishedRow
from atdsr.evaluation.results import Evaluation, Row, Score

FORMAT = 1
"""Version of the JSON; it grows when a key changes its meaning or goes, not when one is added."""


@dataclass(frozen=True)
class Table:
    """The figures of one scale or damage: a line for each method, a column for each set.

    Attributes:
        task: What was done, as of `Row`.
        title: What the cells of the sets hold.
        header: Names of the columns.
        measured: Lines of cells with measured figures.
        published: Lines of cells with figures from papers.
    """

    task: str
    title: str
    header: tuple[str, ...]
    measured: tuple[tuple[str, ...], ...]
    published: tuple[tuple[str, ...], ...]


def tables(evaluation: Evaluation) -> list[Table]:
    """Return one table for each scale, and for each kind of damage that was removed."""
    return [_table(evaluation, task) for task in dict.fromkeys(row.task for row in evaluation.rows)]


def published_of(evaluation: Evaluation, rows: Sequence[Row]) -> list[PublishedRow]:
    """Return the published figures for the scales and sets of these rows."""
    measured = {(row.scale, row.dataset) for row in rows}
    return [row for row in evaluation.published if (row.scale, row.dataset) in measured]


def columns(row: Row) -> dict[str, str]:
    """Return the figures of a row as text, by what they are called."""
    on_y = "" if row.scale == RESTORING else "-Y"
    figures = {f"PSNR{on_y}": f"{row.psnr:.2f}", f"SSIM{on_y}": f"{row.ssim:.4f}"}
    if row.psnr_b is not None:
        figures["PSNR-B"] = f"{row.psnr_b:.2f}"
    return figures | {name.upper(): f"{value:.4f}" for name, value in row.metrics.items()}


def _table(evaluation: Evaluation, task: str) -> Table:
    rows = [row for row in evaluation.rows if row.task == task]
    papers = published_of(evaluation, rows)
    sets = list(dict.fromkeys(row.dataset for row in rows))
    return Table(
        task,
        f"{task}: {' / '.join(columns(rows[0]))}",
        ("method", "parameters", *sets, "seconds", "memory"),
        tuple(
            _measured_line([row for row in rows if row.model == model], sets)
            for model in dict.fromkeys(row.model for row in rows)
        ),
        tuple(
            _published_line([row for row in papers if row.model == model], sets)
            for model in dict.fromkeys(row.model for row in papers)
        ),
    )


def _measured_line(rows: Sequence[Row], sets: Sequence[str]) -> tuple[str, ...]:
    by_set = {row.dataset: row for row in rows}
    seconds = np.mean([score.seconds for row in rows for score in row.pictures])
    peaks = [row.peak_bytes for row in rows if row.peak_bytes is not None]
    return (
        rows[0].model,
        "" if rows[0].parameters is None else f"{rows[0].parameters:,}",
        *(" / ".join(columns(by_set[name]).values()) if name in by_set else "" for name in sets),
        f"{seconds:.2f}",
        units.byte_size(max(peaks)) if peaks else "",
    )


def _published_line(rows: Sequence[PublishedRow], sets: Sequence[str]) -> tuple[str, ...]:
    cells = dict.fromkeys(sets, "")
    for row in rows:
        exact = row.exact_psnr_y
        psnr = f"{row.psnr:.2f}" if exact is None else f"{exact:.4f}"
        cells[row.dataset] = psnr if row.ssim is None else f"{psnr} / {row.ssim:.4f}"
    count = rows[0].parameters
    return rows[0].model, "" if count is None else f"{count:,}", *cells.values(), "", ""


# ---------------------------------------------------------------------------------------- Markdown


def to_markdown(evaluation: Evaluation) -> str:
    """Return the tables as Markdown, with published figures below the measured ones."""
    parts = []
    for table in tables(evaluation):
        parts += [
            f"**{escaping.markdown(table.title)}**\n",
            _markdown(table.header, table.measured),
        ]
        if table.published:
            # without seconds and memory, which only a measurement has
            header, *lines = [line[:-2] for line in (table.header, *table.published)]
            parts += ["Published:\n", _markdown(header, lines)]
    parts += [f"{escaping.markdown(note)}\n" for note in evaluation.notes]
    machine = {name: value for name, value in evaluation.machine.items() if name != "command"}
    about = escaping.markdown(", ".join(f"{name} {value}" for name, value in machine.items()))
    parts.append(
        "Seconds are means over the pictures, memory is the highest peak; published PSNR of four "
        f"decimals comes from logs of the official weights. atdsr {atdsr.__version__}; {about}.\n"
    )
    return "\n".join(parts)


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in header[1:])]
    escaped = [[escaping.markdown(cell) for cell in line] for line in (header, *lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (escaped[0], rule, *escaped[1:]))


def write_markdown(evaluation: Evaluation, path: Path, *, overwrite: bool) -> None:
    """Write the tables to a file.

    Raises:
        FileError: The file exists and `overwrite` is False, or it cannot be written.
    """
    with files.atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(to_markdown(evaluation), "utf-8", "backslashreplace")


# -------------------------------------------------------------------------------------------- JSON


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the evaluation as JSON; an infinite PSNR is None, since JSON has no infinity."""
    return {
        "format": FORMAT,
        "atdsr": atdsr.__version__,
        "machine": dict(evaluation.machine),
        "rows": [_row_to_json(row) for row in evaluation.rows],
        "published": [
            {
                "model": row.model,
                "set": row.dataset,
                "scale": row.scale,
                "group": row.group,
                "parameters": row.parameters,
                **_by_name(row.scale, row.psnr, row.ssim),
                "exact_psnr_y": row.exact_psnr_y,
            }
            for row in evaluation.published
        ],
    }


def _row_to_json(row: Row) -> dict[str, Any]:
    return {
        "model": row.model,
        "set": row.dataset,
        "scale": row.scale,
        "parameters": row.parameters,
        **_figures_to_json(row, row.scale),
        "pictures": [
            {
                "name": score.name,
                "width": score.width,
                "height": score.height,
                **_figures_to_json(score, row.scale),
            }
            for score in row.pictures
        ],
    }


def _figures_to_json(scores: Row | Score, scale: int) -> dict[str, Any]:
    psnr_b = {} if scores.psnr_b is None else {"psnr_b": _finite(scores.psnr_b)}
    return {
        **_by_name(scale, _finite(scores.psnr), scores.ssim),
        **psnr_b,
        "seconds": scores.seconds,
        "peak_bytes": scores.peak_bytes,
        "metrics": {name: _finite(value) for name, value in scores.metrics.items()},
    }


def _by_name(scale: int, psnr: float | None, ssim: float | None) -> dict[str, float | None]:
    """Return PSNR and SSIM by their keys, which tell where they are on Y."""
    on_y = "" if scale == RESTORING else "_y"
    return {f"psnr{on_y}": psnr, f"ssim{on_y}": ssim}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_json(evaluation: Evaluation, path: Path, *, overwrite: bool) -> None:
    """Write `to_json` to a file.

    Raises:
        FileError: The file exists and `overwrite` is False, or it cannot be written.
    """
    text = json.dumps(to_json(evaluation), indent=1, allow_nan=False)
    with files.atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text + "\n", "utf-8")
