"""The server process: sockets, signals, and the order in which everything starts and stops."""

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from atdsr.base import interrupts
from atdsr.web.app import build
from atdsr.web.config import WebConfig, WebError
from atdsr.web.guard import LONGEST_HEADERS, print_line
from atdsr.web.metrics import Metrics
from atdsr.web.problems import ProblemError
from atdsr.web.service import Service
from atdsr.web.spool import spool_folder

_MOST_CONNECTIONS = 1000
_HEADER_SECONDS = 15.0  # for the headers of a request
_IDLE_SECONDS = 75  # between two requests; more than clients and gateways wait themselves
_TICK = 0.1
_CLOSE_SECONDS = 3  # for answers that are being sent at the end


class _Protocol(H11Protocol):
    """HTTP/1.1 that does not wait for ever for a request, and tells errors like all others."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._timer = self.loop.call_later(_HEADER_SECONDS, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_idle and self._timer.cancelled():  # the first bytes of another request
            self._timer = self.loop.call_later(_HEADER_SECONDS, self._expire)
        super().data_received(data)
        if not self._is_idle:
            self._timer.cancel()

    def on_response_complete(self) -> None:
        self._timer.cancel()
        super().on_response_complete()

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expire(self) -> None:
        """Close a connection whose next request does not come."""
        if self._is_idle:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        problem = ProblemError(400, "the request is not HTTP, or its headers are too long.")
        body = json.dumps(problem.record()).encode()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to the command line."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(
    config: WebConfig,
    *,
    log: bool = True,
    opened: Callable[[str], None] = lambda _: None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run the service until SIGINT or SIGTERM asks it to stop.

    It then refuses new jobs, finishes those that it has for `config.stop_seconds` at most, and
    ends.

    Args:
        config: How it runs.
        log: Whether to write a line of JSON to standard output for each request.
        opened: Called with the address of the page when it can be opened: models and device are
            here.
        ready: Called when pictures can be enlarged.

    Raises:
        WebError: The address cannot be used, or no process can start.
    """
    _raise_file_limit()
    with contextlib.ExitStack() as stack:
        is_asked_to_stop = stack.enter_context(interrupts.stop_requests())
        listener = stack.enter_context(_listening(config))
        try:
            folder = stack.enter_context(spool_folder(config.state))
        except BlockingIOError:
            raise WebError(f"--state {config.state} is used by another service.") from None
        metrics = Metrics()
        service = Service(config, folder, metrics)
        app = build(config, service, metrics, print_line if log else None)
        asyncio.run(_serve(app, service, listener, is_asked_to_stop, opened, ready))


async def _serve(
    app: Any,
    service: Service,
    listener: socket.socket,
    is_asked_to_stop: Callable[[], bool],
    opened: Callable[[str], None],
    ready: Callable[[], None],
) -> None:
    server = _Server(
        uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_IDLE_SECONDS,
            limit_concurrency=_MOST_CONNECTIONS,
            h11_max_incomplete_event_size=LONGEST_HEADERS,
            timeout_graceful_shutdown=_CLOSE_SECONDS,
        )
    )
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    service.start()
    running = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.01)
        waiting_for_models = waiting_for_ready = True
        while not is_asked_to_stop() and not running.done() and service.failure is None:
            if waiting_for_models and service.facts:  # they are here, so the page can be opened
                waiting_for_models = False
                opened(_url(listener))
            if waiting_for_ready and service.ready:
                waiting_for_ready = False
                ready()
            await asyncio.sleep(_TICK)
        service.drain()
        end = time.monotonic() + service.config.stop_seconds
        while service.busy and service.failure is None and time.monotonic() < end:
            await asyncio.sleep(_TICK)
    finally:
        await service.stop()
        server.should_exit = True
        await running
    if service.failure is not None:
        raise WebError(service.failure)


@contextmanager
def _listening(config: WebConfig) -> Iterator[socket.socket]:
    """Yield a socket at the address of the service.

    Raises:
        WebError: The address is in use, not of this machine, or not allowed.
    """
    try:
        addresses = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = addresses[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise WebError(f"--host {config.host} is not an address: {error.strerror}.") from None
    with contextlib.closing(listener):
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
        except OSError as error:
            raise WebError(
                f"port {config.port} of {config.host} cannot be used: {error.strerror}; choose "
                "another with --port, or 0 for any."
            ) from None
        listener.setblocking(False)
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
