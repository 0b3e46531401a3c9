"""Standard input and standard output instead of files, where a command says "-".

Files in a temporary folder stand for both, so that no other module has to know about streams: a
picture is read as from any file, and the result is sent when it is complete, or not at all.
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
from atdsr.base.option_values import STREAM
from atdsr.base.stores import locate
from atdsr.batch.config import BatchConfig, BatchError
from atdsr.batch.inputs import is_folder_or_glob
from atdsr.batch.planning import is_folder
from atdsr.batch.running import Result

MOST_BYTES = 2**32
"""Size in bytes of the largest picture that is read from standard input."""

_STEP = 2**20  # bytes at a time
_IN, _OUT = "standard input", "standard output"  # names of the files, and in sentences


@dataclass(frozen=True)
class Streams:
    """The inputs and the output of a command, with files in the place of streams.

    Attributes:
        inputs: The inputs for `plan`.
        out: The output for `plan`.
    """

    inputs: Sequence[str]
    out: str | None
    _folder: str = ""

    def restore_names(self, text: str) -> str:
        """Return a text in which the files that stand for streams are called what they are."""
        if not self._folder:
            return text
        files = rf"{re.escape(self._folder + os.sep)}({_IN}|{_OUT})(\.\w+)?"
        return re.sub(files, r"\1", text)

    def restore_result(self, result: Result) -> Result:
        """Return a result in which the files that stand for streams are called what they are."""
        return replace(
            result,
            source=locate(self.restore_names(str(result.source))),
            message=self.restore_names(result.message),
        )


@contextmanager
def open_streams(inputs: Sequence[str], out: str | None, config: BatchConfig) -> Iterator[Streams]:
    """Read a picture from standard input, and send the result to standard output at the end.

    Nothing is sent if the block raises an error or writes no result.

    Args:
        inputs: The inputs as a person writes them; one may be "-".
        out: The output as a person writes it; it may be "-".
        config: What the command asks for.

    Raises:
        BatchError: "-" does not go with another option, a stream is closed or a terminal, or the
            input is empty or has more than `MOST_BYTES`. Errors from inside of the block are
            raised as this, with streams in the place of files.
        BrokenPipeError: The reader of the result is gone.
    """
    if STREAM not in (*inputs, out):
        yield Streams(inputs, out)
        return
    _check(inputs, out, config)
    try:
        temporary = tempfile.TemporaryDirectory(prefix="atdsr-", ignore_cleanup_errors=True)
    except OSError as error:
        raise BatchError(f"no temporary folder can be made: {error.strerror}.") from None
    with temporary as folder:
        if STREAM in inputs:
            inputs = [str(Path(folder, _IN))]
            _receive(Path(inputs[0]))
        if out == STREAM:
            out = str(Path(folder, _OUT))
        streams = Streams(inputs, out, folder)
        try:
            yield streams
        except AtdsrError as error:
            raise BatchError(streams.restore_names(str(error))) from None
        for path in Path(folder).glob(f"{_OUT}*"):
            _send(path)


def _check(inputs: Sequence[str], out: str | None, config: BatchConfig) -> None:
    """Check that the rest of the command goes with "-".

    Raises:
        BatchError: It does not.
    """
    if config.template is not None:
        raise BatchError("--name cannot be used with -; name the output with -o.")
    if config.recursive:
        raise BatchError("--recursive cannot be used with -, which is one picture; drop it.")
    if config.shard is not None:
        raise BatchError("--shard cannot be used with -, which is one picture; drop it.")
    if STREAM in inputs:
        if len(inputs) > 1:
            raise BatchError("- is one picture from standard input; name no other INPUT beside it.")
        if out is None:
            raise BatchError("- has no folder for the result; add -o FILE, or -o - to send it on.")
        if is_folder(out):
            raise BatchError(f"{out} is a folder, and - has no name to go by; name a file with -o.")
        _check_stream(sys.stdin, _IN, "send a picture through it with < FILE or COMMAND |")
    if out == STREAM:
        if len(inputs) > 1 or is_folder_or_glob(inputs[0]):
            raise BatchError("-o - is for one picture; name a folder for several with -o.")
        _check_stream(sys.stdout, _OUT, "send the picture on with > FILE or | COMMAND")


def _check_stream(stream: TextIO | None, name: str, advice: str) -> None:
    if stream is None:  # Python has None for a closed one
        raise BatchError(f"{name} is closed; {advice}.")
    if stream.isatty():
        raise BatchError(f"{name} is a terminal; {advice}.")


def _receive(path: Path) -> None:
    """Write standard input to a file, or only its beginning if it is not a picture.

    Raises:
        BatchError: Standard input is empty, too large, or cannot be read.
    """
    size = 0
    try:
        with path.open("wb") as file:
            while block := sys.stdin.buffer.read(_STEP):
                size += file.write(block)
                if size > MOST_BYTES:
                    raise BatchError(
                        f"{_IN} holds more than {MOST_BYTES:,} bytes; save it as a file first."
                    )
                if size == len(block) and imaging.recognise(block) is None:
                    break  # reading the file will fail with a sentence
    except OSError as error:
        raise BatchError(f"{_IN} cannot be read into {path.parent}: {error.strerror}.") from None
    if not size:
        raise BatchError(f"{_IN} is empty; send a picture through it.")


def _send(path: Path) -> None:
    """Copy a file to standard output.

    Raises:
        BrokenPipeError: The reader is gone.
        BatchError: Standard output cannot be written.
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
        raise BatchError(f"{_OUT} cannot be written: {error.strerror}.") from None
