"""Planning a batch whose pictures are in a store, without holding their names in memory."""

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from atdsr import imaging
from atdsr.base import files
from atdsr.base.stores import Location, ObjectPath, list_objects, locate
from atdsr.batch.config import BatchConfig, BatchError
from atdsr.batch.inputs import describe_unread, is_folder_or_glob
from atdsr.batch.listed_items import ListedItems
from atdsr.batch.naming import Template
from atdsr.batch.on_file import Names, Spool
from atdsr.batch.planning import (
    BatchItem,
    Plan,
    is_folder,
    needs_size,
    output_file,
    output_folder,
    output_name,
    would_be_one,
    would_replace_input,
)


def plan_objects(inputs: Sequence[str], out: str | None, config: BatchConfig) -> Plan:
    """Find the objects that inputs in stores name, and a name for the output of each.

    Everything is as for files, where a folder is what the names of objects begin with. But no
    object is opened to name its output, and only its suffix tells whether it is a picture. Names
    are kept in a temporary file, with a digest in memory, so that a bucket may hold millions.

    Args:
        inputs: The inputs as a person writes them, all in stores.
        out: The output, as for files; on disk or in a store.
        config: What the command asks for.

    Raises:
        BatchError, PictureError: As for files, or a name depends on the size of the picture.
        StoreError: A store cannot be listed.
    """
    template = Template.from_config(config)
    if needs_size(template, config):
        raise BatchError(
            f"--name {template.text!r} depends on the size of each picture, which is not known "
            "before its turn in a store; leave the size out."
        )
    several = len(inputs) > 1 or any(is_folder_or_glob(name) for name in inputs)
    is_file = out is not None and not (several or config.template or is_folder(out))
    folder = None if out is None or is_file else output_folder(out, several, config)
    listing = _Listing(inputs, folder, template, config.recursive)
    pictures = _Listed(listing.kept, folder, out if is_file else None, template, config)
    items = ListedItems(pictures, config)
    items.check()
    root = folder
    if out is None and several and len(inputs) == 1:
        root = _fixed_part(locate(inputs[0]))
    return Plan(
        items,
        _LeftOut(listing.left_out, config),
        several or config.shard is not None,
        config,
        unread=listing.unread,
        out=root,
        is_remote=True,
    )


class _Found(NamedTuple):
    """An object that an input names.

    Attributes:
        path: The object.
        below: Its folder below the input, which its output gets too; empty for the input itself.
    """

    path: ObjectPath
    below: str


class _Listing:
    """The pictures that inputs name, with earlier outputs apart.

    Args:
        inputs: The inputs as a person writes them.
        folder: The folder for outputs, which is not entered.
        template: The names of outputs.
        recursive: Whether folders inside of folders are entered.

    Attributes:
        kept: The pictures; each record is an object and the folder of its output.
        left_out: Those taken for earlier outputs.
        unread: How many files of each unsupported format there are.

    Raises:
        BatchError: An input names no picture.
    """

    def __init__(
        self, inputs: Sequence[str], folder: Location | None, template: Template, recursive: bool
    ) -> None:
        self.kept, self.left_out, self.unread = Spool(), Spool(), Counter[str]()
        found = Spool()
        self._seen = set[str]() if len(inputs) > 1 else None
        stems, names, of_form = Names(), Names(), 0
        for name in inputs:
            for path, below in self._pictures(name, folder, recursive):
                found.add(str(path), below)
                stems.add(path.parent, path.stem)
                names.add(path.parent, path.name)
                of_form += not template.tells_the_input and template.is_of_form(path)
        form_tells = 0 < of_form < len(found)
        for text, below in found:
            path = ObjectPath(text)
            is_earlier = template.is_earlier_output(path, stems, names) or (
                form_tells and template.is_of_form(path)
            )
            (self.left_out if is_earlier else self.kept).add(text, below)

    def _pictures(self, name: str, folder: Location | None, recursive: bool) -> Iterator[_Found]:
        """Yield the pictures that an input names."""
        path = locate(name)
        assert isinstance(path, ObjectPath)
        if not is_folder_or_glob(name):
            yield _Found(path, "")  # a missing object is named when its turn comes
            return
        count, unread = 0, Counter[str]()
        excluded = f"{folder}/" if folder is not None and folder != path else None
        for found in _matching(path, recursive):
            if excluded is not None and str(found.path).startswith(excluded):
                continue
            if self._seen is not None:
                if str(found.path) in self._seen:
                    continue
                self._seen.add(str(found.path))
            if kind := imaging.unreadable_kind(found.path):
                unread[kind] += 1
            elif found.path.suffix.lower() in imaging.READABLE_SUFFIXES:
                count += 1
                yield found
        self.unread.update(unread)
        if count:
            return
        if unread:
            raise BatchError(f"{name}: {describe_unread(unread)}.")
        if glob.has_magic(name):
            raise BatchError(f"no picture matches {name}.")
        hint = "." if recursive else "; --recursive looks into the folders inside."
        raise BatchError(f"{name} is a folder without pictures{hint}")


def _fixed_part(path: Location) -> ObjectPath:
    """Return the folder of all that a folder or a glob names."""
    assert isinstance(path, ObjectPath)
    while glob.has_magic(path.key):
        path = path.parent
    return path


def _matching(path: ObjectPath, recursive: bool) -> Iterator[_Found]:
    """Yield the objects in a folder or of a glob, without hidden ones and those of systems."""
    top = _fixed_part(path)
    pattern = path.parts[len(top.parts) :]
    is_glob = bool(pattern)
    if pattern[-1:] == ("**",):
        pattern = (*pattern, "*")
    if not is_glob:
        pattern = ("**", "*") if recursive else ("*",)
    start = len(top.key) + 1 if top.key else 0
    for key in list_objects(top):
        if _matches(key[start:].split("/"), pattern):
            found = top / key[start:]
            below = "" if is_glob else key[start:].rpartition("/")[0]
            yield _Found(found, below)


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a name match those of a glob; `**` is any number of folders."""
    if not pattern or not names:
        return not pattern and not names
    if pattern[0] != "**":
        hidden = pattern[0].startswith(".")
        fits = fnmatchcase(names[0], pattern[0]) and (
            not glob.has_magic(pattern[0]) or files.is_user_file(names[0], hidden=hidden)
        )
        return fits and _matches(names[1:], pattern[1:])
    if _matches(names, pattern[1:]):
        return True
    return len(names) > 1 and files.is_user_file(names[0]) and _matches(names[1:], pattern)


class _Line(NamedTuple):
    number: int
    path: str
    below: str


class _Listed:
    """The pictures of a listing.

    Args:
        found: Each record is an object and the folder of its output.
        folder: The folder for outputs; None for that of each picture.
        file: The file for the only output; None if there is a folder.
        template: The names of outputs.
        config: What the command asks for.
    """

    def __init__(
        self,
        found: Spool,
        folder: Location | None,
        file: str | None,
        template: Template,
        config: BatchConfig,
    ) -> None:
        self._found, self._folder, self._file = found, folder, file
        self._template, self._config = template, config

    def lines(self) -> Iterator[_Line]:
        for number, (path, below) in enumerate(self._found, 1):
            yield _Line(number, path, below)

    def shard_name(self, line: _Line) -> str:
        return _shard_name(line.path, line.below)

    def item(self, line: _Line) -> BatchItem:
        source = ObjectPath(line.path)
        if self._file is not None:
            return BatchItem(source, output_file(self._file, source, self._config))
        parent = source.parent if self._folder is None else self._folder / line.below
        return BatchItem(source, parent / output_name(source, self._template, self._config))

    def broken(self, sentence: str, number: int) -> BatchError:  # none is ever broken
        return BatchError(sentence)

    def twice(self, path: Location, numbers: tuple[int, int]) -> BatchError:
        return BatchError(f"{path} is named twice; name it once.")

    def same_output(
        self, source: Location, other: Location, target: Location, numbers: tuple[int, int]
    ) -> BatchError:
        return would_be_one(source, other, target)

    def replaced(self, source: Location, target: Location, numbers: tuple[int, int]) -> BatchError:
        return would_replace_input(target)


def _shard_name(path: str, below: str) -> str:
    name = path.rpartition("/")[2]
    return f"{below}/{name}" if below else name


class _LeftOut:
    """The objects of a shard that are taken for earlier outputs, in their order."""

    def __init__(self, found: Spool, config: BatchConfig) -> None:
        self._found, self._shard = found, config.shard

    def __iter__(self) -> Iterator[ObjectPath]:
        for path, below in self._found:
            if self._shard is None or self._shard.holds(_shard_name(path, below)):
                yield ObjectPath(path)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, path: object) -> bool:
        return any(each == path for each in self)
