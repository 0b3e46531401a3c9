"""Kills `atdsr upscale` at random moments, again and again, and counts what it leaves.

    OMP_NUM_THREADS=1 python benchmarks/kills.py --kills 500

A picture, a folder, an animation and a picture of 60 megapixels are enlarged (the last one by
bicubic, so that it is quick) and get SIGTERM, SIGHUP, SIGINT or SIGKILL: at any moment from the
start of the process on, or at one after its first file has appeared. Then

- each file without a hidden name must have the bytes that a run has made which nobody killed;
- but for SIGKILL there must be no hidden file and no traceback, and the exit code must be 128 +
  the signal, or 0 with everything done; one of a signal itself is of a process that had not
  begun with atdsr's code, or was through with it;
- after another run into the folder there must be no hidden file, in any case.

Ctrl-C while Python itself starts, which is before any code of atdsr, is counted apart.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from atdsr.network.model import ATD
from atdsr.weights import Weights, write_weights
from script import run_script
from tiny_network import TINY

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)
KINDS = {
    "single": ["single.png"],
    "folder": ["folder"],
    "animation": ["animation.gif"],
    "large": ["large.png", "--size", "8100x8100"],
}


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed.

    Attributes:
        files: what it made.
        seconds: that it took.
    """

    files: dict[str, bytes]
    seconds: float


def prepare(folder: Path) -> None:
    """Make a network and the pictures."""
    noise = np.random.default_rng(0)
    network = Weights(TINY, ATD(TINY).state_dict())
    write_weights(network, folder / "tiny.safetensors")

    def picture(width: int, height: int) -> Image.Image:
        return Image.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8))

    picture(8, 8).save(folder / "next.png")
    picture(150, 150).save(folder / "single.png")
    (folder / "folder").mkdir()
    for number in range(8):
        picture(40 + 10 * number, 60).save(folder / "folder" / f"{number}.png")
    first, *others = (picture(48, 48) for _ in range(12))
    first.save(folder / "animation.gif", save_all=True, append_images=others, duration=50)
    Image.new("L", (8150, 8150), 90).save(folder / "large.png")


def start(folder: Path, arguments: list[str], out: Path) -> subprocess.Popen[str]:
    """Start the real command."""
    options = ["-o", f"{out}/", "-m", "tiny.safetensors", "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "atdsr", "upscale", *arguments, *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def visible(out: Path) -> dict[str, bytes]:
    """The files with a name of their own."""
    if not out.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name[0] != "."}


def hidden(out: Path) -> list[str]:
    """The files with a hidden name."""
    return [path.name for path in out.iterdir() if path.name[0] == "."] if out.is_dir() else []


def whole(folder: Path, kind: str) -> Whole:
    """Run a command to its end; exits where that fails."""
    out, begin = folder / f"whole-{kind}", time.perf_counter()
    child = start(folder, KINDS[kind], out)
    _, said = child.communicate()
    if child.returncode:
        sys.exit(f"{kind}: {said}")
    return Whole(visible(out), time.perf_counter() - begin)


def kill(folder: Path, number: int, seed: int, runs: dict[str, Whole]) -> tuple[str, list[str]]:
    """Kill a command once.

    Returns:
        What was killed by what and how it ended, and the faults.
    """
    chance = random.Random(f"{seed} {number}")
    kind, sent = list(KINDS)[number % 4], SIGNALS[number // 4 % 4]
    out, faults = folder / f"out-{number}", list[str]()
    child = start(folder, KINDS[kind], out)
    begin = time.perf_counter()
    if number // 16 % 2:  # once there is something to lose
        while child.poll() is None and not hidden(out):
            time.sleep(0.005)
    left = max(0.05, 1.05 * runs[kind].seconds - (time.perf_counter() - begin))
    time.sleep(chance.uniform(0, left))
    child.send_signal(sent)
    _, said = child.communicate()
    made, end = visible(out), child.returncode
    if any(runs[kind].files.get(name) != content for name, content in made.items()):
        faults.append("half-written")
    if sent != signal.SIGKILL:
        if hidden(out):
            faults.append("left at once")
        early = sent == signal.SIGINT and "KeyboardInterrupt" in said and "atdsr" not in said
        if "Traceback" in said and not early:
            faults.append("traceback")
        done = end == 0 and made == runs[kind].files
        if end not in (128 + sent, -sent) and not done and not early:
            faults.append(f"exit code {end}")
        if end == 128 + sent and said.count("\n") != 1:
            faults.append("not one line")
        end = "in Python's own start" if early else end
    if sent == signal.SIGKILL or hidden(out):
        again = start(folder, ["next.png"], out)
        again.communicate()
        if again.returncode or hidden(out):
            faults.append("left after the next run")
    label = f"{kind} {sent.name}: {end}"
    if faults:
        print(f"kill {number}, {label}: {', '.join(faults)}; {hidden(out)} {said}", flush=True)
    shutil.rmtree(out, ignore_errors=True)
    return label, faults


def main() -> None:
    """Kill and count."""
    parser = argparse.ArgumentParser(description="Kill `atdsr upscale`, again and again.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    arguments = parser.parse_args()
    for number in SIGNALS[:3]:  # a handler of ours, so that no child inherits one that ignores
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(arguments.jobs) as pool:
        folder = Path(name)
        prepare(folder)
        runs = {kind: whole(folder, kind) for kind in KINDS}
        kills = pool.map(
            lambda number: kill(folder, number, arguments.seed, runs), range(arguments.kills)
        )
        ends, faults = Counter[str](), Counter[str]()
        for label, found in kills:
            ends[label] += 1
            faults.update(found)
    for label, count in sorted(ends.items()):
        print(f"{label}: {count}")
    half, left = faults["half-written"], faults["left after the next run"]
    rest = ", ".join(f"{count} {fault}" for fault, count in faults.items())
    print(
        f"{arguments.kills} kills, seed {arguments.seed}: {half} half-written, {left} leftovers "
        f"after the next run; faults: {rest or 'none'}"
    )
    sys.exit(bool(faults))


if __name__ == "__main__":
    run_script(main)
