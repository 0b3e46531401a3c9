"""The documentation is true: links lead somewhere, commands are accepted, snippets run."""

import argparse
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from atdsr import cli
from helpers import documentation
from helpers.documentation import Block
from helpers.networks import ROOT

PAGES = documentation.user_pages()
BLOCKS = [block for page in PAGES for block in documentation.blocks(page)]

OTHERS = {
    *(".", "activate", "cd", "curl", "display", "export", "for", "done"),  # the shell, what it has
    *("cp", "mkdir"),
    *("git", "npm", "uv", "pipx", "tensorboard", "lint-imports", "pyright", "ruff"),
}
"""Programs whose arguments are theirs to check."""

OFFICIAL = ("setup.py", "basicsr/test.py", "basicsr/train.py", "inference.py")
"""Scripts of the official repository, which docs/migrating.md translates."""


class ParsedError(Exception):
    """Ends a script when it has read its arguments."""


# ------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", documentation.all_pages())
def test_links_lead_somewhere(page: str) -> None:
    for link in documentation.links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}, which is not there"
        if anchor:
            name = target.resolve().relative_to(ROOT).as_posix()
            assert anchor in documentation.anchors(name), f"{page} links to {link}: no such heading"


def test_every_page_is_linked_from_another() -> None:
    reached = {"README.md", "CHANGELOG.md"}
    pending = list(reached)
    while pending:
        page = pending.pop()
        for link in documentation.links(page):
            path = ((ROOT / page).parent / link.partition("#")[0]).resolve()
            if path.suffix == ".md" and path.is_file():
                name = path.relative_to(ROOT).as_posix()
                if name not in reached:
                    reached.add(name)
                    pending.append(name)
    missing = set(documentation.all_pages()) - reached
    assert not [page for page in missing if not page.startswith("docs/decisions/")]


def test_variables_of_the_environment_exist() -> None:
    sources = [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py"), ROOT / "Makefile"]
    code = "".join(path.read_text("utf-8") for path in [*sources, ROOT / "hatch_build.py"])
    for page in PAGES:
        for name in set(re.findall(r"\bATDSR_[A-Z_]+", documentation.read(page))):
            assert f'"{name}' in code, f"{page} names {name}, which nothing reads"


# ------------------------------------------------------------------------------------- commands


def test_blocks_say_what_they_are() -> None:
    assert [str(block) for block in BLOCKS if block.language not in documentation.LANGUAGES] == []
    for page in PAGES:
        paragraphs = documentation.prose(page).split("\n\n")
        indented = [text for text in paragraphs if text.lstrip("\n").startswith("    ")]
        assert not indented, f"{page}: fence this block and name its language: {indented}"


@pytest.mark.skipif(sys.platform == "win32", reason="there need not be a bash")
@pytest.mark.parametrize(
    "block", [each for each in BLOCKS if each.language in ("sh", "bash")], ids=str
)
def test_the_shell_can_read_it(block: Block) -> None:
    result = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_accepted(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    lines = [
        line
        for block in documentation.blocks(page)
        if block.language in ("sh", "bat")
        for line in block.commands()
    ]
    lines += [span for span in documentation.spans(page) if _is_command(span)]
    problems = []
    problems = []
    for line in lines:
        for command in documentation.words(line):
            try:
                _check(command, monkeypatch)
            except AssertionError as error:
                problems.append(f"{line}: {error}")
    assert problems == []


def _is_command(span: str) -> bool:
    name, _, rest = span.removeprefix("ATDSR_KERNELS=off ").partition(" ")
    return name in ("atdsr", "python", "pytest", "torchrun", "pip", "make") and bool(rest)


def _check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Check one command.

    Raises:
        AssertionError: It would not be accepted.
    """
    name, *arguments = words
    name = "." if name == "." else Path(name).name
    if name in ("python", "python3", "py"):
        _check_python(arguments, monkeypatch)
    elif name == "torchrun":
        _check_python(arguments[arguments.index("-m") :], monkeypatch)
    elif name == "atdsr":
        _check_atdsr(arguments)
    elif name == "pytest":
        _check_pytest(arguments)
    elif name == "pip":
        _check_pip(arguments)
    elif name == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        wanted = {word for word in arguments if "=" not in word}
        assert wanted <= targets, f"the Makefile has no target {wanted - targets}"
    else:
        assert name in OTHERS, f"{name} is a program that this test does not know"


def _check_atdsr(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(cli.app)
    if arguments[:1] == ["COMMAND"]:
        return
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command = command.commands[arguments.pop(0)]
    # what the synopsis and abbreviated examples stand for
    arguments = [word for word in arguments if word not in ("[OPTIONS]", "...")]
    if not arguments:
        return  # the name of a command
    if arguments[0].endswith("-completion"):  # which would install it on this machine
        assert arguments[0] in {name for option in command.params for name in option.opts}
        return
    try:
        command.make_context("atdsr", arguments).close()
    except typer.Exit:  # --help, --version, --list
        return
    except Exception as error:
        told = getattr(error, "format_message", None)
        raise AssertionError(told() if told else repr(error)) from None


def _check_python(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if arguments[0] == "-m":
        module, *rest = arguments[1:]
        if module == "atdsr":
            _check_atdsr(rest)
        elif module == "pytest":
            _check_pytest(rest)
        elif module == "pip":
            _check_pip(rest)
        else:
            assert module in ("venv", "timeit", "http.server", "torch.distributed.launch"), module
        return
    script, *rest = arguments
    if script in OFFICIAL:
        return
    assert Path(script).is_file(), f"there is no {script}"
    source = Path(script).read_text("utf-8")
    if "parse_args(" not in source:
        assert not rest or "sys.argv" in source, f"{script} takes no arguments"
        return

    def stop(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        parse(parser, *args, **kwargs)
        raise ParsedError

    parse = argparse.ArgumentParser.parse_args
    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [script, *rest])
        try:
            runpy.run_path(script, run_name="__main__")
        except ParsedError:
            return
        except SystemExit as end:
            raise AssertionError(f"{script} refuses {rest}: {end}") from end
    raise AssertionError(f"{script} does not read its arguments")


def _check_pytest(arguments: list[str]) -> None:
    for word in arguments:
        if word.startswith("tests"):
            assert list(ROOT.glob(word)), f"there is no {word}"


def _check_pip(arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for word in arguments:
        if match := re.search(r"\[([a-z,]+)\]$", word):
            assert set(match[1].split(",")) <= set(project["optional-dependencies"]), word
        if word.endswith(".txt"):
            assert (ROOT / word).is_file(), word
