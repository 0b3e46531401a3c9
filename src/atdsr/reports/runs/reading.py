"""The log of a run as it can be read: cut lines, foreign lines and missing fields included."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from atdsr.base.errors import AtdsrError
from atdsr.training.events import LogEntry, Notice, Saved, Started, Validated
from atdsr.training.run_log import LOG_FILE, read_lines

MOST_BYTES = 2**26
"""The largest log that is read; a run of 500,000 steps has about 1.2 million bytes."""

MOST_LINES = 150_000
"""The most lines of a log that is read."""

MOST_FOREIGN = 10_000
"""The most of these that are none of ours."""

MOST_VALIDATIONS = 2_000
"""The most validations of a log that is read."""

_KINDS = {event.kind: event for event in (Started, LogEntry, Validated, Saved, Notice)}
_DIGITS = 300  # that a whole number may have; a float has no more
_LARGEST = 1e40  # figure; float32 ends before it, and sums of such figures are numbers
_MOST_STEPS = 2**53  # which floats hold exactly
_MOST_SETS = 16  # of a validation, and of a run
_LONGEST_NAME, _LONGEST_TEXT = 200, 1_000  # letters
_RECENT = 10  # lines that the mean loss is taken over


class RunsError(AtdsrError):
    """A folder without a run, or a log that cannot be read."""


@dataclass(frozen=True)
class Run:
    """What a run's log says; figures that it does not have are NaN.

    Attributes:
        folder: of the run.
        written: when the log was written to last, in seconds since 1970.
        starts: of the run, the first one and restarts, in order.
        lines: by step, none twice.
        validations: by step, none twice.
        told: what was out of the ordinary.
        unread: lines of the log that are none of ours.
    """

    folder: Path
    written: float
    starts: tuple[Started, ...]
    lines: tuple[LogEntry, ...]
    validations: tuple[Validated, ...]
    told: tuple[Notice, ...]
    unread: int

    @property
    def name(self) -> str:
        """Of the run, or else of its folder."""
        name = (self.starts[-1].name if self.starts else "") or self.folder.resolve().name
        return _cut(name, _LONGEST_NAME)

    @property
    def iterations(self) -> int:
        """Steps in all; 0 where the log does not say."""
        return self.starts[-1].iterations if self.starts else 0

    @property
    def step(self) -> int:
        """Steps done, as far as lines and validations tell."""
        ends = [each[-1].step for each in (self.lines, self.validations, self.starts) if each]
        return max(ends, default=0)

    @property
    def seconds(self) -> float:
        """Wall time of the training, without validation and saving."""
        return math.fsum(line.seconds for line in self.lines if math.isfinite(line.seconds))

    @property
    def recent_loss(self) -> float:
        """Mean of the last lines' losses."""
        losses = [line.loss for line in self.lines[-_RECENT:] if math.isfinite(line.loss)]
        return sum(losses) / len(losses) if losses else math.nan

    @property
    def pace(self) -> float:
        """Seconds that a step took in the last lines."""
        recent = self.lines[-_RECENT:]
        before = self.lines[-_RECENT - 1].step if len(self.lines) > _RECENT else self._began
        steps = recent[-1].step - before if recent else 0
        return sum(line.seconds for line in recent) / steps if steps > 0 else math.nan

    @property
    def wait(self) -> float:
        """Which part of the last lines' time the steps waited for crops."""
        recent = self.lines[-_RECENT:]
        seconds = sum(line.seconds for line in recent)
        return sum(line.waited for line in recent) / seconds if seconds > 0 else math.nan

    @property
    def best(self) -> Validated | None:
        """The validation with the highest mean PSNR, the first of equals."""
        return max(self.validations, key=lambda each: each.mean_psnr, default=None)

    @property
    def sets(self) -> list[str]:
        """Names of the test sets, the first ones where there are very many."""
        names = dict.fromkeys(name for each in self.validations for name in each.psnr)
        return list(names)[:_MOST_SETS]

    @property
    def _began(self) -> int:
        first = self.starts[0].step if self.starts else 0
        return first if self.lines and first < self.lines[0].step else 0


def read(folder: Path) -> Run:
    """The run in a folder; what its log cannot have from a run is passed over.

    Raises:
        RunsError: there is no log, or it cannot be read, or is far larger than that of any run.
    """
    path = folder / LOG_FILE
    try:
        size, written = path.stat().st_size, path.stat().st_mtime
        if size > MOST_BYTES:
            raise RunsError(
                f"{path} has {size:,} bytes, and the log of a run has at most {MOST_BYTES:,}; "
                "cut it down to the lines that you want to see."
            )
        events, unread = _events(path)
    except OSError as error:
        raise RunsError(f"{path} cannot be read: {error.strerror}.") from None
    by_kind = _that_hold(events)
    if len(by_kind[Validated]) > MOST_VALIDATIONS:
        raise _too_many(path, MOST_VALIDATIONS, "validations")
    return Run(
        folder,
        written,
        tuple(by_kind[Started]),
        tuple(_by_step(by_kind[LogEntry])),
        tuple(_by_step(by_kind[Validated])),
        tuple(by_kind[Notice]),
        unread,
    )


def _events(path: Path) -> tuple[list[Any], int]:
    """What the lines of a log say, and how many say nothing of ours.

    Raises:
        RunsError: there are too many of either.
        OSError: the file cannot be read.
    """
    events: list[Any] = []
    unread = 0
    for number, line in enumerate(read_lines(path)):
        event = _event(line) if line.startswith("{") else None
        if event is not None:
            events.append(event)
        elif line:
            unread += 1
        if number >= MOST_LINES:
            raise _too_many(path, MOST_LINES, "lines")
        if unread > MOST_FOREIGN:
            raise _too_many(path, MOST_FOREIGN, "lines that no run has written")
    return events, unread


def _too_many(path: Path, most: int, what: str) -> RunsError:
    return RunsError(
        f"{path} has more than {most:,} {what}, which no run has; cut it down to the lines that "
        "you want to see."
    )


def _that_hold(events: list[Any]) -> dict[type, list[Any]]:
    """Events by kind, in order, without what a later start has undone.

    A start goes on from a state; what an earlier one did beyond that counts no more.
    """
    kept: dict[type, list[Any]] = {kind: [] for kind in _KINDS.values()}
    latest = _MOST_STEPS
    for event in reversed(events):
        if isinstance(event, Started):
            latest = min(latest, event.step)
        elif isinstance(event, LogEntry | Validated) and event.step > latest:
            continue
        kept[type(event)].append(event)
    return {kind: each[::-1] for kind, each in kept.items()}


def is_run(folder: Path) -> bool:
    """Whether this is a run's folder, and not one of several."""
    return (folder / LOG_FILE).is_file()


def find(folder: Path, tell: Callable[[str], None] = lambda _: None) -> list[Run]:
    """The runs in a folder's folders, the one written to last first; or the folder's own run.

    Args:
        folder: of runs' folders, or of a run.
        tell: called with a sentence for each of several runs whose log cannot be read.

    Raises:
        RunsError: there is none, or none that can be read.
    """
    if is_run(folder):
        return [read(folder)]
    if not folder.is_dir():
        raise RunsError(f"there is no folder {str(folder)!r}; name the folder of a run.")
    found: list[Run] = []
    errors: list[RunsError] = []
    for log in sorted(folder.glob(f"*/{LOG_FILE}")):
        try:
            found += [read(log.parent)] if is_run(log.parent) else []
        except RunsError as error:
            errors.append(error)
    if not found:
        none = RunsError(f"{folder} is no folder of a run, and holds none: there is no {LOG_FILE}.")
        raise errors[0] if errors else none
    for error in errors:
        tell(str(error))
    return sorted(found, key=lambda run: -run.written)


def _by_step(events: list[Any]) -> Iterator[Any]:
    """Events in the order of steps, the last of those with one step."""
    yield from (event for _, event in sorted({event.step: event for event in events}.items()))


def _event(line: str) -> Any:
    """What a line of a log says; None where it is none of ours."""
    try:
        record = json.loads(line, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    name = record.get("kind") if isinstance(record, dict) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None or not _is_step(record.get("step")):
        return None
    return kind(*(value(record.get(field)) for field, value in _readers(kind)))


def _integer(digits: str) -> int:
    """A whole number of JSON, of which a float can be made.

    Raises:
        ValueError: it has too many digits.
    """
    if len(digits) > _DIGITS:
        raise ValueError("too many digits")
    return int(digits)


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_STEPS


@cache
def _readers(kind: type) -> list[tuple[str, Callable[[Any], Any]]]:
    """The fields of an event in order, and what reads each."""
    return [(field.name, _READERS.get(field.type, _path)) for field in dataclasses.fields(kind)]


def _number(found: Any) -> float:
    """A figure; NaN for anything else, and for one that no run comes to."""
    if type(found) in (float, int) and -_LARGEST <= found <= _LARGEST:  # and no bool
        return float(found)
    return math.nan


def _count(found: Any) -> int:
    """A whole number; 0 for anything else, and for one that counts nothing."""
    return int(found) if type(found) in (int, float) and 0 <= found <= _MOST_STEPS else 0


def _text(found: Any) -> str:
    return _cut(found, _LONGEST_TEXT) if isinstance(found, str) else ""


def _figures(found: Any) -> Mapping[str, float]:
    entries = list(found.items())[:_MOST_SETS] if isinstance(found, dict) else ()
    return {_cut(name, _LONGEST_NAME): _number(value) for name, value in entries}


def _path(found: Any) -> Path | None:
    return Path(found) if isinstance(found, str) else None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


_READERS: dict[Any, Callable[[Any], Any]] = {
    float: _number,
    int: _count,
    bool: lambda found: found is True,
    str: _text,
    Mapping[str, float]: _figures,
}
