"""What is imported when, which is most of what a start costs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from atdsr import cli
from helpers.upscaling import SOURCES, save

pytestmark = pytest.mark.slow

SLOW = (
    *("torch", "numpy", "PIL", "pyvips", "safetensors", "pydantic", "rich", "psutil", "yaml"),
    *(
        "obstore",
        "boto3",
        "gdown",
        "requests",
        "platformdirs",
        "jinja2",
        "markupsafe",
        "matplotlib",
    ),
)
NEVER = (
    *("torch._dynamo", "torch._inductor", "torch.onnx", "sympy", "networkx"),
    *("pillow_heif", "pyjpegxl", "obstore", "boto3", "botocore"),
)


def names_of(group: object, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All commands below a group, as they are typed."""
    names = [before]
    for name, command in getattr(group, "commands", {}).items():
        names += names_of(command, (*before, name))
    return names


COMMANDS = names_of(typer.main.get_command(cli.app))


def imported(code: str, *modules: str) -> set[str]:
    """Those of the modules that are there after some lines of Python in a process of their own."""
    code += "\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=True,
    )
    there = set(done.stderr.split())
    return there & set(modules) if modules else there


def test_all_commands_are_tried():
    assert ("upscale",) in COMMANDS
    assert ("data", "pack") in COMMANDS


def test_a_help_screen_imports_nothing_slow():
    code = f"""
from atdsr.cli import app
for command in {COMMANDS}:
    try:
        app([*command, "--help"])
    except SystemExit as end:
        assert not end.code
"""
    assert imported(code, *SLOW) == set()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["gone.png"], 1),
        (["https://example.org/a.png"], 1),
        (["hdfs://cluster/a.png"], 1),
        (["a.png", "--json", "-o", "-"], 2),
        (["a.png", "--preview", "--dry-run"], 2),
        (["a.png", "--outscale", "3", "--size", "20x"], 2),
    ],
)
def test_what_is_refused_by_its_words_is_refused_at_once(words: list[str], code: int):
    command = f"""
from atdsr.cli import app
try:
    app(["upscale", *{words}])
except SystemExit as end:
    assert end.code == {code}, end.code
"""
    assert imported(command, "torch", "numpy", "PIL") == set()


def test_the_package_imports_nothing_slow():
    assert imported("import atdsr", *SLOW, "typer") == set()


def test_of_pytorch_nothing_is_imported_that_it_does_not_import_itself():
    more = imported("import atdsr.inference.upscaler") - imported("import torch")
    assert not {name for name in more if name.partition(".")[0] in ("torch", "sympy")}
    assert not more & {"pyvips", "pydantic", "rich", "typer", "psutil"}


def test_nothing_that_a_png_does_not_need_is_imported_to_enlarge_it(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    save("a.png")
    code = f"""
from atdsr.cli import app
try:
    app(["upscale", "a.png", "-q", "-m", {str(tiny_file)!r}])
except SystemExit as end:
    assert not end.code
"""
    assert imported(code, *NEVER, "pyvips") <= {"pyvips"}
    assert Path("a_x2.png").exists()
