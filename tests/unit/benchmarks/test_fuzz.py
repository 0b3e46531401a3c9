"""Each target of `benchmarks/fuzz.py` on seeds and mutants, and what counts as a fault."""

import importlib.util
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

import fuzz
import fuzz_targets
from atdsr.base.errors import AtdsrError
from fuzz_targets import TARGETS, Target
from helpers.networks import ROOT
from helpers.upscaling import SOURCES

pytestmark = pytest.mark.slow

SCRIPT = str(ROOT / "benchmarks/fuzz.py")


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_seeds_and_mutants(name: str) -> None:
    assert TARGETS[name].seeds()
    for data in fuzz_targets.mutants(name, 150):
        begin = time.process_time()
        error = fuzz_targets.fault(name, data)
        assert error is None, data
        assert time.process_time() - begin < fuzz.SECONDS_EACH, data


def _refuse(_: bytes) -> None:
    raise AtdsrError("a sentence.")


def _slip(_: bytes) -> None:
    raise KeyError("a key")


def _warn(_: bytes) -> None:
    warnings.warn("an overflow", RuntimeWarning, stacklevel=1)


@pytest.mark.parametrize(("call", "kind"), [(_refuse, None), (_slip, KeyError)])
def test_what_counts_as_a_fault(
    monkeypatch: pytest.MonkeyPatch, call, kind: type[Exception] | None
) -> None:
    monkeypatch.setitem(TARGETS, "made up", Target(call, lambda: [b""]))
    error = fuzz_targets.fault("made up", b"")
    assert error is None if kind is None else isinstance(error, kind)
    if error is not None and kind is not None:
        assert fuzz_targets.place(error).startswith(f"{kind.__name__} at test_fuzz.py:")


def test_a_warning_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "made up", Target(_warn, lambda: [b""]))
    assert isinstance(fuzz_targets.fault("made up", b""), RuntimeWarning)


def test_a_sentence_made_of_an_accident_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def accident(_: bytes) -> None:
        try:
            int("x")  # stands for a line of ours that nobody thought of
        except ValueError as error:
            raise AtdsrError(f"it cannot be read: {error}.") from error

    monkeypatch.setattr(fuzz_targets, "SOURCES", str(Path(__file__).parent))
    monkeypatch.setitem(TARGETS, "made up", Target(accident, lambda: [b""]))
    assert isinstance(fuzz_targets.fault("made up", b""), ValueError)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *arguments]
    environment = {"PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="needs atheris: pip install 'atdsr[fuzz]'"
)
def test_the_fuzzer_runs(tmp_path: Path) -> None:
    done = _run("--seconds", "1", "--target", "names", "--findings", str(tmp_path / "found"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings" in done.stdout
    assert int(done.stdout.split()[1].replace(",", "")) > 10
    assert list((tmp_path / "found").iterdir()) == []


def test_one_input_again(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"{stem}{{")
    done = _run("--try", "names", str(tmp_path / "one"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s of CPU time" in done.stdout


@pytest.mark.parametrize("arguments", [["--target", "nothing"], ["--try", "nothing", "a"]])
def test_an_unknown_target(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(sys, "argv", ["fuzz.py", *arguments])
    with pytest.raises(AtdsrError, match="there is no target nothing; name one of bmp_header, "):
        fuzz.main()


def test_a_process_that_grew_too_large_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libFuzzer keeps grows for ever; the rest of the time is not lost for that."""
    clock = [0.0]
    seeds = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        if "--try" in command:
            return subprocess.CompletedProcess(command, 0, "0.01 s of CPU time", "")
        seeds.append(command[-1])
        first = len(seeds) == 1
        clock[0] += 20 if first else 40
        if first:
            (tmp_path / "names-oom-1").write_bytes(b"x")
        return subprocess.CompletedProcess(
            command, int(first), b"", b"stat::number_of_executed_units: 50"
        )

    monkeypatch.setattr(fuzz.subprocess, "run", run)
    monkeypatch.setattr(fuzz.time, "perf_counter", lambda: clock[0])
    outcome = fuzz.watch("names", 60, tmp_path, seed=3)
    assert seeds == ["3", "4"]
    assert (outcome.tried, outcome.seconds, outcome.findings) == (100, 60, {})
    assert outcome.notes == [
        "the process grew too large, and the input alone takes 0.01 s of CPU time"
    ]
    assert list(tmp_path.iterdir()) == []
