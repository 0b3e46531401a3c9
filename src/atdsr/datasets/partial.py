"""A packed set in the making, which outlives the process that makes it.

Beside the files of pixels lies a journal: a line that says what is made, then a line for each
picture, which are the lines of the index to come. A line is written after the picture's pixels
are on disk, so whatever happens, what the journal tells is there, and what it does not is cut off.
"""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from pydantic import ValidationError

from atdsr.base.files import LOCK_NAME, atomic_write
from atdsr.datasets.index import FORMAT, INDEX, Entry, file_name, part, text_of
from atdsr.datasets.sources import Loaded, Source

JOURNAL = "journal.jsonl"
# a journal line waits for so many bytes or seconds, since bringing files to disk takes time
_COMMIT_BYTES = 1 << 26
_COMMIT_SECONDS = 1.0


class Partial:
    """The folder of a set that is being packed; one process at a time.

    Args:
        folder: of the files, whatever is there already.
        scales: of the set.
        lr: whether LR is made or given.
        sources: what the set shall hold, in order.

    Attributes:
        done: how many of the sources are packed.

    Raises:
        OSError: the system refuses.
    """

    def __init__(
        self,
        folder: Path,
        scales: Sequence[int],
        lr: Literal["matlab", "given"],
        sources: Sequence[Source],
    ) -> None:
        self._folder = folder
        self._scales = tuple(scales)
        self._lr = lr
        self._parts = ("hr", *map(part, scales))
        self._offset = 0
        # what other scales and a kill have left goes
        self._delete_all_but({LOCK_NAME, JOURNAL, *map(file_name, self._parts)})
        self._lines = self._kept(sources)
        self._pending: list[str] = []
        self._pending_bytes = 0
        self._committed = time.monotonic()
        with ExitStack() as stack:
            # the journal is cut before the pixels are: it never tells of what is not there
            with atomic_write(folder / JOURNAL, overwrite=True) as path:
                path.write_text(
                    "".join(f"{line}\n" for line in (self._header(), *self._lines)), "utf-8"
                )
            self._journal = stack.enter_context((folder / JOURNAL).open("ab", buffering=0))
            self._journal_end = (folder / JOURNAL).stat().st_size
            self._files = {
                key: stack.enter_context((folder / file_name(key)).open("ab", buffering=0))
                for key in self._parts
            }
            self._cut()
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep what is done; where nothing is, nothing is left."""
        with self._open:
            if kind is not None:
                with contextlib.suppress(OSError):
                    self._cut()  # also makes room for the journal where the disk is full
                    self._commit()
        if kind is not None and not self._lines:
            with contextlib.suppress(OSError):
                self._delete_all_but({LOCK_NAME})

    @property
    def done(self) -> int:
        """How many of the sources are packed."""
        return len(self._lines) + len(self._pending)

    def add(self, source: Source, loaded: Loaded) -> None:
        """Keep the pixels of the next source.

        Raises:
            OSError: the system refuses; what was added before is kept.
        """
        height, width = loaded.samples["hr"].shape[:2]
        entry = Entry(
            name=source.name,
            height=height,
            width=width,
            offset=self._offset,
            blake2b=loaded.checksums,
            sources=dict(source.stamps),
        )
        for key in self._parts:
            _write_all(self._files[key], loaded.samples[key].data)
            self._pending_bytes += loaded.samples[key].nbytes
        self._offset += height * width
        self._pending.append(entry.model_dump_json())
        late = time.monotonic() - self._committed > _COMMIT_SECONDS
        if late or self._pending_bytes >= _COMMIT_BYTES:
            self._commit()

    def finish(self) -> None:
        """Write the index.

        Raises:
            OSError: the system refuses.
        """
        self._commit()
        with atomic_write(self._folder / INDEX, overwrite=True) as path:
            path.write_text(text_of(self._scales, self._lr, self._lines), "utf-8")

    # ------------------------------------------------------------------------------ the journal

    def _header(self) -> str:
        return json.dumps({"format": FORMAT, "scales": self._scales, "lr": self._lr})

    def _delete_all_but(self, names: set[str]) -> None:
        for path in self._folder.iterdir():
            if path.name not in names:
                path.unlink()

    def _kept(self, sources: Sequence[Source]) -> list[str]:
        """The lines of what is packed already and still has the same sources."""
        path = self._folder / JOURNAL
        content = path.read_bytes() if path.exists() else b""
        first, *rest = content.split(b"\n")[:-1] or [b""]  # a line that was cut short is none
        if first != self._header().encode():
            return []
        files = {key: self._folder / file_name(key) for key in self._parts}
        sizes = {key: f.stat().st_size if f.exists() else 0 for key, f in files.items()}
        lines: list[str] = []
        for line, source in zip(rest, sources, strict=False):
            try:
                entry = Entry.model_validate_json(line)
            except ValidationError:
                break
            same = (entry.name, entry.offset, entry.sources) == (
                source.name,
                self._offset,
                source.stamps,
            )
            if not same or any(3 * sum(entry.span(key)) > sizes[key] for key in self._parts):
                break
            lines.append(line.decode())
            self._offset += entry.height * entry.width
        return lines

    def _cut(self) -> None:
        """Cut off what was written of a picture that is not whole."""
        for scale, key in zip((1, *self._scales), self._parts, strict=True):
            self._files[key].truncate(3 * self._offset // scale**2)

    def _commit(self) -> None:
        if self._pending:
            for file in self._files.values():
                os.fsync(file.fileno())
            text = "".join(f"{line}\n" for line in self._pending).encode()
            self._journal.truncate(self._journal_end)  # where an earlier try was cut short
            _write_all(self._journal, text)
            os.fsync(self._journal.fileno())
            self._journal_end += len(text)
        self._lines += self._pending
        self._pending = []
        self._pending_bytes = 0
        self._committed = time.monotonic()


def _write_all(file: IO[bytes], content: bytes | memoryview) -> None:
    left = memoryview(content).cast("B")
    while left:
        left = left[file.write(left) :]  # the system may take a part of it
