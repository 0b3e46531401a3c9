"""Points on a logarithmic axis as SVG, with labels that keep clear of each other."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from atdsr.base import escaping

_WIDTH, _HEIGHT = 480, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 24, 44
_CAPITAL, _SMALL, _LINE = 8.3, 6.4, 13.0  # widths of letters and height of a line, on the safe side
_RADIUS = 4.5
_DISTANCES = (
    9.0,
    17.0,
    26.0,
    38.0,
    52.0,
)  # of a label from its point; beyond the first with a line
_CROWD = 45.0  # a point has neighbours within that distance


@dataclass(frozen=True)
class Point:
    """A method in a plot.

    Attributes:
        label: its name.
        x: above 0.
        y: what is plotted upwards.
        measured: whether it is drawn filled; else hollow.
        title: what is told about it on hovering.
    """

    label: str
    x: float
    y: float
    measured: bool
    title: str


@dataclass(frozen=True)
class Axis:
    """A logarithmic horizontal axis.

    Attributes:
        label: what is plotted, with its unit.
        text: how a number on it is written.
    """

    label: str
    text: Callable[[float], str]


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def inside(self, other: "_Box") -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


_AREA = _Box(_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM)


def scatter(points: Sequence[Point], axis: Axis, y_label: str, name: str) -> str:
    """A plot of points, at least one; y is linear.

    Args:
        points: those measured get their labels first.
        axis: the horizontal one.
        y_label: what is plotted upwards, with its unit.
        name: what the plot is called for those who hear it.
    """
    x_ticks, x_range = _log_ticks([point.x for point in points])
    y_ticks, y_range = _linear_ticks([point.y for point in points])

    def x_of(value: float) -> float:
        part = (math.log10(value) - x_range[0]) / (x_range[1] - x_range[0])
        return _AREA.left + part * (_AREA.right - _AREA.left)

    def y_of(value: float) -> float:
        return _AREA.bottom - (value - y_range[0]) / (y_range[1] - y_range[0]) * (
            _AREA.bottom - _AREA.top
        )

    ordered = sorted(points, key=lambda point: not point.measured)
    places = [(x_of(point.x), y_of(point.y)) for point in ordered]
    digits = 1 if y_ticks[1] - y_ticks[0] >= 0.1 else 2
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escaping.html(name)}">',
        *(_horizontal(y_of(tick), f"{tick:.{digits}f}") for tick in y_ticks),
        *(_vertical(x_of(tick), axis.text(tick)) for tick in x_ticks),
        f'<text class="axis" x="{(_AREA.left + _AREA.right) / 2:.0f}" y="{_HEIGHT - 6}" '
        f'text-anchor="middle">{escaping.html(axis.label)}</text>',
        f'<text class="axis" x="4" y="{_TOP - 12}">{escaping.html(y_label)}</text>',
        *_labels(ordered, places),
        *(_marker(point, *at) for point, at in reversed(list(zip(ordered, places, strict=True)))),
        "</svg>",
    ]
    return "\n".join(parts)


def _horizontal(y: float, text: str) -> str:
    return (
        f'<path class="grid" d="M{_AREA.left} {y:.1f}H{_AREA.right}"/>'
        f'<text class="tick" x="{_AREA.left - 7}" y="{y + 3.6:.1f}" text-anchor="end">{text}</text>'
    )


def _vertical(x: float, text: str) -> str:
    return (
        f'<path class="grid" d="M{x:.1f} {_AREA.top}V{_AREA.bottom}"/>'
        f'<text class="tick" x="{x:.1f}" y="{_AREA.bottom + 16}" text-anchor="middle">{text}</text>'
    )


def _marker(point: Point, x: float, y: float) -> str:
    kind = "measured" if point.measured else "published"
    return (
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}">'
        f"<title>{escaping.html(point.title)}</title></circle>"
    )


def _labels(points: Sequence[Point], places: Sequence[tuple[float, float]]) -> Iterator[str]:
    """Each point's name where it meets no other, as near as can be.

    Those measured come first, then those in a crowd; a name with no free place is left out.
    """
    taken = [_around(x, y, _RADIUS + 1) for x, y in places]

    def urgency(index: int) -> tuple[bool, int]:
        neighbours = sum(math.dist(places[index], other) < _CROWD for other in places)
        return not points[index].measured, -neighbours

    for index in sorted(range(len(points)), key=urgency):
        candidates = list(_candidates(points[index].label, places[index]))
        others = taken[:index] + taken[index + 1 :]
        free = [
            (distance + 25 * sum(box.meets(dot) for box in others for dot in line), number)
            for number, (box, line, distance) in enumerate(candidates)
            if box.inside(_AREA) and not any(box.meets(other) for other in taken)
        ]
        if free:
            box, line, _ = candidates[min(free)[1]]
            taken += [box, *line]
            yield _label(points[index], box, places[index], far=bool(line))


def _around(x: float, y: float, reach: float) -> _Box:
    return _Box(x - reach, y - reach, x + reach, y + reach)


def _candidates(label: str, at: tuple[float, float]) -> Iterator[tuple[_Box, list[_Box], float]]:
    """Where a label may stand: its box, dots on the line to its point if it needs one, a distance.

    The sides come before the slants, because they read best.
    """
    width = 3 + sum(
        _SMALL if letter.islower() else _CAPITAL for letter in escaping.printable(label)
    )
    x, y = at
    for distance in _DISTANCES:
        for angle in (0, 180, 90, 270, 45, 135, 225, 315, 20, 160, 200, 340):
            dx = round(distance * math.cos(math.radians(angle)), 6)
            dy = round(distance * math.sin(math.radians(angle)), 6)
            left = x + dx - (0 if dx > 0 else width if dx < 0 else width / 2)
            middle = y - dy * (1.0 if dx else 1.3)
            box = _Box(left, middle - _LINE / 2, left + width, middle + _LINE / 2)
            parts = (0.4, 0.6, 0.8) if distance > _DISTANCES[0] else ()
            line = [_around(x + dx * part, y - dy * part, 1.0) for part in parts]
            yield box, line, distance


def _label(point: Point, box: _Box, at: tuple[float, float], *, far: bool) -> str:
    x, y = at
    if box.left >= x:
        anchor, text_x = "start", box.left
    elif box.right <= x:
        anchor, text_x = "end", box.right
    else:
        anchor, text_x = "middle", (box.left + box.right) / 2
    kind = "measured" if point.measured else "published"
    middle = (box.top + box.bottom) / 2
    line = ""
    if far:
        end_y = middle if anchor != "middle" else box.bottom if box.bottom < y else box.top
        line = f'<path class="lead" d="M{x:.1f} {y:.1f}L{text_x:.1f} {end_y:.1f}"/>'
    return (
        f'{line}<text class="name {kind}" x="{text_x:.1f}" y="{middle + 4.2:.1f}" '
        f'text-anchor="{anchor}">{escaping.html(point.label)}</text>'
    )


def _log_ticks(values: Sequence[float]) -> tuple[list[float], tuple[float, float]]:
    """Round numbers in and around positive values, and the range in powers of ten."""
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = max(0.13 * (high - low), (1 - high + low) / 2)  # a decade at least has three ticks
    low, high = low - margin, high + margin
    steps = (1, 2, 5) if high - low < 1.8 else (1, 3) if high - low < 4 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if low <= math.log10(tick) <= high], (low, high)


def _linear_ticks(values: Sequence[float]) -> tuple[list[float], tuple[float, float]]:
    """Four to eight evenly spaced round numbers that span the values, and the range they give."""
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.05)
    low, high = low - margin, high + margin
    unit = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(unit * k for k in (1, 2, 5, 10) if (high - low) / (unit * k) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [k * step for k in range(first, last + 1)], (first * step, last * step)
