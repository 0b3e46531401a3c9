"""`atdsr upscale` to other sizes than the network's, in tiles, in files, and of many frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from atdsr import cli, imaging, inference
from atdsr.base import memory
from atdsr.batch import networks, running
from atdsr.inference import Upscaler
from atdsr.weights import models
from helpers.networks import TINY, lively
from helpers.pictures import noise
from helpers.upscaling import Run, refused, save


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "name", "size"),
    [
        (["--outscale", "2"], "a_x2.png", (28, 20)),
        (["--outscale", "3.5"], "a_x3.5.png", (49, 35)),
        (["--outscale", "1.2"], "a_x1.2.png", (17, 12)),
        (["--size", "50x50"], "a_50x50.png", (50, 36)),
        (["--size", "42x"], "a_42x.png", (42, 30)),
        (["--size", "x15"], "a_x15.png", (21, 15)),
        (["--size", "30x31!"], "a_30x31.png", (30, 31)),
        (["--size", "7x7"], "a_7x7.png", (7, 5)),
        (["-s", "2", "--outscale", "5"], "a_x5.png", (70, 50)),
    ],
)
def test_sizes(run: Run, arguments: list[str], name: str, size: tuple[int, int]):
    save("a.png")
    assert run("a.png", *arguments) == [f"a.png -> {name}"]
    made = imaging.read(name)
    assert (made.width, made.height) == size


def test_the_factor_of_the_network_is_the_network_alone(run: Run, tiny_file: Path):
    save("a.png")
    run("a.png", "--outscale", "2", "-o", "b.png")
    plain = inference.load(tiny_file)(imaging.read("a.png").samples)
    np.testing.assert_array_equal(imaging.read("b.png").samples, plain)


def test_each_picture_gets_the_network_for_its_factor(run: Run, monkeypatch: pytest.MonkeyPatch):
    chosen: list[str] = []

    def load(name: str, **_: object) -> Upscaler:
        chosen.append(name)
        return Upscaler(lively(replace(TINY, scale=models.find(name).config.scale)))

    monkeypatch.setattr(networks, "load", load)
    save("in/small.png", noise(3, h=4, w=5))
    save("in/large.png", noise(3, h=10, w=14))
    run("in", "--size", "20x", "-o", "out", model=None)
    assert chosen == ["atd-light-x2", "atd-light-x4"]  # the first is large.png
    made = imaging.read("out/small_20x.png").samples
    expected = Upscaler(lively(replace(TINY, scale=4)))(noise(3, h=4, w=5))
    np.testing.assert_array_equal(made, expected)
    run("in", "--outscale", "3", "-o", "out", model=None)
    assert chosen[2:] == ["atd-light-x4"]  # once for both


def test_a_device_that_is_not_here_is_named_once_and_not_for_each_picture(run: Run):
    for name in ("in/a.png", "in/b.png"):
        save(name)
    sentence = refused(run, "in", "--size", "20x", "--device", "mps", model=None)
    assert "has no mps device here" in sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--outscale", "3", "--size", "9x9"], "exclude each other"),
        (["--outscale", "1"], "'1' is not a number above 1"),
        (["--outscale", "nan"], "'nan' is not a number above 1"),
        (["--outscale", "1e9"], "'1e9' is not a number above 1"),
        (["--size", "x"], "'x' is not like 1920x1080"),
        (["--size", "0x9"], "'0x9' has a side of 0 pixels"),
        (["--size", "9x!"], "'9x!' is not like 1920x1080"),
        (["--size", "9"], "; write 9x for the width, or x9 for the height"),
        (["--scale", "8"], "'8' is not 2, 3 or 4; use --outscale 8."),
        (["--size", "9*9"], "'9*9' is not like 1920x1080"),
        (["--quality", "0"], "'0' is not a whole number from 1 to 100"),
        (["--quality", "101"], "'101' is not a whole number from 1 to 100"),
        (["--tile", "big"], "'big' is neither auto nor off"),
        (["--tile", "0"], "0 is no tile; write --tile off"),
        (["--overlap", "-1"], "'-1' is not a whole number"),
    ],
)
def test_options_that_make_no_sense(arguments: list[str], words: str):
    save("a.png")
    result = CliRunner().invoke(cli.app, ["upscale", "a.png", *arguments])
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_a_size_that_the_format_cannot_hold_is_refused_before_the_work(run: Run):
    save("a.webp", noise(3, h=4, w=1000))
    assert "16,383" in refused(run, "a.webp", "--outscale", "20")
    assert "pixels" in refused(run, "a.webp", "-f", "png", "--size", "999999x999999!")


# Tiles and memory


@pytest.mark.slow
def test_tiles_overlap_and_ensemble_reach_the_network(run: Run, tiny_file: Path):
    save("a.png", noise(3, h=60, w=80))
    run("a.png", "--tile", "32", "--overlap", "8", "--ensemble", "-o", "b.png")
    upscaler = inference.load(tiny_file, tile=32, overlap=8, ensemble=True)
    expected = upscaler(imaging.read("a.png").samples)
    np.testing.assert_array_equal(imaging.read("b.png").samples, expected)
    run("a.png", "--tile", "off", "-o", "whole.png")
    assert (imaging.read("whole.png").samples != expected).any()


@pytest.mark.slow
def test_what_is_done_for_memory_is_said(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Upscaler, "estimate", lambda _, height, width, *__: (height * width) << 30)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2000 << 30)
    save("a.png", noise(3, h=60, w=80))
    said, done = run("a.png")
    assert said.startswith("a.png: 80x60 takes about")
    assert "tiles of" in said
    assert done == "a.png -> a_x2.png"
    assert run("a.png", "-q", "--overwrite") == []


def test_a_large_result_is_the_same(run: Run, monkeypatch: pytest.MonkeyPatch):
    save("a.png", noise(4, h=20, w=30, dtype=np.uint16))
    run("a.png", "-o", "small.png")
    monkeypatch.setattr(running, "LARGE", 1000)
    run("a.png", "-o", "large.png")
    assert Path("large.png").read_bytes() == Path("small.png").read_bytes()
    assert sorted(path.name for path in Path().iterdir()) == ["a.png", "large.png", "small.png"]


# Qualities and metadata


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_quality(run: Run, suffix: str):
    save("a.png", noise(3, h=40, w=40))
    sizes = []
    for quality in ("10", "90"):
        run("a.png", "--quality", quality, "-o", f"{quality}{suffix}")
        sizes.append(Path(f"{quality}{suffix}").stat().st_size)
    assert sizes[0] < sizes[1] / 2


def test_metadata_stays_or_goes(run: Run):
    exif = Image.Exif()
    exif[0x010E] = "the beach"
    Image.fromarray(noise(3, h=10, w=14)).save("a.jpg", exif=exif, dpi=(300, 300))
    run("a.jpg")
    run("a.jpg", "--strip-metadata", "-o", "b.jpg")
    with Image.open("a_x2.jpg") as kept, Image.open("b.jpg") as stripped:
        assert kept.getexif()[0x010E] == "the beach"
        assert 0x010E not in stripped.getexif()


# Frames


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_stays_one(run: Run, suffix: str):
    frames = [Image.fromarray(noise(3, h=10, w=14)).rotate(90 * turn) for turn in range(3)]
    durations = [40, 50, 60]
    frames[0].save(
        f"a{suffix}", save_all=True, append_images=frames[1:], duration=durations, loop=3
    )
    run(f"a{suffix}")
    with Image.open(f"a_x2{suffix}") as made:
        assert made.size == (28, 20)
        assert getattr(made, "n_frames", 1) == 3
        found = []
        for number in range(3):
            made.seek(number)
            made.load()
            found.append(made.info["duration"])
        assert found == durations


def test_a_document_of_several_pages_stays_one(run: Run):
    pages = [Image.fromarray(noise(3, h=10, w=14)).rotate(90 * turn) for turn in range(3)]
    pages[0].save("a.tiff", save_all=True, append_images=pages[1:])
    run("a.tiff")
    assert len(imaging.open_frames("a_x2.tiff")) == 3


def test_frames_do_not_go_into_a_jpeg(run: Run):
    frames = [Image.fromarray(noise(3, h=10, w=14)).rotate(90 * turn) for turn in range(2)]
    frames[0].save("a.webp", save_all=True, append_images=frames[1:])
    assert "jpg holds one picture, not 2" in refused(run, "a.webp", "-f", "jpg")
