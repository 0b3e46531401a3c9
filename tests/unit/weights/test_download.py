"""Downloads that are cut off, killed or cannot be stored; no half file ever gets the name."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import gdown
import pytest

from atdsr.weights import WeightsError, download, models
from atdsr.weights.models import CacheError, DownloadError, OfficialModel
from helpers.networks import ROOT, TINY
from helpers.servers import BY_HAND, Server, known, part_bytes, refused, running

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
    before = part_bytes(model)
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
        assert part_bytes(model) <= 20_000


def test_ctrl_c(server: Server, model: OfficialModel, right: bytes) -> None:
    def stop(done: int, total: int | None) -> None:
        if done > 30_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch(model, stop)
    assert not model.path.exists()
    assert part_bytes(model) > 30_000
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
    paths = os.pathsep.join(str(ROOT / name) for name in ("src", "tests", "benchmarks"))
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", KILLED], env=environment) as process:
        until = time.monotonic() + 60
        while part_bytes(model) < 20_000 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        with pytest.raises(CacheError, match="another process is fetching official/tiny"):
            download.fetch(model)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not model.path.exists()
    server.pause, before = 0.0, part_bytes(model)
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
    with pytest.raises(CacheError, match=r"Not a directory; set ATDSR_MODELS to a folder that"):
        download.fetch(model)
    assert (tmp_path / "store").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_not_be_written(model: OfficialModel, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(CacheError, match=r"Permission denied; set ATDSR_MODELS to a folder that"):
        download.fetch(model)


def test_a_store_that_the_system_refuses(
    model: OfficialModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdir(self: Path, *args: object, **settings: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(CacheError, match=r"Read-only file system; set ATDSR_MODELS to a folder"):
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
    assert part_bytes(model) <= 2**21


def test_a_full_disk_is_called_so(model: OfficialModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*args: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gdown, "download", download)
    assert "cannot be written: No space left on device (make room); " in refused(model)
