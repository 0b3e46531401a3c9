"""A file server that misbehaves on demand, and a tiny official model to download from it."""

import contextlib
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from http.server import (
    BaseHTTPRequestHandler,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from pathlib import Path
from typing import Any

import gdown
import pytest

from atdsr.network.config import NetworkConfig
from atdsr.weights import Weights, download, models, write_weights
from atdsr.weights.models import DownloadError, OfficialModel
from helpers.networks import TINY, lively

BY_HAND = (
    "fetch https://drive.google.com/file/d/an-id/view with a browser and run `atdsr models add"
)
"""What the error of a failed download advises."""


@dataclass
class Server:
    """What is served, how, and what was asked for.

    Attributes:
        url: where, without a slash at the end.
        pages: (content type, content) by path, also with a query.
        cuts: after so many bytes each answer in turn is cut off, at 0 where there is none left.
        always_cut: every answer is cut off after so many bytes.
        ranges: whether a part of a file may be asked for.
        length: of the whole file, as announced: the true one, none at all, or a lie.
        pause: seconds before each piece of 4096 bytes.
        status: of every answer, where it is none of success.
        headers: more of them.
        asked: path and range of each request.
        sent: bytes of the body of each answer.
        lock: holds while a request is noted.
    """

    url: str
    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    always_cut: int | None = None
    ranges: bool = True
    length: int | str = "true"
    pause: float = 0.0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, name: str, content: bytes, kind: str = "application/octet-stream") -> None:
        self.pages[f"/{name}"] = (kind, content)


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let a server answer in a thread during the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def running() -> Iterator[Server]:
    """A server on this machine alone."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):
                _answer(self, server)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_port}")
    with serving(http):
        yield server


def _answer(request: BaseHTTPRequestHandler, server: Server) -> None:
    with server.lock:  # an answer that nobody waits for any more may go on meanwhile
        number = len(server.asked)
        server.asked.append((request.path, request.headers["Range"]))
        server.sent.append(0)
    if server.status is not None:
        request.send_response(server.status)
        for name, value in server.headers.items():
            request.send_header(name, value)
        request.end_headers()
        return
    if request.path not in server.pages:
        request.send_error(404)
        return
    kind, content = server.pages[request.path]
    begin = 0
    if server.ranges and request.headers["Range"]:
        begin = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    if begin and begin >= len(content):
        request.send_error(416)
        return
    request.send_response(206 if begin else 200)
    request.send_header("Content-Type", kind)
    if begin:
        last = len(content) - 1
        request.send_header("Content-Range", f"bytes {begin}-{last}/{len(content)}")
    if server.length != "none":
        whole = len(content) if isinstance(server.length, str) else server.length
        request.send_header("Content-Length", str(whole - begin))
    for name, value in server.headers.items():
        request.send_header(name, value)
    request.end_headers()
    end = len(content)
    if server.always_cut is not None:
        end = min(end, begin + server.always_cut)
    elif server.cuts:
        end = min(end, begin + server.cuts.pop(0))
    for place in range(begin, end, 4096):
        time.sleep(server.pause)
        request.wfile.write(content[place : min(place + 4096, end)])
        server.sent[number] += min(4096, end - place)


def network_file(path: Path, config: NetworkConfig = TINY, seed: int = 0) -> bytes:
    """A `.pth` as the authors ship it, with both sets of parameters."""
    state = lively(config, seed).state_dict()
    write_weights(Weights(config, state), path, overwrite=True, trained=state)
    return path.read_bytes()


def official(**known: object) -> OfficialModel:
    """An official model with TINY's configuration."""
    fields = {"name": "official/tiny", "config": TINY, "file": "900_tiny.pth", "data": "noise"}
    return OfficialModel(parameters=9_000, **{"file_id": "an-id", **fields, **known})


def prepare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> OfficialModel:
    """Make `official/tiny` the only official model, at a mirror, with nobody waiting for long."""
    model = official()
    monkeypatch.setattr(models, "OFFICIAL", (model,))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ATDSR_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("ATDSR_MIRROR", url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 5.0))
    monkeypatch.setattr(download, "RETRIES", 1)
    monkeypatch.setattr(random, "uniform", lambda _from, _to: 0.0)
    inner = sys.modules[gdown.download.__module__]
    monkeypatch.setattr(inner, "CHUNK_SIZE", 4096)  # else half of the file here is one piece
    monkeypatch.setattr(inner, "DEFAULT_COOKIES_FILE", str(tmp_path / "cookies.txt"))
    return model


def known(model: OfficialModel, content: bytes) -> OfficialModel:
    """Return the model with a published size and hash, those of this content."""
    return replace(model, nbytes=len(content), published_sha256=sha256(content).hexdigest())


def refused(model: OfficialModel) -> str:
    """Return the error of a download, which must leave no file under the model's name."""
    with pytest.raises(DownloadError) as caught:
        download.fetch(model)
    assert not model.path.exists()
    sentence = str(caught.value)
    assert sentence.startswith("official/tiny: ")
    assert "\n" not in sentence
    return sentence


def part_bytes(model: OfficialModel) -> int:
    """Return how many bytes an interrupted download has left."""
    return sum(path.stat().st_size for path in model.download_folder.glob("*.part"))


@contextmanager
def folder_served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder; the URL comes back, without a slash at the end."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"
