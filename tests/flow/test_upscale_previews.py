"""`atdsr upscale --preview`: a crop by bicubic and by the network, in one picture."""

from pathlib import Path

import numpy as np
import pytest

from atdsr import imaging, inference
from atdsr.batch import previews
from atdsr.imaging import montage, resample
from helpers.pictures import noise
from helpers.upscaling import Run, refused, save

MARGIN, GAP = 28, montage.GAP


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(previews, "SIDE", 16)
    return tmp_path


def test_the_middle_is_shown_by_bicubic_and_by_the_network(run: Run, tiny_file: Path):
    samples = noise(3, h=20, w=30)
    save("a.jpg", samples)
    assert run("a.jpg", "--preview") == ["a.jpg -> a_x2_preview.png"]
    assert sorted(path.name for path in Path().iterdir()) == ["a.jpg", "a_x2_preview.png"]
    sheet = imaging.read("a_x2_preview.png").samples
    middle = imaging.read("a.jpg").samples[2:18, 7:23]
    left = sheet[-MARGIN - 32 : -MARGIN, MARGIN : MARGIN + 32]
    np.testing.assert_array_equal(left, resample.upscale(middle, 2))
    start = MARGIN + GAP + max(32, montage.text("bicubic").width)
    right = sheet[-MARGIN - 32 : -MARGIN, start : start + 32]
    np.testing.assert_array_equal(right, inference.load(tiny_file)(middle))


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_of_picture_has_a_preview(run: Run, channels: int, dtype: type):
    save("a.png", noise(channels, h=9, w=7, dtype=dtype))
    run("a.png", "--preview", "--size", "20x")
    assert imaging.read("a_20x_preview.png").samples.dtype == np.uint8


def test_a_preview_is_kept_and_is_no_input_of_the_next_run(run: Run):
    save("in/a.png")
    save("in/b.png")
    assert run("in", "--preview")[-1] == "2 of 2 pictures done"
    assert run("in", "--preview")[-1] == "0 of 2 pictures done, 2 skipped"
    lines = run("in")
    assert lines[-3:] == [
        "in/a.png -> in/a_x2.png",
        "in/b.png -> in/b_x2.png",
        "2 of 2 pictures done",
    ]
    assert "a_x2_preview.png exists and is kept" in refused(run, "in/a.png", "--preview")
    run("in/a.png", "--preview", "--overwrite")


@pytest.mark.parametrize("other", [("--dry-run",), ("-o", "-")])
def test_options_that_do_not_go_with_a_preview(run: Run, other: tuple[str, ...]):
    save("a.png")
    (*_, last) = run("a.png", "--preview", *other, code=2)
    assert "exclude each other" in last
