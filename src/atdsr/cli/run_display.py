"""Shows a training run: a progress bar at the bottom of a terminal, or plain lines in a file."""

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

_RECENT_STEPS, _RECENT_ENTRIES = 20, 10  # over which the time of a step is averaged
_BAR = 24  # columns that a bar needs beside the text


class StepTimer:
    """Estimates the time of a step, without what is done between steps.

    Log entries leave out validation and saving. Before the first entry, the time from each event
    to the next step is taken. The first step and the first entry, in which the machine warms up,
    count only as long as there is nothing else.

    Args:
        clock: Returns the time in seconds.

    Attributes:
        latest: Seconds of a step in the last log entry; NaN before the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.latest = float("nan")
        self._clock = clock
        self._last_event: float | None = None
        self._step_seconds: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._entries: deque[tuple[int, float]] = deque(maxlen=_RECENT_ENTRIES)
        self._step = 0
        self._crops: tuple[int, int] | None = None

    def __call__(self, event: Event) -> None:
        """Take an event into account."""
        now = self._clock()
        if isinstance(event, Started):
            self._step = event.step
        elif isinstance(event, Stepped) and self._last_event is not None:
            self._step_seconds.append(now - self._last_event)
        elif isinstance(event, LogEntry):
            if (event.patch, event.batch) != self._crops:
                self._entries.clear()  # other crops, another speed
                self._crops = (event.patch, event.batch)
            if event.step > self._step:
                self._entries.append((event.step - self._step, event.seconds))
                self.latest = event.seconds / (event.step - self._step)
            self._step = event.step
        self._last_event = now

    @property
    def seconds(self) -> float:
        """Seconds of a step; NaN as long as nothing is known."""
        if self._entries:
            entries = list(self._entries)[1:] or list(self._entries)
            return sum(seconds for _, seconds in entries) / sum(steps for steps, _ in entries)
        seconds = list(self._step_seconds)[1:] or list(self._step_seconds)
        return sum(seconds) / len(seconds) if seconds else float("nan")


class RunDisplay:
    """A callback of `training.fit` that prints the run to a console.

    In a terminal, two lines at the bottom change with every step. Above them stays what is worth
    reading days later: the start, validations, and notices. Elsewhere every log entry is printed
    as plain text.

    Args:
        console: Console to print to.
        folder: Folder of the run, for the PSNR that it had reached before.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, console: Console, folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._folder = console, folder
        self._timer = StepTimer(clock)
        self._step = self._total = 0
        self._entry: LogEntry | None = None
        self._last: Validated | None = None
        self._best: Validated | None = None

    def __call__(self, event: Event) -> None:
        """Take an event into account and print its line."""
        self._timer(event)
        self._step = event.step
        if isinstance(event, Started):
            self._total = event.iterations
            if event.step:
                self._restore()
            self._say(_start_line(event))
        elif isinstance(event, LogEntry):
            self._entry = event
            if not self._console.is_terminal:
                self._say(self._entry_line(event))
        elif isinstance(event, Validated):
            self._last = event
            self._best = event if event.best or self._best is None else self._best
            self._say(self._validation_line(event))
        elif isinstance(event, Notice):
            self._say(event.text)

    def _say(self, line: str) -> None:
        say(self._console, line)

    def _restore(self) -> None:
        """Read the last and the best validation of earlier starts from the log."""
        try:
            run = training_runs.read(self._folder)
        except training_runs.TrainingRunError:
            return
        self._best = run.best
        self._last = run.validations[-1] if run.validations else None

    # ------------------------------------------------------------------------------------- lines

    @property
    def _progress(self) -> str:
        return f"{self._step:,}/{self._total:,}"

    @property
    def _remaining(self) -> str:
        """The remaining time without validations; unknown at the end."""
        if self._step >= self._total:
            return units.UNKNOWN
        return units.duration((self._total - self._step) * self._timer.seconds)

    def _entry_line(self, entry: LogEntry) -> str:
        parts = [
            f"step {self._progress}",
            f"loss {units.significant(entry.loss, 4)}",
            f"lr {units.learning_rate(entry.lr)}",
            units.iteration_rate(self._timer.latest),
            f"data {units.percent(entry.wait)}",
            units.byte_size(entry.memory or None),
            *([f"skipped {entry.skipped:,}"] if entry.skipped else []),
            *([f"eta {self._remaining}"] if self._remaining != units.UNKNOWN else []),
        ]
        return "  ".join(parts)

    def _validation_line(self, event: Validated) -> str:
        parts = [f"step {self._progress}"]
        for name, psnr in event.psnr.items():
            gain = psnr - event.bicubic.get(name, float("nan"))
            gain_text = f" ({gain:+.2f})" if gain == gain else ""
            parts.append(f"{name} {units.decibels(psnr)} dB{gain_text}")
        parts += ["best so far"] if event.best else []
        return "  ".join([*parts, units.duration(event.seconds)])

    def close(self) -> None:
        """Print the last log entry where the bar was."""
        if self._entry is not None and self._console.is_terminal:
            self._say(self._entry_line(self._entry))

    # --------------------------------------------------------------------------------------- bar

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Return the two lines at the bottom, cut to the width of the terminal."""
        if not self._total:
            return
        width = options.max_width
        head = Text(self._progress, style="bold")
        remaining = self._remaining
        tail = Text("" if remaining == units.UNKNOWN else f"{remaining} left", style="dim")
        if width >= head.cell_len + tail.cell_len + _BAR:
            grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
            for ratio in (None, 1, None, None):
                grid.add_column(no_wrap=True, ratio=ratio)
            percent = Text(units.percent(self._step / self._total))
            grid.add_row(head, ProgressBar(self._total, self._step), percent, tail)
            yield grid
        else:
            yield Text.assemble(head, "  ", tail, no_wrap=True, overflow="ellipsis", end="\n")
        yield Text(self._figures(width), no_wrap=True, overflow="ellipsis")

    def _figures(self, width: int) -> str:
        """Return the second line: as many figures as fit, the most important first."""
        entry, last, best = self._entry, self._last, self._best
        parts = [f"loss {units.significant(entry.loss, 4)}"] if entry else ["first steps"]
        parts.append(units.iteration_rate(self._timer.seconds))
        if last is not None and best is not None:
            name = next(iter(last.psnr)) if len(last.psnr) == 1 else "PSNR"
            last_psnr, best_psnr = (units.decibels(v.mean_psnr) for v in (last, best))
            parts.append(f"{name} {last_psnr}, best {best_psnr}")
        if entry is not None:
            parts += [f"lr {units.learning_rate(entry.lr)}", f"data {units.percent(entry.wait)}"]
            parts += [units.byte_size(entry.memory or None)]
            parts += [f"skipped {entry.skipped:,}"] if entry.skipped else []
        line = parts[0]
        for text in parts[1:]:
            if text != units.UNKNOWN and len(line) + len(text) + 3 <= width:
                line += f"   {text}"
        return printable(line)


@contextmanager
def show_run(folder: Path, *, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """Yield a callback for `training.fit`; the bar goes away at the end of the block.

    Args:
        folder: Folder of the run.
        quiet: Print nothing.
    """
    if quiet:
        yield lambda _: None
        return
    display = RunDisplay(err.console, folder)
    with ExitStack() as stack:
        stack.callback(display.close)
        if err.console.is_terminal:
            live = Live(display, console=err.console, transient=True, refresh_per_second=4)
            stack.enter_context(live)
        yield display


def _start_line(event: Started) -> str:
    """Return the line at the start of a run."""
    processes = f", {event.ranks} processes" if event.ranks > 1 else ""
    begin = f"; goes on after step {event.step:,}" if event.step else ""
    if event.step >= event.iterations:
        begin = f"; all {event.iterations:,} steps are done already"
    return (
        f"{event.name}: {units.counted(event.parameters, 'parameter')}, "
        f"{units.counted(event.pictures, 'picture')}, {event.device}{processes}{begin}"
    )
