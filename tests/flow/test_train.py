"""Training through the command line: kills, stops, several processes, what is refused."""

import json
import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from atdsr import cli, load
from atdsr.base.reporter import Reporter
from atdsr.datasets import PackedSet
from atdsr.training import checkpoints
from atdsr.training.trainer import CHECKPOINT_FOLDER, OFFICIAL, WEIGHTS
from atdsr.weights import Weights, official_state_dict, read_weights
from helpers.networks import TINY, lively
from helpers.training_runs import assert_same, pictures

pytestmark = pytest.mark.slow

RECIPE = """
model: {{width: 12, depths: [2], heads: [2], category_size: 256, dictionary_size: 8,
         reduced_width: 4, ffn_kernel: 3, ffn_ratio: 1, head: pixelshuffledirect}}
scale: 2
output: {output}
iterations: {iterations}
data: {{train: set, batch: 2, patch: 16}}
save: {{every: 1}}
log: {{every: 1}}
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


def torchrun(folder: Path, processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(processes), "-m", "atdsr", *arguments),
        ],
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
    pictures(folder / "pictures")
    done = atdsr(folder, "data", "pack", "pictures", "-o", "set")
    assert done.returncode == 0, done.stderr
    return folder


def recipe(folder: Path, output: str, iterations: int) -> str:
    (folder / f"{output}.yaml").write_text(RECIPE.format(output=output, iterations=iterations))
    return f"{output}.yaml"


def step_of(run: Path) -> int:
    """Steps of the newest state; a damaged one is an error here."""
    said: list[str] = []
    state = checkpoints.load(run / CHECKPOINT_FOLDER, Reporter(notice=said.append))
    assert not said
    return 0 if state is None else state["step"]


def latest(run: Path) -> int:
    """The step that the states are at, by their names, while another process writes them."""
    return max(
        (int(path.name.split("-")[0]) for path in (run / CHECKPOINT_FOLDER).glob("*.pt")), default=0
    )


def losses(run: Path) -> list[float]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["kind"] == "line"]


def test_killed_at_any_moment_the_run_goes_on(folder: Path) -> None:
    """A process that dies without warning leaves whole files, whenever it dies."""
    run, step, chance = folder / "killed", 0, random.Random(0)
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-m", "atdsr", "train", recipe(folder, "killed", 10_000), "--quiet"],
            cwd=folder,
        )
        while child.poll() is None and latest(run) <= step:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        child.kill()
        assert child.wait() == -signal.SIGKILL
        assert step_of(run) > step
        step = step_of(run)
        read_weights(run / WEIGHTS)
        read_weights(run / OFFICIAL, category_size=256)
    done = atdsr(folder, "train", recipe(folder, "killed", step + 1))
    assert done.returncode == 0, done.stderr
    assert step_of(run) == step + 1
    assert len(losses(run)) == step + 1
    assert not list(run.rglob("*.part"))


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
    assert f"stopped at step {step_of(folder / 'stopped')} of 10000" in said


def test_the_weights_of_a_run_enlarge_pictures(folder: Path) -> None:
    done = atdsr(folder, "train", recipe(folder, "whole", 2), "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for number, weights in enumerate((WEIGHTS, OFFICIAL)):
        done = atdsr(
            *(folder, "upscale", "pictures/0.png", "-m", f"whole/{weights}"),
            *("-o", f"big{number}.png", "-q", "--category-size", "256"),
        )
        assert done.returncode == 0, done.stderr
        with Image.open(folder / f"big{number}.png") as enlarged:
            assert enlarged.size == (144, 120)


# ----------------------------------------------------------------------------- several processes


def test_a_run_packs_what_its_teacher_makes(folder: Path, tiny_file: Path) -> None:
    name = recipe(folder, "taught", 1)
    taught = f"data={{train: pictures, batch: 2, patch: 16, teacher: {tiny_file}, crop: 48}}"
    planned = atdsr(folder, "train", name, "--set", taught, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "warning" not in planned.stderr
    done = atdsr(folder, "train", name, "--set", taught, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    lr, target = PackedSet(folder / "pictures.packed_x2_crop48_tiny", 2).pair(0)
    assert np.array_equal(target, load(tiny_file, device="cpu")(np.array(lr)))
    refused = atdsr(folder, "train", name, "--set", taught.replace("pictures", "set"))
    assert refused.returncode == 1
    assert "error: set is packed already; take data.crop out of the settings.\n" in refused.stderr


def test_two_processes_train_as_one_does(folder: Path) -> None:
    """The same loss curve at the same global batch; and one goes on with what two began."""
    settings = (
        *("--set", "precision=fp64", "--set", "data.batch=3", "--set", "save.every=100"),
        *("--set", "data.micro_batch=1", "--set", "data.degradation=web"),
    )
    one = recipe(folder, "one", 20)
    done = atdsr(folder, "train", one, *settings)
    assert done.returncode == 0, done.stderr
    done = torchrun(folder, 2, "train", recipe(folder, "two", 20), *settings)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("step 20/20") == 1  # one of them talks
    assert "Warning" not in done.stderr
    for alone, shared in zip(losses(folder / "one"), losses(folder / "two"), strict=True):
        assert math.isclose(alone, shared, rel_tol=1e-6)
    done = torchrun(folder, 2, "train", recipe(folder, "half", 10), *settings)
    assert done.returncode == 0, done.stderr
    done = atdsr(folder, "train", recipe(folder, "half", 20), *settings)
    assert done.returncode == 0, done.stderr
    for alone, shared in zip(losses(folder / "one"), losses(folder / "half"), strict=True):
        assert math.isclose(alone, shared, rel_tol=1e-6)


def test_two_processes_restore_as_one_does(folder: Path) -> None:
    """Each has crops of the other's in its mixed ones; and one goes on with what two began."""
    (folder / "u.yaml").write_text(
        "base: '202'\n"
        "model: {network: ATD-U, channels: 3, width: 8, depths: [1, 1, 1, 1],\n"
        "  heads: [1, 2, 2, 2], windows: [16, 8, 8, 8], code_widths: [2, 3, 3, 3],\n"
        "  reduced_widths: [2, 4, 4, 4], category_size: 128, dictionary_size: 10,\n"
        "  ffn_kernel: 3, ffn_ratio: 1.5}\n"
        "data: {train: set, batch: 3, patch: 16}\n"
        "stages: [{after: 3, patch: 24, batch: 2}]\n"
        "precision: fp64\n"
        "activation_checkpointing: false\n"
        "validate: {sets: []}\n"
        "log: {every: 1, tensorboard: false}\n"
    )
    for output, processes, iterations in (("one", 1, 6), ("two", 2, 4), ("two", 1, 6)):
        settings = ("--set", f"output=u_{output}", "--set", f"iterations={iterations}")
        done = (
            atdsr(folder, "train", "u.yaml", *settings)
            if processes == 1
            else torchrun(folder, processes, "train", "u.yaml", *settings)
        )
        assert done.returncode == 0, done.stderr
    one, two = losses(folder / "u_one"), losses(folder / "u_two")
    assert len(one) == 6
    for alone, shared in zip(one, two, strict=True):
        assert math.isclose(alone, shared, rel_tol=1e-6)


def test_an_interrupt_reaches_all_processes(folder: Path) -> None:
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "atdsr", "train", recipe(folder, "both", 10_000)),
        ],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "step 2/" in line:
            break
    child.send_signal(signal.SIGTERM)
    said = child.stderr.read()
    child.stderr.close()
    child.wait(60)
    step = step_of(folder / "both")
    assert step >= 2
    assert said.count(f"stopped at step {step} of 10000") == 1


def test_an_error_of_several_processes_is_told_once(folder: Path) -> None:
    name = recipe(folder, "many", 2)
    done = torchrun(folder, 2, "train", name, "--set", "data.train=gone")
    assert done.returncode != 0
    assert done.stderr.count("error: there is no folder gone;") == 1
    done = torchrun(folder, 2, "train", name, "--set", "data.batch=1")
    assert done.stderr.count("error: a batch of 1 leaves some of 2 processes") == 1


# ------------------------------------------------------------------------------- what is refused


def test_what_stops_a_run_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.format(output="x", iterations=1))
    for arguments, sentence in (
        (("train", "gone.yaml"), "gone.yaml"),
        (("train", "r.yaml"), "set"),
        (("train", "r.yaml", "--set", "data.patch=0"), "data.patch"),
    ):
        done = atdsr(tmp_path, *arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.yaml"]


def test_a_full_disk_stops_a_run_and_keeps_its_states(folder: Path) -> None:
    """A limit on the size of files stands in for a full disk; it fails the same writes."""
    name = recipe(folder, "full", 2)
    assert atdsr(folder, "train", name, "-q").returncode == 0
    before = checkpoints.load(folder / "full" / CHECKPOINT_FOLDER)
    recipe(folder, "full", 4)
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 100; exec {sys.executable} -m atdsr train {name} -q"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1
    assert_same(checkpoints.load(folder / "full" / CHECKPOINT_FOLDER), before)
    assert atdsr(folder, "train", name, "-q").returncode == 0
    assert step_of(folder / "full") == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optim": "{lr: 1e308}"}, "optim.lr is 1e+308: input should be less than or equal to 10"),
        ({"schedule": "{milestones: [0, 0], gamma: 1e300}"}, "schedule.gamma is 1e+300"),
        ({"data": "{train: set, batch: 9000000000000000000}"}, "data.batch is 9000000000000000000"),
        ({"data": "{train: set, candidates: 1000000000}"}, "data.candidates is 1000000000"),
        ({"iterations": "1:1:1:1:1:1:1:1:1:1:1"}, "iterations is '1:1:1:1:1:1:1:1:1:1:1'"),
        ({"seed": "1:30"}, "seed is '1:30'"),
        ({"init_from": "nan.pth"}, "nan.pth: the tensor norm.bias has values that are not finite"),
        ({"init_from": "meta.pth"}, "meta.pth: the tensor norm.bias is on the device meta"),
        ({"init_from": "sparse.pth"}, "sparse.pth: the tensor norm.bias is sparse"),
        ({"init_from": "page.pth"}, "page.pth is an HTML page, not weights"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(folder)
    tensors = official_state_dict(Weights(TINY, lively(TINY).state_dict()))
    odd = {
        "nan": torch.full((12,), torch.nan),
        "meta": torch.ones(12, device="meta"),
        "sparse": torch.ones(12).to_sparse(),
    }
    for name, tensor in odd.items():
        torch.save({"params_ema": {**tensors, "norm.bias": tensor}}, f"{name}.pth")
    Path("page.pth").write_text("<!DOCTYPE html><html></html>")
    lines = RECIPE.format(output="refused", iterations=3).splitlines()
    kept = [line for line in lines if line.partition(":")[0] not in changes]
    given = [f"{key}: {value}" for key, value in changes.items()]
    Path("refused.yaml").write_text("\n".join([*kept, *given]))
    done = CliRunner().invoke(cli.app, ["train", "refused.yaml", "--device", "cpu"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert words in done.stderr
    assert not Path("refused").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits address space on Linux")
def test_a_run_that_meets_a_limit_of_memory_is_a_sentence(folder: Path) -> None:
    code = (
        "import resource, psutil, torch; from atdsr import cli, training;"
        "used = psutil.Process().memory_info().vms;"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**27,) * 2);"
        "cli.main()"
    )
    name = recipe(folder, "limited", 2)
    done = subprocess.run(
        [sys.executable, "-c", code, "train", name, "--set", "data.batch=64", "--device", "cpu"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("error: memory ran out; lower data.micro_batch")
    assert not (folder / "limited" / WEIGHTS).exists()
