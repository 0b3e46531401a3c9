"""A small part of `benchmarks/faults.py`: calls that fail while files are written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atdsr import cli
from faults import Tally, Way, try_size
from helpers.networks import ROOT
from helpers.upscaling import SOURCES

pytestmark = pytest.mark.slow

SCRIPT = str(ROOT / "benchmarks/faults.py")


def test_each_failing_call_leaves_the_old_or_the_new_file() -> None:
    command = [sys.executable, SCRIPT, "--every", "3", "--only"]
    command += ["png", "scratch", "weights .safetensors", "state"]
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    *ways, total = done.stdout.splitlines()
    assert len(ways) == 4
    assert all(int(way.split()[-4]) > 30 for way in ways)  # failing calls were reached
    assert total.endswith(" 0 faults")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_careless_writing_is_found(tmp_path: Path) -> None:
    tally, content = Tally(), b"new" * 5000
    careless = Way("a.txt", lambda path: path.write_bytes(content))
    try_size("careless", careless, tmp_path, (b"old", content), tally)
    assert tally.tried == 12
    assert any("bytes where it should be" in fault for fault in tally.faults)
    assert any("OSError" in fault for fault in tally.faults)


def test_memory_that_runs_out_somewhere_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def find(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("atdsr.reports.training_runs.find", find)
    result = CliRunner().invoke(cli.app, ["runs", "list", str(tmp_path)])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: the memory is exhausted")
