"""What a run keeps on disk: its states, its log, its folder."""

import json
import math
import resource
import secrets
from pathlib import Path

import pytest
import torch

from atdsr.base import files
from atdsr.base.files import FileError
from atdsr.base.reporter import Reporter
from atdsr.training import LogEntry, Notice, Saved, Started, Stepped, Validated, checkpoints
from atdsr.training.checkpoints import StateError
from atdsr.training.run_log import LOG_FILE, RunLog


def names(folder: Path) -> list[int]:
    return sorted(int(path.name.split("-")[0]) for path in folder.iterdir())


def load(folder: Path) -> tuple[dict | None, list[str]]:
    said: list[str] = []
    return checkpoints.load(folder, Reporter(notice=said.append)), said


# ----------------------------------------------------------------------------------------- states


def test_the_newest_state_is_read_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    assert load(tmp_path) == (None, [])
    for step in (5, 10, 15, 100_000_000):
        path = checkpoints.save({"step": step, "x": torch.arange(3)}, tmp_path, step, keep=2)
        assert path.parent == tmp_path
    assert names(tmp_path) == [15, 100_000_000]
    state, said = load(tmp_path)
    assert state is not None
    assert state["step"] == 100_000_000
    assert torch.equal(state["x"], torch.arange(3))
    assert said == []


def test_a_second_state_of_a_step_replaces_the_first(tmp_path: Path) -> None:
    for keep in (1, 3):
        for value in range(6):
            checkpoints.save({"step": 7, "value": value}, tmp_path, 7, keep)
        state, _ = load(tmp_path)
        assert names(tmp_path) == [7]
        assert state == {"step": 7, "value": 5}


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "garbage"])
def test_a_damaged_state_is_reported_and_the_one_before_is_taken(
    tmp_path: Path, damage: str
) -> None:
    checkpoints.save({"step": 1}, tmp_path, 1, keep=3)
    newest = checkpoints.save({"step": 2, "x": torch.zeros(1000)}, tmp_path, 2, keep=3)
    content = newest.read_bytes()
    middle = len(content) // 2
    newest.write_bytes(
        {
            "cut": content[:-1],
            "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "empty": b"",
            "garbage": b"x" * 1000,
        }[damage]
    )
    state, said = load(tmp_path)
    assert state == {"step": 1}
    assert len(said) == 1
    assert str(newest) in said[0]
    assert "damaged" in said[0]


def test_a_damaged_state_takes_no_place_of_a_whole_one(tmp_path: Path) -> None:
    checkpoints.save({"step": 3}, tmp_path, 3, keep=2).write_bytes(b"")
    for step in (1, 2):
        checkpoints.save({"step": step}, tmp_path, step, keep=2)
    assert names(tmp_path) == [1, 2, 3]
    assert load(tmp_path)[0] == {"step": 2}


def test_states_that_are_all_damaged_do_not_begin_a_run_anew(tmp_path: Path) -> None:
    checkpoints.save({"step": 1}, tmp_path, 1, keep=3).write_bytes(b"")
    with pytest.raises(StateError, match=r"no state in .* can be read"):
        load(tmp_path)


def test_other_files_among_the_states_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "20000.state").write_text("of another program")
    (tmp_path / "best.pt").write_text("a copy")
    for step in range(1, 5):
        checkpoints.save({"step": step}, tmp_path, step, keep=1)
    assert sorted(p.name for p in tmp_path.iterdir() if "-" not in p.name) == [
        "20000.state",
        "best.pt",
    ]


def test_a_full_disk_leaves_the_states_before(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk; it fails the same write."""
    checkpoints.save({"step": 1}, tmp_path, 1, keep=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(FileError, match="cannot be written"):
            checkpoints.save({"step": 2, "x": torch.zeros(100_000)}, tmp_path, 2, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load(tmp_path) == ({"step": 1}, [])
    assert len(list(tmp_path.iterdir())) == 1


# ------------------------------------------------------------------------------------------- log


def line(step: int, loss: float = 0.5) -> LogEntry:
    return LogEntry(step, loss, 1e-3, 1.0, 2.0, 0.1, 1000, 0, 16, 2)


def validated(step: int) -> Validated:
    return Validated(step, {"Set5": 30.0}, {"Set5": 0.9}, {"Set5": 29.0}, 1.0, True, Path("a.png"))


def records(folder: Path) -> list[dict]:
    return [json.loads(text) for text in (folder / LOG_FILE).read_text().splitlines()]


def test_the_log_has_every_event_but_steps(tmp_path: Path) -> None:
    journal = RunLog(tmp_path)
    journal(Notice(0, "before it is open"))
    journal.open(0, -1)
    for event in (
        Started(0, 10, "run", 100, 3, "cpu", 1),
        Stepped(1),
        line(1, math.nan),
        Saved(1, Path("x.pt")),
        validated(1),
    ):
        journal(event)
    found = records(tmp_path)
    assert [each["kind"] for each in found] == ["told", "started", "line", "saved", "validated"]
    assert found[2]["loss"] is None
    assert found[3]["path"] == "x.pt"
    assert found[4]["psnr"] == {"Set5": 30.0}


def test_a_restart_takes_off_what_a_kill_undid(tmp_path: Path) -> None:
    journal = RunLog(tmp_path)
    journal.open(0, -1)
    for step in (1, 2, 3):
        journal(line(step))
        journal(validated(step))
    with (tmp_path / LOG_FILE).open("a") as log:
        log.write('{"kind": "line", "step": 4, "lo')
    again = RunLog(tmp_path)
    again.open(2, 1)
    again(line(3, 0.25))
    assert [(each["kind"], each["step"]) for each in records(tmp_path)] == [
        ("line", 1),
        ("validated", 1),
        ("line", 2),
        ("line", 3),
    ]
    assert records(tmp_path)[-1]["loss"] == 0.25


def test_a_log_with_bytes_that_are_no_text_is_read(tmp_path: Path) -> None:
    journal = RunLog(tmp_path)
    journal.open(0, -1)
    journal(line(1))
    with (tmp_path / LOG_FILE).open("ab") as log:
        log.write(b'\xff\xfe{"kind"\n' + b"[" * 200_000 + b"\n")
    RunLog(tmp_path).open(1, -1)
    assert [each["step"] for each in records(tmp_path)] == [1]
    (tmp_path / LOG_FILE).unlink()
    (tmp_path / LOG_FILE).mkdir()
    with pytest.raises(FileError, match=r"log\.jsonl: the file cannot be read"):
        RunLog(tmp_path).open(1, -1)


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    journal = RunLog(tmp_path)
    journal.open(0, -1)
    (tmp_path / LOG_FILE).unlink()
    (tmp_path / LOG_FILE).mkdir()
    with pytest.raises(FileError, match=r"log\.jsonl: the file cannot be written"):
        journal(line(1))


# ---------------------------------------------------------------------------------------- folder


def test_a_folder_is_one_process_s_own(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    with files.folder_lock(folder), pytest.raises(BlockingIOError), files.folder_lock(folder):
        pass
    with files.folder_lock(folder):
        (folder / "log").touch()
    assert (folder / "log").exists()
    with files.folder_lock(tmp_path / "b"):
        pass
    assert not (tmp_path / "b").exists()
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot be written"), files.folder_lock(tmp_path / "file"):
        pass


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    with files.atomic_write(tmp_path / "a", overwrite=False) as temporary:
        left = temporary.with_name(f".{secrets.token_hex(8)}.part")
        left.touch()  # as a kill leaves it
    (tmp_path / "a").unlink()
    (tmp_path / "b.part").touch()
    files.delete_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b.part"]
