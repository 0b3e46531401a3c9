"""The server's side of a child process: starting it, giving it tasks, starting it again."""

import asyncio
import contextlib
import itertools
import json
import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

from atdsr.web import child
from atdsr.web.child import ChildConfig
from atdsr.web.config import WebError
from atdsr.web.problems import ProblemError

Listener = Callable[[dict[str, Any]], None]
"""Receives what a task tells on the way: `{"progress": 0.5}` or `{"notice": "..."}`."""

_CANCEL_SECONDS = 5.0  # until a process that does not stop its task is killed
_START_SECONDS = 120.0
_RESTART_PAUSE = 1.0  # seconds, so that a process that cannot start does not keep the machine busy


def context() -> Any:
    """Return how processes are started: forked from a small process that has all modules.

    Where this does not exist (Windows) each process imports them itself.
    """
    methods = multiprocessing.get_all_start_methods()
    chosen = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if hasattr(chosen, "set_forkserver_preload"):
        chosen.set_forkserver_preload([child.PRELOAD])
    return chosen


class _StoppedError(Exception):
    """The process has stopped its task because it was told to."""


class ChildProcess:
    """A child process, which does one task after another.

    Args:
        config: What it is started with.
        ended: Called when a process has ended that was not told to.

    Attributes:
        facts: What the process told when it was ready.
        restarts: How often it had to be started again.
        ready: Set while the process can take tasks.
        pending: Number of tasks that it works on or that wait for it.
    """

    def __init__(self, config: ChildConfig, ended: Callable[[], None] = lambda: None) -> None:
        self.config = config
        self.facts: dict[str, Any] = {}
        self.restarts = -1
        self.ready = asyncio.Event()
        self.pending = 0
        self._ended = ended
        self._lock = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._process: Any = None
        self._connection: Any = None
        self._messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    @property
    def pid(self) -> int | None:
        """The number of the process, or None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            WebError: It cannot start, for the reason in the sentence.
        """
        self.restarts += 1
        ours, theirs = multiprocessing.Pipe()
        process = context().Process(
            target=child.main,
            args=(theirs, self.config),
            name=f"atdsr-{self.config.role}",
            daemon=True,
        )
        self._messages = messages = asyncio.Queue[dict[str, Any] | None]()
        await asyncio.to_thread(process.start)  # waits for the process that has the modules
        theirs.close()
        self._process, self._connection = process, ours
        loop = asyncio.get_running_loop()
        threading.Thread(
            target=_receive, args=(ours, loop, messages), name=f"pipe-{process.pid}", daemon=True
        ).start()
        try:
            async with asyncio.timeout(_START_SECONDS):
                message: dict[str, Any] | None = await messages.get()
        except TimeoutError:
            message = {"broken": "it was not ready in time"}
        except asyncio.CancelledError:
            self.kill()
            raise
        if message is None or "ready" not in message:
            self.kill()
            reason = str((message or {}).get("broken", "it ended at once"))
            raise WebError(f"the {self.config.role} process cannot start: {reason.rstrip('.')}.")
        self.facts = message["ready"]
        self.ready.set()

    async def run(self, task: dict[str, Any], *, seconds: float, listen: Listener) -> Any:
        """Do a task when those before it are done, and return its result.

        If the caller is cancelled, so is the task: the process stops it, or is killed.

        Args:
            task: Its kind, and what this kind needs.
            seconds: Time limit. A process that reaches it is killed, and another one started.
            listen: Receives what the task tells.

        Raises:
            ProblemError: The task failed, took too long, or its process ended (which concerns no
                other task).
        """
        self.pending += 1
        try:
            async with self._lock:
                return await self._run(task, seconds, listen)
        finally:
            self.pending -= 1

    async def _run(self, task: dict[str, Any], seconds: float, listen: Listener) -> Any:
        await self._ensure_started()
        number = next(self._numbers)
        try:
            self._send({"task": number} | task)
            async with asyncio.timeout(seconds):
                return await self._outcome(number, listen)
        except TimeoutError:
            self.kill()
            raise ProblemError(
                422, f"it took longer than the limit of {seconds:g} seconds."
            ) from None
        except asyncio.CancelledError:
            try:
                await asyncio.shield(self._stop_task(number))
            except asyncio.CancelledError:  # nobody waits any longer
                self.kill()
            raise

    async def _outcome(self, number: int, listen: Listener) -> Any:
        while True:
            message = await self._messages.get()
            if message is None:
                self.kill()
                self._ended()
                raise ProblemError(
                    503,
                    "the process that worked on it ended, perhaps for lack of memory; send it "
                    "again, or a smaller picture.",
                )
            if message.get("task") != number:
                continue
            if "done" in message:
                return message["done"]
            if "failed" in message:
                raise ProblemError(message["failed"]["status"], message["failed"]["sentence"])
            if "cancelled" in message:
                raise _StoppedError
            listen(message)

    async def _stop_task(self, number: int) -> None:
        """Let the process stop a task, or kill it."""
        self._send({"cancel": number})
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                await self._outcome(number, lambda _: None)
        except TimeoutError:
            self.kill()
        except (ProblemError, _StoppedError):
            pass

    async def _ensure_started(self) -> None:
        if self._process is not None and not self._process.is_alive():
            self.kill()  # it ended between two tasks
            self._ended()
        if self.ready.is_set():
            return
        try:
            await self.start()
        except WebError:
            await asyncio.sleep(_RESTART_PAUSE)
            raise ProblemError(503, f"the {self.config.role} process cannot start.") from None

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has ended, which its messages will tell
            self._connection.send_bytes(json.dumps(message).encode())

    def kill(self) -> None:
        """End the process at once; the next task starts another one."""
        self.ready.clear()
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
            self._connection.close()
            self._process = None


def _receive(
    connection: Any, loop: asyncio.AbstractEventLoop, messages: asyncio.Queue[dict[str, Any] | None]
) -> None:
    """Pass on what a process sends, and None at its end; runs in a thread."""
    while True:
        try:
            message = json.loads(connection.recv_bytes(child.LONGEST_MESSAGE))
        except (EOFError, OSError, ValueError):
            message = None
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(messages.put_nowait, message)
        if message is None:
            return
