"""Which picture files the inputs name."""

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
from atdsr.batch.order import JobError


@dataclass(frozen=True)
class Found:
    """The picture files that inputs name.

    Attributes:
        files: each with its folder below the input, which is kept below the folder for outputs.
        problems: folders inside that cannot be looked at, each with a sentence.
        unread: how many files of each kind that nobody reads are in folders and match globs.
    """

    files: dict[Path, Path] = field(default_factory=dict)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)


def is_list(name: str) -> bool:
    """Whether an input is a folder or a glob."""
    path = Path(name)
    return path.is_dir() or (glob.has_magic(name) and not path.exists())


def identity(path: Path) -> object:
    """What two names of one file share, also links, or where the system ignores case."""
    try:
        status = path.stat()
    except OSError:  # no such file; `Path.resolve` would raise for a loop of links
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def unread_words(unread: Mapping[str, int]) -> str:
    """How many pictures nobody reads, by kind, and what would read them.

    As in "3 HEIC and 1 PSD not read; HEIC needs: pip install 'atdsr[formats]'".
    """
    words = f"{_and(f'{count} {kind}' for kind, count in sorted(unread.items()))} not read"
    extra = sorted(imaging.EXTRA_KINDS & unread.keys())
    if not extra:
        return words
    verb = "needs" if len(extra) == 1 else "need"
    return f"{words}; {_and(extra)} {verb}: pip install 'atdsr[formats]'"


def _and(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def find(inputs: Sequence[str], out: str | None, *, recursive: bool) -> Found:
    """The picture files that all inputs name, in their order, each once.

    Args:
        inputs: as a person writes them.
        out: where the outputs go; where folders inside are entered, this one is not.
        recursive: whether folders inside of folders are entered.

    Raises:
        JobError: an input names none.
        OSError: an input cannot be looked at.
    """
    search = _Search(None if out is None else identity(Path(out)))
    for name in inputs:
        if not name:
            raise JobError("an INPUT is empty; name a picture, a folder or a glob.")
        path = Path(name)
        if not is_list(name):
            search.add(path, Path())  # a missing file is named when its turn comes
        elif path.is_dir():
            next(path.iterdir(), None)  # raises for this folder; one inside becomes a problem
            listed = search.matching(path, ("**" if recursive else "*",))
            hint = "." if recursive else "; --recursive looks into the folders inside."
            problem = f"{name} is a folder without pictures{hint}"
            for file in search.pictures(listed, name, problem):
                search.add(file, file.parent.relative_to(path))
        else:
            start = Path(path.anchor)
            listed = search.matching(start, path.relative_to(start).parts)
            for file in search.pictures(listed, name, f"no picture matches {name}."):
                search.add(file, Path())
    return search.found


class _Search:
    """What is found so far, and where it is not searched.

    Args:
        apart: the identity of a folder that is not entered.

    Attributes:
        found: what is found.
    """

    def __init__(self, apart: object) -> None:
        self.found = Found()
        self._apart = apart
        self._seen = set[tuple[str, str]]()
        # many files share a folder
        self._place: Callable[[Path], str] = cache(lambda folder: os.path.realpath(folder))

    def add(self, file: Path, below: Path) -> None:
        """Add a file, unless it is there by another way to its folder."""
        if self._is_new(file):
            self.found.files[file] = below

    def _is_new(self, file: Path) -> bool:
        key = self._place(file.parent), file.name
        known = key in self._seen
        self._seen.add(key)
        return not known

    def pictures(self, listed: Iterable[Path], name: str, problem: str) -> list[Path]:
        """Those files of a list that are pictures, in order; those that nobody reads are counted.

        Args:
            listed: files, folders and anything else.
            name: of the list, as it was typed.
            problem: what to say where no picture is among them.

        Raises:
            JobError: there is none.
        """
        pictures: list[Path] = []
        unread: dict[Path, str] = {}
        for file in sorted(path for path in set(listed) if path.is_file()):
            if kind := imaging.unreadable_kind(file):
                unread[file] = kind
            elif imaging.is_picture_file(file):
                pictures.append(file)
        if not pictures:
            words = unread_words(Counter(unread.values())) if unread else ""
            raise JobError(f"{name}: {words}." if words else problem)
        self.found.unread.update(kind for file, kind in unread.items() if self._is_new(file))
        return pictures

    def matching(self, folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
        """What in a folder matches the parts of a glob, without what is hidden or not for people.

        A part `**` stands for the folder and all those inside that are no links, so that loops
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
        """The folder and those inside; one that cannot be read is added to the problems."""
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
                self.found.problems.append((folder, sentence))
                continue
            yield folder
            folders += [path for path in inner if identity(path) != self._apart]


def _content(folder: Path, *, hidden: bool = False) -> list[Path]:
    """What is in a folder for people.

    Args:
        folder: the folder.
        hidden: whether names that begin with a dot belong to it.

    Raises:
        OSError: it cannot be read.
    """
    return [path for path in folder.iterdir() if files.is_user_file(path.name, hidden=hidden)]
