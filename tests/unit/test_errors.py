"""Every message with which the program refuses something is a sentence that helps.

`benchmarks/errors.py` reads the messages from the source; the words in capitals are values.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import errors
from atdsr import cli, imaging
from errors import Message
from helpers.networks import ROOT

MESSAGES = errors.messages()
SENTENCES = [message for message in MESSAGES if message.kind not in errors.FRAGMENTS]

_ENDS_WITH_ANOTHER = re.compile(r"(ERROR|SENTENCE|WHY_NOT|REJECTION)$")
"""Values that are sentences themselves."""


def wrong(pattern: str, messages: list[Message] = MESSAGES) -> list[str]:
    """Return the messages in which a pattern is found, with their places."""
    return [f"{m.module}:{m.line}: {m.text}" for m in messages if re.search(pattern, m.text)]


def test_the_page_is_up_to_date() -> None:
    written = errors.PAGE.read_text("utf-8")
    assert written == errors.page(MESSAGES), "run `python benchmarks/errors.py`"


def test_the_messages_of_all_packages_are_found() -> None:
    texts = {message.text for message in MESSAGES}
    assert len(texts) > 400
    assert {m.module.partition(".")[0] for m in MESSAGES} >= errors.HEADINGS.keys() - {"network"}
    for text in (
        "PATH is KIND, not weights; ADVICE.",
        "PATH does not exist: there is no folder LACKING; check the name.",
        "--outscale and --size exclude each other; give one of them.",
    ):
        assert text in texts


def test_each_ends_as_a_sentence() -> None:
    ends = [m for m in SENTENCES if not _ENDS_WITH_ANOTHER.search(m.text)]
    assert wrong(r"[^.?\])]$", ends) == []
    assert (
        wrong(r"\.$", [m for m in MESSAGES if m.kind in errors.FRAGMENTS - {"_RejectedError"}])
        == []
    )
    assert wrong(r"[.,;:?][.,;]|[ ,;:]$|^[ .,;:]|\s\s") == []


def test_a_name_without_suffix_is_not_quoted_as_one() -> None:
    with pytest.raises(imaging.PictureError) as caught:
        imaging.format_of(Path("out"))
    assert str(caught.value).startswith("the name has no suffix, which says the format; use one")


def test_each_has_words_enough() -> None:
    assert [m.text for m in SENTENCES if len(m.text.split()) < 4] == []


@pytest.mark.parametrize(
    "noise",
    [
        r"PosixPath|WindowsPath|NoneType|<class|(?<![=\[])\b(None|True|False)\b",
        r"'\w*(PATH|FOLDER|FILE)'",
        r"TYPE\(",
    ],
)
def test_none_shows_what_only_python_calls_so(noise: str) -> None:
    assert wrong(noise) == []


def _commands(command: Any, name: str = "atdsr") -> Iterator[tuple[str, Any]]:
    yield name, command
    for inner in getattr(command, "commands", {}).values():
        yield from _commands(inner, f"{name} {inner.name}")


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))
OPTIONS = {option for c in COMMANDS.values() for p in c.params for option in p.opts} | {"--help"}
_OF_OTHERS = {"--nproc-per-node"}  # of torchrun


def test_each_option_in_a_message_exists() -> None:
    assert "--overwrite" in OPTIONS
    for message in MESSAGES:
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", message.text)) - _OF_OTHERS
        named |= set(re.findall(r"(?<![\w-])-[a-z]\b(?!-)", message.text))
        assert named <= OPTIONS, message


def test_each_command_in_a_message_exists() -> None:
    quoted = [c for m in MESSAGES for c in re.findall(r"`(atdsr [^`]*)`", m.text)]
    assert len(quoted) > 10
    for command in quoted:
        words = command.split()
        name = " ".join(words[:2])
        assert name in COMMANDS, command
        if len(words) > 2 and hasattr(COMMANDS[name], "commands") and words[2].islower():
            assert " ".join(words[:3]) in COMMANDS, command
        for option in (word for word in words if word.startswith("-")):
            assert option in OPTIONS, command


def test_each_document_in_a_message_exists() -> None:
    named = {page for m in MESSAGES for page in re.findall(r"docs/\S+\.md", m.text)}
    assert "docs/protocol.md" in named
    assert [page for page in named if not (ROOT / page).is_file()] == []
