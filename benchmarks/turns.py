"""Processes that take turns, so that they share a run but neither memory nor settings.

How glibc hands out memory is a matter of the whole process, and so is its peak. So each thing to
be measured lives in a process of its own and does something only while it is asked to.
"""

import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar
from unittest import mock

import torch

Made = TypeVar("Made")
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_HERE = Path(__file__).parent
_PROCESSES = multiprocessing.get_context("forkserver")


class DiedError(Exception):
    """A process that ended instead of answering, as one does when memory runs out."""


class Worker(AbstractContextManager["Worker[Made]"], Generic[Made]):
    """An object that lives in a process of its own.

    Args:
        make: makes the object there; a class or function of a module.
        arguments: for it.
    """

    def __init__(
        self, make: Callable[Arguments, Made], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> None:
        _start_server()
        self._connection, other = _PROCESSES.Pipe()
        target = (other, make, args, kwargs)
        self._process = _PROCESSES.Process(target=_serve, args=target, daemon=True)
        self._process.start()
        other.close()

    def ask(
        self,
        method: Callable[Concatenate[Made, Arguments], Answer],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Call a method of the object over there, and wait for what it returns.

        Raises:
            DiedError: the process ended.
        """
        try:
            self._connection.send((method, args, kwargs))
            return self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise DiedError(f"a process ended with {self._process.exitcode}") from None

    def __exit__(self, *_: object) -> None:
        self._connection.close()  # which ends the process, unless it has ended already
        self._process.join()


def _start_server() -> None:
    """Start the process that all workers are copies of, unless it runs.

    It imports once what takes seconds, which it finds by PYTHONPATH alone.
    """
    _PROCESSES.set_forkserver_preload(["networks_compared"])
    path = os.pathsep.join(filter(None, (str(_HERE), os.environ.get("PYTHONPATH"))))
    # threads that wait would burn the processor's time, which is counted
    with mock.patch.dict(os.environ, PYTHONPATH=path, OMP_WAIT_POLICY="PASSIVE"):
        forkserver.ensure_running()


def _serve(
    connection: Connection, make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    made = make(*args, **kwargs)
    while True:
        try:
            method, args, kwargs = connection.recv()
        except EOFError:
            return
        connection.send(method(made, *args, **kwargs))


@dataclass(frozen=True)
class Seconds:
    """What something took.

    Attributes:
        cpu: user and system time of all threads of the process; page faults are in it.
        wall: on the clock.
    """

    cpu: float
    wall: float


def timed(work: Callable[[], object]) -> Seconds:
    """What a call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def machine() -> str:
    """The processor and the versions, for the head of a table."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (
        f"{names[0] if names else name}, {os.cpu_count()} processors, {torch.get_num_threads()} "
        f"threads, {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )
