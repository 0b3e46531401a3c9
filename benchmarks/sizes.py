"""CPU time and memory per pixel of ATD-light x2, in pictures from 64x64 to 2048x2048.

    python benchmarks/sizes.py --figure docs/figures/speed-sizes.svg    # an hour or more
    python benchmarks/sizes.py --quick
    python benchmarks/sizes.py --read sizes.json --figure sizes.svg     # draw again

Pictures are enlarged as a whole, never in tiles. Each size and path has a process of its own: a
first picture tells the peak memory above what was there before, then the median of three tells the
time (of one where a picture takes over a minute). A path ends where the next size would clearly
not fit the free memory, or would take longer than `--patience`.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from atdsr.base import memory
from networks_compared import AS_IS, FUSED, PLAIN, TUNED, Runner, Side, Work
from script import read_json, run_script
from turns import DiedError, Worker, machine

SIDES = (AS_IS, TUNED, PLAIN, FUSED)
LENGTHS = (64, 128, 256, 512, 1024, 2048)
QUICK = (32, 64)
LONG = 60.0  # seconds, after which one picture tells enough


@dataclass(frozen=True)
class Cost:
    """What one picture took.

    Attributes:
        path: the side's name.
        length: of the LR picture's sides in pixels.
        seconds: of user and system time.
        bytes: the peak above what the process had before.
    """

    path: str
    length: int
    seconds: float
    bytes: int

    @property
    def seconds_a_megapixel(self) -> float:
        """Of the LR picture."""
        return self.seconds / self.length**2 * 1e6

    @property
    def kilobytes_a_pixel(self) -> float:
        """Of the LR picture."""
        return self.bytes / self.length**2 / 1e3


def measure(side: Side, network: str, lengths: tuple[int, ...], patience: float) -> list[Cost]:
    """The costs of a path, from small to large, as far as it gets."""
    costs: list[Cost] = []
    if (why_not := side.why_not()) is not None:
        print(f"{side.name} is left out: {why_not}", flush=True)
        return costs
    for length in lengths:
        if costs:
            growth = (length / costs[-1].length) ** 2
            needed = growth * costs[-1].bytes
            if needed > memory.available_bytes() or growth * costs[-1].seconds > patience:
                print(
                    f"{side.name}: {length}x{length} is left out; it would take about "
                    f"{needed / 2**30:.0f} GiB and {growth * costs[-1].seconds:.0f} CPU seconds",
                    flush=True,
                )
                break
        try:
            costs.append(_cost(side, Work(network, 2, length, length)))
        except DiedError as error:
            print(f"{side.name}: {length}x{length} failed, {error}", flush=True)
            break
    return costs


def _cost(side: Side, work: Work) -> Cost:
    with Worker(Runner, side, work) as worker:
        peak = worker.ask(Runner.peak)
        seconds = [worker.ask(Runner.run).cpu]
        if seconds[0] < LONG:
            seconds += [worker.ask(Runner.run).cpu for _ in range(2)]
    cost = Cost(side.name, work.width, median(seconds), peak)
    print(
        f"{side.name:24} {work.width:5} {cost.seconds_a_megapixel:8.1f} CPU s/MP "
        f"{cost.kilobytes_a_pixel:6.2f} kB a pixel",
        flush=True,
    )
    return cost


def table(costs: list[Cost]) -> str:
    """CPU seconds a megapixel, and kilobytes a pixel, of each path and size in Markdown."""
    lengths = sorted({cost.length for cost in costs})
    paths = list(dict.fromkeys(cost.path for cost in costs))
    found = {(cost.path, cost.length): cost for cost in costs}
    lines = [
        "| LR | " + " | ".join(f"{path}: s/MP | kB a pixel" for path in paths) + " |",
        "|---|" + "---|" * (2 * len(paths)),
    ]
    for length in lengths:
        cells = [f"{length}x{length}"]
        for path in paths:
            cost = found.get((path, length))
            cells.append(f"{cost.seconds_a_megapixel:.0f}" if cost else "")
            cells.append(f"{cost.kilobytes_a_pixel:.2f}" if cost else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# -------------------------------------------------------------------------------------- the figure

COLOURS = {
    AS_IS.name: "#9a9da3",
    TUNED.name: "#5d6068",
    PLAIN.name: "#2f6db5",
    FUSED.name: "#a3341f",
}


def draw(costs: list[Cost], path: Path) -> None:
    """Both costs against the size, one plot beside the other, as the file's suffix says."""
    from matplotlib.figure import Figure

    from atdsr.reports import plots

    with plots.style():
        figure = Figure(figsize=(9.8, 3.8), facecolor=plots.ON_PAPER.paper)
        both = figure.subplots(1, 2)
        figure.subplots_adjust(0.045, 0.115, 0.895, 0.87, wspace=0.4)
        titles = ("CPU seconds a megapixel of LR", "kB of memory a pixel of LR, at the peak")
        values = (Cost.seconds_a_megapixel, Cost.kilobytes_a_pixel)
        for axes, title, value in zip(both, titles, values, strict=True):
            axes.set_title(
                title, loc="left", size=10.5, weight="bold", pad=12, color=plots.ON_PAPER.ink
            )
            _plot(axes, costs, value.__get__)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=140, metadata=metadata)


def _plot(axes: Any, costs: list[Cost], value: Any) -> None:
    """A line for each path, its name at the end."""
    _frame(axes, sorted({cost.length for cost in costs}))
    ends: list[tuple[int, float, str]] = []
    for path in dict.fromkeys(cost.path for cost in costs):
        mine = [cost for cost in costs if cost.path == path]
        x, y = [cost.length for cost in mine], [value(cost) for cost in mine]
        axes.plot(x, y, "o-", color=COLOURS[path], linewidth=1.6, markersize=3.6, clip_on=False)
        ends.append((x[-1], y[-1], path))
    axes.set_ylim(0, 1.06 * max(value(cost) for cost in costs))
    apart = 0.058 * axes.get_ylim()[1]
    lowest: dict[int, float] = {}  # for a name, at each size
    for length, end, path in sorted(ends):
        height = max(end, lowest.get(length, 0.0))
        lowest[length] = height + apart
        axes.annotate(
            path,
            (length, height),
            (7, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[path],
            annotation_clip=False,
            bbox={"facecolor": "#fcfcfb", "linewidth": 0, "pad": 1},
        )


def _frame(axes: Any, lengths: list[int]) -> None:
    """Style the axes, with sizes on a logarithmic scale."""
    from atdsr.reports import plots

    plots.style_axes(axes, plots.ON_PAPER)
    axes.set_xscale("log", base=2)
    axes.set_xlim(lengths[0] / 1.15, lengths[-1] * 1.05)
    axes.set_xticks(lengths, [f"{length}²" for length in lengths])
    axes.set_xticks([], minor=True)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description="Cost of a pixel against the picture's size.")
    parser.add_argument("--quick", action="store_true", help="a tiny network, for a trial")
    parser.add_argument("--patience", type=float, default=900.0, help="CPU seconds for a picture")
    parser.add_argument("--most", type=int, default=LENGTHS[-1], help="sides of the largest one")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing; read these")
    wanted = parser.parse_args()
    if wanted.read is not None:
        content = read_json(wanted.read, ["machine", "costs"], "benchmarks/sizes.py --json")
        head, costs = content["machine"], [Cost(**cost) for cost in content["costs"]]
    else:
        lengths = QUICK if wanted.quick else tuple(n for n in LENGTHS if n <= wanted.most)
        network = "tiny" if wanted.quick else "light"
        head = machine()
        costs = [cost for s in SIDES for cost in measure(s, network, lengths, wanted.patience)]
    if wanted.json is not None:
        content = {"machine": head, "costs": [asdict(cost) for cost in costs]}
        wanted.json.write_text(json.dumps(content, indent=1))
    if wanted.figure is not None:
        draw(costs, wanted.figure)
    print(f"\n{head}\n\n{table(costs)}")


if __name__ == "__main__":
    run_script(main)
