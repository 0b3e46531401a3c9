"""Packing and training through the command line."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atdsr import checkpoint
from atdsr.training import STATE_FILE, WEIGHTS_FILE

RECIPE = """
model: {{width: 12, depths: [2], heads: [2], category_size: 256, dictionary_size: 8,
         reduced_width: 4, ffn_kernel: 3, ffn_ratio: 1, head: pixelshuffledirect}}
scale: 2
data: set
output: {output}
iterations: {iterations}
batch: 2
patch: 16
save_every: 1
log_every: 1
"""


def atdsr(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "atdsr", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, packed by the command line."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "pictures").mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (48, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / "pictures" / f"{number}.png")
    done = atdsr(folder, "data", "pack", "pictures", "-o", "set")
    assert done.returncode == 0, done.stderr
    assert "2 pictures -> set" in done.stdout
    return folder


def recipe(folder: Path, output: str, iterations: int) -> str:
    (folder / f"{output}.yaml").write_text(RECIPE.format(output=output, iterations=iterations))
    return f"{output}.yaml"


def test_killed_at_any_moment_the_run_goes_on(folder: Path) -> None:
    """A process that dies without warning leaves whole files, whenever it dies."""
    state = folder / "killed" / STATE_FILE
    step = 0
    for delay in (0.02, 0.11, 0.23):
        child = subprocess.Popen(
            [sys.executable, "-m", "atdsr", "train", recipe(folder, "killed", 10_000), "--quiet"],
            cwd=folder,
        )
        before = state.stat().st_mtime_ns if state.exists() else 0
        while child.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(delay)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        reached = checkpoint.load_run(state)["step"]
        assert reached > step
        step = reached
        checkpoint.load(folder / "killed" / WEIGHTS_FILE)
    done = atdsr(folder, "train", recipe(folder, "killed", step + 1))
    assert done.returncode == 0, done.stderr
    assert f"step {step + 1}/{step + 1}" in done.stderr
    assert checkpoint.load_run(state)["step"] == step + 1


def test_an_interrupt_saves_first(folder: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "atdsr", "train", recipe(folder, "stopped", 10_000)],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    while "step 2/" not in child.stderr.readline():
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 130
    assert "Traceback" not in said
    step = checkpoint.load_run(folder / "stopped" / STATE_FILE)["step"]
    assert f"stopped at step {step} of 10000" in said


def test_the_weights_of_a_run_enlarge_pictures(folder: Path) -> None:
    done = atdsr(folder, "train", recipe(folder, "whole", 2), "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    done = atdsr(
        folder, "upscale", "pictures/0.png", "-m", f"whole/{WEIGHTS_FILE}", "-o", "big.png", "-q"
    )
    assert done.returncode == 0, done.stderr
    with Image.open(folder / "big.png") as enlarged:
        assert enlarged.size == (120, 96)


def test_what_stops_a_run_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.format(output="x", iterations=1))
    for arguments, sentence in (
        (("train", "gone.yaml"), "gone.yaml cannot be read"),
        (("train", "r.yaml"), "set is no packed set"),
        (("data", "pack", "gone", "-o", "set"), "gone is no folder"),
    ):
        done = atdsr(tmp_path, *arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.yaml"]
