"""An S3 server on this machine, with a proxy before it that makes faults on demand."""

import contextlib
import http.client
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

import pytest

from helpers.servers import serving

_XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}


def moto_server() -> str | None:
    """Return the command that starts the S3 server; None if it is not installed."""
    beside = Path(sys.executable).parent
    places = [beside / "moto_server", beside.parent / "s3-server/bin/moto_server"]
    return next((str(path) for path in places if path.exists()), shutil.which("moto_server"))


needs_s3 = pytest.mark.skipif(
    moto_server() is None, reason="no S3 server is installed (pip install 'moto[server,s3]')"
)


@contextmanager
def moto() -> Iterator[int]:
    """Run the S3 server, which keeps everything in memory; its port comes back."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [moto_server() or "", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.1)
        else:
            raise RuntimeError("the S3 server did not start within 30 s")
        yield port
    finally:
        process.terminate()
        process.wait()


Fault = Callable[[str, str], str | None]
"""What happens to a request with a method and a path with its query: None, nothing; a status such
as "503"; "cut", half of the answer's body; "drop", no answer; "hang", none for 5 s."""


@dataclass
class Proxy:
    """What stands between the store's user and the S3 server.

    Attributes:
        port: where it listens.
        server: port of the S3 server.
        fault: what it does to requests.
        asked: method and path of each request.
        ranges: the parts that were asked for.
    """

    port: int
    server: int
    fault: Fault = lambda _method, _path: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)

    def count(self) -> Counter[str]:
        return Counter(method for method, _ in self.asked)

    # straight to the server, as somebody else would:

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.server, timeout=30)
        signed = "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request, "
        signed += "SignedHeaders=host, Signature=0"
        connection.request(method, quote(path, "/?=&"), body, {"Authorization": signed, **headers})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return content

    def make_bucket(self, bucket: str) -> None:
        self.request("PUT", f"/{bucket}")

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self.request("PUT", f"/{bucket}/{key}", content)

    def get(self, bucket: str, key: str) -> bytes:
        return self.request("GET", f"/{bucket}/{key}")

    def keys(self, bucket: str) -> list[str]:
        answer = ElementTree.fromstring(self.request("GET", f"/{bucket}?list-type=2"))
        return [each.text or "" for each in answer.iter(f"{_XML}Key")]

    def uploads(self, bucket: str) -> list[str]:
        """Return the keys of multipart uploads that were neither completed nor aborted."""
        answer = ElementTree.fromstring(self.request("GET", f"/{bucket}?uploads"))
        return [each.text or "" for each in answer.iter() if each.tag.endswith("Key")]


@contextmanager
def faulty(server: int) -> Iterator[Proxy]:
    """Run a proxy before the S3 server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            with contextlib.suppress(ConnectionError):
                _pass_on(self, proxy)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # whoever asked has hung up

    listener = Listener(("127.0.0.1", 0), Handler)
    proxy = Proxy(listener.server_port, server)
    with serving(listener):
        yield proxy


def _pass_on(request: Any, proxy: Proxy) -> None:
    body = request.rfile.read(int(request.headers["Content-Length"] or 0))
    proxy.asked.append((request.command, request.path))
    proxy.ranges.append(request.headers["Range"])
    fault = proxy.fault(request.command, unquote(request.path))
    if fault == "hang":
        time.sleep(5)
    if fault in ("drop", "hang"):
        request.close_connection = True
        return
    if fault is not None and fault.isdigit():
        text = b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"
        request.send_response(int(fault))
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(text)
        return
    connection = http.client.HTTPConnection("127.0.0.1", proxy.server, timeout=60)
    connection.request(request.command, request.path, body, dict(request.headers))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    request.send_response_only(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in _HOP:
            request.send_header(name, value)
    length = answer.getheader("Content-Length") if request.command == "HEAD" else None
    request.send_header("Content-Length", length or str(len(content)))
    request.end_headers()
    if fault == "cut":
        request.wfile.write(content[: len(content) // 2])
        request.wfile.flush()
        request.connection.shutdown(socket.SHUT_RDWR)
        request.close_connection = True
        return
    request.wfile.write(content)


def first(count: int, fault: str, method: str, part: str = "") -> Fault:
    """Make a fault of the first requests of a kind."""
    left = [count]

    def decide(asked: str, path: str) -> str | None:
        if asked != method or part not in path or not left[0]:
            return None
        left[0] -= 1
        return fault

    return decide


def environment(proxy: Proxy) -> dict[str, str]:
    """Return the environment variables with which commands use the proxy, and nothing else."""
    return {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "very-secret-words",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def path_of(target: str) -> str:
    """Return the path in a request, without its query."""
    return urlsplit(target).path
