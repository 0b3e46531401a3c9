"""Commands that get a signal, are killed, meet another process, or have nowhere to write to."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM
from typing import IO

import pytest
from PIL import Image
from typer.testing import CliRunner

from atdsr import cli, imaging
from atdsr.base import files
from helpers.pictures import noise
from helpers.upscaling import SOURCES, Run, refused, save

pytestmark = pytest.mark.slow

ALL = [SIGINT, SIGTERM, SIGHUP]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def started(
    *args: str,
    code: str = "from atdsr.__main__ import main; main()",
    ignored: signal.Signals | None = None,
    stdout: IO[str] | int = subprocess.PIPE,
    stderr: IO[str] | int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    """`atdsr` as a process of its own, which is not left running."""

    def prepare() -> None:
        signal.signal(SIGINT, signal.SIG_DFL)
        if ignored is not None:
            signal.signal(ignored, signal.SIG_IGN)

    with subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"},
        stdout=stdout,
        stderr=stderr,
        text=True,
        preexec_fn=prepare,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def hidden(folder: str = "out") -> list[str]:
    return [path.name for path in Path(folder).rglob(".*")]


def wait_for_hidden(process: subprocess.Popen[str], suffix: str = ".part") -> None:
    while not any(name.endswith(suffix) for name in hidden()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def animation(name: str, frames: int = 40) -> str:
    first, *others = (Image.fromarray(noise(3, h=64, w=64) + number) for number in range(frames))
    first.save(name, save_all=True, append_images=others, duration=50)
    return name


@contextmanager
def in_the_middle(kind: str, tiny_file: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A picture, and `atdsr upscale` while it makes an animation or a large picture of it."""
    code, suffix = "", ".part"
    if kind == "large":  # which begins earlier than usual
        code, suffix = "from atdsr.batch import running; running.LARGE = 1000\n", ".scratch"
        source = save("a.png", noise(3, h=300, w=300))
    else:
        source = animation("a.gif")
    code += "from atdsr.__main__ import main; main()"
    with started("upscale", source, "-o", "out/", "-m", str(tiny_file), code=code) as process:
        wait_for_hidden(process, suffix)
        yield source, process


# ------------------------------------------------------------------------------ signals


@pytest.mark.slow
@pytest.mark.parametrize("number", ALL)
@pytest.mark.parametrize("kind", ["animation", "large"])
def test_a_signal_in_the_middle_leaves_nothing(tiny_file: Path, kind: str, number: signal.Signals):
    with in_the_middle(kind, tiny_file) as (source, process):
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert re.fullmatch(r"interrupted: 0 of 1 picture done, in [\d.]+ s\n", said)
    assert list(Path().iterdir()) == [Path(source)]


@pytest.mark.parametrize("number", ALL)
def test_a_signal_between_the_pictures_of_a_folder(tiny_file: Path, number: signal.Signals):
    for name in "abc":
        save(f"in/{name}.png", noise(3, h=200, w=200))
    with started("upscale", "in", "-o", "out", "-m", str(tiny_file)) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("in/a.png -> out/a_x2.png  ")
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1].startswith("interrupted: 1 of 3 pictures done, in ")
    assert [path.name for path in Path("out").iterdir()] == ["a_x2.png"]


@pytest.mark.parametrize("number", ALL)
def test_a_signal_while_modules_are_imported_has_no_traceback(number: signal.Signals):
    code = """
from atdsr import __main__
import atdsr.base.interrupts
take_over = atdsr.base.interrupts.install_handlers
def told():
    take_over()
    print("ready", flush=True)
atdsr.base.interrupts.install_handlers = told
__main__.main()
"""
    save("a.png")
    for moment in (0, 0.02, 0.1, 0.3):
        with started("upscale", "a.png", code=code) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moment)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert re.fullmatch(r"interrupted(: 0 of 1 picture done, in [\d.]+ s)?\n", said)


@pytest.mark.parametrize("number", ALL)
def test_ctrl_c_from_the_first_line_on_has_no_traceback(number: signal.Signals):
    code = """
import os, signal, sys, runpy
signal.signal(signal.SIGINT, signal.default_int_handler)
number = int(sys.argv.pop())
class Sending:
    def find_spec(self, name, path=None, target=None):
        if name == "atdsr.base.interrupts":
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Sending())
runpy.run_module("atdsr", run_name="__main__")
"""
    with started("--help", str(int(number)), code=code) as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (-number, "")


def test_a_hangup_that_is_ignored_stays_so(tiny_file: Path):
    source = animation("a.gif", 10)
    with started(
        *("upscale", source, "-o", "out/", "-m", str(tiny_file)), ignored=SIGHUP
    ) as process:
        wait_for_hidden(process)
        process.send_signal(SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(imaging.open_frames("out/a_x2.gif")) == 10


@pytest.mark.parametrize("kind", ["animation", "large"])
def test_the_next_run_sweeps_what_a_killed_one_has_left(run: Run, tiny_file: Path, kind: str):
    with in_the_middle(kind, tiny_file) as (_, process):
        process.send_signal(SIGKILL)
        process.communicate(timeout=60)
    assert hidden()
    save("b.png")
    run("b.png", "-o", "out/")
    assert [path.name for path in Path("out").iterdir()] == ["b_x2.png"]


def test_a_run_with_nothing_to_do_sweeps_too(run: Run):
    save("in/a.png")
    run("in", "-o", "out", "-q")
    Path("out/.0123456789abcdef.part").touch()
    files._cleaned_folders.clear()
    run("in", "-o", "out", "-q")
    assert hidden() == []


# ------------------------------------------------------------------------------ several processes


def test_what_another_process_is_making_is_passed_over(tiny_file: Path):
    def call(*args: str, code: int = 0) -> list[str]:
        result = CliRunner().invoke(cli.app, ["upscale", "-m", str(tiny_file), *args])
        assert result.exit_code == code, result.output
        return result.stderr.splitlines()

    for name in "abc":
        save(f"in/{name}.png")
    with files.output_lock(Path("out/b_x2.png")):
        *lines, summary = call("in", "-o", "out")
        assert lines[1] == "in/b.png: out/b_x2.png is being made by another process"
        assert summary.startswith("2 of 3 pictures done, 1 skipped, in ")
        call("in", "-o", "out", "--overwrite")
        assert not Path("out/b_x2.png").exists()
        (said,) = call("in/b.png", "-o", "out/", code=1)
        assert "out/b_x2.png is being made by another process; wait for its end" in said
    call("in", "-o", "out")
    assert len(list(Path("out").iterdir())) == 3


def test_what_another_process_has_made_meanwhile_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch):
    for name in "ab":
        save(f"in/{name}.png", noise(3, h=40, w=40))
    write = imaging.write

    def late(picture, path, **options):
        path.write_bytes(b"of another process")
        write(picture, path, **options)

    monkeypatch.setattr(imaging, "write", late)
    *_, summary = run("in", "-o", "out")
    assert summary == "0 of 2 pictures done, 2 skipped"
    assert Path("out/a_x2.png").read_bytes() == b"of another process"
    assert "exists and is kept" in run("in/a.png", "-o", "c.png", code=1)[0]


def test_two_processes_share_a_folder(tiny_file: Path):
    for number in range(8):
        save(f"in/{number}.png", noise(3, h=120, w=120))
    command = ("upscale", "in", "-o", "out", "-m", str(tiny_file))
    with started(*command) as one, started(*command) as other:
        said = [process.communicate(timeout=120)[1] for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), said
    assert sum(int(text.splitlines()[-1].split()[0]) for text in said) == 8
    assert not any("failed" in text for text in said)
    assert len(list(Path("out").iterdir())) == 8


# ------------------------------------------------------------------------------ output and input


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("models",), ("upscale", "-h")])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_device_is_a_sentence(
    args: tuple[str, ...], buffered: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONUNBUFFERED", buffered)
    with Path("/dev/full").open("w") as full, started(*args, stdout=full) as process:
        _, said = process.communicate(timeout=60)
    assert said == "error: standard output cannot be written: No space left on device.\n"
    assert process.returncode == 1


def test_a_full_device_for_records(tiny_file: Path):
    save("in/a.png")
    command = ("upscale", "in", "-o", "out", "-m", str(tiny_file), "--json", "-q")
    with Path("/dev/full").open("w") as full, started(*command, stdout=full) as process:
        _, said = process.communicate(timeout=60)
    assert said == "error: standard output cannot be written: No space left on device.\n"
    assert process.returncode == 1
    assert hidden() == []


def test_a_closed_pipe_ends_without_a_word():
    reader, writer = os.pipe()
    os.close(reader)
    with started("models", stdout=writer) as process:
        os.close(writer)
        _, said = process.communicate(timeout=60)
    assert said == ""
    assert process.returncode == 1


def test_standard_error_that_takes_nothing_stops_nothing(tiny_file: Path):
    save("in/a.png")
    command = ("upscale", "in", "-o", "out", "-m", str(tiny_file))
    with Path("/dev/full").open("w") as full, started(*command, stderr=full) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert Path("out/a_x2.png").is_file()


def test_a_pipe_is_neither_input_nor_output(run: Run, tiny_file: Path):
    for name in ("a.png", "b.safetensors"):
        os.mkfifo(name)
    assert "a.png: the picture cannot be read: this is a pipe and no file." in refused(
        run, "a.png", "-o", "b.png"
    )
    save("c.png")
    for options in ((), ("--overwrite",)):
        assert "a.png: this is a pipe; name a file." in refused(
            run, "c.png", "-o", "a.png", *options
        )
    assert "is not a regular file" in refused(run, "c.png", model="b.safetensors")
