"""Records that outlive an end in the middle of a line, and belong to one process at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

import atdsr
from atdsr.evaluation.records import Records, RecordsError, cache_folder

HOLD = """
import sys, pathlib
from atdsr.evaluation.records import Records
with Records(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    with Records(tmp_path / "kept") as records:
        assert records.get(("a", "b")) is None
        records.add(("a", "b"), {"psnr_y": 30.5})
        records.add(("a", "c"), {"psnr_y": float("inf")})
        records.add(("a", "b"), {"psnr_y": 31.5})
        assert len(records) == 2
    with Records(tmp_path / "kept") as records:
        assert records.get(("a", "b")) == {"psnr_y": 31.5}
        assert records.get(("a", "c")) == {"psnr_y": float("inf")}


@pytest.mark.parametrize(
    "tail", [b'{"key": ["c"], "rec', b"\x00\xff\x00", b'{"key": 3}\n', b"[]\n"]
)
def test_a_damaged_last_line_is_dropped(tmp_path: Path, tail: bytes) -> None:
    with Records(tmp_path) as records:
        records.add(("a",), {"value": 1})
    file = tmp_path / "records.jsonl"
    intact = file.read_bytes()
    file.write_bytes(intact + tail)
    with Records(tmp_path) as records:
        assert len(records) == 1
        records.add(("b",), {"value": 2})
    assert file.read_bytes().startswith(intact)
    with Records(tmp_path) as records:
        assert [records.get(("a",)), records.get(("b",))] == [{"value": 1}, {"value": 2}]


def test_every_cut_of_the_file_is_read(tmp_path: Path) -> None:
    with Records(tmp_path) as records:
        for number in range(3):
            records.add((str(number),), {"value": number})
    file = tmp_path / "records.jsonl"
    content = file.read_bytes()
    for length in range(len(content)):
        tmp_path.mkdir(exist_ok=True)
        file.write_bytes(content[:length])
        with Records(tmp_path) as records:
            assert len(records) == content[:length].count(b"\n")


def test_restart_and_removal(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with Records(folder) as records:
        records.add(("a",), {})
        (folder / "images").mkdir()
        (folder / "images" / "a.png").write_text("picture")
    with Records(folder, restart=True) as records:
        assert len(records) == 0
        assert not (folder / "images").exists()
        records.remove()
    assert not folder.exists()
    with Records(folder) as records:
        assert len(records) == 0
    assert not folder.exists()


@pytest.mark.slow
def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Records(tmp_path) as first:
        with pytest.raises(RecordsError, match="another process is at this very evaluation"):
            Records(tmp_path)
        first.add(("a",), {})
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env={"PYTHONPATH": str(Path(atdsr.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RecordsError, match="another process"):
            Records(tmp_path)
        holder.kill()
    with Records(tmp_path) as again:
        assert len(again) == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordsError, match=r"cannot be recorded: .*; set XDG_CACHE_HOME"):
        Records(tmp_path / "file" / "kept")


def test_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "atdsr" / "eval"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "atdsr" / "eval"
