"""The base class of all errors that users see, and what error messages say about values."""

import difflib
import re
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_ADDRESS = re.compile(r"(https?|ftp|file):/+", re.IGNORECASE)  # `Path` joins slashes


class AtdsrError(Exception):
    """One sentence: what went wrong with which file or option, and what to do.

    Every module that can fail because of the user's input derives a class of its own from this
    one. The command line prints the sentence and exits with 1; callers of the library catch it.
    """


def short(value: Any) -> str:
    """Return a value for an error message, shortened if it is long."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    try:
        return reprlib.repr(value)
    except ValueError:  # Python does not print integers of thousands of digits
        return "a very large number"


def nearest(name: Any, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the name that a mistyped one is most like; None if none is like it.

    Args:
        name: What the user wrote.
        names: Names that would have been right.
        cutoff: How alike they must be, from 0 (not at all) to 1 (equal).
    """
    return next(iter(difflib.get_close_matches(str(name)[:100], names, n=1, cutoff=cutoff)), None)


def no_path(path: Path) -> str | None:
    """Return a sentence about an address, or a name with ~, that was given instead of a path.

    Example:
        >>> no_path(Path("https://example.org/a.jpg"))
        'https://example.org/a.jpg is an address, and atdsr opens files; download it first.'
    """
    if address := _ADDRESS.match(path.as_posix()):
        shown = f"{address[1]}://{path.as_posix()[address.end() :]}"
        return f"{shown} is an address, and atdsr opens files; download it first."
    if path.parts[1:] and path.parts[0].startswith("~") and not Path(path.parts[0]).exists():
        return (
            f"{path} does not exist: only a shell replaces {path.parts[0]} by a home folder, and "
            "not in quotes; leave out the quotes, or write the whole path."
        )
    return None


def missing(path: Path) -> str:
    """Return a sentence about a path that does not exist: from where on, or a name like it.

    Example:
        >>> missing(Path("/nowhere/photo.jpg"))
        '/nowhere/photo.jpg does not exist: there is no folder /nowhere; check the name.'
    """
    if sentence := no_path(path):
        return sentence
    try:
        if path.is_symlink():
            return f"{path} is a link to something that does not exist."
        folder = next(folder for folder in path.parents if folder.is_dir())
        if folder != path.parent:
            lacking = path.parents[path.parents.index(folder) - 1]
            return f"{path} does not exist: there is no folder {lacking}; check the name."
    except (OSError, StopIteration):  # a folder that may not be read
        pass
    meant = similar(path)
    advice = f"did you mean {meant}?" if meant else "check the name."
    return f"{path} does not exist; {advice}"


def similar(path: Path) -> Path | None:
    """Return the file or folder beside a missing one whose name is most like its name, if any."""
    folder = path.parent
    try:
        # compared without suffixes, which make any two pictures alike; no folder for a file's name
        entries = [entry for entry in folder.iterdir() if entry.suffix or not path.suffix]
        entries.sort(key=lambda entry: entry.name.lower() == path.name.lower())  # it is last, so
        stems = {entry.stem.lower(): entry for entry in entries}  # it wins over others of its stem
    except OSError:  # it does not exist, or may not be read
        return None
    return stems.get(nearest(path.stem.lower(), stems, cutoff=0.75) or "")


def unreadable(path: Path, error: OSError) -> str:
    """Return a sentence about a file or folder that the system refuses to read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return missing(path)
    if path.is_dir() and not isinstance(error, PermissionError):
        return f"{path} is a folder; name a file."
    return f"{path} cannot be read: {error.strerror or error}."


def no_folder(path: Path) -> str:
    """Return a sentence about a path that should be a folder and is none."""
    return f"{path} is a file; name a folder." if path.exists() else missing(path)
