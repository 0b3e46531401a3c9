"""The page, its scripts and styles, and how a browser gets the token."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files as resources
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from atdsr.reports import html
from atdsr.web.config import WebConfig
from atdsr.web.guard import COOKIE, cookie_token, same_token
from atdsr.web.options import FORMAT_NAMES
from atdsr.web.problems import ProblemError
from atdsr.web.uploads import Refusal

PACKAGE = "atdsr.web"
"""The package whose folder `templates` holds the page."""

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_LONGEST_FORM = 4096


class Pages:
    """The handlers of what a browser shows. All of it is read once.

    Args:
        config: How the service runs.
    """

    def __init__(self, config: WebConfig) -> None:
        self._config = config
        folder = resources(PACKAGE) / "templates"
        self._files = {
            entry.name: entry.read_bytes()
            for entry in folder.iterdir()
            if entry.name.endswith(tuple(_MEDIA_TYPES))
        }
        self._files["base.css"] = html.asset("base.css").encode()
        self._version = _digest(self._files)
        self._page = self._render("page.html")
        self._login = self._render("login.html")

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/session", self.session, methods=["POST"]),
            Route("/static/{version}/{name}", self.file, methods=["GET"]),
            Route("/favicon.ico", self.icon, methods=["GET"]),
        ]

    def _render(self, template: str) -> bytes:
        parts = html.render(
            template,
            package=PACKAGE,
            version=self._version,
            local=self._config.is_local,
            minutes=round(self._config.keep_seconds / 60),
            megapixels=self._config.max_megapixels,
            megabytes=self._config.max_megabytes,
            formats=FORMAT_NAMES,
        )
        return b"".join(parts)

    async def page(self, request: Request) -> Response:
        """Send the page, or the one that asks for the token."""
        token = self._config.token
        if token is None or same_token(cookie_token(request.headers), token):
            return HTMLResponse(self._page)
        return HTMLResponse(self._login)

    async def session(self, request: Request) -> Response:
        """Keep the token of a form in a cookie."""
        body = b""
        async for block in request.stream():
            body += block
            if len(body) > _LONGEST_FORM:
                return Refusal(ProblemError(413, "the form is too long.").response())  # pyright: ignore[reportReturnType]
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        if self._config.token is None or not same_token(given, self._config.token):
            return HTMLResponse(self._login, 401, {"WWW-Authenticate": "Bearer"})
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, given, httponly=True, samesite="strict", path="/")
        return response

    async def file(self, request: Request) -> Response:
        """Send a script or a stylesheet; its address changes with its content."""
        name = request.path_params["name"]
        if name not in self._files:
            raise ProblemError(404, "there is no such file.")
        kind = _MEDIA_TYPES[f".{name.rpartition('.')[2]}"]
        headers = {"content-type": kind, "cache-control": "max-age=31536000, immutable"}
        return Response(self._files[name], headers=headers)

    async def icon(self, _: Request) -> Response:
        """Tell browsers that there is no icon beside the one in the page."""
        return Response(status_code=204)


def _digest(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(contents[name])
    return digest.hexdigest()[:12]
