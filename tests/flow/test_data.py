"""Packing and checking through the command line."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from atdsr import cli, load
from atdsr.datasets import PackedSet
from helpers.packing import content, noise_folder
from helpers.pictures import noise

pytestmark = pytest.mark.slow


def atdsr(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, ["data", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in, with DIV2K's layout of a few pictures."""
    monkeypatch.chdir(tmp_path)
    noise_folder(tmp_path / "DIV2K_train_HR", 3)
    (tmp_path / "DIV2K_train_LR_bicubic" / "X2").mkdir(parents=True)
    for number in range(3):
        small = Image.fromarray(noise(h=24, w=30, seed=50 + number))
        small.save(tmp_path / "DIV2K_train_LR_bicubic" / "X2" / f"{number:04}x2.png")
    return tmp_path


def test_pack_and_check(here: Path) -> None:
    done = atdsr("pack", "DIV2K_train_HR", "-o", "set", "-s", "2", "-s", "4")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "3 pictures -> set\n", "")
    done = atdsr("check", "set")
    assert (done.exit_code, done.stdout) == (0, "3 pictures, 33.2 KiB, x2, x4: intact\n")
    path = here / "set" / "hr.bin"
    changed = bytearray(path.read_bytes())
    changed[3 * 48 * 60] ^= 64
    path.write_bytes(changed)
    done = atdsr("check", "set")
    assert done.exit_code == 1
    assert done.stdout == "0001.png: HR is damaged (hr.bin)\n"
    assert done.stderr == (
        "error: set (3 pictures, 33.2 KiB, x2, x4) is damaged; pack the pictures anew.\n"
    )


def test_official_folders(here: Path) -> None:
    lr = ("--lr", "DIV2K_train_LR_bicubic")
    assert atdsr("pack", "DIV2K_train_HR", *lr, "-o", "set").exit_code == 0
    assert (PackedSet(here / "set", 2).pair(2)[0] == noise(h=24, w=30, seed=52)).all()
    template = ("--template", "{}x2", "-j", "1")
    assert atdsr("pack", "DIV2K_train_HR", *lr, *template, "-o", "again").exit_code == 0
    assert content(here / "set") == content(here / "again")


def test_what_a_network_makes_of_lr_is_packed_as_its_target(here: Path, tiny_file: Path) -> None:
    teacher = ("--teacher", str(tiny_file), "--crop", "24", "--device", "cpu")
    done = atdsr("pack", "DIV2K_train_HR", "-o", "set", *teacher)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "3 pictures -> set\n", "")
    lr, target = PackedSet(here / "set", 2).pair(1)
    assert np.array_equal(target, load(tiny_file, device="cpu")(np.array(lr)))
    done = atdsr("pack", "DIV2K_train_HR", "-o", "x", "-s", "3", *teacher)
    assert done.exit_code == 1
    assert f"{tiny_file} enlarges by 2, not by 3; name another network, or pack" in done.stderr


def test_what_cannot_be_packed_is_one_sentence(here: Path) -> None:
    assert atdsr("pack", "DIV2K_train_HR", "-o", "set").exit_code == 0
    for arguments, sentence in (
        (("pack", "gone", "-o", "x"), "gone does not exist; check the name."),
        (("pack", "DIV2K_train_HR", "-o", "set"), "set exists; name another place"),
        (("pack", "DIV2K_train_HR", "-o", "x", "--lr", "set"), "set has no LR picture for"),
        (("pack", "DIV2K_train_HR", "-o", "x", "-s", "3", "--lr", "DIV2K_train_LR_bicubic"), "LR"),
        (
            ("pack", "DIV2K_train_HR", "-o", "x", "--crop", "50"),
            "50 pixels is not a multiple of 12",
        ),
        (("pack", "DIV2K_train_HR", "-o", "x", "--teacher", "bicubic"), "bicubic is no network"),
        (("pack", "DIV2K_train_HR", "-o", "x", "--teacher", "gone.pth"), "gone.pth does not exist"),
        (("check", "DIV2K_train_HR"), "DIV2K_train_HR is not a packed set (no index.json)"),
    ):
        done = atdsr(*arguments)
        assert done.exit_code == 1
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1
    assert atdsr("pack", "DIV2K_train_HR", "-o", "x", "-s", "5").exit_code == 2
    assert atdsr("pack", "DIV2K_train_HR", "-o", "x", "-j", "0").exit_code == 2
    names = {"DIV2K_train_HR", "DIV2K_train_LR_bicubic", "set"}
    assert {path.name for path in here.iterdir()} == names


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_called_again(tmp_path: Path, number: signal.Signals) -> None:
    """A large picture at the end makes sure that the stop comes before the end."""
    noise_folder(tmp_path / "pictures", 6)
    Image.fromarray(noise(h=2000, w=2000)).save(tmp_path / "pictures" / "z.png", compress_level=0)
    command = [sys.executable, "-m", "atdsr", "data", "pack", "pictures", "-o", "set", "-j", "1"]
    child = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # whoever runs the tests in the background may have it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    pixels = tmp_path / ".set.partial" / "hr.bin"
    while child.poll() is None and not (pixels.exists() and pixels.stat().st_size >= 6 * 8640):
        time.sleep(0.001)
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert child.returncode == -signal.SIGKILL
    else:
        assert (child.returncode, said) == (130, "interrupted\n")
    assert not (tmp_path / "set").exists()
    assert (tmp_path / ".set.partial").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7 pictures -> set\n", "")
    assert atdsr("pack", str(tmp_path / "pictures"), "-o", str(tmp_path / "whole")).exit_code == 0
    assert content(tmp_path / "set") == content(tmp_path / "whole")


def test_a_test_set_is_identified_by_its_pixels(here: Path, benchmarks: Path) -> None:
    """Whatever files hold them: other names and formats, cropped for a scale or not."""
    hr = benchmarks / "Set14" / "HR"
    for scale in (2, 3, 4):
        folder = here / "copy" / "HR" / "Fourteen" / f"x{scale}"
        folder.mkdir(parents=True)
        for number, path in enumerate(sorted(hr.iterdir())):
            picture = Image.open(path).convert("RGB")
            size = (picture.width // scale * scale, picture.height // scale * scale)
            picture.crop((0, 0, *size)).save(folder / f"{number}.png", compress_level=1)
    for data in (hr, here / "copy"):
        done = atdsr("identify", str(data))
        assert done.exit_code == 0
        assert done.stdout.count("(the Set14 of papers)") == len(done.stdout.splitlines()) == 3
    one = here / "copy" / "HR" / "Fourteen" / "x2" / "3.png"
    changed = Image.open(one)
    changed.putpixel((5, 5), (1, 2, 3))
    changed.save(one)
    shutil.rmtree(one.parents[1] / "x3")
    lines = atdsr("identify", str(one.parent)).stdout.splitlines()
    assert len(lines) == 2  # x2 and its sibling x4
    assert lines[0].startswith("Fourteen, 14 pictures, x2: ")
    assert lines[0].endswith("(no set known to atdsr)")
    assert lines[1].endswith("(the Set14 of papers)")
    assert "there is no folder 'gone' here" in atdsr("identify", "gone").stderr


# ------------------------------------------------------------------------------------- degradations


def test_a_sheet_of_a_degradation(here: Path) -> None:
    Image.fromarray(noise(h=300, w=310, seed=1)).save("photo.png")
    done = atdsr("degrade", "photo.png", "-o", "sheet.png", "--count", "2")
    assert (done.exit_code, done.stdout) == (0, "web x2 -> sheet.png\n")
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 4 * 288
        first = sheet.tobytes()
    done = atdsr("degrade", "photo.png", "-o", "sheet.png", "--count", "2")
    assert done.exit_code == 1
    assert "sheet.png: the file exists and is kept" in done.stderr
    again = ("degrade", "photo.png", "-o", "sheet.png", "--count", "2", "--overwrite")
    assert atdsr(*again).exit_code == 0
    assert Image.open("sheet.png").tobytes() == first
    assert atdsr(*again, "--seed", "1").exit_code == 0
    assert Image.open("sheet.png").tobytes() != first


def test_a_sheet_of_what_a_recipe_has(here: Path) -> None:
    (here / "mine.yaml").write_text(
        "model: atd-light\nscale: 3\niterations: 1\n"
        "data: {train: set, degradation: {operations: [{kind: resize}]}}\n"
    )
    Image.fromarray(noise(h=36, w=30, seed=1)).save("photo.png")
    done = atdsr("degrade", "photo.png", "-d", "mine.yaml", "-o", "sheet.png")
    assert (done.exit_code, done.stdout) == (0, "mine.yaml x3 -> sheet.png\n")
    for given, sentence in (
        (("nothing.png", "-o", "a.png"), "nothing.png does not exist"),
        (("photo.png", "-o", "a.xyz"), "xyz"),
        (("photo.png", "-d", "wep", "-o", "a.png"), "'wep' is neither a degradation"),
    ):
        done = atdsr("degrade", *given)
        assert done.exit_code == 1
        assert sentence in done.stderr
        assert not (here / "a.png").exists()


def test_a_sheet_of_what_a_restorer_is_trained_on(here: Path) -> None:
    Image.fromarray(noise(h=36, w=30, seed=1)).save("photo.png")
    done = atdsr("degrade", "photo.png", "-d", "203", "-o", "sheet.png", "--count", "1")
    assert (done.exit_code, done.stdout) == (0, "203 x1 -> sheet.png\n")
    done = atdsr("degrade", "DIV2K_train_HR", "-d", "203", "-o", "noisy")
    assert (done.exit_code, done.stdout) == (0, "3 pictures, 203 x1 -> noisy\n")
    for path in (here / "noisy").iterdir():
        noisy, clean = (
            np.asarray(Image.open(each)).astype(float)
            for each in (path, here / "DIV2K_train_HR" / path.name)
        )
        inner = (noisy > 0) & (noisy < 255)  # where nothing was clamped
        assert 25 < (noisy - clean)[inner].std() < 55


def test_a_folder_is_degraded_once_and_for_all(here: Path) -> None:
    done = atdsr("degrade", "DIV2K_train_HR", "-s", "4", "-o", "lr")
    assert (done.exit_code, done.stdout) == (0, "3 pictures, web x4 -> lr\n")
    made = {path.name: path.read_bytes() for path in sorted((here / "lr").iterdir())}
    assert list(made) == ["0000.png", "0001.png", "0002.png"]
    for path in (here / "lr").iterdir():
        with Image.open(path) as picture:
            assert picture.size == (15, 12)
    assert atdsr("degrade", "DIV2K_train_HR", "-s", "4", "-o", "lr").exit_code == 1
    done = atdsr("degrade", "DIV2K_train_HR", "-s", "4", "-o", "lr", "--overwrite")
    assert done.exit_code == 0
    assert {path.name: path.read_bytes() for path in (here / "lr").iterdir()} == made
    (here / "empty").mkdir()
    done = atdsr("degrade", "empty", "-o", "lr2")
    assert done.exit_code == 1
    assert "empty holds no pictures" in done.stderr
