"""The GPU kernels compile for a GPU that is not here, and fit into it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.networks import ROOT

pytestmark = pytest.mark.slow

pytest.importorskip("triton")

SHARED = 227  # KiB that a program may have on an H100 or H200
SPILLED = 256  # bytes a thread; more would be read and written in the inner loops


def test_a_training_step_of_the_light_network_fits_an_h100(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)  # which leaves nothing to compile
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "benchmarks/gpu_targets.py", "--target", "sm_90"]
    done = subprocess.run(
        [*command, "--network", "light"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [
        line.split("|")[2:-1] for line in done.stdout.splitlines() if line.startswith("| light")
    ]
    kernels = {row[0].strip() for row in rows}
    assert {"forward_kernel", "queries_kernel", "keys_kernel", "look_up", "gather"} <= kernels
    for name, _, registers, spilled, shared in rows:
        assert int(registers) <= 255, name
        assert int(spilled) <= SPILLED, name
        assert float(shared) <= SHARED, name
