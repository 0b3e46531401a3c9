"""Coverage-guided fuzzing of all readers of untrusted files that this project has written.

    python benchmarks/fuzz.py --seconds 600                 # each target for ten minutes
    python benchmarks/fuzz.py --seconds 60 --target exif xmp
    python benchmarks/fuzz.py --try exif fuzz-findings/exif-0123456789ab   # one input again

A finding is an input with which a reader raises anything but the errors that it documents, raises
one by accident, warns, takes more than 5 s, or takes more than 500 MB above the start. Each is
written to a folder, with the line that tries it again. Exit code 1 if there is any. Needs
atheris: pip install 'atdsr[fuzz]'.
"""

import argparse
import hashlib
import importlib
import importlib.util
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atdsr.base.errors import AtdsrError
from script import run_script

HERE = Path(__file__)
SECONDS_EACH = 5
"""Seconds that an input may take."""

GROWTH = 500
"""Megabytes that an input may take above those at the start."""

_LONGEST = 2**14  # bytes of an input
_UNITS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_ARTIFACT = re.compile(r"(timeout|oom|crash|leak)-")


@dataclass
class Outcome:
    """What fuzzing a target came to."""

    target: str
    tried: int = 0
    seconds: float = 0.0
    findings: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


# ------------------------------------------------------------------------ in a process of its own


def work(name: str, seconds: float, folder: Path, seed: int) -> None:
    """Fuzz one target; libFuzzer ends this process.

    Faults are written as they are found, each place in the code once, and the search goes on. A
    hang, too much memory and a crash end it; libFuzzer writes what caused them.
    """
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["atdsr"]):
        targets: Any = importlib.import_module("fuzz_targets")
    known: set[str] = set()

    def one(data: bytes) -> None:
        error = targets.fault(name, data)
        if error is not None and (place := targets.place(error)) not in known:
            known.add(place)
            path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(_told(error))

    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(targets.TARGETS[name].seeds()):
            Path(corpus, f"{number}").write_bytes(data)
            one(data)  # what is loaded once
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        options = {
            "max_total_time": max(1, round(seconds)),
            "timeout": SECONDS_EACH,
            "rss_limit_mb": start + GROWTH,
            "max_len": _LONGEST,
            "seed": seed + 1,  # 0 is a random one
            "artifact_prefix": f"{folder}/{name}-",
            "report_slow_units": 1000,
            "print_final_stats": 1,
            "verbosity": 1,
        }
        arguments = [f"-{key}={value}" for key, value in options.items()]
        atheris.Setup([sys.argv[0], *arguments, corpus], one)
        atheris.Fuzz()


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def try_one(name: str, path: Path) -> int:
    """Try one input and print what came of it; 1 if it is a finding, else 0."""
    targets = _targets([name])
    for data in targets.TARGETS[name].seeds():
        targets.fault(name, data)  # what is loaded once
    start, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    error = targets.fault(name, path.read_bytes())
    seconds = time.process_time() - begin
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1000
    if error is not None:
        print(_told(error), end="")
    print(f"{seconds:.2f} s of CPU time, {grown:.0f} MB above the start")
    return int(error is not None or seconds > SECONDS_EACH or grown > GROWTH)


# ---------------------------------------------------------------------------- watching all of them


def watch(name: str, seconds: float, folder: Path, seed: int) -> Outcome:
    """Fuzz one target in processes of their own until the time is up or there is a finding.

    A process also ends where the load of others made an input slow, or where what libFuzzer keeps
    has grown past the memory limit. The next one goes on with another seed.
    """
    outcome = Outcome(name)
    while not outcome.findings and (left := seconds - outcome.seconds) >= 1:
        _one_process(outcome, left, folder, seed)
        seed += 1
    return outcome


def _one_process(outcome: Outcome, seconds: float, folder: Path, seed: int) -> None:
    """Fuzz a target in one process, and look at what it left."""
    name = outcome.target
    command = [sys.executable, str(HERE), "--worker", name, "--seconds", f"{seconds}"]
    command += ["--findings", str(folder), "--seed", f"{seed}"]
    environment = {"OMP_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1"} | dict(os.environ)
    before, begin = set(folder.iterdir()), time.perf_counter()
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    said = done.stderr.decode(errors="replace")
    outcome.seconds += time.perf_counter() - begin
    if units := _UNITS.search(said):
        outcome.tried += int(units[1])
    artifacts = sorted(set(folder.glob(f"{name}-*")) - before)
    for path in artifacts:
        if path.suffix != ".txt":
            _judge(name, path, outcome)
    if done.returncode != 0 and not artifacts:
        log = folder / f"{name}-log.txt"
        log.write_text(said)
        outcome.findings[log] = f"the process ended with {done.returncode}"


def _judge(name: str, path: Path, outcome: Outcome) -> None:
    """Add a finding; a limit that the input alone keeps is a note."""
    told, kind = path.with_suffix(".txt"), _ARTIFACT.match(path.name.removeprefix(f"{name}-"))
    if told.exists():
        outcome.findings[path] = told.read_text().strip().splitlines()[-1]
        return
    again = subprocess.run(_again(name, path), capture_output=True, text=True, check=False)
    if kind is not None and kind[1] in ("timeout", "oom") and again.returncode == 0:
        limit = "slow once" if kind[1] == "timeout" else "the process grew too large"
        outcome.notes.append(f"{limit}, and the input alone takes {again.stdout.strip()}")
        path.unlink()
        return
    outcome.findings[path] = (
        f"{kind[1] if kind else 'a fault'}; alone {again.stdout.strip()[-200:]}"
    )


def _targets(names: list[str]) -> Any:
    """Return the module of the targets.

    Raises:
        AtdsrError: One of the names is no target.
    """
    targets: Any = importlib.import_module("fuzz_targets")
    known = sorted(targets.TARGETS)
    if unknown := sorted(set(names) - set(known)):
        raise AtdsrError(f"there is no target {unknown[0]}; name one of {', '.join(known)}.")
    return targets


def _again(name: str, path: Path) -> list[str]:
    return [sys.executable, str(HERE), "--try", name, str(path)]


def report(outcome: Outcome) -> None:
    """Print a line for a target, and two for each finding."""
    pace = outcome.tried / outcome.seconds if outcome.seconds else 0.0
    print(
        f"{outcome.target:15} {outcome.tried:9,} inputs in {outcome.seconds:5.0f} s "
        f"({pace:6,.0f}/s)  {len(outcome.findings)} findings",
        flush=True,
    )
    for note in outcome.notes:
        print(f"    {note}")
    for path, words in outcome.findings.items():
        print(f"    {words}")
        print(f"    again: {' '.join(_again(outcome.target, path))}", flush=True)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of our own readers.")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--target", nargs="+", help="of which targets; all by default")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="a folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--try", dest="again", nargs=2, metavar=("TARGET", "FILE"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Fuzz the targets that are asked for, in a few processes."""
    asked = _parsed()
    if asked.again:
        return try_one(asked.again[0], Path(asked.again[1]))
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing is skipped: atheris is missing; pip install 'atdsr[fuzz]' (Linux).")
        return 2
    if asked.worker:
        work(asked.worker, asked.seconds, asked.findings, asked.seed)
        return 0
    names = asked.target or sorted(_targets([]).TARGETS)
    _targets(names)  # before any work
    asked.findings.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(asked.processes) as pool:
        runs = [
            pool.submit(watch, name, asked.seconds, asked.findings, asked.seed) for name in names
        ]
        outcomes = []
        for run in runs:
            outcomes.append(run.result())
            report(outcomes[-1])
    found = sum(len(outcome.findings) for outcome in outcomes)
    print(f"{sum(outcome.tried for outcome in outcomes):,} inputs, {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    run_script(main)
