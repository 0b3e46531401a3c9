"""What an interrupted evaluation has done, kept until the evaluation is complete."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from atdsr.base import files, paths
from atdsr.base.errors import AtdsrError

Key = tuple[str, ...]
"""What a record is of, such as model, set and picture."""


class RecordsError(AtdsrError):
    """Records that cannot be kept, or that another process is writing."""


def cache_folder() -> Path:
    """Where evaluations keep what they have done: `eval` in atdsr's cache folder."""
    return paths.folder() / "eval"


def fingerprint(content: Any) -> str:
    """A name for what JSON can say of the content; other content has another name."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Records:
    """Records on disk, a line of JSON each; made whole before `add` returns, for one process.

    Attributes:
        folder: where they are; other files that go with them may be put here.

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
        """Open what is there.

        Args:
            folder: made if need be.
            restart: whether to forget what is there.

        Raises:
            RecordsError: another process has it open, or it cannot be read or written.
        """
        self.folder = folder
        self._file = folder / "records.jsonl"
        with _as_sentence(folder):
            self._lock = _locked(folder)
            try:
                if restart:
                    self._empty()
                self._records = self._read()
            except BaseException:
                self._lock.close()
                raise

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let other processes have the records; a folder without any goes away."""
        if not self._records:
            self.remove()
        self._lock.close()

    def __len__(self) -> int:
        """How many keys have a record."""
        return len(self._records)

    def get(self, key: Key) -> dict[str, Any] | None:
        """The newest record of a key, if there is one."""
        return self._records.get(key)

    def add(self, key: Key, record: Mapping[str, Any]) -> None:
        """Keep a record; it outlives a power failure.

        Raises:
            RecordsError: it cannot be written.
        """
        line = json.dumps({"key": key, "record": record})
        with _as_sentence(self.folder), self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._records[key] = dict(record)

    def remove(self) -> None:
        """Forget everything and take the folder away; only closing is left to do."""
        self._records = {}
        with contextlib.suppress(OSError):  # what stays is in nobody's way
            self._empty()
            Path(self._lock.name).unlink()
            self.folder.rmdir()

    def _empty(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != Path(self._lock.name):
                path.unlink()

    def _read(self) -> dict[Key, dict[str, Any]]:
        """The records; a line that a kill cut short is taken off the file."""
        records: dict[Key, dict[str, Any]] = {}
        if not self._file.exists():
            return records
        whole = 0
        content = self._file.read_bytes()
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                records[tuple(entry["key"])] = dict(entry["record"])
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
        if whole < len(content):
            with self._file.open("r+b") as file:
                file.truncate(whole)
        return records


def _locked(folder: Path) -> IO[bytes]:
    """The folder's lock, held until the file is closed or the process ends.

    Raises:
        RecordsError: another process has it.
    """
    path = folder / "lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        try:
            files.lock(file)
            # whoever had it may have finished and taken the file away meanwhile
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        except FileNotFoundError:
            pass
        except BlockingIOError:
            file.close()
            raise RecordsError(
                f"another process is at this very evaluation ({folder}); wait for its end."
            ) from None
        file.close()


@contextmanager
def _as_sentence(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordsError(
            f"{folder}: what is done cannot be recorded: {error.strerror or error}; set "
            "XDG_CACHE_HOME to a folder that can be written."
        ) from error
