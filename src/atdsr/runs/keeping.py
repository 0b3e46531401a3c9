"""The folders of runs."""

import itertools
from pathlib import Path

from atdsr import files
from atdsr.files import FileError
from atdsr.runs.reading import RunsError


def set_aside(folder: Path) -> Path | None:
    """Give a run's folder another name, so that a new run can have its own: `NAME.1`, `NAME.2`...

    Returns:
        Where it is now; None if there is no such folder, or nothing in it.

    Raises:
        RunsError: the run goes on at this moment.
        FileError: it cannot be renamed.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    names = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
    free = next(name for name in names if not name.exists())
    try:
        with files.owned(folder):
            pass
        return folder.rename(free)
    except BlockingIOError:
        raise RunsError(f"another process trains in {folder}; stop it first.") from None
    except OSError as error:
        raise FileError(f"{folder} cannot be renamed to {free}: {error.strerror}.") from None
