"""Planning a batch whose pictures a manifest names, without holding them in memory."""

import functools
import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.batch.config import BatchConfig, BatchError
from atdsr.batch.manifests import BrokenLineError, Line, Manifest
from atdsr.batch.naming import Template
from atdsr.batch.planning import (
    BatchItem,
    Plan,
    check_quality,
    needs_size,
    output_file,
    output_folder,
    output_name,
)

_MOST_COMPARED = 1000  # lines with equal hashes that are looked at again


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
    """
    if len(inputs) > 1 or not all(Path(name).is_dir() for name in inputs):
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
    lines = Manifest(manifest)
    base = inputs[0] if inputs else ""
    folder = None if out is None else output_folder(out, True, config)
    items = _ListedItems(lines, base, folder, template, config)
    items.check()
    return Plan(items, (), True, config)


@dataclass
class _ListedItems:
    """The pictures of a shard that a manifest names; each iteration reads it again.

    Attributes:
        manifest: The list.
        base: The folder that its paths are relative to; empty for the current one.
        folder: The folder for outputs; None for that of each picture.
        template: The names of outputs.
        config: What the command asks for.
    """

    manifest: Manifest
    base: str
    folder: Path | None
    template: Template
    config: BatchConfig
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        top = os.path.normpath(Path(self.base).absolute())
        self._top = top.rstrip(os.sep) + os.sep
        # cached, since many pictures share a folder, and bounded, since there may be millions
        self._real_path = functools.lru_cache(maxsize=2**14)(os.path.realpath)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[BatchItem]:
        for line in self.manifest.lines():
            if self._is_ours(line):
                yield self._item(line)

    def check(self) -> None:
        """Check all lines, also those of other shards, and count those of this one.

        Raises:
            BatchError: A line is broken, or two of them do not go together.
        """
        first, broken = "", 0
        sources, targets = array("Q"), array("Q")
        suffixes = set[str]()
        for line in self.manifest.lines():
            try:
                item = self._item(line)
            except BrokenLineError as error:
                first = first or f"{self.manifest.where(line.number)}: {error}"
                broken += 1
                continue
            sources.append(self._number(item.source))
            targets.append(self._number(item.target))
            suffixes.add(item.target.suffix)
            self._count += self._is_ours(line)
            if len(sources) == 1:
                self._check_base(line)
        if broken > 1:
            raise BatchError(f"{first} {broken - 1:,} more of its lines are broken.")
        if broken:
            raise BatchError(first)
        if not sources:
            raise BatchError(f"{self.manifest.path} names no picture.")
        self._check_once(np.frombuffer(sources, np.uint64), np.frombuffer(targets, np.uint64))
        check_quality(suffixes, self.config)

    def _check_base(self, line: Line) -> None:
        """Check that the first path is not relative to another folder than `base`.

        Raises:
            BatchError: The path has `base` in it already.
        """
        source = Path(self.base, line.path)
        if self.base and not source.exists() and Path(line.path).exists():
            raise BatchError(
                f"{self.manifest.where(line.number)}: {source} does not exist: the lines are "
                f"relative to INPUT, which is {self.base}; leave it out."
            )

    def _check_once(self, sources: np.ndarray, targets: np.ndarray) -> None:
        """Check that no file is written twice, or both read and written.

        Args:
            sources: The numbers of all paths.
            targets: The numbers of all outputs.

        Raises:
            BatchError: There is such a file.
        """
        ordered = np.sort(targets)
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        read = np.intersect1d(sources, targets)
        if not len(twice) and not len(read):
            return
        suspects = {*twice[:_MOST_COMPARED].tolist(), *read[:_MOST_COMPARED].tolist()}
        read_at: dict[str, int] = {}
        written: dict[str, tuple[int, Path]] = {}
        for line in self.manifest.lines():
            item = self._item(line)
            if self._number(item.source) in suspects:
                read_at.setdefault(self._identity(item.source), line.number)
            if self._number(item.target) not in suspects:
                continue
            number, source = written.setdefault(
                self._identity(item.target), (line.number, item.source)
            )
            if number != line.number:
                where = self.manifest.where(number, line.number)
                if self._identity(source) == self._identity(item.source):
                    raise BatchError(f"{where}: {item.source} is there twice; delete one of them.")
                raise BatchError(
                    f"{where}: {source} and {item.source} would both become {item.target}; name "
                    "their outputs."
                )
        for identity in written.keys() & read_at.keys():
            number, source = written[identity]
            raise BatchError(
                f"{self.manifest.where(number)}: the output of {source} would replace a picture of "
                f"the list, which is never done ({self.manifest.where(read_at[identity])}); name "
                "another."
            )

    def _is_ours(self, line: Line) -> bool:
        shard = self.config.shard
        if shard is None:
            return True
        return shard.holds((self._below(line.path) or line.path).replace(os.sep, "/"))

    # Text instead of paths, whose making would take most of the time for a long list:

    def _below(self, path: str) -> str | None:
        """Return a path relative to the folder of the list; None if it is not inside."""
        normal = os.path.normpath(path)
        if os.path.isabs(normal):  # noqa: PTH117
            inside = normal.startswith(self._top)
            return normal[len(self._top) :] if inside else None
        return None if normal.startswith(f"..{os.sep}") or normal == ".." else normal

    def _number(self, path: Path) -> int:
        """Return a number of 8 bytes, which two files have in common only by chance."""
        name = os.fsencode(self._identity(path))
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")

    def _identity(self, path: Path) -> str:
        """Return a name that a file has by every path to its folder."""
        folder, name = os.path.split(str(path))
        return f"{self._real_path(folder)}{os.sep}{name}"

    def _item(self, line: Line) -> BatchItem:
        """Return what to do with a line.

        Raises:
            BrokenLineError: The line is broken.
        """
        if line.fault is not None:
            raise line.fault
        source = Path(self.base, line.path)
        parent = source.parent
        if self.folder is not None:
            below = self._below(line.path)
            if line.output is not None:
                parent = self.folder
            elif below is None:
                raise BrokenLineError(
                    f"{line.path} is not inside {self.base or 'the current folder'}; name the "
                    "folder that holds all pictures as INPUT, or name this output."
                )
            else:
                parent = self.folder / Path(below).parent
        try:
            name = self._name(source, line.output)
        except AtdsrError as error:
            raise BrokenLineError(str(error)) from None
        return BatchItem(source, parent / name, self.manifest.where(line.number))

    def _name(self, source: Path, output: str | None) -> Path:
        """Return the name of an output, relative to its folder, without opening the picture.

        Raises:
            AtdsrError: It cannot be.
        """
        named = Path(output or "")
        needs_format = not named.suffix if output else "ext" in self.template.fields
        known = source.suffix.lower() in imaging.READABLE_SUFFIXES or self.config.format_name
        if needs_format and not known:
            raise BatchError(
                f"{source} has the suffix of no format; name its output with one, or add --format."
            )
        if output is None:
            return output_name(source, self.template, self.config)
        if named.anchor or ".." in named.parts or not named.name:
            raise BatchError(f"the output {output} leads out of its folder; name one inside.")
        target = output_file(output, source, self.config)
        imaging.format_of(target)
        return target
