"""`atdsr upscale` with many pictures: folders, trees, names, what is skipped, what is printed."""

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from atdsr import cli, imaging
from atdsr.cli import console
from helpers.upscaling import Run, refused, save


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folder_to_folder_and_the_lines_it_prints(run: Run):
    for name in ("in/a.png", "in/B.JPG", "in/c.webp"):
        save(name)
    Path("in/readme.txt").write_text("no picture")
    assert run("in", "-o", "out/deep") == [
        "in/B.JPG -> out/deep/B_x2.JPG",
        "in/a.png -> out/deep/a_x2.png",
        "in/c.webp -> out/deep/c_x2.webp",
        "3 of 3 pictures done",
    ]
    assert imaging.read("out/deep/B_x2.JPG").samples.shape == (20, 28, 3)
    assert run("in", "-o", "quiet", "--quiet") == []
    assert len(list(Path("quiet").iterdir())) == 3


def test_a_folder_is_continued_and_not_enlarged_again(run: Run):
    save("in/a.png")
    run("in")
    save("in/b.png")
    save("in/c_x3.png")
    save("in/c.png")
    before = Path("in/a_x2.png").stat().st_mtime_ns
    assert run("in") == [
        "in/c_x3.png: left out as an earlier output; name it alone to enlarge it",
        "in/a.png: in/a_x2.png exists and is kept",
        "in/b.png -> in/b_x2.png",
        "in/c.png -> in/c_x2.png",
        "2 of 3 pictures done, 1 skipped",
    ]
    assert Path("in/a_x2.png").stat().st_mtime_ns == before
    assert run("in/*.png", "--overwrite")[-1] == "3 of 3 pictures done"
    assert Path("in/a_x2.png").stat().st_mtime_ns > before
    assert not list(Path("in").glob("*_x2_x2*"))


def test_a_glob_in_quotes(run: Run):
    for name in ("in/a1.png", "in/a2.png", "in/b1.png"):
        save(name)
    assert run("in/a*.png", "-o", "out")[-1] == "2 of 2 pictures done"
    assert sorted(path.name for path in Path("out").iterdir()) == ["a1_x2.png", "a2_x2.png"]


def test_one_bad_picture_among_good_ones_is_named_at_the_end(run: Run):
    save("in/a.png")
    Path("in/b.png").write_bytes(b"no picture")
    save("in/c.png")
    lines = run("in", code=1)
    assert lines[0] == "in/a.png -> in/a_x2.png"
    assert lines[1] == "in/c.png -> in/c_x2.png"
    assert lines[2].startswith("error: in/b.png: not a picture")
    assert lines[3:] == ["2 of 3 pictures done, 1 failed"]
    quiet = run("in", "--quiet", "--overwrite", code=1)
    assert quiet == lines[2:3]


# Trees


def test_a_tree_of_folders(run: Run):
    for name in ("in/a.png", "in/p/b.png", "in/p/q/c.png", "in/.hidden/d.png"):
        save(name)
    assert run("-r", "in", "-o", "in/out") == [
        "in/a.png -> in/out/a_x2.png",
        "in/p/b.png -> in/out/p/b_x2.png",
        "in/p/q/c.png -> in/out/p/q/c_x2.png",
        "3 of 3 pictures done",
    ]
    assert run("--recursive", "in", "-o", "in/out")[-1] == "0 of 3 pictures done, 3 skipped"
    assert run("-r", "in")[-1] == "6 of 6 pictures done"  # the outputs as well, now that none is


def test_a_folder_inside_that_cannot_be_read(run: Run, monkeypatch: pytest.MonkeyPatch):
    iterdir = Path.iterdir

    def refuse(path: Path) -> Any:
        if path.name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    save("in/a.png")
    save("in/secret/b.png")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        lines = run("-r", "in", "-o", "out", code=1)
    assert lines == [
        "in/a.png -> out/a_x2.png",
        "error: in/secret cannot be read: Permission denied.",
        "1 of 2 pictures done, 1 failed",
    ]


# Names


def test_names_by_template(run: Run, tiny_file: Path):
    save("in/a.png")
    save("in/b.jpg")
    assert run("in", "--name", "{parent}-{stem}_{width}x{height} {model} x{scale}{ext}") == [
        "in/a.png -> in/in-a_28x20 tiny x2.png",
        "in/b.jpg -> in/in-b_28x20 tiny x2.jpg",
        "2 of 2 pictures done",
    ]
    assert imaging.read("in/in-a_28x20 tiny x2.png").width == 28
    assert run("in/a.png", "--name", "webp/{stem}.webp", "-o", "out") == [
        "in/a.png -> out/webp/a.webp"
    ]


def test_a_folder_is_continued_by_template(run: Run):
    save("in/a.png")
    run("in", "--name", "{stem}-large")
    save("in/b.png")
    assert run("in", "--name", "{stem}-large") == [
        "in/a.png: in/a-large.png exists and is kept",
        "in/b.png -> in/b-large.png",
        "2 of 2 pictures done, 1 skipped".replace("2 of", "1 of"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png", "--name", "{foo}"], "{foo}; a name has text and the fields {stem} {name}"),
        (["a.png", "--name", "../{stem}_b"], "'../a_b.png', which is not a valid name here"),
        (["a.png", "--name", ""], "names no file"),
        (["a.png", "--name", "{stem}{ext}"], "a.png is an input and is never overwritten"),
        (["a.png", "b.png", "--name", "c"], "both become c.png"),
        (["a.png", "--name", "{stem}.gif.xyz"], "no format has the suffix '.xyz'"),
        (["a.png", "--quality", "50"], "--quality applies only to JPEG, WebP, AVIF and JPEG XL"),
    ],
)
def test_names_and_qualities_that_cannot_be(run: Run, arguments: list[str], words: str):
    save("a.png")
    save("b.png")
    assert words in refused(run, *arguments)


# What is printed


def test_the_summary_tells_the_time(tiny_file: Path):
    save("in/a.png")
    result = CliRunner().invoke(cli.app, ["upscale", "-m", str(tiny_file), "in"])
    last = result.stderr.splitlines()[-1]
    assert re.fullmatch(r"1 of 1 picture done, in [\d.]+ (s|min \d+ s)", last), last


def test_json_lines(tiny_file: Path):
    def records(*args: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
        command = ["upscale", "-m", str(tiny_file), "--json", *args]
        result = CliRunner().invoke(cli.app, command)
        assert result.exit_code == code
        return [json.loads(line) for line in result.stdout.splitlines()], result.stderr

    save("in/a.png")
    save("in/a_x2.png")
    Path("in/b.png").write_bytes(b"no picture")
    save("in/c\n.png")
    lines, said = records("in", "--overwrite", code=1)
    assert [(line["event"], line.get("outcome")) for line in lines] == [
        ("picture", "done"),
        ("picture", "failed"),
        ("picture", "done"),
        ("summary", None),
    ]
    assert lines[0]["source"] == "in/a.png"
    assert lines[0]["target"] == "in/a_x2.png"
    assert (lines[0]["width"], lines[0]["height"], lines[0]["frames"]) == (28, 20, 1)
    assert "in/b.png: not a picture" in lines[1]["message"]
    assert lines[2]["source"] == "in/c\n.png"
    assert (lines[3]["total"], lines[3]["done"], lines[3]["failed"]) == (3, 2, 1)
    assert not lines[3]["interrupted"]
    assert all(line["format"] == 2 for line in lines)
    assert "error: in/b.png" in said
    lines, said = records("in", "--quiet", code=1)
    assert [line.get("outcome") for line in lines] == ["skipped", "failed", "skipped", None]
    assert said.startswith("error: in/b.png")
    lines, said = records("none/*.png", code=1)
    assert not lines
    assert said == "error: no picture matches none/*.png.\n"


def test_json_after_ctrl_c(tiny_file: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    save("a.png")
    monkeypatch.setattr(os, "fsync", interrupt)
    result = CliRunner().invoke(cli.app, ["upscale", "-m", str(tiny_file), "--json", "a.png"])
    assert result.exit_code == 130
    (summary,) = map(json.loads, result.stdout.splitlines())
    assert summary["interrupted"]
    assert summary["done"] == 0


# What would be done


def test_a_dry_run_prints_and_writes_nothing(tiny_file: Path):
    def dry(*args: str, code: int = 0) -> tuple[list[str], str]:
        command = ["upscale", "-m", str(tiny_file), "--dry-run", *args]
        result = CliRunner().invoke(cli.app, command)
        assert result.exit_code == code, result.output
        return result.stdout.splitlines(), result.stderr

    save("in/a.png")
    save("in/b.png")
    save("in/b_x2.png")
    Path("in/c.png").write_bytes(b"no picture")
    before = sorted(Path().rglob("*"))
    (first, second, last), said = dry("in", code=1)
    made = r"in/a\.png -> in/a_x2\.png  14x10 -> 28x20, tiny, about [\d.]+ s, [\d.]+ MiB of memory"
    assert re.fullmatch(made, first), first
    assert second == "in/b.png: in/b_x2.png exists and is kept"
    assert last.startswith("1 of 3 pictures would be made, 1 skipped, 1 failed, in about ")
    assert said.startswith("error: in/c.png: not a picture")
    lines, said = dry("in/a.png", "--json")
    picture, totals = map(json.loads, lines)
    assert (picture["event"], picture["outcome"], picture["width"]) == ("forecast", "done", 28)
    assert (totals["event"], totals["done"]) == ("forecast summary", 1)
    assert sorted(Path().rglob("*")) == before


def test_the_bar_counts_the_pictures_and_the_line_tells_size_and_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    for name in ("in/a.png", "in/b.png"):
        save(name)
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100, soft_wrap=True)
    monkeypatch.setattr(console.err, "console", terminal)
    run("in")
    shown = re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue())
    assert "1 of 2  a.png" in shown
    assert "2 of 2  b.png" in shown
    assert re.search(r"in/a\.png -> in/a_x2\.png  28x20, [\d.]+ s", shown)


def test_verbose_tells_how_and_how_long(run: Run):
    save("a.png")
    first, *others = run("a.png", "-v")
    assert re.match(r"ATD x2 on cpu, \d+ threads?, fp32, ", first)
    assert [re.sub(r"[\d.]+ s$", "", line) for line in others] == [
        "reading a.png took ",
        "the network runs on 14x10, as a whole",
        "the network took ",
        "writing a_x2.png took ",
        "a.png -> a_x2.png",
    ]
    assert run("a.png", "--overwrite") == ["a.png -> a_x2.png"]
