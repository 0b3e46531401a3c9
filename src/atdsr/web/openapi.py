"""The OpenAPI document, made from the table of parameters and the table of status codes."""

import re
from typing import Any

import atdsr
from atdsr.web.api import LONGEST_WAIT, MEDIA_TYPES, VIEWS
from atdsr.web.config import WebConfig
from atdsr.web.jobs import State
from atdsr.web.options import PARAMETERS
from atdsr.web.problems import STATUSES

_Schema = dict[str, Any]

_JOB_REF: _Schema = {"$ref": "#/components/schemas/Job"}
_NUMBER: _Schema = {"type": ["number", "null"]}
_WHOLE: _Schema = {"type": ["integer", "null"]}
_TEXT: _Schema = {"type": ["string", "null"]}


def document(config: WebConfig) -> dict[str, Any]:
    """Return the OpenAPI document of the service.

    Args:
        config: How the service runs; it says whether a token is needed.
    """
    security = [{"token": []}] if config.token is not None else []
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "atdsr",
            "version": atdsr.__version__,
            "description": "Enlarge pictures. Errors are problems as RFC 9457 has them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": security,
        "paths": _paths(),
        "components": {
            "schemas": {"Job": _job(), "Problem": _problem(), "Status": _status()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> dict[str, Any]:
    job = _path_parameter("job", "The id of a job.", {"type": "string", "minLength": 1})
    view = _path_parameter("view", "Which picture.", {"type": "string", "enum": list(VIEWS)})
    group = _query_parameter("group", required=True)
    events = _content("text/event-stream", {})
    jobs = {"type": "object", "required": ["jobs"], "properties": {"jobs": _list(_JOB_REF)}}
    status = {"$ref": "#/components/schemas/Status"}
    paths = {
        "/v1/upscale": {"post": _upscale()},
        "/v1/jobs": {
            "get": _operation("List the jobs of a group.", [group], _json(jobs), 400),
            "delete": _operation("Cancel or delete the jobs of a group.", [group], None, 400),
        },
        "/v1/jobs/{job}": {
            "get": _operation("Tell about a job.", [job], _json(_JOB_REF), 404),
            "delete": _operation(
                "Cancel a job that waits or runs, or delete one that has ended.", [job], None, 404
            ),
        },
        "/v1/jobs/{job}/events": {
            "get": _operation(
                "Follow a job until it has ended: events `job`, `gone` and `end`.",
                [job],
                events,
                404,
            )
        },
        "/v1/jobs/{job}/result": {
            "get": _operation("Get the result.", [job], _pictures(), 404, 409, *_FAILURES)
        },
        "/v1/jobs/{job}/views/{view}": {
            "get": _operation(
                "Get a picture of the job in a format that browsers show: the thumbnail, the "
                "input, the input enlarged by bicubic resampling, or the result.",
                [job, view],
                _content("image/png", {}) | _content("image/webp", {}),
                404,
                409,
                *_FAILURES,
            )
        },
        "/v1/jobs/{job}/explanation": {
            "get": _operation(
                "Get a page that shows how the network sees the picture.",
                [job],
                _content("text/html", {"type": "string"}),
                404,
                409,
                *_FAILURES,
            )
        },
        "/v1/events": {
            "get": _operation(
                "Follow the jobs of a group until all have ended.", [group], events, 400
            )
        },
        "/v1/archive": {
            "get": _operation(
                "Get all results of a group as a zip file.",
                [group],
                _content("application/zip", {}),
                400,
                404,
            )
        },
        "/v1/models": {
            "get": _operation("List models, formats and devices.", [], _json(_models()), 503)
        },
        "/healthz": {"get": _operation("Tell that the server answers.", [], _json(status))},
        "/readyz": {
            "get": _operation("Tell whether pictures can be enlarged.", [], _json(status), 503)
        },
        "/metrics": {
            "get": _operation(
                "Get figures for Prometheus.", [], _content("text/plain", {"type": "string"})
            )
        },
        "/openapi.json": {"get": _operation("Get this document.", [], _json({"type": "object"}))},
    }
    for path, methods in paths.items():
        for method, operation in methods.items():
            operation["operationId"] = _operation_id(method, path)
    return paths


def _operation_id(method: str, path: str) -> str:
    """Return the name of an operation for programs, such as `get_jobs_job_result`."""
    words = re.findall(r"[a-z]+", path.removeprefix("/v1").removesuffix(".json"))
    return "_".join([method, *words])


_FAILURES = (400, 422, 503)


def _upscale() -> dict[str, Any]:
    prefer = {
        "name": "Prefer",
        "in": "header",
        "description": f"wait=N: answer with the result if it is there within N seconds, at most "
        f"{LONGEST_WAIT}.",
        "schema": {"type": "string"},
    }
    parameters = [prefer, *(_query_parameter(name) for name in PARAMETERS)]
    location = {"Location": {"description": "The job.", "schema": {"type": "string"}}}
    operation = _operation(
        "Enlarge a picture. The body is the file as it is.",
        parameters,
        _pictures(),
        *(400, 408, 409, 413, 415, 422, 429, 503),
    )
    operation["requestBody"] = {
        "required": True,
        "content": _content("application/octet-stream", {}),
    }
    operation["responses"]["200"]["headers"] = location
    operation["responses"]["202"] = {
        "description": "The job, whose result is not there yet.",
        "headers": location,
        "content": _json(_JOB_REF),
        "links": {
            name: {"operationId": name, "parameters": {"job": "$response.body#/id"}}
            for name in (
                "get_jobs_job",
                "delete_jobs_job",
                "get_jobs_job_events",
                "get_jobs_job_result",
                "get_jobs_job_views_view",
                "get_jobs_job_explanation",
            )
        },
    }
    return operation


def _operation(
    summary: str, parameters: list[Any], content: dict[str, Any] | None, *errors: int
) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "What was asked for."}
    if content is not None:
        answer["content"] = content
    responses = {"200" if content is not None else "204": answer}
    for status in sorted({401, 403, *errors}):
        responses[str(status)] = _error(status)
    return {"summary": summary, "parameters": parameters, "responses": responses}


def _error(status: int) -> dict[str, Any]:
    return {
        "description": STATUSES[status],
        "content": _content("application/problem+json", {"$ref": "#/components/schemas/Problem"}),
    }


def _query_parameter(name: str, *, required: bool = False) -> dict[str, Any]:
    parameter = PARAMETERS[name]
    described = {
        "name": name,
        "in": "query",
        "description": parameter.description,
        "schema": parameter.schema,
    }
    if required:
        described["required"] = True
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _path_parameter(name: str, description: str, schema: _Schema) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
    }


def _content(media_type: str, schema: _Schema) -> dict[str, Any]:
    return {media_type: {"schema": schema}}


def _json(schema: _Schema) -> dict[str, Any]:
    return _content("application/json", schema)


def _pictures() -> dict[str, Any]:
    return {media_type: {"schema": {}} for media_type in MEDIA_TYPES.values()}


def _list(items: _Schema) -> _Schema:
    return {"type": "array", "items": items}


def _object(properties: dict[str, _Schema]) -> _Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _status() -> _Schema:
    return _object({"status": {"type": "string"}})


def _problem() -> _Schema:
    text = {"type": "string"}
    return _object({"type": text, "title": text, "status": {"type": "integer"}, "detail": text})


def _job() -> _Schema:
    result = _object(
        {
            "filename": {"type": "string"},
            "format": {"type": "string"},
            "width": {"type": "integer"},
            "height": {"type": "integer"},
        }
    )
    result["properties"]["bytes"] = {"type": "integer"}
    return _object(
        {
            "id": {"type": "string"},
            "state": {"type": "string", "enum": [state.value for state in State]},
            "place": _WHOLE | {"description": "In the queue, from 1."},
            "progress": {"type": "number", "minimum": 0, "maximum": 1},
            "seconds_left": _NUMBER,
            "filename": {"type": "string"},
            "width": _WHOLE,
            "height": _WHOLE,
            "format": _TEXT,
            "frames": _WHOLE,
            "model": _TEXT,
            "result": {"anyOf": [result, {"type": "null"}]},
            "seconds": _NUMBER | {"description": "How long the work has taken."},
            "notices": _list({"type": "string"}),
            "problem": {"anyOf": [{"$ref": "#/components/schemas/Problem"}, {"type": "null"}]},
            "explained": {"type": "boolean"},
            "created": {"type": "number", "description": "Seconds since the epoch."},
            "expires": _NUMBER | {"description": "Seconds since the epoch."},
            "url": {"type": "string"},
            "events_url": {"type": "string"},
            "result_url": _TEXT,
        }
    )


def _models() -> _Schema:
    model = _object(
        {
            "name": {"type": "string"},
            "scale": {"type": "integer"},
            "parameters": {"type": "integer"},
        }
    )
    texts = _list({"type": "string"})
    return _object({"models": _list(model), "formats": texts, "suffixes": texts, "devices": texts})
