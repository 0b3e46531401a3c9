"""What the commands print with: plain lines, and a bar that moves.

Rich takes as long to import as a help screen to print, so it comes with the first line.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

from atdsr.base.errors import AtdsrError
from atdsr.base.escaping import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


_WIDEST = 100  # columns that sentences are still easy to read in
_SECONDS_OF_SPEED = 120.0  # over which a bar takes the mean to tell the time that is left


class OutputError(AtdsrError):
    """Standard output that takes no more."""


class ClosedError(OutputError):
    """Standard output that nobody reads any more, as behind `| head`: no reason to say anything."""


class _Stream(io.FileIO):
    """Standard output or error, below all buffers.

    The first failure to write standard output is an `OutputError`, which nobody on the way takes
    for one of a file; what is left in the buffers then goes nowhere. That of standard error is
    passed over: there is no place left to tell of it.

    Args:
        number: 1 or 2.

    Attributes:
        failure: the first one, None before.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb", closefd=False)
        self.failure: OutputError | None = None

    def write(self, data: Any) -> int:
        """Write bytes.

        Raises:
            OutputError: see above.
        """
        size = memoryview(data).nbytes
        if self.failure is None and size:  # some libraries try with nothing
            try:
                return super().write(data)
            except OSError as error:
                kind = ClosedError if isinstance(error, BrokenPipeError) else OutputError
                self.failure = kind(
                    f"standard output cannot be written: {error.strerror or error}."
                )
                if self.fileno() == 1:
                    raise self.failure from None
        return size


def checked_streams() -> None:
    """Replace this process's standard output and error by ones that fail with a sentence."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):  # it is closed
            continue
        unbuffered = isinstance(stream.buffer, io.FileIO)  # python -u
        if unbuffered or isinstance(getattr(stream.buffer, "raw", None), io.FileIO):
            stream.flush()  # a console of Windows, which is no file, stays
            stream = io.TextIOWrapper(
                cast(Any, _Stream(number) if unbuffered else io.BufferedWriter(_Stream(number))),
                stream.encoding,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, stream)
        stream.reconfigure(errors="backslashreplace")  # names that its encoding lacks


def flush() -> None:
    """Write what the buffer of standard output holds.

    Raises:
        OutputError: it takes no more, or has not taken something before.
    """
    if sys.stdout is None:
        return
    with contextlib.suppress(ValueError):  # somebody has closed it
        sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    failure = getattr(getattr(buffer, "raw", buffer), "failure", None)
    if failure is not None:
        raise failure


class Printer(Protocol):
    """What prints: an output of ours, or a console of rich's."""

    def print(self, *objects: Any) -> None:
        """Print text, or whatever else rich can show, and end the line."""
        ...


class Output:
    """Standard output or standard error.

    Args:
        stderr: whether it is the latter.
    """

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> "Console":
        """What prints names of files as they are: no markup, no emoji codes, no wrapping."""
        from rich.console import Console

        return Console(
            stderr=self._stderr, markup=False, emoji=False, highlight=False, soft_wrap=True
        )

    def print(self, *objects: Any) -> None:
        """Print text, or whatever else rich can show, and end the line."""
        self.console.print(*objects)


out, err = Output(stderr=False), Output(stderr=True)


def leads() -> bool:
    """Whether this is the process that talks, of those that torchrun started together."""
    return os.environ.get("RANK", "0") == "0"


def leads_on_machine() -> bool:
    """Whether this is the first of the processes that torchrun started on this machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def say(to: Printer, line: str) -> None:
    """Print one line, whatever it holds."""
    to.print(printable(line))


def say_wrapped(text: str, head: str = "") -> None:
    """Print text beside its head, in lines that fit the screen and are easy to read."""
    import textwrap

    width = max(min(out.console.width, _WIDEST) - len(head), 20)
    lines = textwrap.wrap(printable(text), width, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        say(out, (" " * len(head) if number else head) + line)


def print_table(
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    section: int = 0,
    title: str | None = None,
) -> None:
    """Print a table, the first column to the left and the others to the right.

    On a terminal that is too narrow for it, each line becomes a paragraph that names its columns.
    Elsewhere, as in a file, a table is as wide as it is.

    Args:
        header: Names of the columns.
        lines: Lines of cells, whatever they hold; a line may have fewer cells than the header.
        section: Number of lines above a rule; 0 for no rule.
        title: Title above the table.
    """
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    grid = Table(
        title=title,
        title_justify="left",
        box=box.HORIZONTALS,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for number, name in enumerate(header):
        grid.add_column(printable(name), justify="right" if number else "left", no_wrap=True)
    for number, line in enumerate(lines, 1):
        grid.add_row(*map(printable, line), end_section=number == section)

    console = out.console
    needed = Measurement.get(console, console.options.update(max_width=10_000), grid).maximum
    if console.is_terminal and needed > console.width:
        for line in _paragraphs(header, lines, section, title, console.width):
            say(out, line)
        return
    wide = Console(
        file=console.file,
        markup=False,
        emoji=False,
        highlight=False,
    )
    wide.width = max(console.width, needed)
    wide.print(grid)


def _paragraphs(
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    section: int,
    title: str | None,
    width: int,
) -> Iterator[str]:
    """Yield a table as text: for each line the first cell, and below it the others with names."""
    import textwrap

    keep = "\N{NO-BREAK SPACE}"  # where no line ends
    if title:
        yield from textwrap.wrap(title, width)
    for number, (name, *cells) in enumerate(lines):
        if section and number == section:
            yield "-" * min(width, 40)
        yield name
        named = [
            f"{column} {cell}".strip().replace(" ", keep)
            for column, cell in zip(header[1:], cells, strict=False)
            if cell
        ]
        for line in textwrap.wrap(", ".join(named), max(20, width - 2), break_on_hyphens=False):
            yield f"  {line}".replace(keep, " ")


@contextmanager
def details_shown() -> Iterator[None]:
    """Print the debug messages of the logger `atdsr` on standard error.

    Its other messages are notices, which the commands print anyway.
    """
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.DEBUG:
                say(err, record.getMessage())

    logger, handler = logging.getLogger("atdsr"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def progress_bar(quiet: bool) -> "Iterator[Progress]":
    """A bar on standard error where that is a terminal; it goes away at the end."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = (
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(max_width=32, no_wrap=True, overflow="ellipsis"),
        ),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    hidden = quiet or not err.console.is_terminal
    with Progress(
        *columns,
        console=err.console,
        disable=hidden,
        transient=True,
        speed_estimate_period=_SECONDS_OF_SPEED,
    ) as progress:
        yield progress


def tracked(progress: "Progress", name: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """What wraps a list so that the bar follows its items."""
    return lambda items: progress.track(items, description=printable(name))
