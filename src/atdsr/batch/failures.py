"""Lists of the pictures that failed, one file for each process."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from atdsr.base import files
from atdsr.base.errors import unreadable
from atdsr.batch.config import BatchError
from atdsr.batch.running import Result


@contextmanager
def failures_to(path: Path | None) -> Iterator[Callable[[Result], None]]:
    """Yield a function that writes a failed picture's `Result.record` to a file, as a line of JSON.

    The list is there from the first line on, so that a killed process leaves it. Without failures
    it is empty.

    Args:
        path: The file. A list of an earlier run is replaced. None writes nothing.

    Raises:
        BatchError: It is another kind of file, another process writes it, or it cannot be written.
        FileError: Its folder cannot be written.
    """
    if path is None:
        yield lambda _: None
        return
    _check(path)
    with ExitStack() as stack:
        try:
            stack.enter_context(files.output_lock(path))
            file = stack.enter_context(path.open("wb", buffering=0))
        except BlockingIOError:
            raise BatchError(
                f"{path} is being written by another process; give each process a list of its own."
            ) from None
        except OSError as error:
            raise BatchError(f"{path} cannot be written: {error.strerror}.") from None

        def write(result: Result) -> None:
            line = f"{json.dumps(result.record())}\n".encode()
            try:
                while line:  # a disk that is almost full takes a part
                    line = line[file.write(line) :]
            except OSError as error:
                raise BatchError(f"{path} cannot be written: {error.strerror}.") from None

        yield write


def _check(path: Path) -> None:
    """Check that a file may be replaced by a list of failures.

    Raises:
        BatchError, FileError: It may not.
    """
    files.check_target(path, overwrite=True)
    try:
        with files.open_regular(path) as file:
            line = file.readline(2**20)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BatchError(unreadable(path, error)) from None
    if line and not _is_record(line):
        raise BatchError(f"{path} exists and is not a list of failures; name another file.")


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and record.get("event") == "picture"
