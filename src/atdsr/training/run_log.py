"""The log of a run: one JSON object per line, without the lines of steps that a kill undid."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atdsr.base import files
from atdsr.training.events import Event, Stepped, Validated

LOG_FILE = "log.jsonl"

_MAX_LINE_BYTES = 2**20  # thousands of times what a run writes


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a log. A line that is far too long is cut, after which it is not JSON.

    Raises:
        OSError: The file cannot be read.
    """
    with files.open_regular(path) as file:
        while line := file.readline(_MAX_LINE_BYTES):
            yield line.decode("utf-8", "replace").strip()
            while len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
                line = file.readline(_MAX_LINE_BYTES)


class RunLog:
    """A callback that writes every event but `Stepped` to `log.jsonl`.

    Events that come before `open` are buffered and written then.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG_FILE
        self._buffered: list[Event] | None = []

    def open(self, step: int, validated: int) -> None:
        """Remove the lines that are no longer true after a restart.

        Args:
            step: Step that the run resumes from.
            validated: Step of its last validation; later ones will be repeated.

        Raises:
            FileError: The log cannot be read or written.
        """
        try:
            lines = [line for line in read_lines(self._path) if _is_valid(line, step, validated)]
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise files.FileError(
                f"{self._path}: the file cannot be read: {error.strerror or error}."
            ) from None
        with files.atomic_write(self._path, overwrite=True) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        buffered, self._buffered = self._buffered or [], None
        for event in buffered:
            self(event)

    def __call__(self, event: Event) -> None:
        """Write a line.

        Raises:
            FileError: The log cannot be written.
        """
        if isinstance(event, Stepped):
            return
        if self._buffered is not None:
            self._buffered.append(event)
            return
        record = {"kind": event.kind, **dataclasses.asdict(event)}
        line = json.dumps(_as_json(record), allow_nan=False) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as log:
                log.write(line)
        except OSError as error:
            raise files.FileError(
                f"{self._path}: the file cannot be written: {error.strerror or error}."
            ) from None


def _as_json(value: Any) -> Any:
    """Turn paths into text and numbers that are not finite into null, as JSON has neither."""
    if isinstance(value, dict):
        return {key: _as_json(inner) for key, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _is_valid(line: str, step: int, validated: int) -> bool:
    """Return whether a line is complete, and true of a run that resumes from a step."""
    try:
        record = json.loads(line)
        latest = validated if record["kind"] == Validated.kind else step
        return record["step"] <= latest
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
