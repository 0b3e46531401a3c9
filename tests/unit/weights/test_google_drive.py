"""Downloads from Google Drive, whose pages are imitated here."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from atdsr.weights import download, official
from atdsr.weights.models import OfficialModel
from helpers.servers import BY_HAND, Server, refused

COOKIES = "# Netscape HTTP Cookie File\n.google.com\tTRUE\t/\tTRUE\t9999999999\tSID\tsecret\n"


@pytest.fixture
def drive(
    server: Server, model: OfficialModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Server]:
    """Google's hosts, all of them the local server; gdown's cookies stay as they are, unread."""
    monkeypatch.delenv("ATDSR_MIRROR")
    (tmp_path / "cookies.txt").write_text(COOKIES)
    get = requests.Session.get

    def local(session: requests.Session, url: str, **settings: object) -> requests.Response:
        assert not session.cookies
        host, _, rest = url.removeprefix("https://").partition("/")
        assert host in ("drive.google.com", "drive.usercontent.google.com")
        return get(session, f"{server.url}/{rest}", **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.Session, "get", local)
    yield server
    assert (tmp_path / "cookies.txt").read_text() == COOKIES


FORM = (
    b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
    b'<form id="download-form" action="https://drive.usercontent.google.com/download">'
    b'<input type="hidden" name="id" value="%s"><input type="hidden" name="confirm" value="t">'
    b"</form></body></html>"
)
QUOTA = b"""<html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>
</body></html>"""
LISTING = b"""<html><head><title>ATD</title></head><body>
<a href="https://drive.google.com/drive/folders/aaaaaaaaaaaaaaaaaaaaaaaaaaaaa">models</a></body>"""
INNER = b"""<html><head><title>models</title></head><body>
<a href="https://drive.google.com/file/d/bbbbbbbbbbbbbbbbbbbbbbbbbbbbb/view?usp=x">899_a.pth</a>
<a href="https://drive.google.com/file/d/ccccccccccccccccccccccccccccc/view?usp=x">900_tiny.pth</a>
</body></html>"""


def on_drive(drive: Server, file_id: str, content: bytes) -> None:
    """A file that Google asks about first, as it does of large ones."""
    drive.headers = {"Content-Disposition": 'attachment; filename="900_tiny.pth"'}
    drive.pages[f"/download?id={file_id}&confirm=t"] = ("application/octet-stream", content)


def without_disposition(drive: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the file itself is an attachment; pages are not."""
    from http.server import BaseHTTPRequestHandler

    send = BaseHTTPRequestHandler.send_header

    def send_header(request: BaseHTTPRequestHandler, name: str, value: str) -> None:
        if name != "Content-Disposition" or request.path.startswith("/download"):
            send(request, name, value)

    monkeypatch.setattr(BaseHTTPRequestHandler, "send_header", send_header)


@pytest.mark.parametrize("listed", [True, False])
def test_google_drive(
    drive: Server,
    model: OfficialModel,
    right: bytes,
    monkeypatch: pytest.MonkeyPatch,
    listed: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file_id = "c" * 29 if listed else "an-id"
    model = replace(model, file_id=None) if listed else model
    drive.pages[f"/embeddedfolderview?id={official.DRIVE_FOLDER}"] = ("text/html", LISTING)
    drive.pages[f"/embeddedfolderview?id={'a' * 29}"] = ("text/html", INNER)
    drive.pages[f"/uc?id={file_id}"] = ("text/html", FORM % file_id.encode())
    on_drive(drive, file_id, right)
    without_disposition(drive, monkeypatch)
    download.fetch(model)
    assert model.path.read_bytes() == right
    assert model.record is not None
    assert model.record.source == f"https://drive.google.com/uc?id={file_id}"
    assert capfd.readouterr() == ("", "")  # gdown prints nothing


def test_google_hands_nothing_out(drive: Server, model: OfficialModel) -> None:
    drive.pages["/uc?id=an-id"] = ("text/html", QUOTA)
    sentence = refused(model)
    assert "Google Drive does not hand out the file (too many accesses lately" in sentence
    assert BY_HAND in sentence


def test_a_file_that_left_the_folder(drive: Server, model: OfficialModel) -> None:
    model = replace(model, file_id=None)
    drive.pages[f"/embeddedfolderview?id={official.DRIVE_FOLDER}"] = ("text/html", LISTING)
    drive.pages[f"/embeddedfolderview?id={'a' * 29}"] = ("text/html", b"<title>models</title>")
    sentence = refused(model)
    assert "900_tiny.pth is no longer in the authors' folder" in sentence
    assert f"fetch https://drive.google.com/drive/folders/{official.DRIVE_FOLDER} with" in sentence


def test_pages_that_nobody_expects(drive: Server, model: OfficialModel) -> None:
    drive.pages["/uc?id=an-id"] = ("text/html", b'<form id="download-form"></form>')
    assert "answers in a way that gdown does not understand (KeyError)" in refused(model)
