"""Helpers for tests of `atdsr upscale`."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import atdsr
from atdsr import imaging
from atdsr.imaging import Picture
from helpers.pictures import noise

SOURCES = str(Path(atdsr.__file__).parents[1])
Run = Callable[..., list[str]]


def refused(run: Run, *args: str, code: int = 1, **options: str | Path | None) -> str:
    """Call `atdsr upscale`, which must fail with one sentence and leave no new file."""
    before = sorted(Path().rglob("*"))
    lines = run(*args, code=code, **options)
    assert sorted(Path().rglob("*")) == before
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def temporaries() -> list[Path]:
    return list(Path().rglob("*.part"))


def start(*args: str, **options) -> subprocess.Popen[str]:
    """`atdsr` as a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": SOURCES,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "atdsr", *args],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def touch(*names: str) -> None:
    """Make empty files, and the folders that they are in."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def forbid_listing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let folders of this name be unreadable, also for root."""
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)


def save(name: str, samples: np.ndarray | None = None, icc: bytes | None = None) -> str:
    samples = noise(3, h=10, w=14) if samples is None else samples
    imaging.write(Picture(samples, icc), name)
    return name
