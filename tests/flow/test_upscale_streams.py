"""`atdsr upscale` through standard input and standard output."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from atdsr import batch, cli, imaging
from atdsr.batch import streams
from helpers.pictures import noise
from helpers.upscaling import SOURCES, Run, save


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; the temporary files are elsewhere, and none may be left there."""
    (tmp_path / "work").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path


@pytest.fixture
def piped(tiny_file: Path, here: Path):
    """Call `atdsr upscale` with bytes on standard input; what it wrote to both streams."""

    def call(*args: str, sent: bytes = b"", code: int = 0) -> tuple[bytes, list[str]]:
        command = ["upscale", "-m", str(tiny_file), *args]
        result = CliRunner().invoke(cli.app, command, input=sent)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert not list((here / "temporary").iterdir())
        return result.stdout_bytes, result.stderr.splitlines()

    return call


def animation(name: str) -> bytes:
    frames = [Image.fromarray(noise(3, h=9, w=7) // (n + 1)) for n in range(3)]
    file = io.BytesIO()
    frames[0].save(file, name, save_all=True, append_images=frames[1:], duration=40)
    return file.getvalue()


def told(lines: list[str]) -> list[str]:
    """Return what is said of each picture, without its size and the seconds it took."""
    figures = re.compile(r"  28x20, [\d.]+ s$")
    assert all(figures.search(line) for line in lines)
    return [figures.sub("", line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["png", "tiff", "jpg", "webp", "avif", "bmp", "gif"])
def test_what_goes_through_is_what_a_file_becomes(piped: Any, run: Run, name: str):
    source = Path(save(f"a{imaging.FORMATS[name]}"))
    run(source.name, "-o", f"b{source.suffix}")
    sent, lines = piped("-", "-o", "-", sent=source.read_bytes())
    assert sent == Path(f"b{source.suffix}").read_bytes()
    assert told(lines) == ["standard input -> standard output"]
    assert piped("-", "-o", "-", "--quiet", sent=source.read_bytes()) == (sent, [])
    out, lines = piped(source.name, "-o", "-")
    assert (out, told(lines)) == (sent, [f"{source} -> standard output"])
    _, lines = piped("-", "-o", "c", sent=source.read_bytes())
    assert told(lines) == [f"standard input -> c{source.suffix}"]
    assert Path(f"c{source.suffix}").read_bytes() == sent


@pytest.mark.slow
def test_a_format_is_asked_for(piped: Any):
    content = Path(save("a.png")).read_bytes()
    for name in imaging.FORMATS:
        sent, _ = piped("-", "-o", "-", "-f", name, sent=content)
        assert imaging.recognise(sent[:64]) == name
    piped("-", "-o", "b.webp", sent=content)
    assert imaging.recognise(Path("b.webp").read_bytes()) == "webp"


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_and_pages_go_through(piped: Any, name: str):
    sent, _ = piped("-", "-o", "-", sent=animation(name))
    with Image.open(io.BytesIO(sent)) as image:
        assert (image.format, image.size) == (name, (14, 18))
        assert getattr(image, "n_frames", 1) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "standard input is empty; send a picture through it."),
        (b"no picture" * 1_000_000, "standard input: not a picture in one of the formats"),
        (animation("GIF")[:-9], "standard input: the file is damaged or cut short."),
    ],
)
def test_what_is_no_picture_ends_in_a_sentence(piped: Any, content: bytes, words: str):
    sent, (line,) = piped("-", "-o", "-", sent=content, code=1)
    assert not sent
    assert line.startswith(f"error: {words}")
    piped("-", "-o", "b.png", sent=content, code=1)
    assert not list(Path().iterdir())


def test_an_input_has_a_bound(piped: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "MOST_BYTES", 100)
    sent, lines = piped("-", "-o", "-", sent=Path(save("a.png")).read_bytes(), code=1)
    assert not sent
    assert lines == ["error: standard input holds more than 100 bytes; save it as a file first."]


def test_failures_name_the_streams(piped: Any):
    clear = Path(save("a.png", noise(4, h=10, w=10))).read_bytes()
    assert piped("-", "-o", "-", "-f", "jpg", sent=clear, code=1) == (
        b"",
        ["error: standard output: no transparency in jpg; write PNG, TIFF, WebP or AVIF."],
    )
    _, (line,) = piped("-", "-o", "-", "--size", "70000x", sent=clear, code=1)
    assert line.startswith("error: standard input: the result would be 70000x70000, more than")
    assert "b.png exists and is kept" in piped("-", "-o", save("b.png"), sent=clear, code=1)[1][0]
    _, (line,) = piped("-", "-o", "b.png", "--overwrite", sent=clear)
    assert line.startswith("standard input -> b.png  20x20, ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-", "a.png", "-o", "-"], "- is one picture from standard input"),
        (["-", "-"], "- is one picture from standard input"),
        (["a.png", "b.png", "-o", "-"], "-o - is for one picture"),
        (["in", "-o", "-"], "-o - is for one picture"),
        (["*.png", "-o", "-"], "-o - is for one picture"),
        (["-", "-o", "in"], "in is a folder, and - has no name to go by"),
        (["-", "-o", "new/"], "new/ is a folder"),
        (["-"], "- has no folder for the result; add -o FILE, or -o - to send it on."),
        (["-", "-o", "-", "--recursive"], "--recursive cannot be used with -"),
        (["-", "-o", "-", "--name", "{stem}"], "--name cannot be used with -"),
        (["a.png", "-o", "-", "--name", "{stem}"], "--name cannot be used with -"),
        (["-", "-o", "b.jpg", "-f", "png"], "b.jpg does not end in .png"),
    ],
)
def test_what_makes_no_sense_is_refused(piped: Any, arguments: list[str], words: str):
    content = Path(save("a.png")).read_bytes()
    save("b.png")
    save("in/c.png")
    before = sorted(Path().rglob("*"))
    sent, (line,) = piped(*arguments, sent=content, code=1)
    assert not sent
    assert words in line
    assert sorted(Path().rglob("*")) == before


def test_records_and_a_picture_do_not_share_standard_output(piped: Any):
    content = Path(save("a.png")).read_bytes()
    sent, lines = piped("-", "-o", "-", "--json", sent=content, code=2)
    assert not sent
    assert "--json and -o - both write to standard output" in lines[-1]
    sent, _ = piped("-", "-o", "b.png", "--json", sent=content)
    record, summary = map(json.loads, sent.splitlines())
    assert (record["source"], record["target"]) == ("standard input", "b.png")
    assert record["message"] == "standard input -> b.png"
    assert summary["done"] == 1


def test_ctrl_c_sends_nothing(piped: Any, monkeypatch: pytest.MonkeyPatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    content = Path(save("a.png")).read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    sent, (line,) = piped("-", "-o", "-", sent=content, code=130)
    assert not sent
    assert line.startswith("interrupted: 0 of 1 picture done")


X2 = batch.BatchConfig(batch.Factor(2))
STREAMS = [("stdin", ["-"], "b.png"), ("stdout", ["a.png"], "-")]


@pytest.mark.parametrize(("stream", "inputs", "out"), STREAMS)
def test_a_closed_stream_takes_no_picture(
    monkeypatch: pytest.MonkeyPatch, stream: str, inputs: list[str], out: str
):
    monkeypatch.setattr(sys, stream, None)
    with (
        pytest.raises(batch.BatchError, match=r"is closed; send "),
        batch.open_streams(inputs, out, X2),
    ):
        pass


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("stream", "inputs", "out"), STREAMS)
def test_a_terminal_takes_no_picture(
    monkeypatch: pytest.MonkeyPatch, stream: str, inputs: list[str], out: str
):
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "r" if stream == "stdin" else "w") as terminal:
        monkeypatch.setattr(sys, stream, terminal)
        name = stream.replace("std", "standard ") + "put"
        with (
            pytest.raises(batch.BatchError, match=f"^{name} is a terminal; send "),
            batch.open_streams(inputs, out, X2),
        ):
            pass


def test_no_room_for_temporary_files(piped: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    _, lines = piped("-", "-o", "-", code=1)
    assert lines == ["error: no temporary folder can be made: No such file or directory."]


# Processes of their own


def process(tiny_file: Path, *args: str, stdout: IO[bytes] | int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "atdsr", "upscale", "-m", str(tiny_file), *args]
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    return subprocess.Popen(command, env=environment, stdout=stdout, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_broken_pipe_ends_quietly(tiny_file: Path):
    save("a.png", noise(3, h=200, w=200))
    done = process(tiny_file, "a.png", "-o", "-", "--quiet", stdout=subprocess.PIPE)
    assert done.stdout is not None
    done.stdout.close()
    _, said = done.communicate()
    assert (done.returncode, said) == (1, b"")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output(tiny_file: Path):
    save("a.png")
    with Path("/dev/full").open("wb") as full:
        done = process(tiny_file, "a.png", "-o", "-", "--quiet", stdout=full)
        _, said = done.communicate()
    assert done.returncode == 1
    assert said == b"error: standard output cannot be written: No space left on device.\n"
