"""The file with a person's defaults, and completion."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from atdsr import cli, imaging
from atdsr.cli import defaults
from helpers.pictures import noise
from helpers.upscaling import SOURCES, save


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATDSR_CONFIG", "config.toml")
    return tmp_path


def atdsr(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == code, result.output
    return result


def write(text: str) -> None:
    Path("config.toml").write_text(text)


def test_options_that_are_not_given_are_taken_from_the_file(tiny_file: Path):
    save("a.png", noise(3, h=10, w=14))
    write(f'[upscale]\nmodel = "{tiny_file}"\nformat = "jpg"\nquality = 40\noutscale = 1.5\n')
    atdsr("upscale", "a.png")
    assert imaging.read("a_x1.5.jpg").width == 21
    atdsr("upscale", "a.png", "-f", "webp", "--size", "20x")  # outscale would exclude it
    assert imaging.read("a_20x.webp").width == 20
    assert not Path("a_20x.jpg").exists()
    write(f'[upscale]\nmodel = "{tiny_file}"\nquiet = true\nname = "new {{stem}}"\n')
    assert atdsr("upscale", "a.png").stderr == ""
    assert Path("new a.png").exists()


@pytest.mark.parametrize(
    ("defaults", "typed", "made"),
    [
        ("format = 'webp'\nquality = 92", ["-o", "x.png"], "x.png"),
        ("format = 'webp'\nquality = 92", ["-f", "png", "-o", "d/"], "d/a_x2.png"),
        ("quality = 92", [], "a_x2.png"),
        ("name = '{stem}-big{ext}'", ["-o", "x.png"], "x.png"),
        ("scale = 3", [], "a_x2.png"),
    ],
)
def test_what_is_typed_wins_over_the_file(
    defaults: str, typed: list[str], made: str, tiny_file: Path
):
    save("a.png", noise(3, h=10, w=14))
    write(f"[upscale]\n{defaults}\n")
    atdsr("upscale", "a.png", "-m", str(tiny_file), *typed)
    picture = imaging.open_frames(made)
    assert (picture.format_name, picture.width) == ("png", 28)


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("[upscale]\nqualty = 3", "upscale.qualty is not an option; did you mean quality?", 1),
        ("[upscale]\nhelp = true", "upscale.help is not an option", 1),
        ("[upscail]", "upscail is not a command; did you mean upscale?", 1),
        ("[data.pak]", "data.pak is not a command; did you mean pack?", 1),
        ("upscale = 3", "upscale is a command; write its options below [upscale]", 1),
        ("[upscale]\nquiet = 'yes'", "upscale.quiet is true or false.", 1),
        ("[upscale]\nquality = [3]", "upscale.quality is a text or a number", 1),
        ("[upscale", "config.toml is not TOML: ", 1),
        ("[upscale]\nquality = 0", "'--quality': '0' is not a whole number from 1 to 100", 2),
        ("[upscale]\ndevice = 'gpu'", "(in config.toml)", 2),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, words: str, code: int):
    save("a.png")
    write(text)
    said = atdsr("upscale", "a.png", code=code).stderr
    assert words in said
    assert "config.toml" in said
    assert [path.name for path in sorted(Path().iterdir())] == ["a.png", "config.toml"]
    assert atdsr("upscale", "--help").stdout.startswith("Usage: ")


def test_the_file_and_its_content_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    write("[data.pack]\nscale = [2, 3]\n")
    assert atdsr("config").stdout == "config.toml:\n[data.pack]\nscale = [2, 3]\n"
    monkeypatch.setenv("ATDSR_CONFIG", "")
    assert atdsr("config").stdout == "none: ATDSR_CONFIG is empty\n"
    monkeypatch.delenv("ATDSR_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    path = defaults.file()
    assert path is not None
    assert path.parts[-2:] == ("atdsr", "config.toml")
    assert atdsr("config").stdout == f"{path} (does not exist)\n"


def test_a_file_that_the_user_names_must_be_there():
    for arguments in (["upscale", "a.png"], ["config"], ["models"]):
        said = atdsr(*arguments, code=1).stderr
        assert said == "error: ATDSR_CONFIG: config.toml does not exist; check the name.\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[upscale]\nquality = 0", "'--quality': '0' is not a whole number from 1 to 100."),
        (
            "[upscale]\ndevice = 'gpu'",
            "'--device': 'gpu' is not auto, cpu, cuda or mps; it is called cuda.",
        ),
        ("[data.pack]\nscale = [2, 5]", "'--scale': '5' is not 2, 3 or 4."),
        ("[web]\nport = 'x'", "'--port': "),
    ],
)
def test_the_values_of_all_commands_are_checked_where_the_file_is_shown(text: str, words: str):
    write(text)
    result = atdsr("config", code=2)
    assert result.stdout == f"config.toml:\n{text}\n"
    assert words in result.stderr
    assert "(in config.toml)" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "completed"), [("atdsr mo", "models"), ("atdsr upscale --dev", "--device")]
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_and_options(shell: str, typed: str, completed: str):
    words = {
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
        "_TYPER_COMPLETE_ARGS": typed,
    }
    done = subprocess.run(
        [sys.executable, "-m", "atdsr"],
        env={**os.environ, **words, "PYTHONPATH": SOURCES, "_ATDSR_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed in done.stdout
