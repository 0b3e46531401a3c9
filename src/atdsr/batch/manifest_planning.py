"""Planning a batch whose pictures a manifest names, without holding them in memory."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.base.stores import Location, ObjectPath, locate
from atdsr.batch.config import BatchConfig, BatchError
from atdsr.batch.listed_items import BrokenLineError, ListedItems
from atdsr.batch.manifests import Line, Manifest
from atdsr.batch.naming import Template
from atdsr.batch.planning import (
    BatchItem,
    Plan,
    needs_size,
    output_file,
    output_folder,
    output_name,
)


def plan_manifest(
    manifest: Path, inputs: Sequence[str], out: str | None, config: BatchConfig
) -> Plan:
    """Plan the pictures that a manifest names, in its order.

    The manifest is read twice: at once, to count and check its lines, and while the plan runs.
    In between, a number of 8 bytes is kept of each path and of each output, and nothing of the
    pictures is read: a missing file is named when its turn comes.

    Paths are relative to the input, or to the current folder without one, and so are the shards. An
    output that the manifest names is relative to `out`, or to the folder of its picture without
    one. Other outputs are named as those of a folder.

    Args:
        manifest: The list.
        inputs: A folder, or nothing.
        out: A folder. None puts each output beside its picture.
        config: What the command asks for.

    Raises:
        BatchError, PictureError: The manifest cannot be read, a line is broken, two lines have one
            output, an output is one of the pictures, or the options do not fit.
        StoreError: A store cannot be asked for the input or `out`.
    """
    if len(inputs) > 1 or not all(locate(name).is_dir() for name in inputs):
        raise BatchError(
            "with --manifest, INPUT is the one folder that its paths are relative to, or nothing."
        )
    if config.recursive:
        raise BatchError("--recursive cannot be used with --manifest, which names each picture.")
    template = Template.from_config(config)
    if needs_size(template, config):
        raise BatchError(
            f"--name {template.text!r} depends on the size of each picture; with --manifest, write "
            "such names into the manifest, or leave the size out."
        )
    folder = None if out is None else output_folder(out, True, config)
    base = locate(inputs[0]) if inputs else Path()
    pictures = _Manifested(Manifest(manifest), base, folder, template, config)
    pictures.check_base()
    items = ListedItems(pictures, config)
    if not items.check():
        raise BatchError(f"{manifest} names no picture.")
    return Plan(items, (), True, config, out=folder)


class _Manifested:
    """The pictures that a manifest names.

    Args:
        manifest: The list.
        base: The folder that its paths are relative to.
        folder: The folder for outputs; None for that of each picture.
        template: The names of outputs.
        config: What the command asks for.
    """

    def __init__(
        self,
        manifest: Manifest,
        base: Location,
        folder: Location | None,
        template: Template,
        config: BatchConfig,
    ) -> None:
        self._manifest, self._base, self._folder = manifest, base, folder
        self._template, self._config = template, config
        self._is_remote = isinstance(base, ObjectPath)
        self._path, self._separator = (posixpath, "/") if self._is_remote else (os.path, os.sep)
        top = str(base) if self._is_remote else os.path.normpath(Path(base).absolute())
        self._top = top.rstrip(self._separator) + self._separator

    def check_base(self) -> None:
        """Check that the first path is not relative to another folder than `base`.

        Raises:
            BatchError: The path has `base` in it already.
        """
        line = next(self.lines(), None)
        if line is None or line.fault is not None or self._is_remote or self._base == Path():
            return
        source = Path(self._base, line.path)
        if not source.exists() and Path(line.path).exists():
            raise BatchError(
                f"{self._manifest.where(line.number)}: {source} does not exist: the lines are "
                f"relative to INPUT, which is {self._base}; leave it out."
            )

    def lines(self) -> Iterator[Line]:
        return self._manifest.lines()

    def shard_name(self, line: Line) -> str:
        return (self._below(line.path) or line.path).replace(os.sep, "/")

    def broken(self, sentence: str, number: int) -> BatchError:
        return BatchError(f"{self._manifest.where(number)}: {sentence}")

    def twice(self, path: Location, numbers: tuple[int, int]) -> BatchError:
        where = self._manifest.where(*numbers)
        return BatchError(f"{where}: {path} is there twice; delete one of them.")

    def same_output(
        self, source: Location, other: Location, target: Location, numbers: tuple[int, int]
    ) -> BatchError:
        where = self._manifest.where(*numbers)
        return BatchError(
            f"{where}: {source} and {other} would both become {target}; name their outputs."
        )

    def replaced(self, source: Location, target: Location, numbers: tuple[int, int]) -> BatchError:
        where, other = map(self._manifest.where, numbers)
        return BatchError(
            f"{where}: the output of {source} would replace a picture of the list, which is never "
            f"done ({other}); name another."
        )

    # Text instead of paths, whose making would take most of the time for a long list:

    def _below(self, path: str) -> str | None:
        """Return a path relative to the folder of the list; None if it is not inside."""
        if self._is_remote and path.startswith(self._top):
            return path[len(self._top) :]
        normal = self._path.normpath(path)
        if self._path.isabs(normal):
            inside = normal.startswith(self._top)
            return normal[len(self._top) :] if inside else None
        is_outside = normal == ".." or normal.startswith(f"..{self._separator}")
        return None if is_outside or "://" in path else normal

    def item(self, line: Line) -> BatchItem:
        if line.fault is not None:
            raise line.fault
        try:
            source = self._source(line.path)
            return self._item(line, source)
        except BrokenLineError:
            raise
        except AtdsrError as error:
            raise BrokenLineError(str(error)) from None

    def _source(self, path: str) -> Location:
        """Return the picture that a line names.

        Raises:
            StoreError: It can be no picture.
        """
        named = locate(path)
        if isinstance(named, ObjectPath) or named.is_absolute():
            return named
        return locate(f"{self._top}{path}") if self._is_remote else Path(self._base, path)

    def _item(self, line: Line, source: Location) -> BatchItem:
        parent = source.parent
        if self._folder is not None:
            below = self._below(line.path)
            if line.output is not None:
                parent = self._folder
            elif below is None:
                base = (
                    self._base if self._is_remote or self._base != Path() else "the current folder"
                )
                raise BrokenLineError(
                    f"{line.path} is not inside {base}; name the folder that holds all pictures as "
                    "INPUT, or name this output."
                )
            else:
                parent = self._folder / Path(below).parent
        name = self._name(source, line.output)
        return BatchItem(source, parent / name, self._manifest.where(line.number))

    def _name(self, source: Location, output: str | None) -> Location:
        """Return the name of an output, relative to its folder, without opening the picture.

        Raises:
            AtdsrError: It cannot be.
        """
        named = Path(output or "")
        needs_format = not named.suffix if output else "ext" in self._template.fields
        has_known_suffix = source.suffix.lower() in imaging.READABLE_SUFFIXES
        is_clip = self._config.is_clip(source)
        known = has_known_suffix or is_clip or self._config.picture_format
        if needs_format and not known:
            raise BatchError(
                f"{source} has the suffix of no format; name its output with one, or add --format."
            )
        if output is None:
            return output_name(source, self._template, self._config)
        if named.anchor or ".." in named.parts or not named.name:
            raise BatchError(f"the output {output} leads out of its folder; name one inside.")
        target = output_file(named, source, self._config)
        self._config.format_of(target)
        return target
