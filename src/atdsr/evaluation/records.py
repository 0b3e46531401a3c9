"""The scores of an interrupted evaluation, kept until the evaluation is complete."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.base.files import FileError

Key = tuple[str, ...]
"""What a record describes, such as the scale, set, picture and method."""


class RecordsError(AtdsrError):
    """Records that cannot be kept, or that another process is writing."""


def cache_folder() -> Path:
    """Return where evaluations keep their records: `eval` in atdsr's cache folder."""
    return files.user_cache_folder() / "eval"


def fingerprint(content: Any) -> str:
    """Return a name for JSON content; different content has a different name."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Records:
    """Records in a folder, one line of JSON each, written to the disk before `add` returns.

    The folder belongs to one process at a time. It is deleted at the end if it holds no records.

    Attributes:
        folder: The folder; other files that go with the records may be put here.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "records"
        >>> with Records(folder) as records:
        ...     records.add(("bicubic", "Set5", "baby"), {"psnr_y": 37.0})
        >>> with Records(folder) as records:
        ...     records.get(("bicubic", "Set5", "baby"))
        ...     records.remove()
        {'psnr_y': 37.0}
        >>> folder.exists()
        False
    """

    def __init__(self, folder: Path, *, restart: bool = False) -> None:
        """Open the records in a folder.

        Args:
            folder: Path of the folder, created if it is missing.
            restart: Whether to delete existing records.

        Raises:
            RecordsError: Another process has opened the folder, or it cannot be read or written.
        """
        self.folder = folder
        self._file = folder / "records.jsonl"
        with _errors_as_sentence(folder), contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.folder_lock(folder))
            except BlockingIOError:
                raise RecordsError(
                    f"another process is at this very evaluation ({folder}); wait for its end."
                ) from None
            if restart:
                self._clear()
            self._records = self._read()
            self._lock = stack.pop_all()

    def __enter__(self) -> Self:
        """Return the records."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the folder for other processes, and delete it if there are no records."""
        if not self._records:
            self.remove()
        self._lock.close()
        if not self._records:
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def __len__(self) -> int:
        """Number of keys that have a record."""
        return len(self._records)

    def get(self, key: Key) -> dict[str, Any] | None:
        """Return the newest record of a key, or None."""
        return self._records.get(key)

    def add(self, key: Key, record: Mapping[str, Any]) -> None:
        """Add a record, so that it survives a power failure.

        Raises:
            RecordsError: The record cannot be written.
        """
        line = json.dumps({"key": key, "record": record})
        with _errors_as_sentence(self.folder), self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._records[key] = dict(record)

    def remove(self) -> None:
        """Delete all records and other files; the folder itself is deleted when it is closed."""
        self._records = {}
        with contextlib.suppress(OSError):  # what cannot be deleted does no harm
            self._clear()

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != files.LOCK_NAME:
                path.unlink()

    def _read(self) -> dict[Key, dict[str, Any]]:
        """Read the records, and cut off a last line that is damaged or incomplete."""
        records: dict[Key, dict[str, Any]] = {}
        if not self._file.exists():
            return records
        valid_bytes = 0
        content = self._file.read_bytes()
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                records[tuple(entry["key"])] = dict(entry["record"])
            except (ValueError, KeyError, TypeError):
                break
            valid_bytes += len(line)
        if valid_bytes < len(content):
            with self._file.open("r+b") as file:
                file.truncate(valid_bytes)
        return records


@contextmanager
def _errors_as_sentence(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, FileError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        raise RecordsError(
            f"{folder}: what is done cannot be recorded: {getattr(cause, 'strerror', cause)}; set "
            "XDG_CACHE_HOME to a folder that can be written."
        ) from error
