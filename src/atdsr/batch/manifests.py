"""Manifests: lists of pictures in the place of folders to walk, as text or in a Parquet file.

A manifest may have millions of lines. It is read line by line, whenever it is needed, and never
held in memory.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atdsr.base import files
from atdsr.base.errors import unreadable
from atdsr.base.extras import install_command
from atdsr.batch.config import BatchError
from atdsr.batch.listed_items import BrokenLineError

_PARQUET = b"PAR1"  # the first bytes of such a file
_MOST_BYTES = 2**16  # of a line
_ROWS = 4096  # at a time
_COLUMNS = ("path", "output")


@dataclass(frozen=True)
class Line:
    """A line of a manifest.

    Attributes:
        number: From 1 on.
        path: The path of a picture.
        output: A name for its output; None if the manifest has none.
        fault: What is wrong with the line; None if nothing is.
    """

    number: int
    path: str = ""
    output: str | None = None
    fault: BrokenLineError | None = None


class Manifest:
    """A list of pictures in a file.

    Args:
        path: The file: Parquet, or text in UTF-8.

    Attributes:
        path: As above.

    Raises:
        BatchError: It cannot be read, or pyarrow is needed and not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with files.open_regular(path) as file:
                start = file.read(len(_PARQUET))
                self._version = _version(os.fstat(file.fileno()))
        except OSError as error:
            raise BatchError(unreadable(path, error)) from None
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise BatchError(f"{path} is UTF-16; save it as UTF-8.")
        self._is_parquet = start == _PARQUET
        if self._is_parquet:
            self._check_columns()

    def where(self, *numbers: int) -> str:
        """Return how sentences name lines, such as "list.txt, lines 3 and 17"."""
        word = "row" if self._is_parquet else "line"
        plural = "s" if len(numbers) > 1 else ""
        return f"{self.path}, {word}{plural} {' and '.join(f'{n:,}' for n in numbers)}"

    def lines(self) -> Iterator[Line]:
        """Yield the lines, without empty ones.

        Raises:
            BatchError: The file cannot be read any more, is damaged, or is another one by now.
        """
        try:
            with files.open_regular(self.path) as file:
                if _version(os.fstat(file.fileno())) != self._version:
                    raise BatchError(f"{self.path} was changed meanwhile; start again.")
                yield from self._rows(file) if self._is_parquet else _text_lines(file)
        except OSError as error:
            raise BatchError(unreadable(self.path, error)) from None

    def _rows(self, file: Any) -> Iterator[Line]:
        parquet, columns = self._parquet(file), self._check_columns()
        import pyarrow as pa

        number = 0
        try:
            for batch in parquet.iter_batches(_ROWS, columns=columns):
                table = batch.to_pydict()
                outputs = table.get("output") or [None] * batch.num_rows
                for path, output in zip(table["path"], outputs, strict=True):
                    number += 1
                    yield _line(number, path or "", output or None)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise BatchError(f"{self.path} is damaged or cut short: {error}.") from None

    def _check_columns(self) -> list[str]:
        """Return the names of the columns that are read.

        Raises:
            BatchError: There is no column of paths, or one holds something else than text.
        """
        with files.open_regular(self.path) as file:
            schema = self._parquet(file).schema_arrow
        import pyarrow as pa

        if "path" not in schema.names:
            raise BatchError(f"{self.path} has no column named path, which names the pictures.")
        columns = [name for name in _COLUMNS if name in schema.names]
        for name in columns:
            kind = schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if not (is_text or (name == "output" and pa.types.is_null(kind))):
                raise BatchError(f"{self.path}: the column {name} is {kind}; make it text.")
        return columns

    def _parquet(self, file: Any) -> Any:
        """Open the file as Parquet.

        Raises:
            BatchError: pyarrow is not installed, or the file is damaged.
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise BatchError(
                f"{self.path} is Parquet, which needs pyarrow ({error}); install it with "
                f"{install_command('parquet')}, or write the list as text."
            ) from None
        try:
            return pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise BatchError(f"{self.path} is damaged or cut short: {error}.") from None


def _version(status: os.stat_result) -> tuple[int, ...]:
    """Return numbers that change when a file is written or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _text_lines(file: Any) -> Iterator[Line]:
    number = 0
    while text := file.readline(_MOST_BYTES):
        number += 1
        if len(text) == _MOST_BYTES and not text.endswith(b"\n"):
            while (rest := file.readline(_MOST_BYTES)) and not rest.endswith(b"\n"):
                pass
            fault = BrokenLineError(
                f"the line is longer than {_MOST_BYTES:,} bytes; name one picture."
            )
            yield Line(number, fault=fault)
            continue
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        path, tab, output = os.fsdecode(text.rstrip(b"\r\n")).partition("\t")
        if path or tab:
            yield _line(number, path, output or None)


def _line(number: int, path: str, output: str | None) -> Line:
    """Return a line, with what is wrong with it."""
    fault = None
    if not path:
        fault = BrokenLineError("the path of the picture is missing.")
    elif "\t" in path or "\t" in (output or ""):
        fault = BrokenLineError(
            "the line has more than one tab; write a path, and after a tab the name of its output."
        )
    elif "\0" in path or "\0" in (output or ""):
        fault = BrokenLineError("the line has a zero byte; is this a list of paths?")
    return Line(number, path, output, fault)
