"""The commit that `atdsr --version` tells."""

import shutil
import subprocess
from pathlib import Path

import pytest

from atdsr.base import checkout

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="there is no git")


def git(folder: Path, *arguments: str) -> str:
    own = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *own, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    monkeypatch.setattr(checkout, "SOURCES", tmp_path / "src")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_clone_has_a_commit_and_perhaps_changes(clone: Path) -> None:
    name = git(clone, "rev-parse", "--short", "HEAD")
    assert checkout.commit() == name
    (clone / "notes.txt").write_text("unknown to git")
    assert checkout.commit() == name
    (clone / "src" / "a.py").write_text("2")
    assert checkout.commit() == f"{name}, changed"


def test_what_is_no_clone_has_none(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "SOURCES", clone / "lib" / "site-packages")
    assert checkout.commit() is None
    monkeypatch.setattr(checkout, "SOURCES", clone / "src")
    shutil.rmtree(clone / ".git")
    (clone / ".git").mkdir()  # one that git refuses
    assert checkout.commit() is None
    monkeypatch.setenv("PATH", "")
    assert checkout.commit() is None
