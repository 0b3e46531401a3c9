"""Time and memory of planning a long list for `atdsr upscale --manifest`; no picture is read.

    python benchmarks/manifest.py --lines 1000000

A process plans the third of 64 shards of a list in 1,000 folders and goes through its pictures. The
time is CPU seconds of this process; the memory is what its peak grows by.
"""

import argparse
import contextlib
import resource
import tempfile
import time
from pathlib import Path

from atdsr import batch
from script import run_script


def main() -> None:
    """Plan a list, and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=1_000_000)
    lines = parser.parse_args().lines
    config = batch.BatchConfig(batch.Factor(2), models={2: ""}, shard=batch.Shard(3, 64))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with Path("list").open("w", encoding="utf-8") as file:
            file.writelines(f"folder{n % 1000:03}/picture{n:07}.png\n" for n in range(lines))
        before, start = _peak(), time.process_time()
        plan = batch.plan_manifest(Path("list"), [], "out", config)
        planned = time.process_time()
        found = sum(1 for _ in plan.items)
        ended = time.process_time()
    if found != plan.total:
        raise RuntimeError(f"{found} pictures were found, and {plan.total} were counted")
    print(f"{lines:,} lines, {found:,} of them in shard {config.shard}")
    print(f"planned in {planned - start:.1f} s, gone through in {ended - planned:.1f} s")
    print(f"memory {(_peak() - before) / 2**20:.0f} MiB")


def _peak() -> int:
    """Return the most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    run_script(main)
