import os
import tempfile
import time
from pathlib import Path

import pytest

from atdsr.web.spool import spool_folder, sweep


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def leftover(folder: Path, name: str, lock: bool = True) -> Path:
    path = folder / name
    (path / "job").mkdir(parents=True)
    (path / "job" / "picture.png").write_bytes(b"private")
    if lock:
        (path / ".lock").touch()
    return path


def test_nothing_is_left(temporary: Path):
    with spool_folder() as folder:
        (folder / "job").mkdir()
        (folder / "job" / "picture.png").touch()
        assert folder.stat().st_mode & 0o077 == 0  # other users cannot look into it
    assert list(temporary.iterdir()) == []


def test_what_a_kill_has_left_is_deleted(temporary: Path):
    leftover(temporary, "atdsr-web-one")
    other = leftover(temporary, "else")
    with spool_folder() as folder:
        assert set(temporary.iterdir()) == {folder, other}


def test_the_folder_of_a_living_service_stays(temporary: Path):
    with spool_folder() as folder:
        (folder / "job").mkdir()
        sweep()
        assert (folder / "job").is_dir()


def test_a_folder_without_a_lock_stays_until_it_is_old(temporary: Path):
    path = leftover(temporary, "atdsr-web-two", lock=False)
    sweep()
    assert path.is_dir()
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    sweep()
    assert not path.exists()


def test_a_link_is_not_followed(temporary: Path):
    target = leftover(temporary, "else")
    (temporary / "atdsr-web-link").symlink_to(target)
    sweep()
    assert (target / "job" / "picture.png").exists()


def test_a_state_folder_is_kept_and_locked(tmp_path: Path):
    state = tmp_path / "state"
    with spool_folder(state) as folder:
        (folder / "job").mkdir()
        with pytest.raises(BlockingIOError), spool_folder(state):
            pass
    assert (state / "job").is_dir()
