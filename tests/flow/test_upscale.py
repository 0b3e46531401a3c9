"""`atdsr upscale` with single pictures: good ones, bad ones, and outputs that cannot be."""

import io
import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms
from rich.console import Console

from atdsr import imaging
from atdsr.cli import console
from atdsr.imaging import resample
from atdsr.weights import Weights, write_weights
from helpers.networks import TINY, lively
from helpers.pictures import noise
from helpers.upscaling import Run, refused, save, start

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Good pictures


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_kind_of_samples_stays(run: Run, channels: int, dtype: type):
    save("a.png", noise(channels, h=12, w=17, dtype=dtype))
    run("a.png")
    big = imaging.read("a_x2.png").samples
    assert big.shape == (24, 34, channels)
    assert big.dtype == dtype
    if dtype == np.uint16:
        assert len(np.unique(big[..., 0])) > 256


def test_a_soft_edge_stays_soft(run: Run):
    y, x = np.mgrid[:20, :20]
    alpha = np.clip(255 - 40 * (np.hypot(y - 10, x - 10) - 5), 0, 255).astype(np.uint8)
    save("a.png", np.dstack((noise(3, h=20, w=20), alpha)))
    run("a.png")
    big = imaging.read("a_x2.png").samples[..., 3:]
    np.testing.assert_array_equal(big, resample.upscale(alpha[..., None], 2))
    assert {0, 255} < set(np.unique(big).tolist())


def test_a_rotated_photo_is_turned_upright_once(run: Run):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    Image.fromarray(noise(3, h=10, w=24)).save("a.jpg", exif=exif)
    with Image.open("a.jpg") as turned:
        save("upright.png", np.rot90(np.asarray(turned), -1))
    run("a.jpg", "upright.png", "-f", "png")
    big = imaging.read("a_x2.png").samples
    assert big.shape == (48, 20, 3)
    np.testing.assert_array_equal(big, imaging.read("upright_x2.png").samples)
    run("a.jpg")
    with Image.open("a_x2.jpg") as big:
        assert big.size == (20, 48)
        assert big.getexif().get(0x0112, 1) == 1


def test_colours_that_the_format_cannot_describe_are_converted_and_told_of(run: Run):
    samples = np.full((8, 8, 3), 255, np.uint8)
    imaging.write(imaging.Picture(samples, code_points=imaging.CodePoints(12, 13)), "a.png")
    lines = run("a.png", "-f", "bmp")
    assert "a.png: Display P3 becomes sRGB, since bmp holds no colour profile." in lines[0]
    assert imaging.read("a_x2.bmp").icc is None
    (line,) = run("a.png")
    assert "Display P3" not in line
    assert imaging.read("a_x2.png").code_points == imaging.CodePoints(12, 13)


def test_the_colour_profile_stays(run: Run):
    save("a.png", icc=SRGB)
    run("a.png", "--format", "jpg")
    assert imaging.read("a_x2.jpg").icc == SRGB


@pytest.mark.parametrize("name", list(imaging.FORMATS))
def test_formats(run: Run, name: str):
    run(save("a.png"), "-f", name)
    path = Path("a_x2").with_suffix(imaging.FORMATS[name])
    assert imaging.read(path).samples.shape == (20, 28, 3)
    with path.open("rb") as file:
        assert imaging.recognise(file.read(64)) == name


@pytest.mark.parametrize(
    ("name", "suffix"), [("jpeg", ".jpg"), (".TIF", ".tiff"), ("PNG", ".png"), ("pgm", ".ppm")]
)
def test_formats_by_their_suffixes(run: Run, name: str, suffix: str):
    run(save("a.png"), "-f", name)
    assert Path("a_x2").with_suffix(suffix).exists()


def test_a_format_that_is_only_read_becomes_png(run: Run):
    samples = noise(3, h=10, w=14)
    image = pillow_heif.from_bytes("RGB", (14, 10), samples.tobytes())
    image.save("a.heic", quality=90)
    run("a.heic")
    assert imaging.read("a_x2.png").samples.shape == (20, 28, 3)
    assert "'.heic' is read but not written" in refused(run, "a.heic", "-o", "b.heic")


def test_a_moving_avif_stays_one(run: Run):
    frames = [Image.fromarray(noise(3, h=10, w=14)) for _ in range(3)]
    times = [40, 50, 60]
    frames[0].save("a.avif", save_all=True, append_images=frames[1:], duration=times)
    run("a.avif")
    back = imaging.open_frames("a_x2.avif")
    assert (back.width, back.height, back.durations, back.loop) == (28, 20, (40, 50, 60), 0)


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
    assert imaging.read(target).samples.shape == (20, 28, 3)


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
    monkeypatch.setattr(console.err, "console", terminal)
    run("a.png", "--overwrite")
    assert "%" in screen.getvalue()
    assert "a.png -> a_x2.png" in screen.getvalue()
    screen.truncate(0)
    run("a.png", "--overwrite", "--quiet")
    assert not screen.getvalue().strip("\0")


def test_a_model_comes_with_the_software(run: Run):
    save("a.png", noise(3, h=6, w=5))
    assert run("a.png", model=None) == ["a.png -> a_x2.png"]
    assert imaging.read("a_x2.png").samples.shape == (12, 10, 3)


def test_the_scale_is_that_of_the_model(run: Run):
    config = replace(TINY, scale=3)
    write_weights(Weights(config, lively(config).state_dict()), "x3.pth")
    arguments = ["--category-size", "256"]
    run(save("a.png"), *arguments, model="x3.pth")
    run("a.png", "-s", "3", "-o", "b.png", *arguments, model="x3.pth")
    assert imaging.read("a_x3.png").samples.shape == (30, 42, 3)
    assert Path("b.png").read_bytes() == Path("a_x3.png").read_bytes()


# Bad pictures


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.png", b"hello", "not a picture"),
        ("empty.png", b"", "the file is empty"),
        ("missing.png", None, "does not exist; check the name"),
    ],
)
def test_what_is_no_picture(run: Run, name: str, content: bytes | None, words: str):
    if content is not None:
        Path(name).write_bytes(content)
    sentence = refused(run, name)
    assert name in sentence
    assert words in sentence


@pytest.mark.parametrize(
    "suffix", [".png", ".jpg", ".webp", ".tiff", ".avif", ".bmp", ".jxl", ".jp2"]
)
def test_a_truncated_picture(run: Run, suffix: str):
    path = Path(save(f"a{suffix}", noise(3, h=60, w=60)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    sentence = refused(run, path.name)
    assert (
        f"a{suffix}: the picture cannot be read" in sentence or "damaged or cut short" in sentence
    )


def test_transparency_does_not_go_into_a_jpeg(run: Run):
    save("a.png", noise(4, h=10, w=10))
    assert "no transparency in jpg" in refused(run, "a.png", "-o", "a.jpg")
    assert "no transparency in jpg" in refused(run, "a.png", "--format", "jpg")


# Bad outputs


def test_an_existing_output_of_a_single_picture_is_an_error(run: Run):
    save("a.png")
    Path("a_x2.png").write_text("mine")
    assert "--overwrite" in refused(run, "a.png")
    assert Path("a_x2.png").read_text() == "mine"
    run("a.png", "--overwrite")
    assert imaging.read("a_x2.png").height == 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png", "-o", "a.png", "--overwrite"], "a.png is an input and is never overwritten"),
        (["a.png", "-o", "link.png", "--overwrite"], "link.png is an input"),
        (["a.png", "b/a.png", "-o", "b/"], "a.png and b/a.png would both become b/a_x2.png"),
        (["a.png", "-o", "folder.png/x.xyz"], "no format has the suffix '.xyz'"),
        (["a.png", "b/a.png", "-o", "notes"], "notes is a file; name a folder"),
        (["a.png", "-o", "notes/"], "notes/ is a file; name a folder"),
        (["a.png", "-o", "notes/x.png"], "notes is not a folder"),
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


@pytest.mark.slow
def test_a_full_disk(tiny_file: Path):
    save("a.png", noise(3, h=30, w=30))
    process = start(
        *("upscale", "a.png", "-m", str(tiny_file)),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    _, said = process.communicate()
    assert said == "error: a_x2.png: the file cannot be written: File too large.\n"
    assert process.returncode == 1
    assert list(Path().iterdir()) == [Path("a.png")]
