"""`atdsr models`, `info`, `convert`, `--version`, the help screens and what is no command."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import atdsr
from atdsr import checkpoint, cli, memory, zoo
from atdsr.checkpoint import Weights
from networks import TINY, lively

SOURCES = str(Path(atdsr.__file__).parents[1])
COMMANDS = [
    "upscale",
    "models",
    "info",
    "convert",
    "eval",
    "explain",
    "train",
    "data",
    "data pack",
    "demo",
    "doctor",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str, code: int = 0) -> tuple[str, str]:
    """Call `atdsr`; what it says on stdout and stderr comes back."""
    result = CliRunner().invoke(cli.app, list(args))
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout, result.stderr


def refused(*args: str) -> str:
    said, sentence = run(*args, code=1)
    assert not said
    assert sentence.startswith("error: ")
    assert sentence.count("\n") == 1
    return sentence


@pytest.fixture
def weights() -> Weights:
    made = Weights(TINY, lively(TINY).state_dict())
    checkpoint.save(made, "tiny.safetensors")
    return made


def test_models_are_listed():
    said, _ = run("models")
    for model in zoo.MODELS:
        assert model.name in said
        assert f"{model.parameters:,}" in said


def test_info_says_what_a_file_is(weights: Weights):
    said, _ = run("info", "tiny.safetensors")
    rows = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert rows["file"] == "tiny.safetensors"
    assert rows["parameters"] == f"{weights.parameters:,}"
    assert rows["scale"] == "2"
    assert rows["depths"] == "(2, 2)"
    assert rows["head"] == "pixelshuffledirect"


def test_info_says_what_a_named_model_is():
    (model,) = zoo.MODELS[:1]
    said, _ = run("info", model.name)
    for fact in (model.data, model.hardware, model.licence, model.sha256, "Set5 "):
        assert fact in said
    assert re.search(rf"^scale +{model.config.scale}$", said, re.MULTILINE)
    assert "knows its category size" in refused("info", model.name, "--category-size", "64")
    assert "did you mean" in refused("info", model.name + "x")


def test_a_named_model_is_converted(here: Path):
    (model,) = zoo.MODELS[:1]
    run("convert", model.name, "a.pth")
    converted, kept = checkpoint.load("a.pth").state, model.load().state
    assert all(torch.equal(converted[name], kept[name]) for name in kept)


def test_a_name_that_the_encoding_of_the_output_lacks(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
):
    stdout = io.TextIOWrapper(io.BytesIO(), "ascii")
    Path("tiny.safetensors").rename("猫.safetensors")
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: False)
    monkeypatch.setattr(sys, "argv", ["atdsr", "info", "猫.safetensors"])
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    stdout.seek(0)
    assert stdout.readline().split() == ["file", r"\u732b.safetensors"]


def test_convert_there_and_back(weights: Weights):
    assert run("convert", "tiny.safetensors", "a.pth") == ("tiny.safetensors -> a.pth\n", "")
    run("convert", "a.pth", "b.safetensors", "--category-size", "256")
    back = checkpoint.load("b.safetensors")
    assert back.config == TINY
    for name, tensor in weights.state.items():
        assert torch.equal(back.state[name], tensor)


def test_an_existing_file_is_kept_unless_told(weights: Weights):
    Path("a.pth").write_text("mine")
    assert "a.pth: the file exists" in refused("convert", "tiny.safetensors", "a.pth")
    assert Path("a.pth").read_text() == "mine"
    run("convert", "tiny.safetensors", "a.pth", "--overwrite")
    assert checkpoint.load("a.pth", category_size=256).config == TINY


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny.safetensors", "new.txt"], "new.txt: weights are written as"),
        (["missing.pth", "new.pth"], "missing.pth does not exist"),
        (["tiny.safetensors", "folder"], "folder"),
        (["tiny.safetensors", "tiny.safetensors/new.pth"], "tiny.safetensors is no folder"),
        (["tiny.pth", "new.safetensors"], "--category-size"),
        (["text.pth", "new.safetensors"], "text.pth is no PyTorch file"),
    ],
)
def test_what_cannot_be_converted(weights: Weights, arguments: list[str], words: str):
    Path("folder").mkdir()
    Path("text.pth").write_text("hello")
    checkpoint.save(weights, "tiny.pth")
    before = sorted(Path().rglob("*"))
    assert words in refused("convert", *arguments)
    assert sorted(Path().rglob("*")) == before


def test_info_of_what_is_no_weights():
    Path("[bold].pth").write_text("hello")
    assert "[bold].pth is no PyTorch file or is damaged" in refused("info", "[bold].pth")
    assert "missing.safetensors does not exist" in refused("info", "missing.safetensors")
    assert "is a folder" in refused("info", ".")


def test_the_version():
    assert run("--version") == (f"atdsr {atdsr.__version__}\n", "")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_reads_well_at_80_columns(command: str):
    said, _ = run(*command.split(), "--help")
    assert run(*command.split(), "-h") == (said, "")
    assert max(map(len, said.splitlines())) <= 80
    fields = re.sub(r"\{[a-z]*\}", "", said)  # of templates for names
    assert not any(ugly in fields for ugly in ("{", "<", "list[", "TEXT", "None"))
    assert "  -h, --help" in said


def test_the_first_help_lists_every_command():
    said, _ = run("--help")
    for command in COMMANDS:
        assert f"  {command.split()[0]} " in said
    assert "..." not in said.partition("Commands:")[2]  # no sentence is cut


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["upscale"], "Missing argument 'INPUT...'"),
        (["upscale", "a.png", "--bogus"], "No such option: --bogus"),
        (["upscale", "a.png", "--scale", "5"], "'5' is not 2, 3 or 4"),
        (["upscale", "a.png", "--category-size", "0"], "'0' is not a whole number from 1 on"),
        (["upscale", "a.png", "--format", "psd"], "'psd' is not one of 'png'"),
        (["upscale", "a.png", "--device", "tpu"], "'tpu' is not one of 'auto'"),
        (["upscale", "a.png", "--precision", "int8"], "'int8' is not one of 'fp32'"),
        (["upscael"], "Did you mean 'upscale'?"),
        (["info"], "Missing argument 'NAME|FILE'"),
        (["convert", "a.pth"], "Missing argument 'OUT'"),
        (["eval"], "Missing option '--data'"),
        (["train"], "Name a recipe, or an option file"),
        (["data", "pack", "pictures"], "Missing option '-o' / '--output'"),
        (["data", "pack", "pictures", "-o", "set", "-s", "6"], "'6' is not 2, 3 or 4"),
    ],
)
def test_usage_errors_end_with_2(arguments: list[str], words: str):
    said, sentence = run(*arguments, code=2)
    assert not said
    assert sentence.startswith("Usage: ")
    assert words in sentence


def test_the_module_is_the_command_and_answers_without_torch():
    code = "import atdsr.cli, sys; sys.exit('torch' in sys.modules)"
    environment = {"PYTHONPATH": SOURCES}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
    said = subprocess.run(
        [sys.executable, "-m", "atdsr", "--version"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert said.stdout == f"atdsr {atdsr.__version__}\n"
    assert said.returncode == 0
