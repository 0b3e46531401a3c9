"""`atdsr doctor`: what it prints, and what it does where something is broken."""

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import atdsr
from atdsr import cli
from atdsr.cli import doctor as command
from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu import checks
from atdsr.reports import doctor
from atdsr.reports.doctor import Machine, Measurement
from atdsr.weights import models
from helpers import tables
from helpers.upscaling import SOURCES

pytestmark = pytest.mark.slow


def run(*args: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, ["doctor", *args])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert not result.stderr
    return result.stdout


def test_a_quick_look_reads_well_at_80_columns():
    lines = run("--quick").splitlines()
    assert max(map(len, lines)) <= 80
    assert lines == [line.rstrip() for line in lines]
    rows = {line[:14].strip(): line[14:] for line in lines}
    for name in ("processor", "memory", "versions", "CPU path", "threads", "allocator"):
        assert rows[name]
        assert rows[name] != "unknown"
    assert rows["weights"] == "intact"
    assert "measured" not in rows
    assert "Nothing to change." in lines or "What to change:" in lines


def test_json_is_one_object_with_all_that_was_found():
    record = json.loads(run("--quick", "--json"))
    assert {field.name for field in fields(Machine)} | {"atdsr", "advice"} == record.keys()
    assert record["atdsr"] == atdsr.__version__
    assert record["measurement"] is None
    assert all(each["version"] for each in record["libraries"])


def test_what_was_measured_is_told(monkeypatch: pytest.MonkeyPatch):
    found = Measurement("cpu", 100, 2.0, 5.0, 0.031)
    monkeypatch.setattr(doctor, "measured", lambda machine, _: replace(machine, measurement=found))
    said = run()
    assert "measured      100x100 by ATD-light: 2.00 s, 5,000 pixels of the input a second" in said
    assert "plain path    5.00 s, 2.5 times as long" in said
    assert "a megapixel   takes about 3 min" in said
    assert "page faults   3% of the time goes to the system" in said
    record = json.loads(run("--json"))
    assert record["measurement"]["pixels_per_second"] == 5000
    assert record["measurement"]["photo_seconds"] == 200


def test_what_is_unknown_is_said_to_be(monkeypatch: pytest.MonkeyPatch):
    whole = doctor.examine()
    nothing = {
        field.name: None
        for field in fields(Machine)
        if field.name not in ("system", "python", "libraries")
    }
    monkeypatch.setattr(doctor, "examine", lambda: replace(whole, **nothing))
    said = run("--quick")
    for name in ("processor", "instructions", "memory", "GPU", "weights", "CPU path", "threads"):
        assert f"{name:14}unknown\n" in said
    assert said.endswith("Nothing to change.\n")


def test_sentences_of_advice_are_wrapped(monkeypatch: pytest.MonkeyPatch):
    advice = [doctor.Advice("a word " * 30 + "end."), doctor.Advice("Do\x1b this.")]
    monkeypatch.setattr(doctor, "advice", lambda _: advice)
    tail = run("--quick").partition("What to change:\n")[2].splitlines()
    assert tail[0].startswith("  - a word a")
    assert tail[1].startswith("    a word") or tail[1].startswith("    word")
    assert max(map(len, tail)) <= 80
    assert tail[-1] == r"  - Do\x1b this."


def test_damaged_weights_are_broken(monkeypatch: pytest.MonkeyPatch):
    first, *others = models.BUNDLED
    monkeypatch.setattr(models, "BUNDLED", (replace(first, sha256="0" * 64), *others))
    said = " ".join(run(code=1).split())
    assert "weights 1 damaged" in said
    assert "- broken: " in said
    assert "install atdsr again" in said
    assert "measured" not in said


@pytest.mark.parametrize("missing", ["torch", "pyvips"])
def test_a_library_that_does_not_import_is_told_and_no_traceback(tmp_path: Path, missing: str):
    (tmp_path / f"{missing}.py").write_text("raise ImportError('libsomething.so is missing')\n")
    done = subprocess.run(
        [sys.executable, "-m", "atdsr", "doctor"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), SOURCES])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert not done.stderr
    said = " ".join(done.stdout.split())
    assert f"broken: {missing} cannot be imported (libsomething.so is missing)" in said


def test_names_of_variants_are_those_of_the_kernels():
    built = {path.stem for path in Path(atdsr.__file__).parent.glob("network/kernels/cpu/*.so")}
    assert built <= command._SETS.keys()


# The check of the GPU kernels


def test_without_a_gpu_there_is_nothing_to_check(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "unsupported", lambda: "there is no GPU.")
    result = CliRunner().invoke(cli.app, ["doctor", "--gpu"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: the GPU kernels cannot be checked: there is no GPU.\n"


@pytest.mark.parametrize(
    ("kernel", "failure", "words"),
    [
        ("look-up", None, "All passed: from now on the GPU kernels run on this machine."),
        ("look-up", "it computes NaN", "look-up: it computes NaN."),
        ("CUDA graph", "it is slow", "run on this machine from now on, without CUDA graphs."),
    ],
)
def test_the_checks_of_gpu_kernels_are_told(
    kernel: str, failure: str | None, words: str, monkeypatch: pytest.MonkeyPatch
):
    gpu_checks = pytest.importorskip("atdsr.reports.doctor.gpu_checks")
    results = [
        checks.KernelCheck("sort"),
        checks.KernelCheck(kernel, 1.234e-7, 5e-3, 3.21, failure),
    ]
    here = checks.Environment("A GPU", "9.0", "570", "2.13", "3.6", "abc")
    monkeypatch.setattr(gpu, "unsupported", lambda: None)
    monkeypatch.setattr(checks, "environment", lambda: here)
    monkeypatch.setattr(
        gpu_checks, "check_all", lambda progress: progress("a kernel", 0) or results
    )
    code = int(failure is not None)
    told = run("--gpu", code=code)
    assert words in told
    (row,) = (row for row in tables.rows(told) if row[0] == kernel)
    assert {"1.2e-07", "5.0e-03", "3.2", "FAILED" if failure else "passed"} < set(row)
    record = json.loads(run("--gpu", "--json", code=code))
    assert record["environment"]["gpu"] == "A GPU"
    assert record["checks"][1] == {
        "kernel": kernel,
        "float32_error": 1.234e-7,
        "bfloat16_error": 5e-3,
        "speedup": 3.21,
        "failure": failure,
    }
