"""What a cluster and shards withstand, and what a cluster adds to the time of a picture.

    python benchmarks/cluster.py ray --pictures 5000
    python benchmarks/cluster.py shards --pictures 2000
    python benchmarks/cluster.py overhead --pictures 600
    python benchmarks/cluster.py driver --pictures 1000000

The pictures are noise of 8x8 pixels and the network is tiny, so that all but the network's time is
seen. `ray` runs four actors on two Ray nodes of this machine. After a tenth of the pictures an
actor is killed, after three tenths a node (its raylet), another one joins, and half way the driver
is killed and started again. `shards` runs eight processes and kills one of them every few seconds.
Both compare every output with that of one process, byte by byte, and count what was told twice.
`overhead` compares CPU times of one process, of actors and of the driver, in turn.
`driver` goes through a list as the driver does, without actors; the memory is what its peak grows
by.
"""

import argparse
import contextlib
import importlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
from PIL import Image

import atdsr
from atdsr import batch, cluster
from atdsr.batch import Outcome, Plan, Result
from atdsr.cluster.actors import PictureNames
from atdsr.cluster.running import unfinished
from atdsr.inference import InferenceConfig
from atdsr.network.model import ATD
from atdsr.weights import Weights, write_weights
from script import run_script
from tiny_network import TINY

IN_A_FOLDER = 1000
WEIGHTS = "tiny.safetensors"
SHARDS = 8
TURNS = 2


def main() -> None:
    """Run what is asked for in a temporary folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=list(ALL))
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    os.environ["PYTHONPATH"] = str(Path(atdsr.__file__).parents[1])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="atdsr-") as folder, contextlib.chdir(folder):
        torch.manual_seed(0)
        write_weights(Weights(TINY, ATD(TINY).state_dict()), Path(WEIGHTS))
        ALL[arguments.what](arguments.pictures)


# ----------------------------------------------------------------------------------- processes


def survive_ray(pictures: int) -> None:
    """Kill an actor, a node and the driver, and start the driver again."""
    expected = prepare(pictures)
    with nodes() as (address, lose_node):
        options = ["--address", address, "--actors", "4", "--batch", "16", "--quiet"]
        command = ["cluster", "upscale", "-m", WEIGHTS, "in", "-r", "-o", "out", *options]
        driver = start(*command, "--log", "first")
        wait_for(pictures // 10, driver)
        os.kill(random.choice(actors()).pid, signal.SIGKILL)
        print(f"an actor was killed after {made():,} of {pictures:,} pictures")
        wait_for(3 * pictures // 10, driver)
        lose_node()
        print(f"a node was killed after {made():,}")
        wait_for(pictures // 2, driver)
        driver.kill()
        driver.wait()
        while actors():
            time.sleep(0.1)
        before = made()
        print(f"the driver was killed; {before:,} are made when its last actor has ended")
        begin = time.monotonic()
        if start(*command, "--log", "second").wait():
            sys.exit("the second run failed")
        seconds = time.monotonic() - begin
    for name in ("first", "second"):
        log = pq.read_table(name, columns=["source", "outcome"]).to_pylist()
        twice = len(log) - len({row["source"] for row in log})
        outcomes = Counter(row["outcome"] for row in log)
        print(f"the {name} run told {len(log):,} pictures, {twice} of them twice: {dict(outcomes)}")
    print(f"the second run had {pictures - before:,} to do, and took {seconds:.0f} s")
    compare(expected)


def survive_shards(pictures: int) -> None:
    """Kill one of eight shards at random moments, and start it again, until all are done."""
    expected = prepare(pictures)

    def start_shard(number: int) -> subprocess.Popen[bytes]:
        shard = f"{number}/{SHARDS}"
        return start("upscale", "-m", WEIGHTS, "in", "-r", "-o", "out", "--shard", shard, "--quiet")

    running = {number: start_shard(number) for number in range(1, SHARDS + 1)}
    kills, last = Counter[int](), time.monotonic()
    wait_for(pictures // 10, running[1])
    while running:
        time.sleep(random.uniform(0.5, 3))
        for number, process in list(running.items()):
            if process.poll() is not None:
                del running[number]
                if process.returncode:
                    sys.exit(f"shard {number} ended with {process.returncode}")
        if running and made() < 9 * pictures // 10:
            number = random.choice(list(running))
            running[number].kill()
            running[number].wait()
            kills[number] += 1
            running[number] = start_shard(number)
    print(f"{kills.total()} kills of {len(kills)} shards within {time.monotonic() - last:.0f} s")
    compare(expected)


def prepare(pictures: int) -> dict[str, bytes]:
    """Make the pictures, and return what one process makes of them."""
    noise = np.random.default_rng(0)
    for number in range(pictures):
        path = name_of(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    begin = time.monotonic()
    for result in batch.run(plan("whole"), atdsr.load(WEIGHTS, "cpu")):
        if result.outcome is not Outcome.DONE:
            sys.exit(result.message)
    print(f"{pictures:,} pictures by one process in {time.monotonic() - begin:.0f} s")
    return content("whole")


def name_of(number: int) -> Path:
    """Return the path of a picture."""
    return Path(f"in/{number // IN_A_FOLDER:04}/{number:07}.png")


def plan(out: str) -> Plan:
    """Plan all pictures."""
    return batch.plan(["in"], out, batch.BatchConfig(batch.Factor(2), recursive=True))


def content(folder: str) -> dict[str, bytes]:
    """Return all pictures below a folder."""
    files = (path for path in Path(folder).rglob("*.png"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def compare(expected: dict[str, bytes]) -> None:
    """Compare the outputs with those of one process."""
    found = content("out")
    missing = len(expected.keys() - found.keys())
    other = sum(found[name] != expected[name] for name in expected.keys() & found.keys())
    more = len(found.keys() - expected.keys())
    print(f"against one process: {missing} missing, {other} with other bytes, {more} more")
    if missing or other or more:
        sys.exit(1)


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start a command."""
    return subprocess.Popen([sys.executable, "-m", "atdsr", *arguments])


def made() -> int:
    """Return how many outputs there are."""
    return sum(1 for _ in Path("out").rglob("*.png"))


def wait_for(pictures: int, process: subprocess.Popen[bytes]) -> None:
    """Wait for so many outputs of a process that runs."""
    while made() < pictures:
        if process.poll() is not None:
            sys.exit(f"the process ended early, with {process.returncode}")
        time.sleep(0.2)


def actors() -> list[psutil.Process]:
    """Return the processes of all actors on this machine."""
    found = psutil.process_iter(["name"])  # read at once, since some end meanwhile
    return [each for each in found if (each.info["name"] or "").startswith("ray::UpscaleAct")]


@contextlib.contextmanager
def nodes() -> Iterator[tuple[str, Callable[[], None]]]:
    """Run a Ray cluster of two nodes; yield its address, and what kills one and adds another."""
    room: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 2**27}
    started = importlib.import_module("ray.cluster_utils").Cluster()
    started.add_node(**room, include_dashboard=False)
    other = started.add_node(**room)

    def lose() -> None:
        started.remove_node(other, allow_graceful=False)
        started.add_node(**room)

    try:
        yield started.address, lose
    finally:
        started.shutdown()


# -------------------------------------------------------------------------------------- figures


def overhead(pictures: int) -> None:
    """Compare one process with one and two actors, in turn."""
    prepare(pictures)
    source = cluster.NetworkSource.read(WEIGHTS, InferenceConfig())
    upscaler = atdsr.load(WEIGHTS, "cpu")
    config = cluster.ClusterConfig(actors=2, cpus_per_actor=1, gpus_per_actor=0, batch=16)
    alone: list[float] = []
    with cluster.connected(config) as complete:
        for turn in range(TURNS):
            begin = time.process_time()
            for _ in batch.run(plan(f"alone{turn}"), upscaler):
                pass
            alone.append((time.process_time() - begin) / pictures)
            print(f"turn {turn}: one process {1000 * alone[-1]:.2f} CPU ms a picture")
            for count in (1, 2):
                _time_actors(
                    plan(f"out{turn}{count}"), source, replace(complete, actors=count), alone[-1]
                )


def _time_actors(
    plan: Plan, source: cluster.NetworkSource, config: cluster.ClusterConfig, alone: float
) -> None:
    """Run a plan, and print what actors and driver take from the first result to the last."""
    before = after = driver = begin = 0.0
    done = 0
    for result in cluster.run(plan, source, config):
        if not begin:
            begin, driver, before = time.monotonic(), time.process_time(), _cpu(actors())
        elif result.outcome is Outcome.DONE:
            done += 1
            if done == plan.total - 2 * config.batch:  # while the actors are there
                after = _cpu(actors())
                break
    seconds = time.monotonic() - begin
    of_actors, of_driver = (after - before) / done, (time.process_time() - driver) / done
    print(
        f"  {config.actors} actors: {1000 * of_actors:.2f} CPU ms in actors "
        f"({of_actors / alone:.2f} of one process), {1000 * of_driver:.2f} in the driver, "
        f"{done / seconds:.0f} pictures/s"
    )


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def driver(pictures: int) -> None:
    """Go through a long list as the driver does, without actors, and write the log."""
    with Path("list").open("w", encoding="utf-8") as file:
        file.writelines(f"{name_of(number).relative_to('in')}\n" for number in range(pictures))
    config = batch.BatchConfig(batch.Factor(2), models={2: ""})
    before, start = _peak(), time.process_time()
    planned = batch.plan_manifest(Path("list"), ["."], "out", config)
    print(
        f"{pictures:,} lines checked in {time.process_time() - start:.0f} CPU s, {_grown(before)}"
    )
    start = time.process_time()
    with cluster.results_to(Path("log")) as add:
        for number, each in enumerate(unfinished(planned), 1):
            if isinstance(each, Result):
                raise RuntimeError(each.message)
            names = PictureNames.of(each)
            add(Result(each.source, each.target, Outcome.DONE, f"{names.source} -> {names.target}"))
            if number % (pictures // 4) == 0:
                print(f"{number:,} gone through, {_grown(before)}")
    print(f"{1e6 * (time.process_time() - start) / pictures:.0f} CPU us a picture")


def _peak() -> int:
    """Return the most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _grown(before: int) -> str:
    return f"memory {(_peak() - before) / 2**20:.0f} MiB"


ALL: dict[str, Callable[[int], None]] = {
    "ray": survive_ray,
    "shards": survive_shards,
    "overhead": overhead,
    "driver": driver,
}

if __name__ == "__main__":
    run_script(main)
