"""What holds for all requests: who may send them, the headers of answers, log lines, metrics."""

import json
import secrets
import sys
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atdsr.web.config import WebConfig
from atdsr.web.metrics import Metrics
from atdsr.web.problems import ProblemError

LONGEST_HEADERS = 32 * 2**10
"""Most bytes of headers, path and query of a request."""

COOKIE = "atdsr_token"
"""Name of the cookie in which a browser keeps the token."""

OPEN_PATHS = frozenset({"/", "/session", "/healthz", "/readyz", "/favicon.ico"})
"""Paths that need no token; none tells anything about pictures."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy of all answers that do not set their own."""

_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Wraps the application.

    Args:
        app: The application.
        config: How the service runs.
        metrics: Counts the requests.
        log: Takes a line for each request; None writes no lines.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: WebConfig,
        metrics: Metrics,
        log: Callable[[str], None] | None,
    ) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, sent = time.perf_counter(), {"status": 500, "bytes": 0}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            else:
                sent["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            try:
                self._check(scope)
            except ProblemError as problem:
                # a body that may follow is not read
                answer = problem.response({"Connection": "close"})
                await answer(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        finally:
            self._note(scope, sent, time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        """Check where a request comes from.

        Raises:
            ProblemError: It comes from another site or without the token, or is for another host.
        """
        headers = Headers(scope=scope)
        size = len(scope["raw_path"]) + len(scope["query_string"])
        if size + sum(len(name) + len(value) for name, value in headers.raw) > LONGEST_HEADERS:
            raise ProblemError(
                431, f"the headers have more than the limit of {LONGEST_HEADERS:,} bytes."
            )
        host = headers.get("host", "")
        name = _host_name(host)
        if self._config.is_local and name not in {*_LOCAL_NAMES, *self._config.hosts}:
            raise ProblemError(403, "this service is not known by that host name; use localhost.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise ProblemError(403, "requests from the pages of other sites are refused.")
        site = headers.get("sec-fetch-site", "none")
        is_visit = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        if site not in ("same-origin", "none") and not (is_visit and scope["path"] == "/"):
            raise ProblemError(403, "requests from the pages of other sites are refused.")
        path = scope["path"]
        if path not in OPEN_PATHS and not path.startswith("/static/") and not self._knows(headers):
            raise ProblemError(
                401, "the token is missing or wrong; send 'Authorization: Bearer TOKEN'."
            )

    def _knows(self, headers: Headers) -> bool:
        if self._config.token is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same_token(token.strip(), self._config.token):
            return True
        return same_token(cookie_token(headers), self._config.token)

    def _note(self, scope: Scope, sent: dict[str, int], seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requested(method, route, sent["status"])
        if self._log is None:
            return
        client = scope.get("client")
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": "request",
            "method": method,
            "route": route,
            "job": str(scope.get("path_params", {}).get("job", ""))[:8] or None,
            "status": sent["status"],
            "ms": round(1000 * seconds, 1),
            "bytes": sent["bytes"],
            "client": client[0] if client else None,
        }
        self._log(json.dumps(line))


_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})


def print_line(line: str) -> None:
    """Write a line to standard output."""
    try:
        print(line, flush=True)
    except (OSError, ValueError):  # nobody reads it any more; the service goes on
        sys.stdout = None


def same_token(given: str, token: str) -> bool:
    """Whether this is the token, in a time that does not tell how much of it is right."""
    return secrets.compare_digest(given.encode(), token.encode())


def cookie_token(headers: Headers) -> str:
    """Return the token in the cookie of a request, or ""."""
    cookie = SimpleCookie()
    try:
        cookie.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookie[COOKIE].value if COOKIE in cookie else ""


def _host_name(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
