"""What `atdsr upscale` says of a JPEG that another bundled model was made for."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from atdsr import cli
from atdsr.weights import models
from helpers.pictures import smooth

ADVICE = "JPEG of quality 60; -m atd-light-photo-x2 was made for such photos"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, quality in (("good.jpg", 92), ("bad.jpg", 60), ("worse.jpg", 30)):
        Image.fromarray(smooth(3, 16, 16)).save(name, quality=quality)
    Image.fromarray(smooth(3, 16, 16)).save("a.png")
    return tmp_path


@pytest.fixture
def without_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if only models for clean pictures came with atdsr."""
    clean = tuple(model for model in models.BUNDLED if model.purpose == "clean pictures")
    monkeypatch.setattr(models, "BUNDLED", clean)


def said(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, ["upscale", *arguments, "--device", "cpu", "--overwrite"])
    assert result.exit_code == 0, result.output
    return result.stderr


def test_a_jpeg_of_low_quality_is_told_of_once() -> None:
    assert f"bad.jpg: {ADVICE}\n" in said("bad.jpg")
    both = said("a.png", "good.jpg", "bad.jpg", "worse.jpg")
    assert both.count("was made for such photos") == 1
    assert ADVICE in both


@pytest.mark.parametrize(
    "arguments",
    [
        ("good.jpg",),
        ("a.png",),
        ("bad.jpg", "--quiet"),
        ("bad.jpg", "-m", "atd-light-x2"),
        ("bad.jpg", "-m", "atd-light-photo-x2"),
        ("bad.jpg", "-s", "3"),
    ],
)
def test_all_else_is_not(arguments: tuple[str, ...]) -> None:
    assert "was made for" not in said(*arguments)


RESTORE = "--restore official/atd-u-jpeg-q30 removes traces of JPEG first"


@pytest.mark.usefixtures("without_photo")
def test_a_jpeg_of_very_low_quality_is_told_what_restores_it() -> None:
    assert f"worse.jpg: JPEG of quality 30; {RESTORE}\n" in said("bad.jpg", "worse.jpg")
    assert "--restore" not in said("bad.jpg", "good.jpg", "a.png")
    assert "--restore" not in said("worse.jpg", "-m", "atd-light-x2")
    assert "--restore" not in said("worse.jpg", "--quiet")


def test_both_kinds_of_models_are_told_in_one_line() -> None:
    both = f"-m atd-light-photo-x2 was made for such photos, and {RESTORE}"
    assert f"worse.jpg: JPEG of quality 30; {both}\n" in said("worse.jpg", "bad.jpg")


@pytest.mark.parametrize(("quality", "named"), [(1, 10), (14, 10), (16, 20), (34, 30), (45, 40)])
def test_the_nearest_quality_is_named(quality: int, named: int) -> None:
    Image.fromarray(smooth(3, 16, 16)).save("c.jpg", quality=quality)
    assert f"--restore official/atd-u-jpeg-q{named} removes" in said("c.jpg")


@pytest.mark.usefixtures("without_photo")
def test_no_model_is_named_that_is_not_there() -> None:
    assert "was made for" not in said("bad.jpg")


def test_the_model_has_the_scale_that_is_asked_for() -> None:
    assert "-m atd-light-photo-x4 was made for" in said("bad.jpg", "-s", "4")
