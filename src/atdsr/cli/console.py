"""What the commands print with: plain lines, and a bar that moves."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column


def new_console(*, stderr: bool) -> Console:
    """A console that prints names of files as they are: no markup, no emoji codes, no wrapping."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


out, err = new_console(stderr=False), new_console(stderr=True)


def say(console: Console, line: str) -> None:
    """Print one line, whatever it holds."""
    console.print(printable(line))


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """The text on one line, whatever names of files bring: newlines, control codes, no UTF-8."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A bar on standard error where that is a terminal; it goes away at the end."""
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
    hidden = quiet or not err.is_terminal
    with Progress(*columns, console=err, disable=hidden, transient=True) as progress:
        yield progress


def tracked(progress: Progress, name: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """What wraps a list so that the bar follows its items."""
    return lambda items: progress.track(items, description=printable(name))
