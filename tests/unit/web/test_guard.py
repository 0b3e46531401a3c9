"""Who is let in, on the application itself, without a socket or child processes."""

import json
from pathlib import Path

import anyio
import httpx
import pytest

from atdsr.web.app import build
from atdsr.web.config import WebConfig
from atdsr.web.metrics import Metrics
from atdsr.web.service import Service

TOKEN = "0123456789abcdef"
LOCAL = {"host": "localhost:8000"}


def ask(
    folder: Path,
    method: str = "GET",
    path: str = "/v1/models",
    *,
    headers: dict[str, str] | None = None,
    config: WebConfig | None = None,
    content: bytes = b"",
    log: list[str] | None = None,
) -> httpx.Response:
    config, metrics = config or WebConfig(), Metrics()
    folder.mkdir(exist_ok=True)
    lines = [] if log is None else log

    async def run() -> httpx.Response:
        app = build(config, Service(config, folder, metrics), metrics, lines.append)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, path, headers=headers or LOCAL, content=content)

    return anyio.run(run)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"])
def test_this_machine_is_let_in(tmp_path: Path, host: str):
    assert ask(tmp_path, path="/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "[::1", "10.0.0.1"])
def test_a_rebound_name_is_not(tmp_path: Path, host: str):
    answer = ask(tmp_path, path="/healthz", headers={"host": host})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_gateway_may_forward_by_its_name(tmp_path: Path):
    config = WebConfig(hosts=("pictures.example",))
    headers = {"host": "pictures.example"}
    assert ask(tmp_path, path="/healthz", headers=headers, config=config).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://localhost:8000"}, 404),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 404),
        ({"sec-fetch-site": "none"}, 404),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}, 403),
    ],
)
def test_other_sites_are_refused(tmp_path: Path, headers: dict[str, str], status: int):
    answer = ask(tmp_path, "DELETE", "/v1/jobs/none", headers=LOCAL | headers)
    assert answer.status_code == status


def test_a_link_from_another_site_may_lead_to_the_page_only(tmp_path: Path):
    visit = LOCAL | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask(tmp_path, path="/", headers=visit).status_code == 200
    assert ask(tmp_path, path="/v1/models", headers=visit).status_code == 403


REMOTE = WebConfig(host="0.0.0.0", token=TOKEN)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN}"},
        {"cookie": f"atdsr_token={TOKEN}"},
    ],
)
def test_who_knows_the_token_is_let_in(tmp_path: Path, headers: dict[str, str]):
    answer = ask(tmp_path, path="/v1/jobs/none", headers=headers, config=REMOTE)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer 0123456789abcdeg"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer"},
        {"cookie": "atdsr_token=;;;="},
        {"cookie": 'atdsr_token="unclosed'},
    ],
)
def test_who_does_not_is_not(tmp_path: Path, headers: dict[str, str]):
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/nothing"):
        answer = ask(tmp_path, path=path, headers=headers, config=REMOTE)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert ask(tmp_path, path="/healthz", headers=headers, config=REMOTE).status_code == 200


def test_all_answers_have_the_headers(tmp_path: Path):
    for path in ("/", "/healthz", "/nothing", "/v1/jobs/none", "/readyz"):
        headers = ask(tmp_path, path=path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_unknown_paths_and_methods_are_problems(tmp_path: Path):
    answer = ask(tmp_path, "PUT", "/v1/upscale")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["detail"] == "/v1/upscale knows only POST."
    assert ask(tmp_path, path="/../../etc/passwd").status_code == 404
    assert ask(tmp_path, path="/static/x/..%2f..%2fconfig.py").status_code == 404


def test_a_line_tells_of_a_request_and_not_of_what_is_in_it(tmp_path: Path):
    log: list[str] = []
    ask(tmp_path, path="/v1/jobs/0123456789secret?group=private", log=log)
    (line,) = map(json.loads, log)
    assert line["route"] == "/v1/jobs/{job}"
    assert line["job"] == "01234567"
    assert line["status"] == 404
    assert "private" not in log[0]
    assert "secret" not in log[0]
