"""Downloads that are cut off, killed, wrong or in the way; no half file ever gets the name."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import gdown
import pytest
import requests

from atdsr.weights import WeightsError, download, models, official
from atdsr.weights.models import DownloadError, OfficialModel, StoreError
from helpers.networks import ROOT, TINY
from helpers.servers import Server, network_file, prepare, running


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return network_file(tmp_path_factory.mktemp("served") / "900_tiny.pth")


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def model(
    server: Server, right: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> OfficialModel:
    server.serve("900_tiny.pth", right)
    return prepare(monkeypatch, tmp_path, server.url)


def known(model: OfficialModel, content: bytes) -> OfficialModel:
    """The model with its size and hash published."""
    return replace(model, nbytes=len(content), published_sha256=sha256(content).hexdigest())


def refused(model: OfficialModel) -> str:
    with pytest.raises(DownloadError) as caught:
        download.fetch(model)
    assert not model.path.exists()
    sentence = str(caught.value)
    assert sentence.startswith("official/tiny: ")
    assert "\n" not in sentence
    return sentence


def kept(model: OfficialModel) -> int:
    """Bytes that a download that did not come to its end has left."""
    return sum(path.stat().st_size for path in model.download_folder.glob("*.part"))


BY_HAND = (
    "fetch https://drive.google.com/file/d/an-id/view with a browser and run `atdsr models add"
)


# What goes well


@pytest.mark.parametrize("length", ["true", "none"])
@pytest.mark.parametrize("published", [True, False])
def test_a_file_is_fetched_once(
    server: Server, model: OfficialModel, right: bytes, published: bool, length: str
) -> None:
    server.length = length
    model = known(model, right) if published else model
    seen: list[tuple[int, int | None]] = []
    assert download.fetch(model, lambda *at: seen.append(at)) == model.path
    assert model.path.read_bytes() == right
    assert seen[-1] == (len(right), len(right) if published or length == "true" else None)
    assert seen == sorted(seen)
    assert sorted(path.name for path in model.path.parent.iterdir()) == [
        "900_tiny.json",
        "900_tiny.pth",
    ]
    assert model.path.stat().st_mode == model.path.with_suffix(".json").stat().st_mode
    record = json.loads(model.path.with_suffix(".json").read_text())
    assert record["sha256"] == sha256(right).hexdigest() == model.sha256
    assert record["bytes"] == len(right)
    assert record["source"] == f"{server.url}/900_tiny.pth"
    assert model.load().config == TINY
    download.fetch(model)
    assert len(server.asked) == 1


def test_the_python_api(model: OfficialModel, server: Server) -> None:
    with pytest.raises(WeightsError, match=r"`atdsr models fetch official/tiny` downloads it"):
        models.load_weights("official/tiny")
    assert models.fetch("official/tiny") == model.path
    assert models.load_weights(Path("official/tiny"), prefer="params").config == TINY
    with pytest.raises(WeightsError, match="atd-light-x2 comes with atdsr"):
        models.fetch("atd-light-x2")
    with pytest.raises(WeightsError, match="did you mean official/tiny"):
        models.fetch("official/tinny")


def test_a_redirect_is_followed(
    server: Server, model: OfficialModel, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running() as first:
        first.status, first.headers = 302, {"Location": f"{server.url}/900_tiny.pth"}
        monkeypatch.setenv("ATDSR_MIRROR", first.url)
        download.fetch(model)
    assert model.path.read_bytes() == right


def test_who_may_read_the_mirror_is_not_written_down(
    server: Server, model: OfficialModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATDSR_MIRROR", server.url.replace("//", "//me:secret@") + "/")
    download.fetch(model)
    assert model.record is not None
    assert model.record.source == f"{server.url}/900_tiny.pth"


def test_slow_is_no_failure(server: Server, model: OfficialModel) -> None:
    server.pause = 0.003
    download.fetch(model)
    assert model.is_intact


# What is cut off goes on


def test_a_connection_that_breaks_is_made_again_for_the_rest(
    server: Server, model: OfficialModel, right: bytes
) -> None:
    server.cuts = [40_000]
    download.fetch(model)
    assert model.path.read_bytes() == right
    (_, whole), (_, part) = server.asked
    assert whole is None
    assert part is not None
    begin = int(part.removeprefix("bytes=").removesuffix("-"))
    assert 30_000 < begin <= 40_000
    assert server.sent[1] == len(right) - begin


def test_a_connection_that_always_breaks_goes_on_with_the_next_command(
    server: Server, model: OfficialModel, right: bytes
) -> None:
    server.always_cut = 20_000
    sentence = refused(model)
    assert "broke off" in sentence
    assert "are kept and the same command goes on from there" in sentence
    before = kept(model)
    assert 30_000 < before <= 40_000
    server.always_cut = None
    download.fetch(model)
    assert model.path.read_bytes() == right
    assert server.asked[-1][1] == f"bytes={before}-"
    assert server.sent[-1] == len(right) - before
    assert not model.download_folder.exists()


def test_a_server_that_is_too_slow(
    server: Server, model: OfficialModel, right: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.2))
    monkeypatch.setattr(download, "RETRIES", 0)
    server.pause = 0.5
    assert "does not answer in time" in refused(model)
    server.pause = 0.0
    download.fetch(model)
    assert model.path.read_bytes() == right


@pytest.mark.parametrize("how", ["ranges", "another file"])
def test_where_nothing_can_be_gone_on_with_it_begins_anew(
    server: Server, model: OfficialModel, right: bytes, how: str
) -> None:
    """The server sends whole files only, or has a shorter one than what is here already."""
    server.always_cut = 20_000
    refused(model)
    server.always_cut = None
    if how == "ranges":
        server.ranges = False
    else:
        (part,) = model.download_folder.glob("*.part")
        part.write_bytes(bytes(len(right) + 5))
    download.fetch(model)
    assert model.path.read_bytes() == right


def test_whole_files_only_and_always_cut(server: Server, model: OfficialModel) -> None:
    server.ranges, server.always_cut = False, 20_000
    for _ in range(3):  # it ends each time, and never grows
        refused(model)
        assert kept(model) <= 20_000


def test_ctrl_c(server: Server, model: OfficialModel, right: bytes) -> None:
    def stop(done: int, total: int | None) -> None:
        if done > 30_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch(model, stop)
    assert not model.path.exists()
    assert kept(model) > 30_000
    download.fetch(model)
    assert model.path.read_bytes() == right
    assert server.asked[-1][1] is not None


KILLED = """
import sys
import gdown
from atdsr.weights import download
from helpers.servers import official
sys.modules[gdown.download.__module__].CHUNK_SIZE = 4096
download.fetch(official())
"""


@pytest.mark.slow
def test_a_process_that_is_killed(server: Server, model: OfficialModel, right: bytes) -> None:
    server.pause = 0.05
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", KILLED], env=environment) as process:
        until = time.monotonic() + 60
        while kept(model) < 20_000 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        with pytest.raises(StoreError, match="another process is fetching official/tiny"):
            download.fetch(model)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not model.path.exists()
    server.pause, before = 0.0, kept(model)
    assert before >= 20_000
    download.fetch(model)
    assert model.path.read_bytes() == right
    assert server.asked[-1][1] == f"bytes={before}-"


def test_killed_after_the_last_byte(server: Server, model: OfficialModel, right: bytes) -> None:
    model.download_folder.mkdir(parents=True)
    (model.download_folder / model.file).write_bytes(right)
    download.fetch(model)
    assert model.is_intact
    assert not server.asked


def test_two_parts_are_left(server: Server, model: OfficialModel, right: bytes) -> None:
    model.download_folder.mkdir(parents=True)
    (model.download_folder / "900_tiny.pthaaaaaaaa.part").write_bytes(right[:100])
    (model.download_folder / "900_tiny.pthbbbbbbbb.part").write_bytes(right[:5000])
    download.fetch(model)
    assert server.asked[-1][1] == "bytes=5000-"
    assert model.path.read_bytes() == right


# What is not the file


def flipped(content: bytes) -> bytes:
    """With one bit of the weights changed, which PyTorch reads without a word."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


PAGE = b"\n<!DOCTYPE html><html><title>Sign in to this network</title></html>"


@pytest.mark.parametrize(
    ("make", "published", "words"),
    [
        (lambda content: PAGE, False, "900_tiny.pth is an HTML page, not weights"),
        (lambda content: PAGE, True, f"{len(PAGE)} bytes where 900_tiny.pth has"),
        (lambda content: flipped(content), False, "900_tiny.pth is damaged"),
        (lambda content: flipped(content), True, "its SHA-256 is not the published one"),
        (lambda content: content[:-1000], False, "is not a PyTorch file, or it is damaged"),
        (lambda content: content[:-1000], True, "bytes where 900_tiny.pth has"),
        (lambda content: content + b"more", True, "bytes where 900_tiny.pth has"),
        (lambda content: b"", False, "900_tiny.pth is empty; fetch https"),
    ],
)
def test_what_is_not_the_file_is_deleted(
    server: Server,
    model: OfficialModel,
    right: bytes,
    make: Callable[[bytes], bytes],
    published: bool,
    words: str,
) -> None:
    model = known(model, right) if published else model
    server.serve("900_tiny.pth", make(right))
    sentence = refused(model)
    assert words in sentence
    assert "was deleted" in sentence
    assert BY_HAND in sentence
    assert not model.path.parent.exists()  # nothing at all is left


@pytest.mark.parametrize("published", [True, False])
def test_another_network(
    server: Server, model: OfficialModel, right: bytes, tmp_path: Path, published: bool
) -> None:
    other = network_file(tmp_path / "x3.pth", replace(TINY, scale=3))
    server.serve("900_tiny.pth", other)
    if published:  # and its size is right
        model = replace(known(model, right), nbytes=len(other))
        assert "SHA-256 is not the published" in refused(model)
    else:
        assert "another network than official/tiny: its scale is 3, not 2" in refused(model)


def test_no_more_is_taken_than_there_is(server: Server, model: OfficialModel, right: bytes) -> None:
    """An endless answer ends soon, and without a length."""
    server.serve("900_tiny.pth", right + bytes(10_000_000))
    server.length = "none"
    seen: list[int] = []
    model = known(model, right)
    with pytest.raises(DownloadError, match="or more bytes where"):
        download.fetch(model, lambda done, total: seen.append(done))
    assert not model.path.parent.exists()
    assert max(seen) <= len(right)


@pytest.mark.parametrize("length", ["none", "true"])
def test_there_is_a_limit_where_no_size_is_published(
    server: Server,
    model: OfficialModel,
    right: bytes,
    length: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert model.nbytes is None
    assert 2**26 < model.max_bytes < 2**27
    monkeypatch.setattr(OfficialModel, "max_bytes", 2_000_000)
    server.serve("900_tiny.pth", right + bytes(10_000_000))
    server.length = length
    seen: list[int] = []
    with pytest.raises(DownloadError, match=r"bytes where 900_tiny.pth has at most 2,000,000"):
        download.fetch(model, lambda done, total: seen.append(done))
    assert not model.path.parent.exists()
    assert max(seen, default=0) <= 2_000_000


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("lie", [-1000, 1000])
def test_a_wrong_length_is_announced(
    server: Server, model: OfficialModel, right: bytes, lie: int, published: bool
) -> None:
    server.length = len(right) + lie
    model = known(model, right) if published else model
    if published:
        assert f"{len(right) + lie:,} bytes where 900_tiny.pth has {len(right):,}" in refused(model)
    else:
        words = "was deleted" if lie < 0 else "broke off"
        assert words in refused(model)


# What is recorded


def test_another_file_than_the_first_is_refused(
    server: Server, model: OfficialModel, tmp_path: Path, right: bytes
) -> None:
    download.fetch(model)
    other = network_file(tmp_path / "other.pth", seed=1)
    server.serve("900_tiny.pth", other)
    model.path.unlink()
    note = model.path.with_suffix(".json")
    sentence = refused(model)
    assert "not the file that was recorded for official/tiny" in sentence
    assert f"delete {note} first" in sentence
    assert "models add" not in sentence  # what it would take is this very file
    note.unlink()  # as the sentence says
    download.fetch(model)
    assert model.path.read_bytes() == other


def test_a_published_hash_wins_over_a_recorded_one(
    server: Server, model: OfficialModel, right: bytes, tmp_path: Path
) -> None:
    download.fetch(model)
    other = network_file(tmp_path / "other.pth", seed=1)
    server.serve("900_tiny.pth", other)
    model = known(model, other)
    assert not model.is_intact
    download.fetch(model)
    assert model.path.read_bytes() == other


def test_a_damaged_file_is_not_loaded_and_fetched_anew(
    server: Server, model: OfficialModel, right: bytes
) -> None:
    download.fetch(model)
    model.path.write_bytes(flipped(right))
    with pytest.raises(WeightsError, match=r"damaged .*`atdsr models fetch official/tiny`"):
        models.load_weights("official/tiny")
    download.fetch(model)
    assert model.path.read_bytes() == right


@pytest.mark.parametrize("note", ["", "{", "[]", '{"name": 1}', "null"])
def test_a_damaged_record(model: OfficialModel, note: str) -> None:
    download.fetch(model)
    model.path.with_suffix(".json").write_text(note)
    with pytest.raises(WeightsError, match=r"900_tiny\.json cannot be read or is damaged; del"):
        models.load_weights("official/tiny")
    with pytest.raises(WeightsError, match=r"900_tiny\.json cannot be read or is damaged; del"):
        download.fetch(model)


# What cannot be reached


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (500, "500 Internal"), (403, "403 Forbidden")]
)
def test_an_answer_that_is_none(
    server: Server, model: OfficialModel, status: int, words: str
) -> None:
    server.status = status
    sentence = refused(model)
    assert f"{server.url.removeprefix('http://')} answers {words}" in sentence
    assert BY_HAND in sentence
    assert not model.path.parent.exists()


def test_nobody_answers(model: OfficialModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as gone:
        monkeypatch.setenv("ATDSR_MIRROR", gone.url)
    sentence = refused(model)
    assert "cannot be reached" in sentence
    assert BY_HAND in sentence


@pytest.mark.parametrize("mirror", ["ftp://host/a", "host/folder", "https://", "/srv/models"])
def test_a_mirror_that_is_no_address(
    model: OfficialModel, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("ATDSR_MIRROR", mirror)
    with pytest.raises(DownloadError, match=r"ATDSR_MIRROR is .* which is not a URL"):
        download.fetch(model)


def test_without_gdown(model: OfficialModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    assert "`pip install gdown`" in refused(model)


# What cannot be written


def test_a_store_that_is_a_file(model: OfficialModel, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    with pytest.raises(StoreError, match=r"Not a directory; set ATDSR_MODELS to a folder that"):
        download.fetch(model)
    assert (tmp_path / "store").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_not_be_written(model: OfficialModel, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(StoreError, match=r"Permission denied; set ATDSR_MODELS to a folder that"):
        download.fetch(model)


def test_a_store_that_the_system_refuses(
    model: OfficialModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdir(self: Path, *args: object, **settings: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(StoreError, match=r"Read-only file system; set ATDSR_MODELS to a folder"):
        download.fetch(model)


def test_a_disk_that_is_full(server: Server, model: OfficialModel, right: bytes) -> None:
    """The system's limit for files stands for the end of the disk."""
    large = right + bytes(2**22)
    server.serve("900_tiny.pth", large)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, before[1]))
    try:
        sentence = refused(model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{model.download_folder} cannot be written: File too large" in sentence
    assert "the same command goes on from there" in sentence
    assert kept(model) <= 2**21


def test_a_full_disk_is_called_so(model: OfficialModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*args: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gdown, "download", download)
    assert "cannot be written: No space left on device (make room); " in refused(model)


# Google Drive, whose pages are imitated here


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
