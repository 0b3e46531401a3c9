"""What went wrong with a request, as RFC 9457 has it (`application/problem+json`)."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from atdsr.base.errors import AtdsrError
from atdsr.base.escaping import printable

STATUSES = {
    400: "A parameter or a header is wrong.",
    401: "The service wants a token.",
    403: "The request comes from another site, or for another host.",
    404: "There is no such job, or it has expired.",
    405: "The path does not know this method.",
    408: "The picture came too slowly.",
    409: "The job has no result: it is not done yet, or was cancelled.",
    413: "The picture has too many bytes or pixels.",
    415: "The file is not a picture of a format that is read.",
    422: "The picture is damaged, or cannot be enlarged as asked.",
    429: "Too many uploads at once from one address.",
    431: "The headers or the query are too long.",
    500: "The service has a defect.",
    503: "The service is starting or stopping, the queue is full, or a worker process ended.",
}
"""The status codes of errors, and what each means here."""

_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")


class ProblemError(AtdsrError):
    """A request that cannot be answered as asked.

    Attributes:
        status: The HTTP status code, one of `STATUSES`.
        retry_after: Seconds after which the same request may succeed; None if it never will.
    """

    def __init__(self, status: int, sentence: str, *, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after

    def record(self) -> dict[str, Any]:
        """Return the members of the problem."""
        title = HTTPStatus(self.status).phrase
        return {"type": "about:blank", "title": title, "status": self.status, "detail": str(self)}

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """Return the response that tells of the problem."""
        more = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            more["WWW-Authenticate"] = "Bearer"
        return JSONResponse(
            self.record(),
            self.status,
            {**more, **(headers or {})},
            media_type="application/problem+json",
        )


def for_client(sentence: str, names: Mapping[str, str] | None = None) -> str:
    """Return a sentence of the command line for a client of the service.

    Options get the names of parameters (`--strip-metadata` is `strip_metadata`), and paths of this
    machine the names that the client knows.

    Args:
        sentence: The sentence.
        names: What to put in the place of each path.
    """
    for path, name in (names or {}).items():
        sentence = sentence.replace(path, name)
    return printable(_OPTION.sub(lambda match: match[1].replace("-", "_"), sentence))
