"""The checkpoints of a run: written as a whole, checked when read, only the newest kept.

A checkpoint is a file `00020000-1f2e3d4c.pt`: the step, and the first digits of the SHA-256 of its
bytes, so that a file that was damaged later is recognised.
"""

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import SILENT, Reporter
from atdsr.weights import WeightsError, read_torch_file, torch_file_bytes

_FILE_NAME = re.compile(r"(\d{8,})-([0-9a-f]{8})\.pt")


class StateError(AtdsrError):
    """A run none of whose checkpoints can be read."""


def save(state: Mapping[str, Any], folder: Path, step: int, keep: int) -> Path:
    """Write a checkpoint, then delete the oldest ones and an earlier one of the same step.

    Args:
        state: Tensors, numbers, texts, and containers of these.
        folder: Folder of the checkpoints.
        step: Steps done.
        keep: Number of checkpoints to keep, including this one.

    Returns:
        The file.

    Raises:
        FileError: The file cannot be written; the checkpoints before are unchanged.
    """
    content = torch_file_bytes(dict(state))
    path = folder / f"{step:08}-{hashlib.sha256(content).hexdigest()[:8]}.pt"
    with files.atomic_write(path, overwrite=True) as temporary:
        temporary.write_bytes(content)
    others = [other for other in _newest_first(folder) if other != path]
    earlier = [other for other in others if _step(other) < step]
    same = [other for other in others if _step(other) == step]
    # later ones stay: they were skipped as damaged, and are no copies of this run's state
    for old in (*same, *earlier[keep - 1 :]):
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def load(folder: Path, reporter: Reporter = SILENT) -> dict[str, Any] | None:
    """Return the newest checkpoint that is intact; None if there is no checkpoint at all.

    Args:
        folder: Folder of the checkpoints.
        reporter: Receives a notice about each damaged one.

    Raises:
        StateError: There are checkpoints, and none is intact.
    """
    paths = _newest_first(folder)
    for path in paths:
        state = _read(path)
        if state is not None:
            return state
        reporter.notice(f"the state {path} is damaged and is passed over.")
    if paths:
        raise StateError(
            f"no state in {folder} can be read; begin anew (--restart), or bring back a copy."
        )
    return None


def _newest_first(folder: Path) -> list[Path]:
    paths = [path for path in folder.glob("*.pt") if _FILE_NAME.fullmatch(path.name)]
    return sorted(paths, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)


def _step(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _read(path: Path) -> dict[str, Any] | None:
    """Return the state in a file; None if it is damaged."""
    name = _FILE_NAME.fullmatch(path.name)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if name is None or not digest.startswith(name[2]):
            return None
        return read_torch_file(path)
    except (OSError, WeightsError):
        return None
