"""What a person sees of a run: a bar at the bottom of a terminal, or plain lines in a file."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from atdsr.base import units
from atdsr.cli.console import err, printable, say
from atdsr.reports import training_runs
from atdsr.training.events import Event, LogEntry, Notice, Started, Stepped, Validated

_GAPS, _LINES = 20, 10  # steps and lines that the speed is taken over
_BAR = 24  # columns that a bar needs beside the words


class Pace:
    """How long a step takes, without what is done between steps.

    The log's lines leave validation and saving out; until two of them have come, the time from
    each event to the next step tells. The first step and the first line, in which the machine
    warms up, count only as long as there is nothing else.

    Args:
        clock: gives seconds.

    Attributes:
        latest: seconds that a step took in the last line; NaN before the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.latest = float("nan")
        self._clock = clock
        self._then: float | None = None
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._lines: deque[tuple[int, float]] = deque(maxlen=_LINES)
        self._step = 0
        self._crops: tuple[int, int] | None = None

    def __call__(self, event: Event) -> None:
        """Take an event into account."""
        now = self._clock()
        if isinstance(event, Started):
            self._step = event.step
        elif isinstance(event, Stepped) and self._then is not None:
            self._gaps.append(now - self._then)
        elif isinstance(event, LogEntry):
            if (event.patch, event.batch) != self._crops:
                self._lines.clear()  # other crops, another speed
                self._crops = (event.patch, event.batch)
            if event.step > self._step:
                self._lines.append((event.step - self._step, event.seconds))
                self.latest = event.seconds / (event.step - self._step)
            self._step = event.step
        self._then = now

    @property
    def seconds(self) -> float:
        """Of a step; NaN where nothing is known."""
        if self._lines:
            known = list(self._lines)[1:] or list(self._lines)
            return sum(seconds for _, seconds in known) / sum(steps for steps, _ in known)
        gaps = list(self._gaps)[1:] or list(self._gaps)
        return sum(gaps) / len(gaps) if gaps else float("nan")


class Watching:
    """Follows a run and prints to a console; itself a `Watch`.

    In a terminal two lines at the bottom move with every step, and above them stays what is
    worth reading days later: the beginning, validations, what is out of the ordinary. Elsewhere
    every line of the log is printed, in plain text.

    Args:
        console: what to print to.
        folder: of the run, for the PSNR it had reached before.
        clock: gives seconds.
    """

    def __init__(
        self, console: Console, folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._folder = console, folder
        self._pace = Pace(clock)
        self._step = self._total = 0
        self._line: LogEntry | None = None
        self._last: Validated | None = None
        self._best: Validated | None = None

    def __call__(self, event: Event) -> None:
        """Take an event into account and print what is to be printed."""
        self._pace(event)
        self._step = event.step
        if isinstance(event, Started):
            self._total = event.iterations
            if event.step:
                self._remember()
            self._say(_beginning(event))
        elif isinstance(event, LogEntry):
            self._line = event
            if not self._console.is_terminal:
                self._say(self._plain(event))
        elif isinstance(event, Validated):
            self._last = event
            self._best = event if event.best or self._best is None else self._best
            self._say(self._measured(event))
        elif isinstance(event, Notice):
            self._say(event.text)

    def _say(self, line: str) -> None:
        say(self._console, line)

    def _remember(self) -> None:
        """Take the last and the best validation of earlier starts from the log."""
        try:
            run = training_runs.read(self._folder)
        except training_runs.TrainingRunError:
            return
        self._best = run.best
        self._last = run.validations[-1] if run.validations else None

    # ------------------------------------------------------------------------------------- lines

    @property
    def _of_total(self) -> str:
        return f"{self._step:,}/{self._total:,}"

    @property
    def _left(self) -> str:
        """The time to go, without validations; none at the end."""
        if self._step >= self._total:
            return units.UNKNOWN
        return units.duration((self._total - self._step) * self._pace.seconds)

    def _plain(self, line: LogEntry) -> str:
        parts = [
            f"step {self._of_total}",
            f"loss {units.significant(line.loss, 4)}",
            f"lr {units.learning_rate(line.lr)}",
            units.iteration_rate(self._pace.latest),
            f"data {units.percent(line.wait)}",
            units.byte_size(line.memory or None),
            *([f"skipped {line.skipped:,}"] if line.skipped else []),
            *([f"eta {self._left}"] if self._left != units.UNKNOWN else []),
        ]
        return "  ".join(parts)

    def _measured(self, event: Validated) -> str:
        parts = [f"step {self._of_total}"]
        for name, psnr in event.psnr.items():
            gain = psnr - event.bicubic.get(name, float("nan"))
            above = f" ({gain:+.2f})" if gain == gain else ""
            parts.append(f"{name} {units.decibels(psnr)} dB{above}")
        parts += ["best so far"] if event.best else []
        return "  ".join([*parts, units.duration(event.seconds)])

    def farewell(self) -> None:
        """Leave the last line where the bar was."""
        if self._line is not None and self._console.is_terminal:
            self._say(self._plain(self._line))

    # --------------------------------------------------------------------------------------- bar

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The two lines at the bottom, cut to what a terminal has room for."""
        if not self._total:
            return
        width = options.max_width
        head = Text(self._of_total, style="bold")
        left = self._left
        tail = Text("" if left == units.UNKNOWN else f"{left} left", style="dim")
        if width >= head.cell_len + tail.cell_len + _BAR:
            grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
            for ratio in (None, 1, None, None):
                grid.add_column(no_wrap=True, ratio=ratio)
            share = Text(f"{self._step / self._total:.1%}")
            grid.add_row(head, ProgressBar(self._total, self._step), share, tail)
            yield grid
        else:
            yield Text.assemble(head, "  ", tail, no_wrap=True, overflow="ellipsis", end="\n")
        yield Text(self._figures(width), no_wrap=True, overflow="ellipsis")

    def _figures(self, width: int) -> str:
        """The second line: as many figures as fit, the most wanted first."""
        line, last, best = self._line, self._last, self._best
        parts = [f"loss {units.significant(line.loss, 4)}"] if line else ["first steps"]
        parts.append(units.iteration_rate(self._pace.seconds))
        if last is not None and best is not None:
            what = next(iter(last.psnr)) if len(last.psnr) == 1 else "PSNR"
            value, most = (units.decibels(each.mean_psnr) for each in (last, best))
            parts.append(f"{what} {value}, best {most}")
        if line is not None:
            parts += [f"lr {units.learning_rate(line.lr)}", f"data {units.percent(line.wait)}"]
            parts += [units.byte_size(line.memory or None)]
            parts += [f"skipped {line.skipped:,}"] if line.skipped else []
        text = parts[0]
        for part in parts[1:]:
            if part != units.UNKNOWN and len(text) + len(part) + 3 <= width:
                text += f"   {part}"
        return printable(text)


@contextmanager
def watching(folder: Path, *, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """What `training.fit` is watched by; the bar goes away with the block.

    Args:
        folder: of the run.
        quiet: print nothing.
    """
    if quiet:
        yield lambda _: None
        return
    shown = Watching(err.console, folder)
    with ExitStack() as stack:
        stack.callback(shown.farewell)
        if err.console.is_terminal:
            live = Live(shown, console=err.console, transient=True, refresh_per_second=4)
            stack.enter_context(live)
        yield shown


def _beginning(event: Started) -> str:
    """The line at the start of a run."""
    several = f", {event.ranks} processes" if event.ranks > 1 else ""
    again = f"; goes on after step {event.step:,}" if event.step else ""
    return (
        f"{event.name}: {event.parameters:,} parameters, {event.pictures:,} pictures, "
        f"{event.device}{several}{again}"
    )
