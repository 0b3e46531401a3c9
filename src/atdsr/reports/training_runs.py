"""Training runs in their folders: what their logs say, in full and summed up.

A log is read as it is found, with lines that were cut off, lines of others and missing fields.
"""

import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from atdsr.base import files, units
from atdsr.base.errors import AtdsrError, no_folder, unreadable
from atdsr.base.files import FileError
from atdsr.base.reporter import SILENT, Reporter
from atdsr.training.events import LogEntry, Notice, Saved, Started, Validated
from atdsr.training.run_log import LOG_FILE, read_lines

MOST_BYTES = 2**26
"""The largest log that is read; a run of 500,000 steps has about 1.2 million bytes."""

MOST_LINES = 150_000
"""The most lines of a log that is read."""

MOST_FOREIGN = 10_000
"""The most of these lines that may come from something else than a run."""

MOST_VALIDATIONS = 2_000
"""The most validations of a log that is read."""

_EVENTS = {event.kind: event for event in (Started, LogEntry, Validated, Saved, Notice)}
_MOST_DIGITS = 300  # of a whole number: more do not fit into a float
_LARGEST = 1e40  # figure; float32 ends before it, and sums of such figures are finite
_MOST_STEPS = 2**53  # which floats hold exactly
_MOST_SETS = 16  # of a validation, and of a run
_LONGEST_NAME, _LONGEST_TEXT = 200, 1_000  # letters
_BICUBIC = "bicubic"
_RECENT = 10  # log entries that recent figures are taken over


class TrainingRunError(AtdsrError):
    """A folder holds no training run, or a log cannot be read."""


@dataclass(frozen=True)
class TrainingRun:
    """What the log of a training run says; figures that it does not have are NaN.

    Attributes:
        folder: Folder of the run.
        written: Time at which the log was written to last, in seconds since 1970.
        starts: The first start and all restarts, in order.
        entries: Log entries by step, one for each step at most.
        validations: Validations by step, one for each step at most.
        notices: Notices about what was out of the ordinary.
        unread: Number of lines in the log that no run has written.
    """

    folder: Path
    written: float
    starts: tuple[Started, ...]
    entries: tuple[LogEntry, ...]
    validations: tuple[Validated, ...]
    notices: tuple[Notice, ...]
    unread: int

    @property
    def name(self) -> str:
        """Name of the run, or else of its folder, as for a run that `set_aside` has renamed."""
        folder_name = self.folder.resolve().name
        name = (self.starts[-1].name if self.starts else "") or folder_name
        stem, _, number = folder_name.rpartition(".")
        if stem == name and number.isdecimal():
            name = folder_name
        return _shortened(name, _LONGEST_NAME)

    @property
    def iterations(self) -> int:
        """Steps in all; 0 where the log does not say."""
        return self.starts[-1].iterations if self.starts else 0

    @property
    def step(self) -> int:
        """Steps done, as far as log entries and validations tell."""
        events = (self.entries, self.validations, self.starts)
        return max((of_a_kind[-1].step for of_a_kind in events if of_a_kind), default=0)

    @property
    def seconds(self) -> float:
        """Wall time of the training, without validation and saving."""
        return math.fsum(entry.seconds for entry in self.entries if math.isfinite(entry.seconds))

    @property
    def recent_loss(self) -> float:
        """Mean loss of the last log entries."""
        losses = [entry.loss for entry in self.entries[-_RECENT:] if math.isfinite(entry.loss)]
        return sum(losses) / len(losses) if losses else math.nan

    @property
    def pace(self) -> float:
        """Seconds a step in the last log entries."""
        recent = self.entries[-_RECENT:]
        before = self.entries[-_RECENT - 1].step if len(self.entries) > _RECENT else self._first
        steps = recent[-1].step - before if recent else 0
        return sum(entry.seconds for entry in recent) / steps if steps > 0 else math.nan

    @property
    def wait(self) -> float:
        """Share of the time of the last log entries in which the steps waited for crops."""
        recent = self.entries[-_RECENT:]
        seconds = sum(entry.seconds for entry in recent)
        return sum(entry.waited for entry in recent) / seconds if seconds > 0 else math.nan

    @property
    def best(self) -> Validated | None:
        """The validation with the highest mean PSNR, the first of equals."""
        return max(self.validations, key=lambda validated: validated.mean_psnr, default=None)

    @property
    def baseline(self) -> str:
        """What the network is compared with; logs of earlier versions do not say it."""
        return (self.validations[-1].baseline if self.validations else "") or _BICUBIC

    @property
    def sets(self) -> list[str]:
        """Names of the test sets, the first ones where there are very many."""
        names = dict.fromkeys(name for validated in self.validations for name in validated.psnr)
        return list(names)[:_MOST_SETS]

    @property
    def _first(self) -> int:
        """Steps done before the first log entry, where the log says it."""
        first = self.starts[0].step if self.starts else 0
        return first if self.entries and first < self.entries[0].step else 0


# ------------------------------------------------------------------------------------------ folders


def is_run(folder: Path) -> bool:
    """Return whether this is the folder of one run, and not of several."""
    return (folder / LOG_FILE).is_file()


def find(folder: Path, reporter: Reporter = SILENT) -> list[TrainingRun]:
    """Read the runs in the folders of a folder, the last one written to first, or its own run.

    Args:
        folder: Folder of a run, or of several such folders.
        reporter: Receives a notice for each of several runs whose log cannot be read.

    Raises:
        TrainingRunError: There is no run, or none that can be read.
    """
    if is_run(folder):
        return [read(folder)]
    if not folder.is_dir():
        raise TrainingRunError(no_folder(folder))
    runs: list[TrainingRun] = []
    errors: list[TrainingRunError] = []
    for log in sorted(folder.glob(f"*/{LOG_FILE}")):
        try:
            runs += [read(log.parent)] if is_run(log.parent) else []
        except TrainingRunError as error:
            errors.append(error)
    if not runs:
        raise next(
            iter(errors),
            TrainingRunError(
                f"{folder} is not the folder of a run, and none is in it: there is no {LOG_FILE}; "
                "name one that `atdsr train` has made."
            ),
        )
    for error in errors:
        reporter.notice(str(error))
    return sorted(runs, key=lambda run: -run.written)


def set_aside(folder: Path) -> Path | None:
    """Rename the folder of a run to `NAME.1`, `NAME.2`..., so that a new run can have its name.

    Returns:
        The new name; None if there is no such folder, or nothing in it.

    Raises:
        TrainingRunError: The run is going on at this moment, or the folder holds something else.
        FileError: The folder cannot be renamed.
    """
    if folder.name in ("", ".."):  # the root, the working directory, or a folder above it
        raise FileError(f"{folder} cannot be renamed; choose an output folder with a name.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    if not is_run(folder):
        raise TrainingRunError(f"{folder} holds no training run; choose another output folder.")
    names = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
    free = next(name for name in names if not name.exists())
    try:
        with files.folder_lock(folder):
            pass
        return folder.rename(free)
    except BlockingIOError:
        raise TrainingRunError(f"another process trains in {folder}; stop it first.") from None
    except OSError as error:
        raise FileError(f"{folder} cannot be renamed to {free}: {error.strerror}.") from None


# --------------------------------------------------------------------------------------------- logs


def read(folder: Path) -> TrainingRun:
    """Read the run in a folder; entries that no run can have written are passed over.

    Raises:
        TrainingRunError: There is no log, or it cannot be read, or is far larger than any run's.
    """
    path = folder / LOG_FILE
    try:
        size, written = path.stat().st_size, path.stat().st_mtime
        if size > MOST_BYTES:
            raise TrainingRunError(
                f"{path} has {size:,} bytes, and the log of a run has at most {MOST_BYTES:,}; "
                "cut it down to the lines that you want to see."
            )
        events, unread = _read_events(path)
    except OSError as error:
        raise TrainingRunError(unreadable(path, error)) from None
    by_kind = _valid_events(events)
    if len(by_kind[Validated]) > MOST_VALIDATIONS:
        raise _too_many(path, MOST_VALIDATIONS, "validations")
    return TrainingRun(
        folder,
        written,
        tuple(by_kind[Started]),
        tuple(_by_step(by_kind[LogEntry])),
        tuple(_by_step(by_kind[Validated])),
        tuple(by_kind[Notice]),
        unread,
    )


def _read_events(path: Path) -> tuple[list[Any], int]:
    """Return the events of a log and the number of lines that are none.

    Raises:
        TrainingRunError: There are too many of either.
        OSError: The file cannot be read.
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


def _too_many(path: Path, most: int, items: str) -> TrainingRunError:
    return TrainingRunError(
        f"{path} has more than {most:,} {items}, which no run has; cut it down to the lines that "
        "you want to see."
    )


def _valid_events(events: list[Any]) -> dict[type, list[Any]]:
    """Return the events by kind, in order, without those that a later start has undone.

    A restart goes on from a checkpoint; what the run did beyond it before does not count.
    """
    by_kind: dict[type, list[Any]] = {kind: [] for kind in _EVENTS.values()}
    restart = _MOST_STEPS
    for event in reversed(events):
        if isinstance(event, Started):
            restart = min(restart, event.step)
        elif isinstance(event, LogEntry | Validated) and event.step > restart:
            continue
        by_kind[type(event)].append(event)
    return {kind: of_a_kind[::-1] for kind, of_a_kind in by_kind.items()}


def _by_step(events: list[Any]) -> Iterator[Any]:
    """Yield events in the order of their steps, the last one of each step."""
    yield from (event for _, event in sorted({event.step: event for event in events}.items()))


def _event(line: str) -> Any:
    """Return the event in a line of a log; None if it holds none."""
    try:
        record = json.loads(line, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    name = record.get("kind") if isinstance(record, dict) else None
    kind = _EVENTS.get(name) if isinstance(name, str) else None
    step = record.get("step") if kind else None
    if kind is None or type(step) is not int or not 0 <= step <= _MOST_STEPS:
        return None
    return kind(*(convert(record.get(field)) for field, convert in _converters(kind)))


def _integer(digits: str) -> int:
    """Return a whole number of JSON if a float can hold it.

    Raises:
        ValueError: It has too many digits.
    """
    if len(digits) > _MOST_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


@cache
def _converters(kind: type) -> list[tuple[str, Callable[[Any], Any]]]:
    """Return the names of an event's fields in order, each with its converter."""
    return [(field.name, _CONVERTERS.get(field.type, _path)) for field in dataclasses.fields(kind)]


def _number(value: Any) -> float:
    """Return a figure; NaN for anything else, and for one that no run comes to."""
    if type(value) in (float, int) and -_LARGEST <= value <= _LARGEST:  # type: bool is an int
        return float(value)
    return math.nan


def _count(value: Any) -> int:
    """Return a whole number; 0 for anything else, and for one that cannot count anything."""
    return int(value) if type(value) in (int, float) and 0 <= value <= _MOST_STEPS else 0


def _text(value: Any) -> str:
    return _shortened(value, _LONGEST_TEXT) if isinstance(value, str) else ""


def _figures(value: Any) -> Mapping[str, float]:
    entries = list(value.items())[:_MOST_SETS] if isinstance(value, dict) else ()
    return {_shortened(name, _LONGEST_NAME): _number(figure) for name, figure in entries}


def _path(value: Any) -> Path | None:
    return Path(value) if isinstance(value, str) else None


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    float: _number,
    int: _count,
    bool: lambda value: value is True,
    str: _text,
    Mapping[str, float]: _figures,
}


# ------------------------------------------------------------------------------------------ summary


def facts(run: TrainingRun) -> dict[str, str]:
    """Return what a run is and how far it has come, by name, as far as its log says it."""
    start = run.starts[-1] if run.starts else None
    last = run.entries[-1] if run.entries else None
    total = run.iterations
    # a run that is complete is started in vain
    restarts = sum(start.step < start.iterations for start in run.starts[1:])
    done = f"{run.step:,} of {total:,} ({run.step / total:.0%})" if total else f"{run.step:,}"
    summary = {"step": done}
    if start:
        processes = f", {start.ranks} processes" if start.ranks > 1 else ""
        summary |= {
            "parameters": f"{start.parameters:,}" if start.parameters else "",
            "pictures": f"{start.pictures:,}" if start.pictures else "",
            "device": f"{start.device}{processes}",
        }
    if last:
        latest, recent = (units.significant(loss, 4) for loss in (last.loss, run.recent_loss))
        summary |= {
            "loss": f"{latest}, {recent} on average lately",
            "learning rate": units.learning_rate(last.lr),
            "speed": units.iteration_rate(run.pace),
            "waiting for data": units.percent(run.wait),
            "memory": units.byte_size(last.memory or None),
            "trained": units.duration(run.seconds),
        }
    summary |= {
        "to go": units.duration((total - run.step) * run.pace) if total > run.step else "",
        "skipped steps": f"{last.skipped:,}" if last and last.skipped else "",
        "restarts": f"{restarts:,}" if restarts else "",
        "last written": written(run),
        "unread lines": f"{run.unread:,}" if run.unread else "",
    }
    return {name: text for name, text in summary.items() if text not in ("", units.UNKNOWN)}


def written(run: TrainingRun) -> str:
    """Return the local time at which the log was written to last."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.written))
    except (OverflowError, ValueError, OSError):  # a time that no calendar has
        return units.UNKNOWN
