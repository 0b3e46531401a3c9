"""`atdsr upscale` of pictures whose names do not tell their format."""

import os
from pathlib import Path

import numpy as np
import pytest

from atdsr import imaging
from helpers.pictures import noise
from helpers.upscaling import Run, refused, save


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "suffix"),
    [
        ("photo", "photo_x2", ".png"),
        ("photo.download", "photo_x2", ".jpg"),
        ("IMG 12.5", "IMG 12_x2", ".gif"),
        (".hidden", ".hidden_x2", ".tiff"),
    ],
)
def test_without_a_suffix_the_format_is_the_contents(run: Run, name: str, target: str, suffix: str):
    Path(save(f"a{suffix}")).rename(name)
    assert run(name) == [f"{name} -> {target}{suffix}"]
    assert imaging.FORMATS[imaging.open_frames(f"{target}{suffix}").format_name] == suffix
    assert run(name, "-o", "out/", "--name", "{stem}-{width}{ext}")[0].endswith(f"-28{suffix}")
    assert run(name, "-o", "new") == [f"{name} -> new{suffix}"]
    assert run(name, "-f", "webp")[0].endswith(f"{target}.webp")
    assert run(name, "--name", "b.png") == [f"{name} -> b.png"]


def test_a_known_suffix_stays_whatever_the_content_is(run: Run):
    Path(save("a.jpg")).rename("a.png")
    assert run("a.png") == ["a.png -> a_x2.png"]
    assert imaging.open_frames("a_x2.png").format_name == "png"


def test_what_is_read_but_not_written_becomes_png(run: Run, monkeypatch: pytest.MonkeyPatch):
    Path(save("a.png")).rename("a.xyz")
    monkeypatch.setattr(imaging, "READABLE_SUFFIXES", imaging.READABLE_SUFFIXES | {".xyz"})
    assert run("a.xyz") == ["a.xyz -> a_x2.png"]
    Path("a.xyz").rename("b")
    monkeypatch.setattr(imaging.Frames, "format_name", "xyz")
    assert run("b") == ["b -> b_x2.png"]


def test_without_a_suffix_and_no_picture(run: Run):
    Path("notes").write_text("no picture")
    assert refused(run, "notes").startswith("error: notes: not a picture in one of the formats")
    assert refused(run, "none") == "error: none does not exist; check the name."
    assert "notes: not a picture" in refused(run, "notes", "-o", "new")
    os.mkfifo("pipe")
    assert refused(run, "pipe") == (
        "error: pipe can be read only once; name the format with --format."
    )
    save("a.png")
    assert run("notes", "a.png", code=1)[0] == "a.png -> a_x2.png"


def test_a_picture_of_odd_samples_without_a_suffix(run: Run):
    save("a.png", noise(4, h=6, w=5, dtype=np.uint16))
    Path("a.png").rename("a")
    run("a")
    assert imaging.read("a_x2.png").samples.shape == (12, 10, 4)
