"""The application: all routes, and what holds for all of them."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from atdsr.web.api import Api
from atdsr.web.config import WebConfig
from atdsr.web.guard import Guard
from atdsr.web.metrics import Metrics
from atdsr.web.openapi import document
from atdsr.web.pages import Pages
from atdsr.web.problems import ProblemError
from atdsr.web.service import Service


def build(
    config: WebConfig, service: Service, metrics: Metrics, log: Callable[[str], None] | None
) -> ASGIApp:
    """Return the application.

    Args:
        config: How the service runs.
        service: The jobs.
        metrics: Counts the requests.
        log: Takes a line for each request; None writes no lines.
    """
    api = Api(service, lambda: document(config))
    app = Starlette(
        routes=[*api.routes(), *Pages(config).routes()],
        exception_handlers={
            ProblemError: _answer_problem,
            HTTPException: _answer_http_exception,
            Exception: _answer_defect,
        },
    )
    app.state.service = service
    return Guard(app, config, metrics, log)


def _answer_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response()


def _answer_http_exception(request: Request, error: Exception) -> Response:
    """Tell of an unknown path or method like of everything else."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        problem = ProblemError(405, f"{request.url.path} knows only {allowed}.")
        return problem.response(error.headers)
    return ProblemError(error.status_code, "there is no such path.").response(error.headers)


def _answer_defect(_: Request, error: Exception) -> Response:
    return ProblemError(500, f"this is a defect of atdsr ({type(error).__name__}).").response()
