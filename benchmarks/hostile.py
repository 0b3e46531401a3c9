"""Sends thousands of damaged and oversized picture files through `atdsr upscale`.

    python benchmarks/hostile.py
    python benchmarks/hostile.py --seed 7 --pictures 10000
    python benchmarks/hostile.py --only 123 --keep odd    # one case again, its file in odd/

Small valid pictures of all formats are mutated by a seed and enlarged by a tiny network, in
processes that are watched. A picture is a defect if the process dies or hangs, memory grows by
more than the limit, it takes 5 s of CPU time more than enlarging so many pixels does, a traceback
shows, a library writes to the terminal, a failure is not one sentence, a failure leaves an output,
a success leaves none that decodes and has twice the size, a temporary file is left, or the input
is touched. Exit code 1 if there is any.
"""

import argparse
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from hostile_corpus import Case, case
from script import run_script

GIB = 2**30

MOST_PIXELS = 2**19
"""The limit for an input here: what is a large picture by accident would be honest work for hours,
which nobody could tell from a hang."""

SPARE = 5.0
"""Seconds of CPU time that a file may take beside the honest work."""

HONEST = 40e-6
"""Seconds of CPU time for a pixel: decoding, the tiny network, and the slowest format to write."""


# ------------------------------------------------------------------------ in a watched process


@dataclass
class Verdict:
    """What became of a case: "done", "refused", or a defect in words."""

    number: int
    outcome: str
    sentence: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    grown: int = 0
    defects: list[str] = field(default_factory=list)


def work(folder: Path, seed: int, numbers: list[int], limit: int) -> None:
    """Try cases one after another; the journal tells which one is in work."""
    import resource

    import torch

    from atdsr import imaging
    from atdsr.base import memory
    from atdsr.network.model import ATD
    from atdsr.weights import Weights, write_weights
    from tiny_network import TINY

    torch.manual_seed(0)
    torch.set_num_threads(1)
    imaging.open_frames = partial(imaging.open_frames, max_pixels=MOST_PIXELS)
    weights = folder / "tiny.safetensors"
    write_weights(Weights(TINY, ATD(TINY).state_dict()), weights)
    try_case(case(seed, 0), folder, weights)  # what is loaded once
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 4 * limit, size + 4 * limit))
    with (folder / "journal").open("w") as journal:
        for number in numbers:
            print(json.dumps({"begin": number}), file=journal, flush=True)
            before = _resident()
            with memory.peak() as peak:
                verdict = try_case(case(seed, number), folder, weights)
            verdict.grown = max(0, (peak.bytes or 0) - before)
            if verdict.grown > limit:
                verdict.defects.append(f"memory grew by {verdict.grown / GIB:.2f} GiB")
            print(json.dumps(asdict(verdict)), file=journal, flush=True)


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell the memory of a process")


def try_case(one: Case, folder: Path, weights: Path) -> Verdict:
    """Enlarge the file as a person would, and look at everything that came of it."""
    from typer.testing import CliRunner

    from atdsr import cli

    place = folder / "work"
    place.mkdir()
    source, out = place / one.name, place / "out"
    source.write_bytes(one.content)
    form = [] if one.format_name is None else ["-f", one.format_name]
    begin, cpu, said = time.perf_counter(), time.process_time(), _said_bytes()
    arguments = ["upscale", *form, "-m", str(weights), "-o", f"{out}/", "--", str(source)]
    result = CliRunner().invoke(cli.app, arguments)
    verdict = Verdict(one.number, "done" if result.exit_code == 0 else "refused")
    verdict.seconds, verdict.cpu = time.perf_counter() - begin, time.process_time() - cpu
    if _said_bytes() > said:
        verdict.defects.append("a library wrote to the terminal")
    if verdict.cpu > SPARE and verdict.cpu > SPARE + HONEST * _pixels(source):
        verdict.defects.append(f"{verdict.cpu:.1f} s of CPU time for {_pixels(source):,} pixels")
    lines = result.stderr.splitlines()
    verdict.sentence = lines[-1] if lines else ""
    left = sorted(out.rglob("*")) if out.exists() else []
    verdict.defects += _wrong(result.exit_code, lines, left)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        verdict.defects.append(f"{type(result.exception).__name__}: {result.exception}")
    if result.exit_code == 0 and len(left) == 1:
        verdict.defects += _wrong_size(source, left[0])
    if source.read_bytes() != one.content:
        verdict.defects.append("the input was touched")
    if len(list(place.iterdir())) != 1 + out.exists():
        verdict.defects.append("something is left beside the input")
    for path in (*left, *([out] if out.exists() else []), source, place):
        path.rmdir() if path.is_dir() else path.unlink()
    return verdict


def _said_bytes() -> int:
    """What has been written to the terminal past Python, which is a file here."""
    status = os.fstat(2)
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _pixels(source: Path) -> int:
    """How many pixels all frames of a file have; 0 of one that is refused."""
    from atdsr import imaging
    from atdsr.base.errors import AtdsrError

    try:
        frames = imaging.open_frames(source)
    except AtdsrError:
        return 0
    return len(frames) * frames.width * frames.height


def _wrong(code: int, lines: list[str], left: list[Path]) -> list[str]:
    """What the exit code, the lines and the files say against each other."""
    found = []
    if code not in (0, 1):
        found.append(f"exit code {code}")
    if code == 0 and len(left) != 1:
        found.append(f"done, but {len(left)} files are there")
    if code == 1 and left:
        found.append(f"failed, but there is {left[0].name}")
    if code == 1 and not (len(lines) == 1 and lines[0].startswith("error: ")):
        found.append(f"{len(lines)} lines instead of a sentence: {' | '.join(lines)[-300:]}")
    if "Traceback" in "".join(lines):
        found.append("a traceback")
    return found


def _wrong_size(source: Path, target: Path) -> list[str]:
    """Whether the output decodes, with all frames, and is twice as large as the input."""
    from atdsr.base.errors import AtdsrError
    from atdsr.imaging.reading import open_frames  # without the limit for inputs

    try:
        old, new = open_frames(source), open_frames(target)
        sizes = [(frame.width, frame.height) for frame in new]
        twice = [(2 * frame.width, 2 * frame.height) for frame in old]
    except AtdsrError as error:
        return [f"the output does not decode: {error}"]
    return [] if sizes == twice else [f"the output has {sizes}, not {twice}"]


# --------------------------------------------------------------------------------- the watching


def watch(
    folder: Path, seed: int, numbers: list[int], limit: int, patience: float
) -> list[Verdict]:
    """Have cases tried in a process, and in another one where it dies or hangs."""
    verdicts: list[Verdict] = []
    while numbers:
        folder.mkdir()
        command = [sys.executable, __file__, "--worker", str(folder), "--seed", str(seed)]
        command += ["--memory", str(limit / GIB), "--only", *map(str, numbers)]
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
        hung = _wait(process, folder / "journal", patience)
        begun, found = _read_journal(folder / "journal")
        verdicts += found
        if begun is None:
            raise SystemExit(f"a worker did not start: {(folder / 'said').read_text()}")
        if begun not in {verdict.number for verdict in found}:
            said_last = (folder / "said").read_text(errors="replace").strip()[-300:]
            what = f"no end after {patience:.0f} s" if hung else f"died with {process.returncode}"
            verdicts.append(Verdict(begun, "lost", defects=[f"{what}: {said_last}"]))
        numbers = numbers[numbers.index(begun) + 1 :]
        _remove(folder)
    return verdicts


def _wait(process: subprocess.Popen[bytes], journal: Path, patience: float) -> bool:
    """Wait for the end of a process; one whose journal stands still is ended, which is True."""
    begin = time.time()
    while process.poll() is None:
        time.sleep(0.1)
        with suppress(OSError):
            begin = max(begin, journal.stat().st_mtime)
        if time.time() - begin > patience:
            process.kill()
            process.wait()
            return True
    return False


def _read_journal(journal: Path) -> tuple[int | None, list[Verdict]]:
    """The last case that was begun, and what became of those that came to an end."""
    begun: int | None = None
    verdicts: list[Verdict] = []
    for line in journal.read_text().splitlines() if journal.exists() else []:
        record = json.loads(line)
        if "begin" in record:
            begun = record["begin"]
        else:
            verdicts.append(Verdict(**record))
    return begun, verdicts


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def report(verdicts: list[Verdict], seed: int, seconds: float) -> None:
    """Print what came of it."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    grown = max(verdict.grown for verdict in verdicts)
    slowest = max(verdicts, key=lambda verdict: verdict.cpu)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    print(
        f"{len(verdicts)} files in {seconds:.0f} s ({len(verdicts) / seconds:.1f}/s) and "
        f"{sum(verdict.cpu for verdict in verdicts):.0f} s of CPU time; memory grew by "
        f"{grown / 2**20:.0f} MiB at most; the slowest took {slowest.cpu:.1f} s of CPU time "
        f"({case(seed, slowest.number).kind})"
    )
    bad = [verdict for verdict in verdicts if verdict.defects]
    for verdict in bad:
        one = case(seed, verdict.number)
        print(f"DEFECT {verdict.number} ({one.kind}; {one.name!r} to {one.format_name})")
        for defect in verdict.defects:
            print(f"    {defect}")
    print(f"{len(bad)} defects")


def main() -> int:
    """Try as many cases as asked for, in a few processes."""
    parser = argparse.ArgumentParser(description="Damaged pictures through `atdsr upscale`.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=1200)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of cases")
    parser.add_argument("--memory", type=float, default=0.5, help="growth allowed, in GiB")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for a picture")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the files that are defects")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    limit = int(asked.memory * GIB)
    numbers = asked.only or list(range(asked.first, asked.first + asked.pictures))
    if asked.worker:
        work(asked.worker, asked.seed, numbers, limit)
        return 0
    from concurrent.futures import ThreadPoolExecutor

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(asked.processes) as pool:
        parts = [numbers[part :: asked.processes] for part in range(asked.processes)]
        runs = [
            pool.submit(watch, Path(folder, f"{part}"), asked.seed, share, limit, asked.patience)
            for part, share in enumerate(parts)
        ]
        verdicts = [verdict for run in runs for verdict in run.result()]
    report(verdicts, asked.seed, time.perf_counter() - begin)
    bad = [verdict.number for verdict in verdicts if verdict.defects]
    for number in asked.only or bad if asked.keep else []:
        asked.keep.mkdir(exist_ok=True)
        one = case(asked.seed, number)
        (asked.keep / f"{number}{Path(one.name).suffix}").write_bytes(one.content)
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_script(main)
