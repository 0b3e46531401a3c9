"""Standard input and standard output in the place of files, where a command says "-".

Files in a temporary folder stand for both, so that nothing else need know of them: a picture is
read as from any file, and the result goes out once it is whole, or not at all.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.batch.finding import is_list
from atdsr.batch.order import JobError, Order
from atdsr.batch.planning import is_folder
from atdsr.batch.running import Result

STREAM = "-"
"""What a command calls standard input and standard output."""

MOST_BYTES = 2**32
"""The largest picture that is taken from standard input, in bytes."""

_STEP = 2**20  # bytes at a time
_IN, _OUT = "standard input", "standard output"  # the files, and what sentences call them


@dataclass(frozen=True)
class Streams:
    """What to do with the streams of a command as if they were files.

    Attributes:
        inputs: as `plan` takes them.
        out: likewise.
    """

    inputs: Sequence[str]
    out: str | None
    _folder: str = ""

    def words(self, text: str) -> str:
        """A text with the streams by name instead of the files that stand for them."""
        if not self._folder:
            return text
        files = rf"{re.escape(self._folder + os.sep)}({_IN}|{_OUT})(\.\w+)?"
        return re.sub(files, r"\1", text)

    def named(self, result: Result) -> Result:
        """What became of a picture, likewise."""
        source, message = Path(self.words(str(result.source))), self.words(result.message)
        return replace(result, source=source, message=message)


@contextmanager
def streams(inputs: Sequence[str], out: str | None, order: Order) -> Iterator[Streams]:
    """Take a picture from standard input, and send the result to standard output at the end.

    Nothing is sent where the block raises or makes nothing.

    Args:
        inputs: as a person writes them; one may be "-".
        out: likewise.
        order: what is asked for.

    Raises:
        JobError: "-" beside what makes no sense with it, a stream that is closed or a terminal,
            an empty input or one of more than `MOST_BYTES`; and in the sentences of errors
            from inside of the block, the streams are named.
        BrokenPipeError: nobody reads the result any more.
    """
    if STREAM not in (*inputs, out):
        yield Streams(inputs, out)
        return
    _check(inputs, out, order)
    try:
        temporary = tempfile.TemporaryDirectory(prefix="atdsr-", ignore_cleanup_errors=True)
    except OSError as error:
        raise JobError(f"no temporary folder can be made: {error.strerror}.") from None
    with temporary as folder:
        if STREAM in inputs:
            inputs = [str(Path(folder, _IN))]
            _receive(Path(inputs[0]))
        if out == STREAM:
            out = str(Path(folder, _OUT))
        made = Streams(inputs, out, folder)
        try:
            yield made
        except AtdsrError as error:
            raise JobError(made.words(str(error))) from None
        for path in Path(folder).glob(f"{_OUT}*"):
            _send(path)


def _check(inputs: Sequence[str], out: str | None, order: Order) -> None:
    """See that the rest of the command goes with "-".

    Raises:
        JobError: it does not.
    """
    if order.template is not None:
        raise JobError("--name cannot be used with -; name the output with -o.")
    if order.recursive:
        raise JobError("--recursive cannot be used with -, which is one picture; drop it.")
    if STREAM in inputs:
        if len(inputs) > 1:
            raise JobError("- is one picture from standard input; name no other INPUT beside it.")
        if out is None:
            raise JobError("- has no folder for the result; add -o FILE, or -o - to send it on.")
        if is_folder(out):
            raise JobError(f"{out} is a folder, and - has no name to go by; name a file with -o.")
        _check_stream(sys.stdin, _IN, "send a picture through it with < FILE or COMMAND |")
    if out == STREAM:
        if len(inputs) > 1 or is_list(inputs[0]):
            raise JobError("-o - is for one picture; name a folder for several with -o.")
        _check_stream(sys.stdout, _OUT, "send the picture on with > FILE or | COMMAND")


def _check_stream(stream: TextIO | None, name: str, advice: str) -> None:
    if stream is None:  # what a closed one is for Python
        raise JobError(f"{name} is closed; {advice}.")
    if stream.isatty():
        raise JobError(f"{name} is a terminal; {advice}.")


def _receive(path: Path) -> None:
    """Write what comes through standard input to a file; of what is no picture, the beginning.

    Raises:
        JobError: nothing comes, or too much, or the system refuses.
    """
    size = 0
    try:
        with path.open("wb") as file:
            while block := sys.stdin.buffer.read(_STEP):
                size += file.write(block)
                if size > MOST_BYTES:
                    raise JobError(
                        f"{_IN} holds more than {MOST_BYTES:,} bytes; save it as a file first."
                    )
                if size == len(block) and imaging.recognise(block) is None:
                    break  # whoever reads the file will say so
    except OSError as error:
        raise JobError(f"{_IN} cannot be read into {path.parent}: {error.strerror}.") from None
    if not size:
        raise JobError(f"{_IN} is empty; send a picture through it.")


def _send(path: Path) -> None:
    """Copy a file to standard output.

    Raises:
        BrokenPipeError: nobody reads it any more.
        JobError: the system refuses.
    """
    stream = sys.stdout.buffer
    stream = getattr(stream, "raw", stream)  # a buffer would try once more at the very end
    try:
        with path.open("rb") as file:
            while block := memoryview(file.read(_STEP)):
                while block:
                    block = block[stream.write(block) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise JobError(f"{_OUT} cannot be written: {error.strerror}.") from None
