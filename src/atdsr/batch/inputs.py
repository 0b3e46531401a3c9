"""Finding the picture files that the inputs of a command name."""

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from atdsr import imaging
from atdsr.base import files
from atdsr.base.errors import no_path
from atdsr.base.extras import install_command
from atdsr.base.stores import Location, ObjectPath, locate
from atdsr.batch.clips import CLIP_KIND, Clips
from atdsr.batch.config import BatchError


@dataclass(frozen=True)
class InputFiles:
    """The picture files that inputs name.

    Attributes:
        files: Each file with its folder below the input. The outputs get the same folders below
            the folder for outputs.
        problems: Folders inside of inputs that cannot be read, each with a sentence.
        unread: How many files of each unsupported format are in folders or match globs.
    """

    files: dict[Path, Path] = field(default_factory=dict)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)


def is_folder_or_glob(name: str) -> bool:
    """Return whether an input is a folder or a glob."""
    path = locate(name)
    if isinstance(path, ObjectPath) and not name.endswith("/") and path.is_file():
        return False  # whether there is a folder of that name, too, not everybody may ask
    return path.is_dir() or (glob.has_magic(name) and not path.exists())


def identity(path: Location, *, links: bool = True) -> object:
    """Return a key that all names of one file share: links, and other case where it is ignored.

    Args:
        path: The file, or the object in a store, which has one name.
        links: Whether the names of a file with several of them count as one.
    """
    if isinstance(path, ObjectPath):
        return path
    if not links:
        return os.path.realpath(path)
    try:
        status = path.stat()
    except OSError:  # no such file; `Path.resolve` would raise for a loop of links
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def describe_unread(unread: Mapping[str, int]) -> str:
    """Return how many pictures are not read, by format, and what would read them.

    Example: "3 HEIC and 1 PSD not read; HEIC needs: pip install 'atdsr[formats]'".
    """
    text = f"{_and(f'{count} {kind}' for kind, count in sorted(unread.items()))} not read"
    for extra, kinds in (("formats", imaging.EXTRA_KINDS), (CLIP_KIND, {CLIP_KIND})):
        if lacking := sorted(kinds & unread.keys()):
            verb = "needs" if len(lacking) == 1 else "need"
            text += f"; {_and(lacking)} {verb}: {install_command(extra)}"
    return text


def _and(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def find(
    inputs: Sequence[str], out: str | None, *, recursive: bool, clips: Clips | None = None
) -> InputFiles:
    """Return the picture files that all inputs name, in their order, each once.

    Args:
        inputs: The inputs as a person writes them.
        out: Where the outputs go. This folder is not entered where folders inside are.
        recursive: Whether folders inside of folders are entered.
        clips: What recognises clips, which are then taken, too.

    Raises:
        BatchError: An input names no picture.
        OSError: An input cannot be read.
    """
    search = _Search(None if out is None else identity(locate(out)), clips)
    for name in inputs:
        if not name:
            raise BatchError("an INPUT is empty; name a picture, a folder or a glob.")
        path = Path(locate(name))
        if not is_folder_or_glob(name):
            search.add(path, Path())  # a missing file is named when its turn comes
        elif path.is_dir():
            next(path.iterdir(), None)  # raises for this folder; a folder inside becomes a problem
            paths = search.matching(path, ("**" if recursive else "*",))
            hint = "." if recursive else "; --recursive looks into the folders inside."
            problem = f"{name} is a folder without pictures{hint}"
            for file in search.pictures(paths, name, problem):
                search.add(file, file.parent.relative_to(path))
        else:
            start = Path(path.anchor)
            paths = search.matching(start, path.relative_to(start).parts)
            problem = no_path(path) or f"no picture matches {name}."
            for file in search.pictures(paths, name, problem):
                search.add(file, Path())
    return search.result


class _Search:
    """A search for picture files.

    Args:
        excluded: The identity of a folder that is not entered.
        clips: As in `find`.

    Attributes:
        result: The files found so far.
    """

    def __init__(self, excluded: object, clips: Clips | None) -> None:
        self.result = InputFiles()
        self._excluded, self._clips = excluded, clips
        self._seen = set[tuple[str, str]]()
        # cached, since many files share a folder
        self._real_path: Callable[[Path], str] = cache(lambda folder: os.path.realpath(folder))

    def add(self, file: Path, below: Path) -> None:
        """Add a file, unless it was found by another path to its folder."""
        if self._is_new(file):
            self.result.files[file] = below

    def _is_new(self, file: Path) -> bool:
        key = self._real_path(file.parent), file.name
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new

    def pictures(self, paths: Iterable[Path], name: str, problem: str) -> list[Path]:
        """Return the paths that are pictures, in order; those of unsupported formats are counted.

        Args:
            paths: Files, folders and anything else.
            name: The input that they belong to, as it was typed.
            problem: The sentence for an input without pictures.

        Raises:
            BatchError: There is no picture among them.
        """
        pictures: list[Path] = []
        unread: dict[Path, str] = {}
        for file in sorted(path for path in set(paths) if path.is_file()):
            if kind := imaging.unreadable_kind(file):
                unread[file] = kind
            elif imaging.is_picture_file(file):
                pictures.append(file)
            elif self._clips is not None and self._clips.is_clip(file):
                if self._clips.is_installed:
                    pictures.append(file)
                else:
                    unread[file] = CLIP_KIND
        if not pictures:
            reason = describe_unread(Counter(unread.values())) if unread else ""
            raise BatchError(f"{name}: {reason}." if reason else problem)
        self.result.unread.update(kind for file, kind in unread.items() if self._is_new(file))
        return pictures

    def matching(self, folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
        """Yield what matches a glob in a folder, without hidden files and files of systems.

        A part `**` stands for the folder and all folders inside that are not links, so that loops
        of links end.
        """
        if not parts:
            yield folder
        elif parts[:2] == ("**", "**"):
            yield from self.matching(folder, parts[1:])
        elif parts[0] == "**":
            for inner in self._tree(folder):
                yield from self.matching(inner, parts[1:] or ("*",))
        elif not glob.has_magic(parts[0]):
            yield from self.matching(folder / parts[0], parts[1:])
        else:
            try:
                content = _content(folder, hidden=parts[0].startswith("."))
            except OSError:  # no folder, or none that may be read: nothing matches
                return
            for path in content:
                if fnmatch(path.name, parts[0]):
                    yield from self.matching(path, parts[1:])

    def _tree(self, top: Path) -> Iterator[Path]:
        """Yield the folder and those inside; one that cannot be read is added to the problems."""
        folders = [top]
        while folders:
            folder = folders.pop()
            try:
                content = _content(folder)
                inner = [path for path in content if path.is_dir() and not path.is_symlink()]
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                sentence = f"{folder} cannot be read: {error.strerror}."
                self.result.problems.append((folder, sentence))
                continue
            yield folder
            folders += [path for path in inner if identity(path) != self._excluded]


def _content(folder: Path, *, hidden: bool = False) -> list[Path]:
    """Return the content of a folder without files that systems keep for themselves.

    Args:
        folder: The folder.
        hidden: Whether names that begin with a dot are returned, too.

    Raises:
        OSError: The folder cannot be read.
    """
    return [path for path in folder.iterdir() if files.is_user_file(path.name, hidden=hidden)]
