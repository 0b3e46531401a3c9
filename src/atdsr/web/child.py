"""The loop of a child process: take a task, tell how far it is, tell how it ended.

Tasks and answers are JSON on a pipe, never pickles, so that a decoder that has been taken over
cannot run code in the server. The process ends when the server does, however that ends: the pipe
is closed then.
"""

import contextlib
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from atdsr.base.reporter import Reporter
from atdsr.web.options import Options
from atdsr.web.problems import ProblemError

PRELOAD = "atdsr.web.work"
"""The module with everything that is slow to import."""

LONGEST_MESSAGE = 2**20
"""Bytes of the longest message that the server accepts from a child."""

_PROGRESS_SECONDS = 0.1  # between two reports of progress


@dataclass(frozen=True)
class ChildConfig:
    """What a child process is started with.

    Attributes:
        role: "inspector" looks at uploads, "viewer" makes pictures visible, "worker" computes.
        models: As in `WebConfig`.
        device: Where a worker computes; for an inspector, what the user has asked for.
        memory: Limit of its memory in bytes, or None.
    """

    role: str
    models: tuple[str, ...]
    device: str
    memory: int | None


class _CancelledError(BaseException):
    """The server wants the task to end; not an `Exception`, so that nothing on the way keeps it."""


def main(connection: Connection, config: ChildConfig) -> None:
    """Run a child process until the server closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the server decides
    _limit_memory(config.memory)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        channel = _Channel(connection)
        try:
            perform, facts = _prepare(config)
        except Exception as error:  # the server tells it and ends
            channel.send({"broken": str(error) or type(error).__name__})
            return
        channel.send({"ready": facts})
        while True:
            channel.serve(perform)


class _Channel:
    """The pipe to the server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._task: int | None = None
        self._last_progress = 0.0

    def send(self, message: dict[str, Any]) -> None:
        self._connection.send_bytes(json.dumps(message).encode())

    def serve(self, perform: Callable[[dict[str, Any], Reporter], Any]) -> None:
        """Wait for a task and do it.

        Raises:
            EOFError: The server has ended.
        """
        message = json.loads(self._connection.recv_bytes())
        if "task" not in message:
            return  # a cancellation that came too late
        self._task, self._last_progress = message["task"], 0.0
        answer: dict[str, Any]
        try:
            answer = {"done": perform(message, Reporter(self._progress, self._notice))}
        except ProblemError as problem:
            answer = {"failed": {"status": problem.status, "sentence": str(problem)}}
        except _CancelledError:
            answer = {"cancelled": True}
        except MemoryError:
            answer = {"failed": {"status": 422, "sentence": "the memory is exhausted."}}
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except (
            Exception
        ) as error:  # a defect; the process is still sound, so the next task may come
            name = type(error).__name__
            answer = {"failed": {"status": 500, "sentence": f"this is a defect of atdsr ({name})."}}
        self.send({"task": self._task} | answer)

    def _notice(self, sentence: str) -> None:
        self.send({"task": self._task, "notice": sentence})

    def _progress(self, done: float) -> None:
        while self._connection.poll():
            message = json.loads(self._connection.recv_bytes())
            if message.get("cancel") == self._task:
                raise _CancelledError
        now = time.monotonic()
        if now - self._last_progress >= _PROGRESS_SECONDS:
            self._last_progress = now
            self.send({"task": self._task, "progress": done})


def _limit_memory(limit: int | None) -> None:
    if limit is None:
        return
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):  # a limit below ours exists already
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _prepare(
    config: ChildConfig,
) -> tuple[Callable[[dict[str, Any], Reporter], Any], dict[str, Any]]:
    """Return what performs the tasks of a role, and what the server wants to know.

    Raises:
        AtdsrError: A model or the device is not here.
    """
    from atdsr.base.memory import keep_freed_memory
    from atdsr.web import work

    def names(folder: Path, options: Options) -> dict[str, str]:
        """Return what the files of a job are called in sentences."""
        shown = options.filename or "the picture"
        source = folder / f"{work.SOURCE}{options.source_suffix}"
        return {str(source): shown, f"{folder / work.OUT}/{work.SOURCE}": work.result_stem(options)}

    def perform(task: dict[str, Any], reporter: Reporter) -> Any:
        folder, options = Path(task["folder"]), Options.from_record(task["options"])
        with work.problems(names(folder, options)):
            return actions[task["kind"]](task, folder, options, reporter)

    actions: dict[str, Callable[[dict[str, Any], Path, Options, Reporter], Any]] = {}
    facts: dict[str, Any] = {}
    if config.role == "inspector":
        offer = work.Offer(config.models)
        facts = work.facts(offer, config.device)
        actions["inspect"] = lambda task, folder, options, _: work.inspect(
            folder, options, offer, task["max_pixels"], task["result_factor"]
        )
    elif config.role == "viewer":
        actions["view"] = lambda task, folder, options, _: work.view(
            folder, options, task["view"], task["result"], Path(task["target"])
        )
    else:
        keep_freed_memory()
        worker = work.Worker(work.Offer(config.models), config.device)
        worker.warm_up()
        actions["enlarge"] = lambda _, folder, options, reporter: worker.enlarge(
            folder, options, reporter
        )
        actions["explain"] = lambda _, folder, options, reporter: worker.explain(
            folder, options, reporter
        )
    return perform, facts
