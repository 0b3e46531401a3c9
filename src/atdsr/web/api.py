"""The routes of the API, `/v1/...`: requests in, JSON, pictures and events out."""

import asyncio
import contextlib
import re
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from atdsr.web import archive, events
from atdsr.web.jobs import Job, State
from atdsr.web.metrics import MEDIA_TYPE
from atdsr.web.options import PARAMETERS, Options, parse_parameter
from atdsr.web.problems import ProblemError
from atdsr.web.service import UPLOAD, Service
from atdsr.web.uploads import Refusal, Uploads

LONGEST_WAIT = 600
"""Most seconds that `Prefer: wait=N` waits."""

VIEWS = ("thumbnail", "input", "bicubic", "result")
"""The pictures of a job that can be shown in a browser."""

MEDIA_TYPES = {
    "png": "image/png",
    "tiff": "image/tiff",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "jxl": "image/jxl",
    "jp2": "image/jp2",
    "ppm": "image/x-portable-anymap",
}
"""The media type of each format that is written."""

_EXPLANATION_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'self'"
)
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?(?=$|[,;\s])")
_CACHED = {"cache-control": "private, max-age=3600, immutable"}

Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """The handlers of the API.

    Args:
        service: The jobs.
        document: Returns the OpenAPI document.
    """

    def __init__(self, service: Service, document: Callable[[], dict[str, Any]]) -> None:
        self._service = service
        self._uploads = Uploads(service)
        self._document = document

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/upscale", self.upscale, methods=["POST"]),
            Route("/v1/jobs", self.list_jobs, methods=["GET"]),
            Route("/v1/jobs", self.delete_jobs, methods=["DELETE"]),
            Route("/v1/jobs/{job}", self.get_job, methods=["GET"]),
            Route("/v1/jobs/{job}", self.delete_job, methods=["DELETE"]),
            Route("/v1/jobs/{job}/events", self.job_events, methods=["GET"]),
            Route("/v1/jobs/{job}/result", self.result, methods=["GET"]),
            Route("/v1/jobs/{job}/views/{view}", self.view, methods=["GET"]),
            Route("/v1/jobs/{job}/explanation", self.explanation, methods=["GET"]),
            Route("/v1/events", self.group_events, methods=["GET"]),
            Route("/v1/archive", self.archive, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def upscale(self, request: Request) -> Any:
        """Take a picture; answer with a job, or with the result if the client waits for it."""
        try:
            options = Options.parse(request.query_params.multi_items())
            with self._uploads.counted(request):
                job = await self._accept(request, options)
        except ProblemError as problem:
            return Refusal(problem.response())
        wait = _wanted_wait(request)
        if wait and await _finished(request, job, wait):
            if job.state is not State.DONE:
                raise job.missing_result()
            response = _file(job, {"preference-applied": "wait"})
        else:
            response = JSONResponse(self._record(job), 202)
        response.headers["location"] = f"/v1/jobs/{job.id}"
        return response

    async def _accept(self, request: Request, options: Options) -> Job:
        job = self._service.new_job(options)
        try:
            await self._uploads.receive(request, job.folder / UPLOAD)
            await self._service.submit(job)
        except BaseException:
            self._service.discard(job)
            raise
        return job

    async def list_jobs(self, request: Request) -> Response:
        """List the jobs of a group."""
        jobs = self._service.group(_group(request))
        return JSONResponse({"jobs": self._service.records(jobs)})

    async def delete_jobs(self, request: Request) -> Response:
        """Cancel or delete the jobs of a group."""
        for job in self._service.group(_group(request)):
            self._service.cancel(job)
        return Response(status_code=204)

    async def get_job(self, request: Request) -> Response:
        """Tell about a job."""
        return JSONResponse(self._record(self._job(request)))

    async def delete_job(self, request: Request) -> Response:
        """Cancel a job, or delete one that has ended."""
        self._service.cancel(self._job(request))
        return Response(status_code=204)

    async def job_events(self, request: Request) -> Response:
        """Follow a job until it has ended."""
        job = self._job(request)
        return events.response(self._service, lambda: [job])

    async def group_events(self, request: Request) -> Response:
        """Follow the jobs of a group until all have ended."""
        group = _group(request)
        return events.response(self._service, lambda: self._service.group(group))

    async def result(self, request: Request) -> Response:
        """Send the result of a job."""
        job = self._job(request)
        if job.state is not State.DONE:
            raise job.missing_result()
        return _file(job)

    async def view(self, request: Request) -> Response:
        """Send a picture of a job in a format that browsers show."""
        job, kind = self._job(request), request.path_params["view"]
        if kind not in VIEWS:
            raise ProblemError(404, f"there is no such view, only {', '.join(VIEWS)}.")
        if job.state in (State.FAILED, State.CANCELLED):
            raise job.missing_result()
        if kind in ("result", "bicubic") and job.state is not State.DONE:
            raise job.missing_result()
        path = await self._service.view(job, kind)
        media_type = "image/webp" if path.suffix == ".webp" else "image/png"
        return FileResponse(path, headers=_CACHED, media_type=media_type)

    async def explanation(self, request: Request) -> Response:
        """Send the page that shows how the network sees the picture of a job."""
        job = self._job(request)
        if job.state in (State.FAILED, State.CANCELLED):
            raise job.missing_result()
        page = await self._service.explain(job)
        headers = {"content-security-policy": _EXPLANATION_POLICY}
        return FileResponse(page, headers=headers, media_type="text/html; charset=utf-8")

    async def archive(self, request: Request) -> Response:
        """Send the results of a group as one zip file."""
        jobs = self._service.group(_group(request))
        done = [job for job in jobs if job.state is State.DONE]
        if not done:
            raise ProblemError(404, "the group has no results; they may have expired.")
        headers = {"content-disposition": 'attachment; filename="atdsr.zip"'}
        return StreamingResponse(archive.stream(done), 200, headers, "application/zip")

    async def models(self, _: Request) -> Response:
        """List the models, and what can be read and written."""
        facts = self._service.facts
        if not facts:
            raise ProblemError(503, "the service is starting; try again soon.", retry_after=2)
        return JSONResponse(facts)

    async def openapi(self, _: Request) -> Response:
        """Send the OpenAPI document."""
        return JSONResponse(self._document())

    async def healthz(self, _: Request) -> Response:
        """Tell that the server answers."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        """Tell whether pictures can be enlarged."""
        if not self._service.ready:
            reason = self._service.failure or "the service is starting or stopping."
            raise ProblemError(503, reason, retry_after=2)
        return JSONResponse({"status": "ok"})

    async def metrics(self, _: Request) -> Response:
        """Send figures for Prometheus."""
        service = self._service
        running = sum(job.state is State.RUNNING for job in service.jobs.values())
        text = service.metrics.text(
            jobs_waiting=service.waiting, jobs_running=running, uploads=service.uploads
        )
        return Response(text, headers={"content-type": MEDIA_TYPE})

    def _job(self, request: Request) -> Job:
        return self._service.find(request.path_params["job"])

    def _record(self, job: Job) -> dict[str, Any]:
        return self._service.records([job])[0]


def _group(request: Request) -> str:
    """Return the parameter `group`, the only one of its path.

    Raises:
        ProblemError: It is missing, or there are others.
    """
    values: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        values |= parse_parameter(name, text, {"group": PARAMETERS["group"]}, values)
    if "group" not in values:
        raise ProblemError(400, "the parameter 'group' is missing.")
    return values["group"]


def _file(job: Job, headers: dict[str, str] | None = None) -> Response:
    assert job.result is not None, "the state has been asked for"
    result = job.facts["result"]
    return FileResponse(
        job.result,
        headers={"content-disposition": attachment(result["filename"]), **(headers or {})},
        media_type=MEDIA_TYPES[result["format"]],
    )


def attachment(name: str) -> str:
    r"""Return the header `content-disposition` (RFC 6266) that saves a file by a name.

    Clients such as curl know only names in ASCII, so one comes first where the name has more.

    Example:
        >>> attachment("Grün.png")
        'attachment; filename="Grun.png"; filename*=utf-8\'\'Gr%C3%BCn.png'
    """
    decomposed = unicodedata.normalize("NFKD", name)
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    plain = re.sub(r'[^ -~]|["%\\/]', "_", letters)
    header = f'attachment; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=utf-8''{quote(name, safe='')}"


def _wanted_wait(request: Request) -> int:
    """Return how many seconds a client wants to wait (RFC 7240), at most `LONGEST_WAIT`."""
    match = _PREFER_WAIT.search(", ".join(request.headers.getlist("prefer")))
    return min(int(match[1]), LONGEST_WAIT) if match else 0


async def _finished(request: Request, job: Job, seconds: int) -> bool:
    """Wait for the end of a job, and return whether it has come.

    If the client goes away, nobody knows the job, so it is cancelled.
    """
    end = asyncio.ensure_future(job.finished.wait())
    leave = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({end, leave}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if leave.done() and not end.done():
            request.app.state.service.cancel(job)
        return end.done()
    finally:
        for task in (end, leave):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leave


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
