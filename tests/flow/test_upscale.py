"""`atdsr upscale` as people call it: good files, bad files, and what is left on the disk."""

import io
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from rich.console import Console
from typer.testing import CliRunner

import atdsr
from atdsr import checkpoint, cli, memory, pixels, resample, zoo
from atdsr.checkpoint import Weights
from atdsr.cli import console, options
from atdsr.cli import upscale as upscale_command
from atdsr.pixels import Picture
from networks import TINY, lively

SOURCES = str(Path(atdsr.__file__).parents[1])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(Weights(TINY, lively(TINY).state_dict()), path)
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(tiny_file: Path) -> Run:
    """Call `atdsr upscale` with a tiny network; the lines on stderr come back."""

    def call(*args: str, code: int = 0, model: Path | str | None = tiny_file) -> list[str]:
        named = [] if model is None else ["--model", str(model)]
        result = CliRunner().invoke(cli.app, ["upscale", *named, *args])
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert not result.stdout
        assert not temporaries()
        return result.stderr.splitlines()

    return call


def refused(run: Run, *args: str, **options: str | Path | None) -> str:
    """Call `atdsr upscale`, which must fail with one sentence and leave no new file."""
    before = sorted(Path().rglob("*"))
    lines = run(*args, code=1, **options)
    assert sorted(Path().rglob("*")) == before
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def temporaries() -> list[Path]:
    return list(Path().rglob("*.part"))


def start(*args: str, **options) -> subprocess.Popen[str]:
    """`atdsr` as a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": SOURCES,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "atdsr", *args],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    high = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, high, shape, dtype, endpoint=True)


def save(name: str, samples: np.ndarray | None = None, icc: bytes | None = None) -> str:
    samples = noise(10, 14, 3) if samples is None else samples
    pixels.write(Picture(samples, icc), name)
    return name


# Good pictures


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_kind_of_samples_stays(run: Run, channels: int, dtype: type):
    save("a.png", noise(12, 17, channels, dtype=dtype))
    run("a.png")
    big = pixels.read("a_x2.png").samples
    assert big.shape == (24, 34, channels)
    assert big.dtype == dtype
    if dtype == np.uint16:
        assert len(np.unique(big[..., 0])) > 256


def test_a_soft_edge_stays_soft(run: Run):
    y, x = np.mgrid[:20, :20]
    alpha = np.clip(255 - 40 * (np.hypot(y - 10, x - 10) - 5), 0, 255).astype(np.uint8)
    save("a.png", np.dstack((noise(20, 20, 3), alpha)))
    run("a.png")
    big = pixels.read("a_x2.png").samples[..., 3:]
    np.testing.assert_array_equal(big, resample.upscale(alpha[..., None], 2))
    assert {0, 255} < set(np.unique(big).tolist())


def test_a_rotated_photo_is_turned_upright_once(run: Run):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    Image.fromarray(noise(10, 24, 3)).save("a.jpg", exif=exif)
    with Image.open("a.jpg") as turned:
        save("upright.png", np.rot90(np.asarray(turned), -1))
    run("a.jpg", "upright.png", "-f", "png")
    big = pixels.read("a_x2.png").samples
    assert big.shape == (48, 20, 3)
    np.testing.assert_array_equal(big, pixels.read("upright_x2.png").samples)
    run("a.jpg")
    with Image.open("a_x2.jpg") as big:
        assert big.size == (20, 48)
        assert big.getexif().get(0x0112, 1) == 1


def test_the_colour_profile_stays(run: Run):
    save("a.png", icc=SRGB)
    run("a.png", "--format", "jpg")
    assert pixels.read("a_x2.jpg").icc == SRGB


@pytest.mark.parametrize("name", list(options.Format))
def test_formats(run: Run, name: str):
    run(save("a.png"), "-f", name)
    path = Path("a_x2").with_suffix(pixels.FORMATS[name])
    assert pixels.read(path).samples.shape == (20, 28, 3)
    with path.open("rb") as file:
        assert pixels._recognise(file.read(64)) == name


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
    assert pixels.read("out/deep/B_x2.JPG").samples.shape == (20, 28, 3)
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
        "2 of 3 pictures done, 1 kept",
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


@pytest.mark.parametrize(
    "name",
    [
        "two words.png",
        "[1].png",
        "[red]not markup.png",
        ":smile:.png",
        "-dash.png",
        "猫 é.png",
        "UPPER.PNG",
        "per%cent[strip].png",
        ".hidden.png",
    ],
)
def test_odd_names(run: Run, name: str):
    save(name)
    path = Path(name)
    target = f"{path.stem}_x2{path.suffix}"
    assert run("--", name) == [f"{name} -> {target}"]
    assert pixels.read(target).samples.shape == (20, 28, 3)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\nb.png", r"a\nb.png"), ("\x1b[2J.png", r"\x1b[2J.png"), ("\udcff.png", r"\udcff.png")],
)
def test_names_that_would_disturb_a_terminal_are_printed_escaped(run: Run, name: str, shown: str):
    save("a.png")
    Path("a.png").rename(name)
    assert run(name) == [f"{shown} -> {shown.removesuffix('.png')}_x2.png"]


def test_the_bar_shows_on_a_terminal_only(run: Run, monkeypatch: pytest.MonkeyPatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80, soft_wrap=True)
    run(save("a.png"))
    monkeypatch.setattr(console, "err", terminal)
    run("a.png", "--overwrite")
    assert "%" in screen.getvalue()
    assert "a.png -> a_x2.png" in screen.getvalue()
    screen.truncate(0)
    run("a.png", "--overwrite", "--quiet")
    assert not screen.getvalue().strip("\0")


def test_a_model_comes_with_the_software(run: Run):
    save("a.png", noise(6, 5, 3))
    assert run("a.png", model=None) == ["a.png -> a_x2.png"]
    assert pixels.read("a_x2.png").samples.shape == (12, 10, 3)


def test_the_scale_is_that_of_the_model(run: Run):
    config = replace(TINY, scale=3)
    checkpoint.save(Weights(config, lively(config).state_dict()), "x3.pth")
    arguments = ["--category-size", "256"]
    run(save("a.png"), *arguments, model="x3.pth")
    run("a.png", "-s", "3", "-o", "b.png", *arguments, model="x3.pth")
    assert pixels.read("a_x3.png").samples.shape == (30, 42, 3)
    assert Path("b.png").read_bytes() == Path("a_x3.png").read_bytes()


# Bad pictures


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.png", b"hello", "not a picture"),
        ("empty.png", b"", "the file is empty"),
        ("missing.png", None, "No such file"),
    ],
)
def test_what_is_no_picture(run: Run, name: str, content: bytes | None, words: str):
    if content is not None:
        Path(name).write_bytes(content)
    sentence = refused(run, name)
    assert name in sentence
    assert words in sentence


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".avif", ".bmp"])
def test_a_truncated_picture(run: Run, suffix: str):
    path = Path(save(f"a{suffix}", noise(60, 60, 3)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert f"a{suffix}: the picture cannot be read" in refused(run, path.name)


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


def test_transparency_does_not_go_into_a_jpeg(run: Run):
    save("a.png", noise(10, 10, 4))
    assert "no transparency in jpg" in refused(run, "a.png", "-o", "a.jpg")
    assert "no transparency in jpg" in refused(run, "a.png", "--format", "jpg")


# Bad outputs


def test_an_existing_output_of_a_single_picture_is_an_error(run: Run):
    save("a.png")
    Path("a_x2.png").write_text("mine")
    assert "--overwrite" in refused(run, "a.png")
    assert Path("a_x2.png").read_text() == "mine"
    run("a.png", "--overwrite")
    assert pixels.read("a_x2.png").height == 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png", "-o", "a.png", "--overwrite"], "a.png is an input and is never overwritten"),
        (["a.png", "-o", "link.png", "--overwrite"], "link.png is an input"),
        (["a.png", "b/a.png", "-o", "b/"], "a.png and b/a.png would both become b/a_x2.png"),
        (["a.png", "-o", "folder.png/x.gif"], "no format has the suffix '.gif'"),
        (["a.png", "b/a.png", "-o", "notes"], "notes is a file; name a folder"),
        (["a.png", "-o", "notes/"], "notes/ is a file; name a folder"),
        (["a.png", "-o", "notes/x.png"], "notes is no folder"),
        (["a.png", "-o", "new.png", "-f", "jpg"], "new.png does not end in .jpg"),
        (["*.gif"], "no picture matches *.gif"),
        (["empty"], "empty is a folder without pictures"),
    ],
)
def test_outputs_that_cannot_be(run: Run, arguments: list[str], words: str):
    save("a.png")
    save("b/a.png")
    Path("link.png").symlink_to("a.png")
    Path("notes").write_text("a file")
    Path("empty").mkdir()
    before = Path("a.png").read_bytes()
    assert words in refused(run, *arguments)
    assert Path("a.png").read_bytes() == before


def test_a_folder_in_the_place_of_the_output(run: Run):
    save("in/a.png")
    Path("in/a_x2.png").mkdir()
    assert "in/a_x2.png: this is a folder" in refused(run, "in/a.png")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_place_that_takes_no_files(run: Run):
    save("a.png")
    assert "/proc/a_x2.png: " in refused(run, "a.png", "-o", "/proc/")
    assert "/proc/none/a_x2.png: " in refused(run, "a.png", "-o", "/proc/none/")


def test_a_picture_in_a_read_only_place(run: Run, monkeypatch: pytest.MonkeyPatch):
    save("in/a.png")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "in")
    assert "the folder in may not be written" in refused(run, "in/a.png")
    run("in/a.png", "-o", "a.png")


def test_an_unreadable_folder(run: Run, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    save("in/a.png")
    monkeypatch.setattr(Path, "iterdir", refuse)
    lines = run("in", code=1)
    assert lines == ["error: in cannot be read: Permission denied."]


def test_a_full_disk(tiny_file: Path):
    save("a.png", noise(30, 30, 3))
    process = start(
        *("upscale", "a.png", "-m", str(tiny_file)),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    _, said = process.communicate()
    assert said == "error: a_x2.png: the file cannot be written: File too large.\n"
    assert process.returncode == 1
    assert list(Path().iterdir()) == [Path("a.png")]


# Bad weights


class RunsCode:
    """An object that leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch code-has-run",)


@pytest.mark.parametrize("zipped", [False, True])
def test_weights_that_would_run_code_do_not(run: Run, zipped: bool):
    if zipped:
        torch.save({"params_ema": RunsCode()}, "evil.pth")
    else:
        Path("evil.pth").write_bytes(pickle.dumps({"params_ema": RunsCode()}))
    save("a.png")
    assert "evil.pth" in refused(run, "a.png", model="evil.pth")
    assert not Path("code-has-run").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_weights(run: Run, suffix: str):
    path = Path(f"cut{suffix}")
    checkpoint.save(Weights(TINY, lively(TINY).state_dict()), path)
    whole = path.read_bytes()
    save("a.png")
    for content in (whole[: len(whole) // 2], b"", b"\0" * 100):
        path.write_bytes(content)
        assert path.name in refused(run, "a.png", model=path)


def test_weights_of_another_architecture(run: Run):
    torch.save({"params": {"conv1.weight": torch.zeros(3, 3, 1, 1)}}, "other.pth")
    save("a.png")
    assert "other.pth: these are not the weights of an ATD" in refused(
        run, "a.png", model="other.pth"
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("missing.pth", "missing.pth does not exist"),
        ("atd-lihgt-x2", "did you mean atd-light-x2?"),
        ("here", "here is a folder"),
    ],
)
def test_models_that_are_not_there(run: Run, model: str, words: str):
    Path("here").mkdir()
    assert words in refused(run, save("a.png"), model=model)


def test_scales_that_do_not_fit(run: Run, monkeypatch: pytest.MonkeyPatch):
    save("a.png")
    assert "enlarges by 2, not by 3" in refused(run, "a.png", "--scale", "3")
    monkeypatch.setattr(zoo, "MODELS", zoo.MODELS[:1])
    assert "no model for scale 4" in refused(run, "a.png", "--scale", "4", model=None)


# Interrupts and closed streams


def test_ctrl_c_keeps_what_is_finished_and_nothing_else(tiny_file: Path):
    save("in/a.png")
    save("in/b.png", noise(300, 300, 3))
    save("in/c.png")
    process = start(
        *("upscale", "in", "-o", "out", "-m", str(tiny_file)),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "in/a.png -> out/a_x2.png\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert "Traceback" not in said
    assert said.endswith("interrupted: 1 of 3 pictures done\n")
    assert process.returncode == 130
    assert list(Path("out").iterdir()) == [Path("out/a_x2.png")]


def test_ctrl_c_in_the_middle_of_writing(run: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupt(_: int) -> None:
        assert temporaries()
        raise KeyboardInterrupt

    save("a.png")
    monkeypatch.setattr(os, "fsync", interrupt)
    assert run("a.png", code=130) == ["interrupted: 0 of 1 picture done"]
    assert list(Path().iterdir()) == [Path("a.png")]


def test_ctrl_c_before_the_work(run: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(upscale_command, "load_upscaler", interrupt)
    assert run("a.png", code=130) == ["interrupted"]


def test_without_stdin_stdout_and_stderr(tiny_file: Path, monkeypatch: pytest.MonkeyPatch):
    save("a.png")
    for stream in ("stdin", "stdout", "stderr"):  # None is what a closed one is for Python
        monkeypatch.setattr(sys, stream, None)
    monkeypatch.setattr(sys, "argv", ["atdsr", "upscale", "a.png", "-m", str(tiny_file)])
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: False)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert pixels.read("a_x2.png").height == 20
