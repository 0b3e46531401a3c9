"""The log of a run: one JSON object a line, without lines of steps that a kill undid."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atdsr.base import files
from atdsr.training.events import Event, Stepped, Validated

LOG = "log.jsonl"

_LONGEST = 2**20  # bytes of a line, thousands of times what a run writes


def lines(path: Path) -> Iterator[str]:
    """The lines of a log, of one that is far too long only the beginning, which is no JSON.

    Raises:
        OSError: the file cannot be read.
    """
    with files.open_regular(path) as file:
        while line := file.readline(_LONGEST):
            yield line.decode("utf-8", "replace").strip()
            while len(line) == _LONGEST and not line.endswith(b"\n"):
                line = file.readline(_LONGEST)


class Journal:
    """Writes every event but `Stepped` to `log.jsonl`; itself a `Watch`.

    What comes before it is opened is kept and written then.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG
        self._early: list[Event] | None = []

    def open(self, step: int, validated: int) -> None:
        """Take off the lines that a restart makes untrue.

        Args:
            step: steps that the run goes on from.
            validated: step of its last validation; later ones will be taken again.

        Raises:
            FileError: the log cannot be read or written.
        """
        early, self._early = self._early or [], None
        kept = [line for line in self._lines() if _holds(line, step, validated)]
        with files.atomic_write(self._path, overwrite=True) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), "utf-8")
        for event in early:
            self(event)

    def _lines(self) -> Iterator[str]:
        try:
            yield from lines(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise files.FileError(
                f"{self._path}: the file cannot be read: {error.strerror or error}."
            ) from None

    def __call__(self, event: Event) -> None:
        """Write a line.

        Raises:
            FileError: it cannot be written.
        """
        if isinstance(event, Stepped):
            return
        if self._early is not None:
            self._early.append(event)
            return
        record = {"kind": type(event).__name__.lower(), **dataclasses.asdict(event)}
        line = json.dumps(_plain(record), allow_nan=False) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as log:
                log.write(line)
        except OSError as error:
            raise files.FileError(
                f"{self._path}: the file cannot be written: {error.strerror or error}."
            ) from None


def _plain(value: Any) -> Any:
    """A value as JSON can have it: no path, and null for what is no finite number."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _holds(line: str, step: int, validated: int) -> bool:
    """Whether a line is whole, and true of a run that goes on from a step."""
    try:
        record = json.loads(line)
        latest = validated if record["kind"] == Validated.__name__.lower() else step
        return record["step"] <= latest
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
