"""Lists of failed pictures: what is in them, and which files they replace."""

import json
import os
from pathlib import Path

import pytest

from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.batch import BatchError, Outcome, Result, failures_to

FAILED = Result(Path("a.png"), Path("a_x2.png"), Outcome.FAILED, "a.png is damaged.")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_each_failure_is_there_at_once_and_the_next_run_replaces_the_list():
    path = Path("logs/failed.jsonl")
    with failures_to(path) as write:
        assert records(path) == []
        write(FAILED)
        assert records(path) == [FAILED.record()]
        write(FAILED)
    assert records(path) == [FAILED.record()] * 2
    with failures_to(path):
        pass
    assert path.read_bytes() == b""
    with failures_to(path):  # an empty list is one, too
        pass
    assert [each.name for each in path.parent.iterdir()] == ["failed.jsonl"]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"[1]\n", b"{}\n", b'{"event": "summary"}\n'])
def test_another_file_is_kept(content: bytes):
    Path("kept").write_bytes(content)
    with pytest.raises(BatchError, match="kept exists and is not a list of failures"):
        failures_to(Path("kept")).__enter__()
    assert Path("kept").read_bytes() == content


def test_no_file_at_all():
    with failures_to(None) as write:
        write(FAILED)
    assert not list(Path().iterdir())


def test_a_folder_and_a_pipe_are_refused():
    os.mkfifo("pipe")
    for name in (".", "pipe"):
        with pytest.raises(AtdsrError, match="name a file"):
            failures_to(Path(name)).__enter__()


def test_two_processes_do_not_share_a_list():
    with files.output_lock(Path("list")), pytest.raises(BatchError, match="a list of its own"):
        failures_to(Path("list")).__enter__()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    full = open("/dev/full", "wb", buffering=0)  # noqa: PTH123, SIM115
    monkeypatch.setattr(Path, "open", lambda *_, **__: full)
    said = "list cannot be written: No space left"
    with pytest.raises(BatchError, match=said), failures_to(Path("list")) as write:
        write(FAILED)
