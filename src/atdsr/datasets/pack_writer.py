"""Writes a packed set so that an interrupted packing can be resumed.

Beside the files of pixels lies a journal: a header line, then one line for each picture, which
will be the records of the index. A line is written only after the picture's pixels are on disk.
So whatever happens, every picture in the journal is in the files, and what else is in the files
is cut off.
"""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

from pydantic import ValidationError

from atdsr.base.files import LOCK_NAME, atomic_write
from atdsr.base.scales import RESTORING
from atdsr.datasets.packed_set import (
    FORMAT,
    INDEX,
    ImageRecord,
    file_name,
    index_text,
    lr_resolution,
)
from atdsr.datasets.source_images import LoadedImage, PackConfig, SourceImage

JOURNAL = "journal.jsonl"
# journal lines are collected for so many bytes or seconds, since syncing files takes time
_COMMIT_BYTES = 1 << 26
_COMMIT_SECONDS = 1.0


class PackWriter:
    """The folder of a set that is being packed, by one process at a time.

    Args:
        folder: Folder of the files, which may hold an interrupted packing.
        config: What is packed.
        sources: The pictures to pack, in order.

    Raises:
        OSError: The system refuses.
    """

    def __init__(
        self,
        folder: Path,
        config: PackConfig,
        sources: Sequence[SourceImage],
    ) -> None:
        self._folder = folder
        self._config = config
        self._origin = {
            "scales": list(config.scales),
            "lr": "matlab" if config.lr is None else "given",
        }
        if config.teacher is not None:
            self._origin["teacher"] = config.teacher.identity
        self._scales = {lr_resolution(scale): scale for scale in (RESTORING, *config.scales)}
        self._resolutions = tuple(self._scales)
        self._offset = 0
        # remove the files of other scales, and what a killed process left
        self._delete_all_but({LOCK_NAME, JOURNAL, *map(file_name, self._resolutions)})
        self._records = self._packed_records(sources)
        self._pending: list[str] = []
        self._pending_bytes = 0
        self._committed = time.monotonic()
        with ExitStack() as stack:
            # the journal is cut before the pixels are, so that it never names missing ones
            with atomic_write(folder / JOURNAL, overwrite=True) as path:
                lines = (self._header(), *self._records)
                path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
            self._journal = stack.enter_context((folder / JOURNAL).open("ab", buffering=0))
            self._journal_end = (folder / JOURNAL).stat().st_size
            self._files = {
                key: stack.enter_context((folder / file_name(key)).open("ab", buffering=0))
                for key in self._resolutions
            }
            self._cut_incomplete()
            self._open_files = stack.pop_all()

    def __enter__(self) -> Self:
        """Return the writer, whose files are open already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep what is packed; if nothing is, leave nothing behind."""
        with self._open_files:
            if kind is not None:
                with contextlib.suppress(OSError):
                    self._cut_incomplete()  # also makes room for the journal on a full disk
                    self._commit()
        if kind is not None and not self._records:
            with contextlib.suppress(OSError):
                self._delete_all_but({LOCK_NAME})

    @property
    def packed(self) -> int:
        """Number of sources that are packed."""
        return len(self._records) + len(self._pending)

    def add(self, source: SourceImage, image: LoadedImage) -> None:
        """Write the pixels of the next source.

        Raises:
            OSError: The system refuses; what was added before is kept.
        """
        height, width = image.samples["hr"].shape[:2]
        record = ImageRecord(
            name=source.name,
            height=height,
            width=width,
            offset=self._offset,
            blake2b=image.checksums,
            sources=dict(source.stamps),
        )
        for key in self._resolutions:
            _write_all(self._files[key], image.samples[key].data)
            self._pending_bytes += image.samples[key].nbytes
        self._offset += height * width
        self._pending.append(record.model_dump_json())
        is_late = time.monotonic() - self._committed > _COMMIT_SECONDS
        if is_late or self._pending_bytes >= _COMMIT_BYTES:
            self._commit()

    def finish(self) -> None:
        """Write the index.

        Raises:
            OSError: The system refuses.
        """
        self._commit()
        with atomic_write(self._folder / INDEX, overwrite=True) as path:
            path.write_text(index_text(self._origin, self._records), "utf-8")

    # ------------------------------------------------------------------------------ the journal

    def _header(self) -> str:
        config = self._config
        own = {"crop": config.crop, "min_side": config.min_side}
        given = {key: value for key, value in own.items() if value is not None}
        return json.dumps({"format": FORMAT, **self._origin, **given})

    def _delete_all_but(self, names: set[str]) -> None:
        for path in self._folder.iterdir():
            if path.name not in names:
                path.unlink()

    def _packed_records(self, sources: Sequence[SourceImage]) -> list[str]:
        """Return the journal lines of the pictures that are packed and whose files are the same."""
        path = self._folder / JOURNAL
        content = path.read_bytes() if path.exists() else b""
        header, *lines = content.split(b"\n")[:-1] or [b""]  # drops a line that was cut short
        if header != self._header().encode():
            return []
        paths = {key: self._folder / file_name(key) for key in self._resolutions}
        sizes = {key: p.stat().st_size if p.exists() else 0 for key, p in paths.items()}
        records: list[str] = []
        for line, source in zip(lines, sources, strict=False):
            try:
                record = ImageRecord.model_validate_json(line)
            except ValidationError:
                break
            is_same = (record.name, record.offset, record.sources) == (
                source.name,
                self._offset,
                source.stamps,
            )
            if not is_same or any(3 * sum(record.span(key)) > sizes[key] for key in sizes):
                break
            records.append(line.decode())
            self._offset += record.height * record.width
        return records

    def _cut_incomplete(self) -> None:
        """Cut off what was written of a picture that is not complete."""
        for key, scale in self._scales.items():
            self._files[key].truncate(3 * self._offset // scale**2)

    def _commit(self) -> None:
        """Sync the pixels to disk, then write their journal lines."""
        if self._pending:
            for file in self._files.values():
                os.fsync(file.fileno())
            text = "".join(f"{line}\n" for line in self._pending).encode()
            self._journal.truncate(self._journal_end)  # in case an earlier try was cut short
            _write_all(self._journal, text)
            os.fsync(self._journal.fileno())
            self._journal_end += len(text)
        self._records += self._pending
        self._pending = []
        self._pending_bytes = 0
        self._committed = time.monotonic()


def _write_all(file: IO[bytes], content: bytes | memoryview) -> None:
    remaining = memoryview(content).cast("B")
    while remaining:
        remaining = remaining[file.write(remaining) :]  # the system may take only some bytes
