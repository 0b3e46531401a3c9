"""The curves of a training run: loss, learning rate, and PSNR on each test set."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from atdsr.base import files, units
from atdsr.base.escaping import printable
from atdsr.reports import plots
from atdsr.reports.plots import Colours
from atdsr.reports.training_runs import TrainingRun, TrainingRunError

_SIZE_ON_PAGE = (5.2, 3.0)  # inches of a curve
_SMOOTHING = 40  # the smoothed loss is a mean over this fraction of the log entries
_MOST_POINTS = 20_000  # of a curve, tens for each pixel of its width
_LEAST_SPAN = 0.2  # dB of a curve's vertical axis; what is less is chance
_WARM_UP = 10  # this fraction of the validations need not be seen in full

Draw = Callable[[Axes, Colours], None]


def png(run: TrainingRun, path: Path, *, overwrite: bool) -> None:
    """Write all curves as one picture: training on the left, validation on the right.

    Raises:
        TrainingRunError: The log has nothing to draw.
        FileError: The file cannot be written.
    """
    columns = [curves for curves in (_training_curves(run), _validation_curves(run)) if curves]
    if not columns:
        raise TrainingRunError(
            f"{run.folder}: the log has no line yet; there is nothing to draw until it has one."
        )
    colours = plots.ON_PAPER
    height = max(5.6, 1.9 * len(_validation_curves(run)) + 0.9)
    with plots.style():
        figure = Figure(figsize=(12 if len(columns) > 1 else 7, height), facecolor=colours.paper)
        total = f" of {run.iterations:,}" if run.iterations else ""
        name = printable(run.name)
        figure.text(0.06, 1 - 0.32 / height, name, size=15, weight="bold", color=colours.ink)
        figure.text(0.06, 1 - 0.58 / height, f"step {run.step:,}{total}", color=colours.soft)
        figure.subplots_adjust(0.06, 0.5 / height, 0.975, 1 - 1.0 / height)
        grid = figure.add_gridspec(1, len(columns), wspace=0.14)
        for column, curves in enumerate(columns):
            ratios = [3 if name == "loss" else 1 for name in curves]
            rows = grid[column].subgridspec(
                len(curves),
                1,
                hspace=0.4 if "learning rate" in curves else 0.5,
                height_ratios=ratios,
            )
            for row, (name, draw) in enumerate(curves.items()):
                axes = figure.add_subplot(rows[row])
                _set_up(axes, colours, run)
                title = printable(name)
                axes.set_title(title, loc="left", size=10.5, weight="bold", color=colours.ink)
                draw(axes, colours)
        # first as bytes, since Pillow does not always notice a full disk
        picture = plots.png(figure)
    with files.atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(picture)


def svgs(run: TrainingRun) -> dict[str, Markup]:
    """Return each curve as inline SVG in the colours of the page, by name."""
    images: dict[str, Markup] = {}
    with plots.style():
        for name, draw in (_training_curves(run) | _validation_curves(run)).items():
            figure = Figure(figsize=_SIZE_ON_PAGE)
            figure.subplots_adjust(0.115, 0.11, 0.965, 0.97)
            axes = figure.add_subplot()
            _set_up(axes, plots.ON_PAGE, run)
            draw(axes, plots.ON_PAGE)
            images[name] = plots.inline_svg(figure, f"plot-{len(images)}", name)
    return images


def _set_up(axes: Axes, colours: Colours, run: TrainingRun) -> None:
    """Give the axes our style and a horizontal axis over all steps of the run."""
    plots.style_axes(axes, colours)
    axes.set_xlim(0, max(run.step, 1))
    axes.xaxis.set_major_formatter(lambda step, _: units.short_number(step))


def _training_curves(run: TrainingRun) -> dict[str, Draw]:
    """Return what draws loss and learning rate, where there are log entries."""
    stride = math.ceil(len(run.entries) / _MOST_POINTS) or 1
    entries = run.entries[::-stride][::-1]  # with the last one
    losses = [(entry.step, entry.loss) for entry in entries if entry.loss > 0]
    rates = [(entry.step, entry.lr) for entry in entries if math.isfinite(entry.lr)]
    curves: dict[str, Draw] = {}
    if losses:
        curves["loss"] = lambda axes, colours: _draw_loss(axes, colours, *_arrays(losses))
    if rates:
        curves["learning rate"] = lambda axes, colours: _draw_rate(axes, colours, *_arrays(rates))
    return curves


def _validation_curves(run: TrainingRun) -> dict[str, Draw]:
    """Return what draws PSNR on each test set."""

    def curve(name: str, points: list[tuple[int, float]]) -> Draw:
        values = [v.bicubic[name] for v in run.validations if _is_finite(v.bicubic.get(name))]
        last = values[-1] if values else None
        return lambda axes, colours: _draw_psnr(axes, colours, *_arrays(points), last, run.baseline)

    curves: dict[str, Draw] = {}
    for name in run.sets:
        points = [(v.step, v.psnr[name]) for v in run.validations if _is_finite(v.psnr.get(name))]
        if points:
            curves[f"PSNR on {name} (dB)"] = curve(name, points)
    return curves


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _arrays(points: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    steps, values = zip(*points, strict=True)
    return np.array(steps), np.array(values)


def _draw_loss(axes: Axes, colours: Colours, steps: np.ndarray, losses: np.ndarray) -> None:
    """Draw the losses on a logarithmic scale, and a running mean in front of them."""
    smooth = _running_mean(losses, max(1, len(losses) // _SMOOTHING))
    axes.set_yscale("log")
    axes.plot(steps, losses, color=colours.soft, alpha=0.35, linewidth=0.7)
    axes.plot(steps, smooth, color=colours.accent, linewidth=1.7)
    settled = losses[len(losses) // 50 :]  # the first losses are far above all others
    low, high = np.quantile(settled, [0.001, 1])
    axes.set_ylim(low * 0.93, high * 1.12)
    plots.label_log_axis(axes.yaxis)
    axes.plot(steps[-1:], smooth[-1:], "o", color=colours.accent, markersize=4.5, clip_on=False)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Return the geometric mean up to `width` values to both sides, fewer near the ends."""
    sums = np.concatenate([[0.0], np.cumsum(np.log(values))])
    at = np.arange(len(values))
    reach = np.minimum(at, width)  # the beginning is steep
    first, after = at - reach, np.minimum(at + reach + 1, len(values))
    return np.exp((sums[after] - sums[first]) / (after - first))


def _draw_rate(axes: Axes, colours: Colours, steps: np.ndarray, rates: np.ndarray) -> None:
    axes.plot(steps, rates, color=colours.ink, linewidth=1.4)
    axes.set_ylim(0, float(rates.max()) * 1.12 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(
        lambda rate, _: f"{rate:.1e}".replace(".0e", "e") if rate else "0"
    )


def _draw_psnr(
    axes: Axes,
    colours: Colours,
    steps: np.ndarray,
    values: np.ndarray,
    baseline: float | None,
    name: str = "bicubic",
) -> None:
    """Draw PSNR at each validation; mark the best one, and the baseline where it is near.

    A single validation is drawn above the baseline, as there is nothing else to see it by.
    """
    low = float(values[len(values) // _WARM_UP :].min())
    high = float(values.max())
    span = max(high - low, _LEAST_SPAN)
    middle = (low + high) / 2
    if baseline is not None and (len(values) == 1 or low - baseline < 1.5 * (high - low)):
        low, high = min(low, baseline), max(high, baseline)
        axes.axhline(baseline, color=colours.soft, linewidth=1, linestyle=(0, (4, 3)))
        axes.text(0, baseline, name, color=colours.soft, size=8, va="bottom")
    axes.plot(steps, values, color=colours.ink, linewidth=1.4)
    axes.plot(steps, values, "o", color=colours.ink, markersize=2.6)
    low, high = min(low, middle - span / 2), max(high, middle + span / 2)
    margin = 0.12 * (high - low)
    axes.set_ylim(low - margin, high + 2.2 * margin)
    plots.label_linear_axis(axes.yaxis, 4)
    best = int(values.argmax())
    _mark(axes, colours, steps[best], values[best], f"{values[best]:.2f}")


def _mark(axes: Axes, colours: Colours, x: float, y: float, text: str) -> None:
    """Draw a dot with a figure above it."""
    axes.plot([x], [y], "o", color=colours.accent, markersize=4.5, clip_on=False, zorder=5)
    right = x > 0.9 * axes.get_xlim()[1]
    axes.annotate(
        text,
        (x, y),
        (0, 8),
        textcoords="offset points",
        ha="right" if right else "center",
        va="bottom",
        color=colours.accent,
        weight="bold",
        bbox={"facecolor": colours.paper, "alpha": 0.8, "linewidth": 0, "pad": 0.5},
    )
