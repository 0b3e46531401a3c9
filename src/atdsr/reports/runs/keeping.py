"""The folders of runs."""

import itertools
from pathlib import Path

from atdsr.base import files
from atdsr.base.files import FileError
from atdsr.reports.runs.reading import RunsError, is_run


def set_aside(folder: Path) -> Path | None:
    """Give a run's folder another name, so that a new run can have its own: `NAME.1`, `NAME.2`...

    Returns:
        Where it is now; None if there is no such folder, or nothing in it.

    Raises:
        RunsError: the run goes on at this moment, or the folder holds something else.
        FileError: it cannot be renamed.
    """
    if folder.name in ("", ".."):  # the root, or where the command runs, or above that
        raise FileError(f"{folder} cannot be renamed; choose an output folder with a name.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    if not is_run(folder):
        raise RunsError(f"{folder} holds no training run; choose another output folder.")
    names = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
    free = next(name for name in names if not name.exists())
    try:
        with files.folder_lock(folder):
            pass
        return folder.rename(free)
    except BlockingIOError:
        raise RunsError(f"another process trains in {folder}; stop it first.") from None
    except OSError as error:
        raise FileError(f"{folder} cannot be renamed to {free}: {error.strerror}.") from None
