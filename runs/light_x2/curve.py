"""The learning curve of the bundled ATD-light x2, beside what is published.

    python runs/light_x2/curve.py docs/figures/light-x2-curve.svg

`curve.json` has the points: steps and hours from scratch, over all runs, and PSNR-Y in dB that
`atdsr eval` gave for the averaged weights of that step.
"""

import json
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atdsr.evaluation import published
from atdsr.reports import plots
from atdsr.training import recipes

COLOURS = {"Set5": "#a3341f", "B100": "#2f5d8a"}
PUBLISHED = {
    row.dataset: row.psnr for row in published.rows(2, COLOURS) if row.model == "ATD-light"
}
PUBLISHED_STEPS = recipes.load("101").iterations


def draw(axes: Axes, points: list[dict[str, float]], unit: str) -> None:
    """PSNR on both sets against steps or hours."""
    for name, colour in COLOURS.items():
        measured = [(point[unit], point[name]) for point in points if name in point]
        axes.plot(*zip(*measured, strict=True), "o-", color=colour, markersize=3.5, linewidth=1.4)
        axes.annotate(
            f"{name} {measured[-1][1]:.2f}",
            measured[-1],
            (6, -4) if unit == "steps" else (0, -14),  # the published end is close above
            textcoords="offset points",
            ha="left" if unit == "steps" else "right",
            color=colour,
        )
        axes.axhline(PUBLISHED[name], color=colour, linewidth=0.8, linestyle=(0, (4, 4)))
    plots.style_axes(axes, plots.ON_PAPER)


def main(target: Path) -> None:
    """Write the figure."""
    points = json.loads(Path(__file__).with_name("curve.json").read_text(encoding="utf-8"))
    figure = Figure(figsize=(9, 3.6), facecolor=plots.ON_PAPER.paper)
    by_step, by_hour = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(0.06, 0.13, 0.985, 0.87, wspace=0.08)
    draw(by_step, points, "steps")
    by_step.set_xscale("log")
    by_step.set_xlim(1500, 650_000)
    plots.label_log_axis(by_step.xaxis)
    for name, colour in COLOURS.items():
        by_step.plot(PUBLISHED_STEPS, PUBLISHED[name], "*", color=colour, markersize=10)
        by_step.annotate(
            f"published {PUBLISHED[name]:.2f}",
            (PUBLISHED_STEPS, PUBLISHED[name]),
            (-10, -13),
            textcoords="offset points",
            ha="right",
            color=colour,
        )
    draw(by_hour, points, "hours")
    by_hour.set_xlim(0)
    titles = {
        by_step: "PSNR-Y (dB) against steps (published: 4 to 32 times as large)",
        by_hour: "PSNR-Y (dB) against hours on two CPU cores",
    }
    for axes, title in titles.items():
        axes.set_title(title, loc="left", size=9, color=plots.ON_PAPER.ink)
    figure.savefig(target, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))


if __name__ == "__main__":
    with plots.style():
        main(Path(sys.argv[1]))
