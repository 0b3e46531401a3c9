"""Kills a training run at random moments, again and again, and checks that nothing is lost.

    python benchmarks/kill.py --kills 20

A tiny run that saves after every step is killed with SIGKILL at random moments, also while it
starts and while it saves. After each kill all its files must be readable, its newest state whole
and no older than before. In the end the weights, the average and the optimizers must equal those
of a run that was never stopped, to the bit.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from atdsr import datasets
from atdsr.base.reporter import Reporter
from atdsr.training import checkpoints
from atdsr.training.trainer import CHECKPOINT_FOLDER, OFFICIAL, WEIGHTS
from atdsr.weights import read_weights
from script import run_script

RECIPE = """
model: {{width: 12, depths: [2], heads: [2], category_size: 256, dictionary_size: 8,
         reduced_width: 4, ffn_kernel: 3, ffn_ratio: 1, head: pixelshuffledirect}}
scale: 2
output: {output}
iterations: {iterations}
data: {{train: set, batch: 2, patch: 16}}
save: {{every: 1, keep: 3}}
log: {{every: 1}}
"""


def prepare(folder: Path) -> None:
    """Make a training set of noise."""
    (folder / "pictures").mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (60, 72, 3), np.uint8)
        Image.fromarray(noise).save(folder / "pictures" / f"{number}.png")
    datasets.pack(folder / "pictures", folder / "set")


def start(folder: Path, output: str, iterations: int) -> subprocess.Popen[bytes]:
    """Start the run, or go on with it."""
    (folder / "recipe.yaml").write_text(RECIPE.format(output=output, iterations=iterations))
    command = [sys.executable, "-m", "atdsr", "train", "recipe.yaml", "--quiet"]
    return subprocess.Popen(command, cwd=folder)


def newest(run: Path) -> tuple[int, list[str]]:
    """Step of the newest state that is whole, 0 for none, and what is said of damaged ones."""
    damaged: list[str] = []
    state = checkpoints.load(run / CHECKPOINT_FOLDER, Reporter(notice=damaged.append))
    return (0 if state is None else state["step"]), damaged


def latest(run: Path) -> int:
    """Step of the newest state by its name, while the run goes on."""
    return max(
        (int(path.name.split("-")[0]) for path in (run / CHECKPOINT_FOLDER).glob("*.pt")), default=0
    )


def check(run: Path, before: int) -> int:
    """Step of the newest state; exits where something was lost or half written."""
    step, damaged = newest(run)
    if damaged or step < before:
        sys.exit(f"lost: {damaged or f'step {step} after {before}'}")
    if step:
        read_weights(run / WEIGHTS)
        read_weights(run / OFFICIAL, category_size=256)
    if (run / "log.jsonl").exists():
        whole = (run / "log.jsonl").read_text().split("\n")[:-1]
        [json.loads(line) for line in whole]
    return step


def differences(a: object, b: object) -> int:
    """How many tensors or numbers differ."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return int(not torch.equal(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return sum(differences(a.get(key), b.get(key)) for key in a.keys() | b.keys())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return sum(map(differences, a, b)) + (len(a) != len(b))
    return int(a != b)


def main() -> None:
    """Kill, check, compare."""
    parser = argparse.ArgumentParser(description="Kill a training run, again and again.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance, step = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for kill in range(1, arguments.kills + 1):
            child, begun = start(folder, "killed", 100_000), step
            # half of them at any time from the start on, half once it has gone on
            if kill % 2:
                while latest(folder / "killed") == begun:
                    time.sleep(0.005)
                time.sleep(chance.uniform(0, 0.5))
            else:
                time.sleep(chance.uniform(0, 8))
            child.kill()
            child.wait()
            step = check(folder / "killed", begun)
            print(f"kill {kill}: went on from step {begun}, newest state is step {step}, whole")
        for run in ("killed", "whole"):
            if start(folder, run, step + 1).wait():
                sys.exit(f"the run {run} failed")
        killed, whole = (
            checkpoints.load(folder / run / CHECKPOINT_FOLDER, Reporter(notice=print))
            for run in ("killed", "whole")
        )
        if killed is None or whole is None:
            sys.exit("a finished run has no state")
        for state in (killed, whole):
            del state["settings"]
        print(
            f"{arguments.kills} kills, {step + 1} steps; against a run that was never stopped "
            f"{differences(killed, whole)} values differ"
        )


if __name__ == "__main__":
    run_script(main)
