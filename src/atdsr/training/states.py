"""The saved states of a run: whole or not at all, the newest few, checked when read.

A state is a file `00020000-1f2e3d4c.pt`: the step, and the first digits of the SHA-256 of its
bytes, so that a file that was damaged later is known as such.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.weights import WeightsError, read_torch_file, torch_file_bytes

_NAME = re.compile(r"(\d{8,})-([0-9a-f]{8})\.pt")


class StateError(AtdsrError):
    """A run of which no saved state can be read."""


def save(state: Mapping[str, Any], folder: Path, step: int, keep: int) -> Path:
    """Write a state, then delete the oldest ones, and an earlier one of the same step.

    Args:
        state: tensors, numbers, texts, and containers of these.
        folder: of the states.
        step: steps done.
        keep: how many states stay, this one among them.

    Returns:
        The file.

    Raises:
        FileError: it cannot be written; the states before are as they were.
    """
    content = torch_file_bytes(dict(state))
    path = folder / f"{step:08}-{hashlib.sha256(content).hexdigest()[:8]}.pt"
    with files.atomic_write(path, overwrite=True) as temporary:
        temporary.write_bytes(content)
    others = [other for other in _newest_first(folder) if other != path]
    earlier = [other for other in others if _step(other) < step]
    same = [other for other in others if _step(other) == step]
    for old in (*same, *earlier[keep - 1 :]):  # later ones were passed over, and are no copies
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def load(folder: Path, tell: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest state that is whole; None where there is no state at all.

    Args:
        folder: of the states.
        tell: called with a sentence about each one that is damaged.

    Raises:
        StateError: there are states, and none is whole.
    """
    paths = _newest_first(folder)
    for path in paths:
        state = _read(path)
        if state is not None:
            return state
        tell(f"the state {path} is damaged and is passed over.")
    if paths:
        raise StateError(
            f"no state in {folder} can be read; begin anew (--restart), or bring back a copy."
        )
    return None


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("*.pt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)


def _step(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _read(path: Path) -> dict[str, Any] | None:
    """A state; None if it is damaged."""
    name = _NAME.fullmatch(path.name)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if name is None or not digest.startswith(name[2]):
            return None
        return read_torch_file(path)
    except (OSError, WeightsError):
        return None
