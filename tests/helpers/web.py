"""`atdsr web` as a process of its own, and requests to it."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from helpers.upscaling import SOURCES

_PATIENCE = 180.0  # seconds; a busy machine imports PyTorch slowly

GROUP = "a-group-of-a-test-0123"


@dataclass
class Running:
    """A running service.

    Attributes:
        process: The server process.
        url: Its address, without a slash at the end.
        temporary: Its folder for temporary files.
        log: The file with its lines.
    """

    process: subprocess.Popen[str]
    url: str
    temporary: Path
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **settings: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=_PATIENCE, trust_env=False, **settings)

    def upscale(self, picture: bytes, **query: Any) -> httpx.Response:
        """The answer to a picture, without waiting for its result."""
        with self.client() as client:
            return client.post("/v1/upscale", params=query, content=picture)

    def result(self, picture: bytes, **query: Any) -> httpx.Response:
        with self.client() as client:
            headers = {"Prefer": "wait=170"}
            return client.post("/v1/upscale", params=query, content=picture, headers=headers)

    def job(self, job: str) -> dict[str, Any]:
        with self.client() as client:
            return client.get(f"/v1/jobs/{job}").json()

    def ended(self, job: str) -> dict[str, Any]:
        """What is told of a job when it has ended."""
        return wait_for(lambda: self.job(job), lambda told: told["expires"] is not None)

    def raw(self, data: bytes) -> bytes:
        """All that is answered to some bytes until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(data)
            answer = b""
            try:
                while piece := connection.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass
            return answer

    def busiest(self) -> psutil.Process:
        """The child process that computes most right now: the worker while a job runs."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        before = {child: child.cpu_times().user for child in children}
        time.sleep(0.5)
        return max(children, key=lambda child: child.cpu_times().user - before[child])

    def spool(self) -> list[Path]:
        return list(self.temporary.glob("atdsr-web-*"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(_PATIENCE)


def wait_for(ask: Any, met: Any, patience: float = _PATIENCE) -> Any:
    """Ask again until the answer meets a condition."""
    end = time.monotonic() + patience
    while not met(answer := ask()):
        assert time.monotonic() < end, answer
        time.sleep(0.05)
    return answer


@contextmanager
def running(
    model: Path,
    *options: str,
    ready: bool = True,
    temporary: Path | None = None,
    **environment: str,
) -> Iterator[Running]:
    """A service with one model, on a free port."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        temporary = temporary or Path(folder, "tmp")
        temporary.mkdir(exist_ok=True)
        log, errors = Path(folder, "log"), Path(folder, "errors")
        with log.open("w") as stdout, errors.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "atdsr", "web", "--port=0", f"-m{model}", *options],
                env={
                    **os.environ,
                    "PYTHONPATH": SOURCES,
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "TMPDIR": str(temporary),
                    **environment,
                },
                stdout=stdout,
                stderr=stderr,
                text=True,
            )
        try:
            line = wait_for(errors.read_text, lambda text: "\n" in text or process.poll())
            address = re.search(r"http://\S+:\d+", line)
            assert address, line
            url = re.sub(r"//[^:]+:", "//127.0.0.1:", address[0])
            service = Running(process, url, temporary, log)
            if ready:
                with service.client() as client:
                    wait_for(lambda: client.get("/readyz").status_code, lambda code: code == 200)
            yield service
            assert process.poll() is not None or "Traceback" not in errors.read_text()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(_PATIENCE)
