"""What the command line says about options, models and files that are not there."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from atdsr import cli


def refused(*args: str, code: int) -> str:
    result = CliRunner().invoke(cli.app, args)
    assert result.exit_code == code, result.output
    assert not result.stdout
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ("upscale -i photo.jpg", "-i; name the picture or folder itself, as in `atdsr upscale"),
        ("upscale photo.jpg -n RealESRGAN_x4plus", "-n; choose a model with -m"),
        ("upscale photo.jpg --model_path a.pth", "--model_path; choose a model or a file"),
        ("upscale photo.jpg -t 400", "-t; choose the side of tiles with --tile"),
        ("upscale photo.jpg --tile_pad 10", "--tile_pad; choose how many pixels tiles share with"),
        ("upscale photo.jpg --ext png", "--ext; choose the format with -f."),
        ("upscale photo.jpg --suffix out", "--suffix; name outputs with --name, such as --name"),
        ("upscale photo.jpg -g 0", "-g; choose the device with --device"),
        ("upscale photo.jpg -x", "-x; take the mean over 8 flips and turns with --ensemble."),
        ("upscale photo.jpg -x4", "-x; enlarge by 4 with --scale 4."),
        ("upscale -x 4 photo.jpg", "-x; enlarge by 4 with --scale 4."),
        ("upscale photo.jpg -x8", "-x; enlarge by 8 with --outscale 8."),
        ("upscale photo.jpg --dpi 300", "--dpi; choose the size in pixels with --size: inches"),
        ("upscale photo.jpg --print_size 8x10", "--print_size; choose the size in pixels with"),
        ("upscale photo.jpg --fp32", "--fp32; leave it out, since fp32 is what --precision is by"),
        ("upscale photo.jpg --face_enhance", "--face_enhance; leave it out, since ATD enlarges"),
        ("train 101 --auto_resume", "--auto_resume; leave it out, since the same command always"),
        ("upscale photo.jpg --outscal 3", "--outscal; did you mean --outscale or --scale?"),
        ("upscale photo.jpg -resize 200%", "-resize; use --size or --outscale."),
        ("upscale photo.jpg --resize 200%", "--resize; use --size or --outscale."),
        ("upscale photo.jpg -output a.png", "-output; did you mean --output?"),
        ("upscale photo.jpg -scale=4", "-scale; did you mean --scale?"),
        ("upscale photo.jpg -unsharp 1", "-unsharp."),
        ("upscale photo.jpg -t400", "-t; choose the side of tiles with --tile"),
        ("train 101 -auto_resume", "-auto_resume; leave it out, since the same command always"),
        ("eval -i photo.jpg", "-i."),
        ("eval -resize photo.jpg", "-resize."),
        ("-i gone.jpg", "-i; name the picture or folder itself, as in `atdsr upscale photo.jpg`."),
        ("-o a.png gone.jpg", "-o here; name a command first, as in `atdsr upscale a.png`."),
        ("-resize 200% gone.jpg", "-resize here; name a command first, as in"),
        ("-version", "-version; did you mean --version?"),
        ("upscale -help", "-help; did you mean --help?"),
        ("--versoin", "--versoin; did you mean --version?"),
    ],
)
def test_options_of_other_programs_and_mistyped_ones(arguments: str, advice: str) -> None:
    assert f"There is no option {advice}" in refused(*arguments.split(), code=2)


@pytest.mark.parametrize(
    ("words", "name"),
    [(["a b.jpg"], "'a b.jpg'"), (["album", "-o", "x"], "album"), (["nope.jpg"], None)],
)
def test_a_file_without_a_command(
    words: list[str], name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a b.jpg").touch()
    Path("album").mkdir()
    advice = f"'{words[0]}' is not a command; enlarge it with: atdsr upscale {name}"
    said = refused(*words, code=2)
    assert said.endswith(advice if name else "No such command 'nope.jpg'.")


def test_an_option_without_a_command_before_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a b.jpg").touch()
    said = refused("-i", "a b.jpg", code=2)
    assert said.endswith("no option -i; enlarge a b.jpg with: atdsr upscale 'a b.jpg'")


@pytest.mark.parametrize("words", [("eval", "-opt", "gone.yml"), ("upscale", "--", "-resize")])
def test_a_word_with_one_dash_may_be_an_option_or_a_name(words: tuple[str, ...]) -> None:
    assert "does not exist" in refused(*words, code=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("upscale", "Name a picture, a folder or a glob, or a list with --manifest."),
        ("upscale a.png --json -o -", "--json and -o - both write to standard output; drop one"),
        ("eval", "Missing option '--data': name a test set."),
        ("eval -opt a.yml --scale 2", "-opt names the network, the pictures and where results"),
        ("train", "Name a recipe, or an option file with -opt; `atdsr train --list` lists"),
    ],
)
def test_a_sentence_about_the_whole_line_stands_alone(words: str, said: str) -> None:
    assert refused(*words.split(), code=2).startswith(f"Error: {said}")


def test_values_that_are_missing_or_wrong() -> None:
    assert "Option '--model' requires an argument" in refused("upscale", "a.png", "--model", code=2)
    said = refused("upscale", "a.png", "--device", "cuda:1", code=2)
    assert said.startswith("Error: Invalid value for '--device': 'cuda:1' is not auto, cpu, cuda")
    said = refused("upscale", "a.png", "--overlap", "-3", code=2)
    assert said.endswith("'-3' is not a whole number from 0 on.")


@pytest.mark.parametrize("group", ["", "data", "runs"])
def test_a_group_of_commands_alone_shows_its_help(group: str) -> None:
    result = CliRunner().invoke(cli.app, group.split())
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Usage: ")
    assert "Commands:" in lines
    assert "\\n" not in result.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("atd-ligt-x2", "'atd-ligt-x2'; did you mean atd-light-x2? `atdsr models` lists"),
        ("atd-x4", "'atd-x4'; did you mean official/atd-x4? `atdsr models` lists"),
        (
            "atd-light",
            "'atd-light'; name one of atd-light-x2, atd-light-x3 or atd-light-x4. `atdsr",
        ),
        ("ATD-Light-x9", "'ATD-Light-x9'; name one of atd-light-x2, atd-light-x3 or atd-light-x4."),
        ("atd-light_4x", "'atd-light_4x'; did you mean atd-light-x4? `atdsr models` lists"),
        ("official/atd-x5", "'official/atd-x5'; name one of official/atd-x2, official/atd-x3 or"),
        ("official/atd-lite-x3", "'official/atd-lite-x3'; did you mean official/atd-light-x3?"),
        ("atd", "'atd'; name one of official/atd-x2, official/atd-x3 or official/atd-x4. `atdsr"),
        ("x2", "'x2'; `atdsr models` lists the models."),
        ("swinir", "'swinir'; `atdsr models` lists the models."),
        ("real-esrgan", "'real-esrgan'; `atdsr models` lists the models."),
    ],
)
def test_an_unknown_model_is_not_taken_for_another_kind(name: str, said: str) -> None:
    assert f"there is neither a file nor a model called {said}" in refused("info", name, code=1)


def test_missing_inputs_and_files_of_other_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("holiday").mkdir()
    Image.new("RGB", (8, 8)).save("photo.jpg")
    Path("notes.pth").write_text("hello")
    missing = "error: holday does not exist; did you mean holiday?"
    for added in ((), ("--name", "{stem}_large"), ("-f", "png"), ("-o", "out/")):
        assert refused("upscale", "holday/", *added, code=1) == missing
    for model, kind in (("photo.jpg", "a JPEG picture"), ("notes.pth", "a text")):
        assert refused("upscale", "photo.jpg", "-m", model, code=1) == (
            f"error: {model} is {kind}, not weights; name a .safetensors or .pth file of an ATD."
        )
    assert not Path("out").exists()
