"""The page around the pictures: what was measured, how, and plots of it."""

import math
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import atdsr
from atdsr.base import escaping, units
from atdsr.evaluation import Evaluation, Row
from atdsr.evaluation.published import PublishedRow
from atdsr.evaluation.testsets import TestSet
from atdsr.reports import pages
from atdsr.reports.evaluation import crops, gallery, plots
from atdsr.reports.evaluation.plots import Axis, Point

_COMMAND = "command"  # the entry of `Evaluation.machine` that has a section of its own


def parts(
    evaluation: Evaluation,
    sets: Sequence[TestSet],
    images: Path,
    progress: Callable[[float], None],
) -> Iterator[str]:
    """The page from top to bottom, in pieces to be written one after the other."""
    shown = gallery.groups(evaluation, sets)
    yield _head(evaluation)
    scales = list(dict.fromkeys(row.scale for row in evaluation.rows))
    yield '<section id="figures"><h2>Figures</h2>\n'
    for scale in scales:
        yield _table(evaluation, scale)
    yield _TABLE_NOTE + "</section>\n"
    drawn = [plot for scale in scales for plot in _plots(evaluation, scale)]
    if drawn:
        yield f'<section id="plots"><h2>Plots</h2>{_PLOT_NOTE}<div class="plots">\n'
        yield from drawn
        yield "</div></section>\n"
    if shown:
        yield f'<section id="pictures"><h2>Pictures</h2>{_PICTURE_NOTE}\n'
        yield from gallery.parts(shown, images, progress)
        yield "</section>\n"
    yield _method(evaluation)
    yield _VIEWER if shown else ""
    yield pages.end(_asset("report.js"))


def _asset(name: str) -> str:
    return (files("atdsr.reports.evaluation") / name).read_text("utf-8")


def _head(evaluation: Evaluation) -> str:
    """Everything above the first section."""
    ramp = ",".join(crops.ERROR_COLOURS)
    datasets = list(dict.fromkeys(row.dataset for row in evaluation.rows))
    scales = list(dict.fromkeys(row.scale for row in evaluation.rows))
    title = f"{', '.join(datasets)} at {', '.join(f'x{scale}' for scale in scales)}"
    facts = {**evaluation.machine, "atdsr": atdsr.__version__}
    facts.pop(_COMMAND, None)
    return pages.head(
        title,
        "Super-resolution, measured side by side",
        facts,
        styles=_asset("report.css") + f":root {{ --ramp: linear-gradient(to right, {ramp}); }}\n",
        script=_asset("report.js"),
    )


def _table(evaluation: Evaluation, scale: int) -> str:
    """Methods against sets at one scale; published figures below those measured."""
    rows = [row for row in evaluation.rows if row.scale == scale]
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    kinds = list(dict.fromkeys(name for row in rows for name in row.metrics))
    columns = ["PSNR", "SSIM", *kinds]
    best = {dataset: _best([row for row in rows if row.dataset == dataset]) for dataset in datasets}
    heads = "".join(
        f'<th scope="colgroup" colspan="{len(columns)}">{escaping.html(dataset)}</th>'
        for dataset in datasets
    )
    measured = "".join(
        _measured_row(model, [row for row in rows if row.model == model], datasets, kinds, best)
        for model in dict.fromkeys(row.model for row in rows)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Figures at x{scale}"><table>'
        f'<thead><tr><th class="first" scope="col" rowspan="2">x{scale}</th>{heads}'
        '<th scope="col" rowspan="2">parameters</th><th scope="col" rowspan="2">s / MP</th>'
        '<th scope="col" rowspan="2">memory</th></tr><tr>'
        + "".join(f'<th scope="col">{escaping.html(name.upper())}</th>' for name in columns)
        * len(datasets)
        + f'</tr></thead>\n<tbody class="measured">{measured}</tbody>\n'
        + _published_body(evaluation, scale, datasets, len(kinds))
        + "</table></div>\n"
    )


def _best(rows: Sequence[Row]) -> dict[str, str]:
    """The best figure of each column as the table writes it; none where nothing is compared."""
    if len(rows) < 2:
        return {}
    best = {
        "PSNR": units.decibels(max(row.psnr_y for row in rows)),
        "SSIM": f"{max(row.ssim_y for row in rows):.4f}",
    }
    for kind in rows[0].metrics:  # all that there are are distances
        best[kind] = f"{min(row.metrics[kind] for row in rows if kind in row.metrics):.4f}"
    return best


def _measured_row(
    model: str,
    rows: Sequence[Row],
    datasets: Sequence[str],
    kinds: Sequence[str],
    best: dict[str, dict[str, str]],
) -> str:
    cells = []
    for dataset in datasets:
        row = next((row for row in rows if row.dataset == dataset), None)
        figures = {}
        if row is not None:
            figures = {"PSNR": units.decibels(row.psnr_y), "SSIM": f"{row.ssim_y:.4f}"}
            figures |= {kind: f"{value:.4f}" for kind, value in row.metrics.items()}
        for column in ("PSNR", "SSIM", *kinds):
            text = figures.get(column, units.UNKNOWN)
            strong = text == best[dataset].get(column)
            cells.append(f"<td>{f'<b>{text}</b>' if strong else text}</td>")
    peak = max((row.peak_bytes for row in rows if row.peak_bytes is not None), default=None)
    total = sum(score.seconds for row in rows for score in row.pictures)
    return (
        f'<tr><th class="first" scope="row">{escaping.html(model)}</th>{"".join(cells)}'
        f"<td>{units.short_number(rows[0].parameters)}</td>"
        f'<td title="{units.significant(total, 2)} s in all">'
        f"{units.significant(_pace(rows), 2)}</td>"
        f"<td>{units.byte_size(peak)}</td></tr>"
    )


def _pace(rows: Sequence[Row]) -> float:
    """Seconds for a million pixels of the result."""
    scores = [score for row in rows for score in row.pictures]
    seconds = sum(score.seconds for score in scores)
    return seconds * 1e6 / sum(score.width * score.height for score in scores)


def _published_body(evaluation: Evaluation, scale: int, datasets: Sequence[str], more: int) -> str:
    """The figures of papers, a group a table body."""
    rows = [row for row in evaluation.published if row.scale == scale]
    bodies = []
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        lines = "".join(
            _published_row([row for row in members if row.model == model], datasets, more)
            for model in dict.fromkeys(row.model for row in members)
        )
        width = 4 + len(datasets) * (2 + more)
        bodies.append(
            f'<tbody class="published"><tr class="divider"><th scope="rowgroup" colspan="{width}">'
            f"<span>published ({escaping.html(group)}), not measured here</span></th></tr>"
            f"{lines}</tbody>\n"
        )
    return "".join(bodies)


def _published_row(rows: Sequence[PublishedRow], datasets: Sequence[str], more: int) -> str:
    cells = []
    for dataset in datasets:
        row = next((row for row in rows if row.dataset == dataset), None)
        cells.append(f"<td>{units.UNKNOWN if row is None else f'{row.psnr_y:.2f}'}</td>")
        ssim_y = None if row is None else row.ssim_y
        cells.append(f"<td>{units.UNKNOWN if ssim_y is None else f'{ssim_y:.4f}'}</td>")
        cells.extend([_EMPTY] * more)
    return (
        f'<tr><th class="first" scope="row">{escaping.html(rows[0].model)}</th>{"".join(cells)}'
        f"<td>{units.short_number(rows[0].parameters)}</td><td></td><td></td></tr>"
    )


def _plots(evaluation: Evaluation, scale: int) -> Iterator[str]:
    """For each set PSNR against parameters and against time, where there is something to plot."""
    for dataset in dict.fromkeys(row.dataset for row in evaluation.rows if row.scale == scale):
        rows = [
            row
            for row in evaluation.rows
            if (row.dataset, row.scale) == (dataset, scale) and math.isfinite(row.psnr_y)
        ]
        published = [
            row for row in evaluation.published if (row.dataset, row.scale) == (dataset, scale)
        ]
        name = f"{dataset} x{scale}"
        sized = [_by_parameters(row, row.parameters) for row in rows if row.parameters]
        sized += [_by_published_parameters(row) for row in published]
        if sized:
            bare = [f"{row.model} {row.psnr_y:.2f} dB" for row in rows if not row.parameters]
            note = f"Without parameters: {', '.join(bare)}." if bare else ""
            axis = Axis("parameters", units.short_number)
            yield _plot(sized, axis, f"{name}: PSNR against parameters", note)
        timed = [_by_time(row) for row in rows if _pace([row]) > 0]
        if timed:
            axis = Axis("seconds per megapixel of the result", units.short_number)
            yield _plot(timed, axis, f"{name}: PSNR against time", "")


def _by_parameters(row: Row, parameters: int) -> Point:
    title = f"{row.model}: {row.psnr_y:.2f} dB with {units.short_number(parameters)} parameters"
    return Point(row.model, parameters, row.psnr_y, True, f"{title}, measured here")


def _by_published_parameters(row: PublishedRow) -> Point:
    title = f"{row.model}: {row.psnr_y:.2f} dB with {units.short_number(row.parameters)} parameters"
    return Point(row.model, row.parameters, row.psnr_y, False, f"{title}, published")


def _by_time(row: Row) -> Point:
    pace = _pace([row])
    title = f"{row.model}: {row.psnr_y:.2f} dB at {units.significant(pace, 2)} s per megapixel"
    return Point(row.model, pace, row.psnr_y, True, title)


def _plot(points: Sequence[Point], axis: Axis, name: str, note: str) -> str:
    heading, _, what = name.partition(": ")
    drawing = plots.scatter(points, axis, "PSNR (dB)", name)
    return (
        f"<figure><figcaption><b>{escaping.html(heading)}</b> {escaping.html(what)}</figcaption>"
        + drawing
        + (f'<p class="note">{escaping.html(note)}</p>' if note else "")
        + "</figure>\n"
    )


def _method(evaluation: Evaluation) -> str:
    command = evaluation.machine.get(_COMMAND)
    how = (
        f"<h3>To reproduce</h3><pre><code>{escaping.html(command)}</code></pre>" if command else ""
    )
    return f'<section id="method"><h2>How the figures are taken</h2>{_PROTOCOL}{how}</section>\n'


_EMPTY = f"<td>{units.UNKNOWN}</td>"

_TABLE_NOTE = """<p class="note">PSNR in dB and SSIM on Y; the best measured figure of a column is
<b>bold</b>. s / MP: seconds per megapixel of the result, enlargement alone, over all sets.
Memory: the highest during an enlargement.</p>"""

_PLOT_NOTE = """<p class="key"><svg viewBox="0 0 12 12" aria-hidden="true"><circle class="measured"
cx="6" cy="6" r="4.5"/></svg> measured here <svg viewBox="0 0 12 12" aria-hidden="true"><circle
class="published" cx="6" cy="6" r="4.5"/></svg> published</p>"""

_PICTURE_NOTE = f"""<p class="note">Each picture at the place where the methods' squared errors
differ most, marked in the small picture. PSNR (dB) / SSIM are those of the whole picture. Below
each crop the error |SR &minus; HR| on Y, from black for none to the lightest for
{crops.FULL_ERROR:.0f} of 255 and more, on one scale for all.
<span class="scripted" hidden>Choose a crop to enlarge it and to flip between the methods in
place.</span></p>"""

_PROTOCOL = """<ol>
<li>HR is cropped at the bottom and right to a multiple of the scale; LR is the test set's own, or
HR reduced by MATLAB's antialiased bicubic.</li>
<li>Every method enlarges the same LR. The result is rounded to 8 bits, as it is in a file.</li>
<li>PSNR and SSIM are taken on Y of BT.601 in studio range (16 to 235, not rounded), after shaving
as many pixels from each side as the scale is; the peak is 255. SSIM has a Gaussian window of 11x11
with &sigma; 1.5.</li>
<li>A set's figure is the mean of its pictures' figures.</li>
<li>Published figures are those of the papers, for the same scale and sets; nothing about them was
measured here.</li>
</ol>"""

_VIEWER = """<dialog id="viewer" tabindex="-1" aria-label="Comparison in place">
<div class="bar"><b></b><span></span><button type="button" data-do="close">Close</button></div>
<div class="stage"><img alt=""></div>
<div class="choices" role="group" aria-label="Method"></div>
<p class="keys"><kbd>1</kbd>&ndash;<kbd>9</kbd> or <kbd>←</kbd> <kbd>→</kbd> method ·
<kbd>space</kbd> flip to the last one · <kbd>e</kbd> errors ·
<kbd>↑</kbd> <kbd>↓</kbd> picture · <kbd>esc</kbd> close</p>
</dialog>
"""
