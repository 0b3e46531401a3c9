"""The log of a run on a cluster: what became of each picture, in Parquet files of a folder."""

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atdsr.base import files
from atdsr.base.stores import Location, ObjectPath, upload
from atdsr.batch import Result
from atdsr.cluster.config import ClusterError

ROWS = 1000
"""Results in one file at most."""

SECONDS = 10.0
"""Seconds from one file to the next, unless it is full before or nothing is finished."""


@contextmanager
def results_to(folder: Location | None) -> Iterator[Callable[[Result], None]]:
    """Yield a function that adds a result to a log.

    Every file of the log appears whole or not at all, under a name that no other run takes. It
    holds the fields of `Result.record` as columns, except `event` and `format`, and `finished`,
    the time of the result. A process that is killed loses what it was told within `SECONDS`.

    Args:
        folder: The folder of the log, on disk or in a store; runs share it. None keeps no log.

    Raises:
        ClusterError, StoreError, FileError: It cannot be written.
    """
    if folder is None:
        yield lambda _: None
        return
    log = _Log(folder)
    try:
        yield log.add
    finally:
        log.write()


class _Log:
    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        self._files = 0
        self._rows: list[dict[str, Any]] = []
        self._written = time.monotonic()
        if isinstance(folder, Path):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ClusterError(
                    f"the folder {folder} for the log cannot be made: {error.strerror}."
                ) from None

    def add(self, result: Result) -> None:
        """Add a result; write a file if it is time for one."""
        row = result.record() | {"finished": datetime.now(UTC)}
        self._rows.append({name: row[name] for name in _schema().names})
        if len(self._rows) >= ROWS or time.monotonic() - self._written >= SECONDS:
            self.write()

    def write(self) -> None:
        """Write what no file holds yet."""
        self._written = time.monotonic()
        if not self._rows:
            return
        import pyarrow as pa

        rows, self._rows = self._rows, []
        table = pa.Table.from_pylist(rows, schema=_schema())
        self._files += 1
        path = self._folder / f"{self._run}-{self._files:06}.parquet"
        if isinstance(path, ObjectPath):
            with tempfile.TemporaryDirectory(prefix="atdsr-") as folder:
                file = Path(folder, path.name)
                _write_table(table, file)
                upload(file, path, overwrite=False)
        else:
            with files.atomic_write(path, overwrite=False) as file:
                _write_table(table, file)


def _write_table(table: Any, file: Path) -> None:
    import pyarrow.parquet as pq

    try:
        pq.write_table(table, file, compression="zstd")
    except OSError as error:
        raise ClusterError(
            f"the log cannot be written to {file.parent}: {error.strerror or error}."
        ) from None


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        {
            "source": pa.string(),
            "target": pa.string(),
            "outcome": pa.string(),
            "width": pa.int64(),
            "height": pa.int64(),
            "frames": pa.int64(),
            "seconds": pa.float64(),
            "notices": pa.list_(pa.string()),
            "message": pa.string(),
            "finished": pa.timestamp("ms", tz="UTC"),
        }
    )
