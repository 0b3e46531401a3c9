"""The pictures of a long list, checked and gone through without holding them in memory."""

import functools
import hashlib
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from atdsr.base.stores import Location, ObjectPath
from atdsr.batch.config import BatchConfig, BatchError
from atdsr.batch.planning import BatchItem, check_quality

_MOST_COMPARED = 1000  # pictures with equal hashes that are looked at again


class BrokenLineError(BatchError):
    """What is wrong with a line of a list, as a sentence after its number."""


class Pictures(Protocol):
    """A list of pictures, which can be gone through any number of times."""

    def lines(self) -> Iterator[Any]:
        """Yield what the list has for each picture, all of it with a `number`, from 1 on.

        Raises:
            BatchError: The list cannot be read.
        """
        ...

    def shard_name(self, line: Any) -> str:
        """Return the name of a picture that decides on its shard."""
        ...

    def item(self, line: Any) -> BatchItem:
        """Return what to do with a picture.

        Raises:
            BrokenLineError: The line is broken.
        """
        ...

    def broken(self, sentence: str, number: int) -> BatchError:
        """Return the error for a broken line, of which a sentence tells what is wrong."""
        ...

    def twice(self, path: Location, numbers: tuple[int, int]) -> BatchError:
        """Return the error for a picture that two lines name."""
        ...

    def same_output(
        self, source: Location, other: Location, target: Location, numbers: tuple[int, int]
    ) -> BatchError:
        """Return the error for two pictures with one output."""
        ...

    def replaced(self, source: Location, target: Location, numbers: tuple[int, int]) -> BatchError:
        """Return the error for a picture whose output is a picture, too, that of another line."""
        ...


@dataclass
class ListedItems:
    """The pictures of a shard in a list; each iteration goes through it again.

    Of all others, a number of 8 bytes is kept of each picture and of each output while they are
    checked.

    Attributes:
        pictures: The list.
        config: What the command asks for.
    """

    pictures: Pictures
    config: BatchConfig
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        # cached, since many pictures share a folder, and bounded, since there may be millions
        self._real_path = functools.lru_cache(maxsize=2**14)(os.path.realpath)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[BatchItem]:
        for line in self.pictures.lines():
            if self._is_ours(line):
                yield self.pictures.item(line)

    def check(self) -> bool:
        """Check all pictures, also those of other shards, and count those of this one.

        Returns:
            Whether there is any picture.

        Raises:
            BatchError: A line is broken, or two pictures do not go together.
        """
        first: BatchError | None = None
        broken = 0
        sources, targets = array("Q"), array("Q")
        suffixes = set[str]()
        for line in self.pictures.lines():
            try:
                item = self.pictures.item(line)
            except BrokenLineError as error:
                first = first or self.pictures.broken(str(error), line.number)
                broken += 1
                continue
            sources.append(self._number(item.source))
            targets.append(self._number(item.target))
            suffixes.add(item.target.suffix)
            self._count += self._is_ours(line)
        if broken > 1:
            raise BatchError(f"{first} {broken - 1:,} more of its lines are broken.")
        if first is not None:
            raise first
        if not sources:
            return False
        self._check_once(np.frombuffer(sources, np.uint64), np.frombuffer(targets, np.uint64))
        check_quality(suffixes, self.config)
        return True

    def _check_once(self, sources: np.ndarray, targets: np.ndarray) -> None:
        """Check that no file is written twice, or both read and written.

        Args:
            sources: The numbers of all pictures.
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
        written: dict[str, tuple[int, Location, Location]] = {}
        for line in self.pictures.lines():
            item = self.pictures.item(line)
            if self._number(item.source) in suspects:
                read_at.setdefault(self._identity(item.source), line.number)
            if self._number(item.target) not in suspects:
                continue
            number, source, _ = written.setdefault(
                self._identity(item.target), (line.number, item.source, item.target)
            )
            if number != line.number:
                numbers = number, line.number
                if self._identity(source) == self._identity(item.source):
                    raise self.pictures.twice(source, numbers)
                raise self.pictures.same_output(source, item.source, item.target, numbers)
        for identity in written.keys() & read_at.keys():
            number, source, target = written[identity]
            raise self.pictures.replaced(source, target, (number, read_at[identity]))

    def _is_ours(self, line: Any) -> bool:
        shard = self.config.shard
        return shard is None or shard.holds(self.pictures.shard_name(line))

    def _number(self, path: Location) -> int:
        """Return a number of 8 bytes, which two files have in common only by chance."""
        name = os.fsencode(self._identity(path))
        return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")

    def _identity(self, path: Location) -> str:
        """Return a name that a file has by every path to its folder."""
        if isinstance(path, ObjectPath):
            return str(path)
        folder, name = os.path.split(str(path))
        return f"{self._real_path(folder)}{os.sep}{name}"
