"""Server-sent events: what changes about jobs, until all of them have ended."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import StreamingResponse

from atdsr.web.jobs import Job
from atdsr.web.service import Service

_PAUSE_SECONDS = 0.2  # between two messages, in which changes are gathered
_HEARTBEAT_SECONDS = 15.0  # proxies close connections that are silent for longer
_RETRY_MILLISECONDS = 1000


def response(service: Service, jobs: Callable[[], list[Job]]) -> StreamingResponse:
    """Return the response that follows jobs.

    Args:
        service: Wakes the stream at changes.
        jobs: Returns the jobs, which may become more.
    """
    headers = {"x-accel-buffering": "no"}  # for nginx
    return StreamingResponse(_stream(service, jobs), 200, headers, "text/event-stream")


async def _stream(service: Service, jobs: Callable[[], list[Job]]) -> AsyncIterator[str]:
    yield f"retry: {_RETRY_MILLISECONDS}\n\n"
    sent: dict[str, Any] = {}
    while True:
        followed = jobs()
        ended = all(job.finished.is_set() for job in followed)
        for record in service.records(followed):
            if sent.get(record["id"]) != record:
                sent[record["id"]] = record
                yield _event("job", record)
        for gone in sent.keys() - {job.id for job in followed}:
            del sent[gone]
            yield _event("gone", {"id": gone})
        if ended:
            yield _event("end", {})
            return
        try:
            async with asyncio.timeout(_HEARTBEAT_SECONDS):
                await service.changes.wait()
        except TimeoutError:
            yield ": still here\n\n"
        else:
            await asyncio.sleep(_PAUSE_SECONDS)


def _event(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
