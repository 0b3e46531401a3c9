"""The log of a run as it can be read: cut lines, foreign lines and missing fields included."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atdsr import files
from atdsr.errors import AtdsrError
from atdsr.training.events import Line, Saved, Started, Told, Validated
from atdsr.training.journal import LOG

_KINDS = {kind.__name__.lower(): kind for kind in (Started, Line, Validated, Saved, Told)}
_DIGITS = 300  # that a whole number may have; a float has no more
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
    lines: tuple[Line, ...]
    validations: tuple[Validated, ...]
    told: tuple[Told, ...]
    unread: int

    @property
    def name(self) -> str:
        """Of the run, or else of its folder."""
        return (self.starts[-1].name if self.starts else "") or self.folder.resolve().name

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
        """Names of the test sets."""
        return list(dict.fromkeys(name for each in self.validations for name in each.psnr))

    @property
    def _began(self) -> int:
        first = self.starts[0].step if self.starts else 0
        return first if self.lines and first < self.lines[0].step else 0


def read(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        RunsError: there is no log, or it cannot be read.
    """
    path = folder / LOG
    try:
        with files.opened(path) as file:
            text = file.read().decode("utf-8", "replace")
        written = path.stat().st_mtime
    except OSError as error:
        raise RunsError(f"{path} cannot be read: {error.strerror}.") from None
    events: dict[type, list[Any]] = {kind: [] for kind in _KINDS.values()}
    unread = 0
    for line in filter(None, map(str.strip, text.splitlines())):
        event = _event(line)
        if event is None:
            unread += 1
            continue
        if isinstance(event, Started):
            # what an earlier start did beyond the state that this one goes on from is undone
            for kind in (Line, Validated):
                events[kind] = [old for old in events[kind] if old.step <= event.step]
        events[type(event)].append(event)
    return Run(
        folder,
        written,
        tuple(events[Started]),
        tuple(_by_step(events[Line])),
        tuple(_by_step(events[Validated])),
        tuple(events[Told]),
        unread,
    )


def is_run(folder: Path) -> bool:
    """Whether this is a run's folder, and not one of several."""
    return (folder / LOG).is_file()


def find(folder: Path) -> list[Run]:
    """The runs in a folder's folders, the one written to last first; or the folder's own run.

    Raises:
        RunsError: there is none.
    """
    if is_run(folder):
        return [read(folder)]
    if not folder.is_dir():
        raise RunsError(f"there is no folder {str(folder)!r}; name the folder of a run.")
    found = [read(log.parent) for log in sorted(folder.glob(f"*/{LOG}"))]
    if not found:
        raise RunsError(f"{folder} is no folder of a run, and holds none: there is no {LOG}.")
    return sorted(found, key=lambda run: -run.written)


def _by_step(events: Sequence[Any]) -> Iterator[Any]:
    """Events in the order of steps, the last of those with one step."""
    yield from (event for _, event in sorted({event.step: event for event in events}.items()))


def _event(line: str) -> Any:
    """What a line of a log says; None where it is none of ours."""
    try:
        record = json.loads(line, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    kind = _KINDS.get(str(record.get("kind"))) if isinstance(record, dict) else None
    if kind is None or not _is_step(record.get("step")):
        return None
    values = {field.name: _value(record.get(field.name), field) for field in _fields(kind)}
    return kind(**values)


def _integer(digits: str) -> int:
    """A whole number of JSON, of which a float can be made.

    Raises:
        ValueError: it has too many digits.
    """
    if len(digits) > _DIGITS:
        raise ValueError("too many digits")
    return int(digits)


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _fields(kind: type) -> tuple["dataclasses.Field[Any]", ...]:
    return dataclasses.fields(kind)


def _value(found: Any, field: "dataclasses.Field[Any]") -> Any:
    """A field's value of the type it should have, or what stands for none."""
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if field.type is float:
        return float(found) if number else math.nan
    if field.type is int:
        return int(found) if number and math.isfinite(found) else 0
    if field.type is bool:
        return found is True
    if field.type is str:
        return found if isinstance(found, str) else ""
    if field.type == Mapping[str, float]:
        entries = found.items() if isinstance(found, dict) else ()
        return {
            name: float(value) if isinstance(value, int | float) else math.nan
            for name, value in entries
        }
    return Path(found) if isinstance(found, str) else None
