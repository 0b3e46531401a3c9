"""The folder for uploads and results, which is gone when the service is."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atdsr.base import files

PREFIX = "atdsr-web-"
"""Beginning of the names of spool folders in the temporary folder of the system."""

_YOUNG_SECONDS = 60  # a folder without a lock may be that of a service that is just starting


@contextmanager
def spool_folder(state: Path | None = None) -> Iterator[Path]:
    """Yield a folder of this process alone.

    Args:
        state: A folder that stays; None for one in the temporary folder of the system, which is
            deleted at the end. Those that killed services have left there are deleted first.

    Raises:
        BlockingIOError: Another service uses the folder.
        FileError: It cannot be created or written.
    """
    if state is not None:
        state.mkdir(parents=True, exist_ok=True)
        with files.folder_lock(state):
            yield state
        return
    sweep()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with files.folder_lock(folder):
            try:
                yield folder
            finally:
                delete_content(folder)


def sweep() -> None:
    """Delete the spool folders of services that have ended without doing so, such as by a kill."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, files.FileError):
            status = folder.lstat()
            if not folder.is_dir() or folder.is_symlink() or _is_of_another_user(status):
                continue
            has_lock = (folder / files.LOCK_NAME).exists()
            if not has_lock and time.time() - status.st_mtime < _YOUNG_SECONDS:
                continue
            with files.folder_lock(folder):  # raises where a service uses it
                delete_content(folder)
            folder.rmdir()


def delete_content(folder: Path) -> None:
    """Delete all in a spool folder but its lock."""
    for entry in folder.iterdir():
        if entry.name != files.LOCK_NAME:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()


def _is_of_another_user(status: os.stat_result) -> bool:
    return hasattr(os, "getuid") and status.st_uid != os.getuid()
