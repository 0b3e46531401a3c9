"""`atdsr upscale --shard`: parts of a folder in processes that do not know each other."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atdsr import cli
from atdsr.batch import Shard, running
from helpers.pictures import noise
from helpers.upscaling import SOURCES, Run, refused, save

NAMES = [f"{folder}{n}.png" for folder in ("", "p/", "p/q/") for n in range(4)]

# kills itself as soon as it has the third picture in memory
DIES = """
import os, signal
from atdsr import imaging
left, write = [2], imaging.write
def dying(*args, **options):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    write(*args, **options)
imaging.write = dying
from atdsr.__main__ import main
main()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.startswith(("SLURM_", "JOB_COMPLETION_")):
            monkeypatch.delenv(variable)
    return tmp_path


def pictures() -> None:
    for number, name in enumerate(NAMES):
        save(f"in/{name}", noise(3, h=6 + number, w=8))


def content(folder: str) -> dict[str, bytes]:
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_shards_make_what_one_process_makes(run: Run):
    pictures()
    run("in", "-r", "-o", "whole")
    done = 0
    for k in (3, 1, 2):
        *lines, summary = run("in", "-r", "-o", "out", "--shard", f"{k}/3")
        assert summary == f"shard {k}/3: {len(lines)} of {len(lines)} pictures done"
        done += len(lines)
    assert done == len(NAMES)
    assert content("out") == content("whole")


def test_outputs_beside_the_inputs_are_no_inputs_of_later_shards(run: Run):
    pictures()
    for k in (1, 2, 3):
        run("in", "-r", "--shard", f"{k}/3")
    made = {path for path in content("in") if "_x2" in path}
    assert made == {name.replace(".png", "_x2.png") for name in NAMES}


def test_a_scheduler_is_asked_only_where_the_command_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    pictures()
    for name, value in {"ID": "4", "MIN": "4", "MAX": "5", "COUNT": "2", "STEP": "1"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    first = run("in", "-r", "-o", "out", "--shard", "auto")
    assert first[-1].startswith("shard 1/2: ")
    assert run("in", "-r", "-o", "out", "--shard", "auto/2")[-1].startswith("shard 1/2: 0 of ")
    rest = run("in", "-r", "-o", "out")  # the whole
    assert rest[-1] == f"{13 - len(first)} of 12 pictures done, {len(first) - 1} skipped"


def test_what_is_no_shard_is_a_wrong_command(run: Run):
    pictures()
    for text in ("3", "0/2", "3/2", "auto", "auto/3"):
        line = run("in", "-r", "-o", "out", "--shard", text, code=2)[-1]
        assert "Invalid value for '--shard':" in line
        assert not Path("out").exists()


def test_a_shard_without_pictures_is_done(run: Run):
    save("in/a.png")
    said = [run("in", "-o", "out", "--shard", f"{k}/2") for k in (2, 1)]
    assert said[0] == ["shard 2/2: 0 of 0 pictures done"]
    assert said[1] == ["in/a.png -> out/a_x2.png", "shard 1/2: 1 of 1 picture done"]
    # a file alone is skipped as among others, since a shard is started again as it was
    again = run("in/a.png", "-o", "out/", "--shard", "1/2")
    assert again == [
        "in/a.png: out/a_x2.png exists and is kept",
        "shard 1/2: 0 of 1 picture done, 1 skipped",
    ]


def test_streams_have_no_shards(run: Run):
    save("a.png")
    said = "--shard cannot be used with -, which is one picture; drop it."
    assert said in refused(run, "a.png", "-o", "-", "--shard", "1/2")


def test_the_record_and_the_forecast_name_the_shard(tiny_file: Path):
    pictures()
    for options in ([], ["--dry-run"]):
        command = ["upscale", "-m", str(tiny_file), "in", "-r", "-o", "out", "--shard", "2/3"]
        lines = CliRunner().invoke(cli.app, [*command, "--json", *options]).stdout.splitlines()
        summary = json.loads(lines[-1])
        assert summary["shard"] == "2/3"
        assert summary["total"] == len(lines) - 1 > 0
    said = CliRunner().invoke(cli.app, [*command, "--dry-run"]).stdout.splitlines()[-1]
    assert said.startswith(f"shard 2/3: 0 of {len(lines) - 1} pictures would be made, ")


def test_each_shard_lists_its_failures(run: Run):
    pictures()
    Path("in/p/2.png").write_bytes(b"no picture")
    codes = []
    for k in (1, 2):
        command = ["in", "-r", "-o", "out", "--shard", f"{k}/2", "--failures", f"{k}.jsonl"]
        bad = Shard(k, 2).holds("p/2.png")
        said = run(*command, code=int(bad))
        listed = [json.loads(line) for line in Path(f"{k}.jsonl").read_text().splitlines()]
        assert [f"error: {each['message']}" for each in listed] == [
            line for line in said if line.startswith("error: ")
        ]
        assert [each["source"] for each in listed] == ["in/p/2.png"] * bad
        codes.append(bad)
    assert sorted(codes) == [False, True]
    Path("in/p/2.png").unlink()
    save("in/p/2.png")
    run("in", "-r", "-o", "out", "--failures", "1.jsonl")
    assert Path("1.jsonl").read_bytes() == b""
    assert len(content("out")) == len(NAMES)


def test_a_list_of_failures_replaces_no_picture(run: Run):
    pictures()
    assert "in/0.png exists and is not a list of failures" in refused(
        run, "in", "-o", "out", "--failures", "in/0.png"
    )
    said = run("in", "--dry-run", "--failures", "list", code=2)[-1]
    assert "--failures and --dry-run exclude each other" in said


def test_more_failures_than_are_shown_are_counted(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "MOST_SENTENCES", 1)
    for name in "abc":
        Path(f"{name}.png").write_bytes(b"no picture")
    said = run("a.png", "b.png", "c.png", "--failures", "list", code=1)
    assert said[0].startswith("error: a.png: not a picture")
    assert said[1:] == [
        "error: 2 more failed; --failures FILE lists them all.",
        "0 of 3 pictures done, 3 failed",
    ]
    assert len(Path("list").read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_killed_shard_is_resumed(run: Run, tiny_file: Path):
    pictures()
    run("in", "-r", "-o", "whole")
    command = ("in", "-r", "-o", "out", "--shard", "1/2")
    killed = subprocess.run(
        [sys.executable, "-c", DIES, "upscale", "-m", str(tiny_file), *command],
        env={**os.environ, "PYTHONPATH": SOURCES},
        stderr=subprocess.DEVNULL,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len([name for name in content("out") if name.endswith("_x2.png")]) == 2
    *lines, summary = run(*command)
    assert summary == f"shard 1/2: {len(lines) - 2} of {len(lines)} pictures done, 2 skipped"
    run("in", "-r", "-o", "out", "--shard", "2/2")
    assert content("out") == content("whole")  # and nothing is left of the killed process
