"""The curves of a run, by matplotlib (extra `plots`): loss, PSNR on each set, learning rate."""

import importlib
import io
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atdsr.base import files, units
from atdsr.base.escaping import printable
from atdsr.reports.runs.reading import Run, RunsError

_PAGE_SIZE = (5.2, 3.0)  # inches of a plot on a page
_SMOOTH = 40  # the smoothed loss is a mean over this part of the lines
_MOST_POINTS = 20_000  # of a curve, tens for each pixel of its width
_WARM_UP = 10  # the part of the validations that need not be seen in full


@dataclass(frozen=True)
class _Colours:
    ink: str
    soft: str
    faint: str
    accent: str
    paper: str


_ON_PAPER = _Colours("#1c1d20", "#5d6068", "#e6e6e2", "#a3341f", "#fcfcfb")
# stand-ins that become the page's own colours, which differ by day and night
_ON_PAGE = _Colours("#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f")
_VARIABLES = {
    _ON_PAGE.ink: "var(--ink)",
    _ON_PAGE.soft: "var(--soft)",
    _ON_PAGE.faint: "var(--faint)",
    _ON_PAGE.accent: "var(--accent)",
    _ON_PAGE.paper: "var(--paper)",
}

Draw = Callable[[Any, _Colours], None]


def png(run: Run, path: Path, *, overwrite: bool) -> None:
    """Write all curves as one picture.

    Raises:
        RunsError: matplotlib is not installed, or the log has nothing to draw.
        FileError: the file cannot be written.
    """
    left, right = _of_training(run), _of_validation(run)
    if not left and not right:
        raise RunsError(f"{run.folder}: the log has no line yet; there is nothing to draw.")
    with _matplotlib() as pyplot:
        height = max(5.6, 1.9 * len(right) + 0.9)
        figure = pyplot.figure(
            figsize=(12 if right and left else 7, height), facecolor=_ON_PAPER.paper
        )
        grid = figure.add_gridspec(1, 2 if right and left else 1, wspace=0.14)
        total = f" of {run.iterations:,}" if run.iterations else ""
        name = printable(run.name)
        figure.text(0.06, 1 - 0.32 / height, name, size=15, weight="bold", color=_ON_PAPER.ink)
        figure.text(0.06, 1 - 0.58 / height, f"step {run.step:,}{total}", color=_ON_PAPER.soft)
        figure.subplots_adjust(0.06, 0.5 / height, 0.975, 1 - 1.0 / height)
        for column, drawn in enumerate(part for part in (left, right) if part):
            ratios = [3 if "loss" in name else 1 for name in drawn] if drawn is left else None
            space = 0.4 if drawn is left else 0.5
            rows = grid[column].subgridspec(len(drawn), 1, hspace=space, height_ratios=ratios)
            for row, (name, draw) in enumerate(drawn.items()):
                axes = figure.add_subplot(rows[row])
                _frame(axes, _ON_PAPER, run)
                axes.set_title(
                    printable(name), loc="left", size=10.5, weight="bold", color=_ON_PAPER.ink
                )
                draw(axes, _ON_PAPER)
        picture = io.BytesIO()  # Pillow does not notice a full disk in all cases
        figure.savefig(picture, format="png", dpi=130)
        with files.atomic_write(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(picture.getvalue())


def svgs(run: Run) -> dict[str, str]:
    """Each curve as inline SVG in the colours of the page, by its name.

    Raises:
        RunsError: matplotlib is not installed.
    """
    made = {}
    with _matplotlib() as pyplot:
        for name, draw in (_of_training(run) | _of_validation(run)).items():
            figure = pyplot.figure(figsize=_PAGE_SIZE)
            figure.subplots_adjust(0.115, 0.11, 0.985, 0.97)
            axes = figure.add_subplot()
            _frame(axes, _ON_PAGE, run)
            draw(axes, _ON_PAGE)
            file = io.StringIO()
            figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
            pyplot.close(figure)
            made[name] = _inline(file.getvalue(), f"plot-{len(made)}")
    return made


_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def _inline(svg: str, name: str) -> str:
    """An SVG file as a part of a page: with the page's colours and letters, and names of its own.

    Args:
        svg: as matplotlib writes it.
        name: for its clip paths, which share one page with others'.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg class="plot" viewBox="\1">', svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' id="(?!p[0-9a-f]{10}"|m[0-9a-f]{10}")[^"]*"', "", svg)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg


@contextmanager
def _matplotlib() -> Iterator[Any]:
    """pyplot, with settings of our own and without a screen; its figures end with the block.

    Raises:
        RunsError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's code
            matplotlib = importlib.import_module("matplotlib")
            matplotlib.use("agg")
            pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise RunsError(
            f"curves are drawn by matplotlib, which is not installed ({error}); install it with "
            "pip install 'atdsr[plots]'."
        ) from None
    settings = {
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "atdsr",
        "path.simplify": True,
        "text.parse_math": False,  # a name with dollars is no formula
    }
    with (
        matplotlib.rc_context({**matplotlib.rcParamsDefault, **settings, "backend": "agg"}),
        warnings.catch_warnings(),
    ):
        # of letters that the font lacks, and of figures that no axis suits
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield pyplot
        finally:
            pyplot.close("all")


def _frame(axes: Any, colours: _Colours, run: Run) -> None:
    """Axes with a grid of thin lines and little else, over all steps of the run."""
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(colours.soft)
    axes.tick_params(colors=colours.soft, length=0, pad=5)
    axes.tick_params(axis="x", length=3)
    axes.grid(axis="y", color=colours.faint, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(0, max(run.step, 1))
    axes.xaxis.set_major_formatter(lambda value, _: _steps(value))


def _steps(value: float) -> str:
    for limit, unit in ((1e6, " M"), (1e3, " K")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


# ----------------------------------------------------------------------------------- what is drawn


def _of_training(run: Run) -> dict[str, Draw]:
    """Loss and learning rate, where the log has lines."""
    lines = run.lines[:: -math.ceil(len(run.lines) / _MOST_POINTS) or -1][::-1]  # with the last
    losses = [(line.step, line.loss) for line in lines if line.loss > 0]
    rates = [(line.step, line.lr) for line in lines if math.isfinite(line.lr)]
    drawn: dict[str, Draw] = {}
    if losses:
        drawn["loss"] = lambda axes, colours: _loss(axes, colours, *_columns(losses))
    if rates:
        drawn["learning rate"] = lambda axes, colours: _rate(axes, colours, *_columns(rates))
    return drawn


def _of_validation(run: Run) -> dict[str, Draw]:
    """PSNR on each set."""

    def of(name: str) -> Draw:
        points = [(v.step, v.psnr[name]) for v in run.validations if _finite(v.psnr.get(name))]
        bicubic = [v.bicubic[name] for v in run.validations if _finite(v.bicubic.get(name))]
        base = bicubic[-1] if bicubic else None
        return lambda axes, colours: _psnr(axes, colours, *_columns(points), base)

    shown = [s for s in run.sets if any(_finite(v.psnr.get(s)) for v in run.validations)]
    return {f"PSNR on {name} (dB)": of(name) for name in shown}


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _columns(points: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    steps, values = zip(*points, strict=True)
    return np.array(steps), np.array(values)


def _loss(axes: Any, colours: _Colours, steps: np.ndarray, losses: np.ndarray) -> None:
    """The lines' losses on a logarithmic scale, and a running mean in front of them."""
    width = max(1, len(losses) // _SMOOTH)
    smooth = _running_mean(losses, width)
    axes.set_yscale("log")
    axes.plot(steps, losses, color=colours.soft, alpha=0.35, linewidth=0.7)
    axes.plot(steps, smooth, color=colours.accent, linewidth=1.7)
    settled = losses[len(losses) // 50 :]  # the first steps are far above all others
    low, high = np.quantile(settled, [0.001, 1])
    axes.set_ylim(low * 0.93, high * 1.12)
    _round_ticks(axes)
    _mark_end(axes, colours, steps[-1], smooth[-1], units.significant(float(smooth[-1]), 4))


def _round_ticks(axes: Any) -> None:
    """Three to eight round numbers on a logarithmic axis, written out."""
    low, high = axes.get_ylim()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(np.arange(1, 10, 0.2)))
    all_ticks = ([step * 10.0**decade for decade in decades for step in c] for c in choices)
    shown = [[float(tick) for tick in ticks if low <= tick <= high] for ticks in all_ticks]
    ticks = next((ticks for ticks in shown if len(ticks) >= 3), shown[-1])
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of the logarithms so far to both sides; nearer at the steep beginning."""
    sums = np.concatenate([[0.0], np.cumsum(np.log(values))])
    at = np.arange(len(values))
    reach = np.minimum(at, width)
    first, after = at - reach, np.minimum(at + reach + 1, len(values))
    return np.exp((sums[after] - sums[first]) / (after - first))


def _rate(axes: Any, colours: _Colours, steps: np.ndarray, rates: np.ndarray) -> None:
    axes.plot(steps, rates, color=colours.ink, linewidth=1.4)
    axes.set_ylim(0, float(rates.max()) * 1.12 or 1)
    axes.yaxis.set_major_locator(_locator(3))
    axes.yaxis.set_major_formatter(lambda value, _: _scientific(value))


def _scientific(value: float) -> str:
    return f"{value:.1e}".replace(".0e", "e") if value else "0"


def _psnr(
    axes: Any, colours: _Colours, steps: np.ndarray, values: np.ndarray, bicubic: float | None
) -> None:
    """PSNR at each validation; the best one is marked, and bicubic where it is near."""
    low = float(values[len(values) // _WARM_UP :].min())
    high = float(values.max())
    margin = max(0.12 * (high - low), 0.02)
    if bicubic is not None and low - bicubic < 1.5 * (high - low):
        low = min(low, bicubic)
        axes.axhline(bicubic, color=colours.soft, linewidth=1, linestyle=(0, (4, 3)))
        axes.text(0, bicubic, "bicubic", color=colours.soft, size=8, va="bottom")
    axes.plot(steps, values, color=colours.ink, linewidth=1.4)
    axes.plot(steps, values, "o", color=colours.ink, markersize=2.6)
    axes.set_ylim(low - margin, high + 2.2 * margin)
    axes.yaxis.set_major_locator(_locator(4))
    axes.yaxis.set_major_formatter("{x:.2f}")
    best = int(values.argmax())
    _mark_end(axes, colours, steps[best], values[best], f"{values[best]:.2f}")


def _mark_end(axes: Any, colours: _Colours, x: float, y: float, text: str) -> None:
    """A dot with a figure above it."""
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


def _locator(count: int) -> Any:
    ticker = importlib.import_module("matplotlib.ticker")
    return ticker.MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])
