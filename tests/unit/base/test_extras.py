"""Which command adds an extra, by how atdsr was installed."""

import os
import sys
from pathlib import Path

import pytest

from atdsr.base.extras import install_command


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with Python and pip, of which `prefix` is changed by the tests."""
    for name in ("python", "pip"):
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(os, "name", "posix")
    return tmp_path


def test_the_activated_environment(environment: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(environment / "bin"))
    assert install_command("web") == "pip install 'atdsr[web]'"


def test_another_pip_comes_first(environment: Path, monkeypatch: pytest.MonkeyPatch):
    other = environment / "other"
    other.mkdir()
    (other / "pip").touch(0o755)
    monkeypatch.setenv("PATH", f"{other}:{environment / 'bin'}")
    assert install_command("web") == f"{environment}/bin/python -m pip install 'atdsr[web]'"


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/me/.local/share/pipx/venvs/atdsr", "pipx runpip atdsr install 'atdsr[web]'"),
        ("/home/me/.local/share/uv/tools/atdsr", "uv pip install --python {} 'atdsr[web]'"),
    ],
)
def test_tools_with_environments_of_their_own(
    environment: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, command: str
):
    monkeypatch.setattr(sys, "prefix", prefix)
    assert install_command("web") == command.format(environment / "bin/python")
