"""Plots by matplotlib in one style, as PNG files and as inline SVG in the colours of a page."""

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from atdsr.base import units
from atdsr.base.escaping import printable


@dataclass(frozen=True)
class Colours:
    """The colours of a plot: text, secondary text, grid, emphasis, background."""

    ink: str
    soft: str
    faint: str
    accent: str
    paper: str


ON_PAPER = Colours("#1c1d20", "#5d6068", "#e6e6e2", "#a3341f", "#fcfcfb")
"""For files: dark on light."""

# Matplotlib cannot write CSS variables, so these colours stand for them until `inline_svg`.
ON_PAGE = Colours("#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f")
"""For `inline_svg`: the colours of the page, which differ on light and dark screens."""

_VARIABLES = {getattr(ON_PAGE, name): f"var(--{name})" for name in Colours.__annotations__}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_SCATTER_SIZE = (5.2, 3.6)  # inches
_MARKER = 6.5  # diameter in points
_LABEL_DISTANCES = (6, 13, 22, 34, 48)  # points; a label beyond the first has a line to its point
_CROWD = 45  # points within which another point is a neighbour


@dataclass(frozen=True)
class Point:
    """A method in a scatter plot.

    Attributes:
        label: Name of the method.
        x: Position on the logarithmic axis, above 0.
        y: Position on the vertical axis.
        is_measured: Whether the point is filled and emphasized; a published one is hollow.
        title: Text that a page shows when the pointer is on the point.
    """

    label: str
    x: float
    y: float
    is_measured: bool
    title: str


@contextmanager
def style() -> Iterator[None]:
    """Draw and save figures with our settings, whatever the user's matplotlibrc says."""
    settings: dict[str, Any] = {
        "font.size": 9,
        "svg.fonttype": "none",  # text stays text, in the font of the page
        "svg.hashsalt": "atdsr",  # the same figure has the same names inside
        "text.parse_math": False,  # a name with dollar signs is not a formula
    }
    with mpl.rc_context(cast(Any, mpl.rcParamsDefault | settings)), warnings.catch_warnings():
        # about letters that the font lacks, and figures that no axis suits
        warnings.simplefilter("ignore", UserWarning)
        yield


def style_axes(axes: Axes, colours: Colours) -> None:
    """Leave the axes a grid of thin horizontal lines and little else."""
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(colours.soft)
    axes.tick_params(which="both", colors=colours.soft, length=0, pad=5)
    axes.tick_params(axis="x", length=3)
    axes.grid(axis="y", color=colours.faint, linewidth=0.8)
    axes.set_axisbelow(True)


def label_log_axis(axis: Axis) -> None:
    """Put three to eight round numbers on a logarithmic axis, which by itself labels decades only.

    Call it when the limits of the axis are final.
    """
    axis.set_ticks([], minor=True)
    axis.set_minor_formatter(NullFormatter())
    low, high = axis.get_view_interval()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    else:  # less than a decade
        ticks = _round_ticks(low, high, 5)
        if high < 1000:
            _set_ticks(axis, ticks)
            return
    if len(ticks) > 8:
        ticks = ticks[:: math.ceil(len(ticks) / 8)]
    axis.set_ticks(ticks, [units.short_number(tick) for tick in ticks])


def label_linear_axis(axis: Axis, most: int) -> None:
    """Put ticks in steps of 1, 2 or 5 on an axis, with as many digits as the step has.

    Call it when the limits of the axis are final.

    Args:
        axis: The axis.
        most: The most steps.
    """
    _set_ticks(axis, _round_ticks(*axis.get_view_interval(), most))


def _set_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """Label ticks with as many digits after the point as their step has."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    axis.set_ticks(ticks, [f"{tick:.{digits}f}" for tick in ticks])


def _round_ticks(low: float, high: float, most: int) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten between two values."""
    # in steps of 2.5, labels of equal distance would look unequal once they are rounded
    ticks = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def inline_svg(figure: Figure, name: str, title: str, tooltips: Sequence[str] = ()) -> Markup:
    """Return a figure as a part of a page, in the page's colours and fonts.

    Args:
        figure: A figure in the colours `ON_PAGE`.
        name: Prefix of the ids inside, which must be unique on the page.
        title: Name of the plot for those who hear it.
        tooltips: Text for the artists with the gids `tooltip-0`, `tooltip-1`, ...
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        lambda match: (
            f'<svg class="plot" viewBox="{match[1]}" role="img" '
            f'aria-label="{escape(printable(title))}">'
        ),
        svg,
        count=1,
    )
    svg = svg.replace("xlink:href", "href")  # the prefix is declared in the tag that is replaced
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for number, text in enumerate(tooltips):
        svg = svg.replace(
            f'<g id="tooltip-{number}">', f"<g><title>{escape(printable(text))}</title>"
        )
    # Only the ids of clip paths and markers are referred to.
    svg = re.sub(r' id="(?!p[0-9a-f]{10}"|m[0-9a-f]{10}")[^"]*"', "", svg)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Markup(svg)


def scatter(points: Sequence[Point], x_label: str, y_label: str, colours: Colours) -> Figure:
    """Draw points over a logarithmic axis, with labels that do not overlap.

    Args:
        points: At least one; those measured get their labels first.
        x_label: Quantity on the horizontal axis, with its unit.
        y_label: Quantity on the vertical axis, with its unit.
        colours: Colours of the plot.
    """
    figure = Figure(figsize=_SCATTER_SIZE)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(0.1, 0.15, 0.98, 0.91)
    axes = figure.add_subplot()
    style_axes(axes, colours)
    axes.grid(axis="x", color=colours.faint, linewidth=0.8)
    axes.set_title(y_label, loc="left", x=-0.1, pad=11, size=9, color=colours.soft)
    axes.set_xlabel(x_label, color=colours.soft)
    axes.set_xscale("log")
    _set_limits(axes, points)
    for number, point in enumerate(points):
        (marker,) = axes.plot(
            [point.x],
            [point.y],
            "o",
            markersize=_MARKER,
            color=colours.accent if point.is_measured else colours.paper,
            markeredgecolor=colours.paper if point.is_measured else colours.soft,
            zorder=3 if point.is_measured else 2.5,
        )
        marker.set_gid(f"tooltip-{number}")
    _add_labels(axes, points, colours)
    return figure


def _set_limits(axes: Axes, points: Sequence[Point]) -> None:
    """Fit the axes to the points, with a margin, and put ticks on both."""
    low, high = (math.log10(limit([point.x for point in points])) for limit in (min, max))
    margin = max(0.13 * (high - low), (1 - high + low) / 2)  # at least a decade
    axes.set_xlim(10 ** (low - margin), 10 ** (high + margin))
    label_log_axis(axes.xaxis)
    bottom, top = (limit([point.y for point in points]) for limit in (min, max))
    margin = max(0.08 * (top - bottom), 0.05)
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(bottom - margin, top + margin)
    axes.set_ylim(ticks[0], ticks[-1])
    label_linear_axis(axes.yaxis, 6)


def _add_labels(axes: Axes, points: Sequence[Point], colours: Colours) -> None:
    """Write each point's name near it where it overlaps nothing; leave it out if nowhere is free.

    Measured points come first, then points in a crowd, which have the fewest free places.
    """
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    centres = axes.transData.transform([(point.x, point.y) for point in points]).tolist()
    pixels = canvas.figure.dpi / 72  # of a point
    radius = pixels * _MARKER / 2 + 1
    occupied = [
        Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in centres
    ]
    area = axes.get_window_extent(renderer)

    def urgency(number: int) -> tuple[bool, int]:
        near = sum(math.dist(centres[number], other) < _CROWD * pixels for other in centres)
        return not points[number].is_measured, -near

    for number in sorted(range(len(points)), key=urgency):
        point = points[number]
        label = axes.annotate(
            printable(point.label),
            (point.x, point.y),
            (0, 0),
            textcoords="offset points",
            va="center",
            color=colours.accent if point.is_measured else colours.soft,
            weight="bold" if point.is_measured else "normal",
            size=8.5,
        )
        for distance, right, up in _label_offsets():
            label.set_position((right, up))
            label.set_horizontalalignment(
                "center" if abs(right) < 0.1 else "left" if right > 0 else "right"
            )
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer).padded(1)  # without the line
            is_inside = area.x0 <= box.x0 and box.x1 <= area.x1 and area.y0 <= box.y0
            is_far = distance > _LABEL_DISTANCES[0]
            x, y = centres[number]
            line = [  # dots on the line to the point, which must not cross another label either
                Bbox.from_bounds(x + share * right * pixels, y + share * up * pixels, 1, 1)
                for share in ((0.4, 0.6, 0.8) if is_far else ())
            ]
            boxes = [box, *line]
            if (
                is_inside
                and box.y1 <= area.y1
                and not any(b.count_overlaps(occupied) for b in boxes)
            ):
                occupied += boxes
                if is_far:
                    _add_line(axes, point, (right, up), colours)
                break
        else:
            label.remove()


def _add_line(axes: Axes, point: Point, offset: tuple[float, float], colours: Colours) -> None:
    """Draw a line from a point to its label, which is so many points to the right and up."""
    axes.annotate(
        "",
        (point.x, point.y),
        offset,
        textcoords="offset points",
        arrowprops={
            "arrowstyle": "-",
            "color": colours.soft,
            "linewidth": 0.6,
            "shrinkA": 0 if abs(offset[0]) > 0.1 else 6,  # above or below, the label is centred
            "shrinkB": _MARKER / 2,
        },
    )


def _label_offsets() -> Iterator[tuple[float, float, float]]:
    """Yield a distance and an offset to the right and up, all in points, the most legible first."""
    for distance in _LABEL_DISTANCES:
        for angle in (0, 180, 90, 270, 45, 135, 225, 315, 20, 160, 200, 340):
            radians = math.radians(angle)
            # A label above or below its point needs half the height of a line more.
            vertical = 1.7 if angle in (90, 270) else 1
            yield distance, distance * math.cos(radians), vertical * distance * math.sin(radians)
