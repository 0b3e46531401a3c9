"""Test sets in every layout that people have, and what is none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atdsr import datasets, imaging
from atdsr.evaluation import testsets
from atdsr.evaluation.testsets import Pair, TestSetError
from atdsr.imaging import resample


def picture(path: Path, height: int = 24, width: int = 28, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, path.stem[:3]))
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def names(test_set: testsets.TestSet) -> list[str]:
    return [pair.name for pair in test_set.pairs]


@pytest.mark.parametrize(
    ("hr", "data"),
    [
        ("Set5", "Set5"),
        ("Set5/HR", "Set5"),
        ("Set5/HR", "Set5/HR"),
        ("Set5/HR/x2", "Set5"),
        ("Set5/x2", "Set5"),
        ("Set5/X2", "Set5/X2"),
        ("HR/Set5/x2", "HR/Set5/x2"),
        ("HR/Set5/x2", "HR/Set5"),
        ("HR/Set5/x2", "HR"),
        ("HR/Set5/x2", "Set5"),
        ("HR/Set5/x2", "."),
        ("Set5/HR", "."),
        ("Set5", "."),
    ],
)
def test_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hr: str, data: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("woman", "baby"):
        picture(Path(hr) / f"{name}.png")
    (Path(hr) / "readme.txt").write_text("not a picture")
    (Path(hr) / "._baby.png").write_text("not a picture either, whatever it is called")
    (test_set,) = testsets.find(data, 2)
    assert test_set.name == "Set5"
    assert names(test_set) == ["baby", "woman"]
    assert test_set.pairs[0].lr is None


@pytest.mark.parametrize("form", ["{}", "{}x2", "{}_x2", "{}_HR_x2", "{}_SRF_2_HR", "{}-HR"])
def test_marks_that_all_file_names_bear_are_left_out(tmp_path: Path, form: str) -> None:
    for name in ("baby", "img_001"):
        picture(tmp_path / (form.format(name) + ".png"))
    (test_set,) = testsets.find(tmp_path, 2)
    assert names(test_set) == ["baby", "img_001"]


def test_a_mark_that_only_some_bear_or_of_another_scale_is_part_of_the_name(
    tmp_path: Path,
) -> None:
    picture(tmp_path / "a" / "boxx2.png")
    picture(tmp_path / "a" / "fox.png")
    assert names(testsets.find(tmp_path / "a", 2)[0]) == ["boxx2", "fox"]
    picture(tmp_path / "b" / "boxx3.png")
    assert names(testsets.find(tmp_path / "b", 2)[0]) == ["boxx3"]


def test_several_sets_in_a_tree(tmp_path: Path) -> None:
    for name in ("Set5", "Set14", "BSD100"):
        picture(tmp_path / "HR" / name / "x2" / "a.png")
        picture(tmp_path / "HR" / name / "x3" / "a.png")
        picture(tmp_path / "LR/LRBI" / name / "x2" / "a.png", 12, 14)
    (tmp_path / "HR" / "empty").mkdir()
    test_sets = testsets.find(tmp_path, 2)
    assert [test_set.name for test_set in test_sets] == ["B100", "Set14", "Set5"]
    assert {test_set.scale for test_set in test_sets} == {2}
    assert [test_set.pairs[0].hr.parent.name for test_set in test_sets] == ["x2"] * 3
    assert [test_set.name for test_set in testsets.find(tmp_path / "HR/Set5/x2", 3)] == ["Set5"]
    with pytest.raises(TestSetError, match="x2 holds pictures for scale 2, not for 4"):
        testsets.find(tmp_path / "HR/Set5/x2", 4)


def test_a_name_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "sets" / "B100" / "HR" / "a.png")
    picture(tmp_path / "sets" / "HR" / "Set5" / "x2" / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(testsets.BENCHMARKS, raising=False)
    with pytest.raises(TestSetError, match=r"no folder 'Set5' here; .* set ATDSR_BENCHMARKS to"):
        testsets.find("Set5", 2)
    monkeypatch.setenv(testsets.BENCHMARKS, str(tmp_path / "sets"))
    for name, known in (("B100", "B100"), ("BSD100", "B100"), ("Set5", "Set5")):
        assert [test_set.name for test_set in testsets.find(name, 2)] == [known]
    with pytest.raises(TestSetError, match="'Set14' here, nor in the folder that ATDSR_BENCH"):
        testsets.find("Set14", 2)


@pytest.mark.parametrize(
    ("small", "lr"),
    [
        ("Set5/LR_matlab/X2/babyx2.png", "LR_matlab"),
        ("Set5/LR_matlab/X2/baby.png", "{}/Set5/LR_matlab/X2"),
        ("LR/LRBI/Set5/x2/baby_LRBI_x2.png", "{}/LR/LRBI"),
        ("LR/LRBI/Set5/x2/babyx2.png", "{}/LR/LRBI/Set5"),
        ("lr/baby_x2.png", "{}/lr"),
        ("lr/x2/baby.png", "{}/lr"),
    ],
)
def test_lr_of_a_folder(tmp_path: Path, small: str, lr: str) -> None:
    hr = picture(tmp_path / "Set5" / "HR" / "baby.png", 25, 28)
    path = picture(tmp_path / small, 12, 14)
    (test_set,) = testsets.find(tmp_path / "Set5", 2, lr.format(tmp_path))
    assert test_set == testsets.TestSet("Set5", (Pair("baby", hr, path),), 2)
    high, low = test_set.pairs[0].load(2)
    assert np.array_equal(high, np.asarray(Image.open(hr))[:24])
    assert np.array_equal(low, np.asarray(Image.open(path)))


def test_official_names_of_hr_and_lr(tmp_path: Path) -> None:
    hr = picture(tmp_path / "HR" / "Set5" / "x2" / "baby_HR_x2.png")
    lr = picture(tmp_path / "LR" / "LRBI" / "Set5" / "x2" / "baby_LRBI_x2.png", 12, 14)
    (test_set,) = testsets.find(tmp_path / "HR" / "Set5", 2, tmp_path / "LR" / "LRBI")
    assert test_set.pairs == (Pair("baby", hr, lr),)


def test_lr_by_the_recipe_of_a_cropped_picture(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 26, 29, "L")
    hr, lr = Pair("a", path).load(3)
    uncropped = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(hr, uncropped[:24, :27])
    assert np.array_equal(lr, resample.downscale(uncropped, 3))


def test_sizes_that_do_not_fit(tmp_path: Path) -> None:
    hr, lr = picture(tmp_path / "hr.png", 24, 28), picture(tmp_path / "lr.png", 12, 13)
    with pytest.raises(TestSetError, match=r"lr\.png is 13x12 and .*hr\.png is 28x24, which is"):
        Pair("a", hr, lr).load(2)
    with pytest.raises(TestSetError, match=r"small\.png: a picture of 2x9 cannot be cropped"):
        Pair("a", picture(tmp_path / "small.png", 9, 2)).load(3)


def test_what_is_no_test_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "set" / "a.png")
    cases = {
        "gone": "there is no folder",
        "empty": "empty holds no pictures, neither itself nor in HR, x2 or HR/x2",
        "set/a.png": "is a file; name the folder",
    }
    for name, words in cases.items():
        with pytest.raises(TestSetError, match=words):
            testsets.find(tmp_path / name, 2)
    with pytest.raises(TestSetError, match="has no LR pictures of set for scale 2"):
        testsets.find(tmp_path / "set", 2, tmp_path / "empty")
    picture(tmp_path / "lr" / "b.png")
    with pytest.raises(TestSetError, match=r"lr has no LR picture for .*a\.png"):
        testsets.find(tmp_path / "set", 2, tmp_path / "lr")
    picture(tmp_path / "set" / "a.jpg")
    with pytest.raises(TestSetError, match=r"a\.jpg and a\.png are two files for one picture"):
        testsets.find(tmp_path / "set", 2)


def test_a_picture_that_the_protocol_does_not_have(tmp_path: Path) -> None:
    picture(tmp_path / "hr.png")
    clear = picture(tmp_path / "clear.png", mode="RGBA")
    with Image.open(clear) as image:
        image.putpixel((3, 5), (9, 9, 9, 254))
        image.save(clear)
    with pytest.raises(TestSetError, match=r"clear\.png has transparency"):
        Pair("clear", clear).load(2)
    with pytest.raises(TestSetError, match=r"clear\.png has transparency"):
        Pair("hr", tmp_path / "hr.png", clear).load(1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_eval_and_training_read_a_picture_alike(tmp_path: Path, channels: int, dtype: type) -> None:
    """Whatever the kind: gray replicated, 16 bits rounded half up, opaque alpha dropped."""
    high = np.iinfo(dtype).max
    samples = np.random.default_rng(0).integers(0, high, (24, 36, channels), dtype, endpoint=True)
    if channels in (2, 4):
        samples[..., -1] = high
    path = tmp_path / "pictures" / "a.png"
    imaging.write(imaging.Picture(samples), path)
    colours = samples[..., : 1 if channels < 3 else 3].astype(float)
    expected = np.broadcast_to(np.floor(colours * 255 / high + 0.5), (24, 36, 3))
    (scored,) = testsets.find(tmp_path / "pictures", 2)[0].pairs
    hr, lr = scored.load(2)
    assert hr.dtype == np.uint8
    assert np.array_equal(hr, expected)
    packed_lr, packed_hr = datasets.pack(tmp_path / "pictures", tmp_path / "set").pair(0)
    assert np.array_equal(packed_hr, hr)
    assert np.array_equal(packed_lr, lr)
    given = Pair("a", path, path)  # to be restored
    original, floats = given.load(1)
    assert np.array_equal(original, hr)
    assert floats.dtype == np.float32
    assert np.array_equal(floats, hr / np.float32(255))
