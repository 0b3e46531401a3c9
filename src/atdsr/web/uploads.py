"""Receiving a picture: the body of the request as it is, into a file, within bounds."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from atdsr.web.problems import ProblemError
from atdsr.web.service import Service

PER_ADDRESS = 16
"""Most uploads at once from one address, unless it is this machine."""

_SILENCE_SECONDS = 20.0  # between two pieces of a body
_LEAST_BYTES_A_SECOND = 4096  # on average, once the upload has gone on for some time
_GRACE_SECONDS = 30.0
_LINGER_SECONDS = 2.0


class Uploads:
    """The uploads in progress.

    Args:
        service: What the pictures are for; it counts the uploads, too.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._by_address: Counter[str] = Counter()

    @contextmanager
    def counted(self, request: Request) -> Iterator[None]:
        """Count an upload during the block.

        Raises:
            ProblemError: There are too many, or the service takes none.
        """
        address = request.client.host if request.client else ""
        self._service.check_open()
        if not self._service.config.is_local and self._by_address[address] >= PER_ADDRESS:
            raise ProblemError(
                429,
                f"there are {PER_ADDRESS} uploads from {address} already; wait for their end.",
                retry_after=2,
            )
        self._service.uploads += 1
        self._by_address[address] += 1
        try:
            yield
        finally:
            self._service.uploads -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    async def receive(self, request: Request, path: Path) -> None:
        """Write the body of a request to a file.

        Raises:
            ProblemError: It is empty, too large, too slow, or ends early.
        """
        limit = self._service.config.max_bytes
        check_length(request, limit)
        size = 0
        with path.open("wb") as file:
            async for block in _blocks(request):
                size += len(block)
                self._service.metrics.received(len(block))
                if size > limit:
                    raise too_large(limit)
                # small blocks; the system writes them to the disk later, so this does not wait
                file.write(block)
        if not size and "filename" in request.query_params:
            raise ProblemError(400, "the file is empty.")
        if not size:
            raise ProblemError(400, "the body is empty; send the picture in it.")


def too_large(limit: int) -> ProblemError:
    """Return the problem with an upload of too many bytes."""
    return ProblemError(413, f"the upload has more than the limit of {limit:,} bytes.")


def check_length(request: Request, limit: int) -> None:
    """Check a request by its headers, before any of its body is read.

    Raises:
        ProblemError: It announces too many bytes, or a body that is not the picture itself.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large(limit)
    # curl calls every body a form unless it is told otherwise, so the other kind of form is no sign
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise ProblemError(
            415, "the body is a form; send the file itself as the body (curl --data-binary @FILE)."
        )
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ProblemError(415, "a content encoding is not supported; send the file as it is.")


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    """Yield the pieces of a body.

    Raises:
        ProblemError: They come too slowly, or not all of them come.
    """
    start, size = time.monotonic(), 0
    pieces = request.stream()
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                block = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ProblemError(408, "the picture came too slowly; send it again.") from None
        except ClientDisconnect:
            raise ProblemError(400, "the picture was cut off; send it again.") from None
        size += len(block)
        seconds = time.monotonic() - start
        if seconds > _GRACE_SECONDS and size < _LEAST_BYTES_A_SECOND * seconds:
            raise ProblemError(408, "the picture came too slowly; send it again.")
        yield block


class Refusal:
    """A response to a request whose body has not been read, and will not be.

    The connection is closed after it. A client that still sends would then lose the response, so
    what it sends is thrown away for a moment.

    Args:
        response: The response.
    """

    def __init__(self, response: Response) -> None:
        self._response = response
        self._response.headers["connection"] = "close"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""

        async def send_and_linger(message: Message) -> None:
            is_end = message["type"] == "http.response.body" and not message.get("more_body")
            if not is_end:
                await send(message)
                return
            await send({**message, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_SECONDS):
                    while (await receive()).get("more_body"):
                        pass
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._response(scope, receive, send_and_linger)
