"""A small part of `benchmarks/hostile.py`: damaged and lying files end in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.networks import ROOT
from helpers.upscaling import SOURCES

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize(("first", "count"), [(0, 11), (35, 50)])
def test_no_file_does_harm(first: int, count: int):
    command = [sys.executable, str(ROOT / "benchmarks/hostile.py"), "--processes", "1"]
    command += ["--first", str(first), "--pictures", str(count)]
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} files in " in done.stdout
    assert done.stdout.endswith("0 defects\n")
