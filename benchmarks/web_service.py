"""`atdsr web` as a process of its own, for the benchmarks of the service."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

_PATIENCE = 300.0


@dataclass
class WebService:
    """A running service.

    Attributes:
        process: its server process.
        url: its address.
        folder: for its temporary files, and for its output.
        up_seconds: from the start of Python until the first answer.
    """

    process: subprocess.Popen[bytes]
    url: str
    folder: Path
    up_seconds: float

    @property
    def port(self) -> int:
        """Its TCP port."""
        return int(self.url.rpartition(":")[2])

    def children(self) -> list[psutil.Process]:
        """Return all its child processes."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def processes(self) -> list[psutil.Process]:
        """Return the server and all its child processes."""
        return [psutil.Process(self.process.pid), *self.children()]

    def cpu_seconds(self) -> float:
        """The CPU time of the server and all its child processes so far."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(each.user + each.system for each in times)

    def memory(self) -> dict[str, int]:
        """Resident bytes of the server, and of the largest child, which is the worker."""
        largest = max(child.memory_info().rss for child in self.children())
        return {"server": psutil.Process(self.process.pid).memory_info().rss, "worker": largest}

    def leftovers(self) -> list[str]:
        """What is in the temporary folder of the service, but its lock."""
        return [
            path.name
            for spool in self.folder.glob("atdsr-web-*")
            for path in spool.iterdir()
            if path.name != ".lock"
        ]


@contextmanager
def started(folder: Path, *options: str) -> Iterator[WebService]:
    """A service that can enlarge pictures already."""
    begin = time.perf_counter()
    with (folder / "log").open("wb") as log, (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "atdsr", "web", "--port=0", *options],
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=log,
            stderr=errors,
        )
    try:
        while not (match := re.search(r"http://\S+:\d+", (folder / "errors").read_text())):
            if process.poll() is not None or time.perf_counter() - begin > _PATIENCE:
                raise SystemExit((folder / "errors").read_text())
            time.sleep(0.01)
        httpx.get(f"{match[0]}/healthz", trust_env=False)
        service = WebService(process, match[0], folder, time.perf_counter() - begin)
        while httpx.get(f"{match[0]}/readyz", trust_env=False).status_code != 200:
            time.sleep(0.1)
        yield service
    finally:
        process.terminate()
        process.wait(_PATIENCE)
