"""The pages of the documentation: their blocks, commands, links and headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from helpers.networks import ROOT

LANGUAGES = {"sh", "bash", "bat", "python", "yaml", "toml", "json", "text", "bibtex"}
"""What a fenced block may be; `sh` and `bat` are commands to paste, `bash` is a script."""

_FENCE = re.compile(r"^ *```(\S*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<![`\\])`([^`]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language and text, and the line where it begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[str]:
        """The command lines: continued lines joined, without comments and empty lines."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line.strip() for line in joined.splitlines() if line.strip() and line[0] != "#"]


def user_pages() -> list[str]:
    """The pages that say how to use or change atdsr as it is now, not how it was."""
    folders = [ROOT / "docs", ROOT / "docs" / "models"]
    found = [path for folder in folders for path in sorted(folder.glob("*.md"))]
    names = [path.relative_to(ROOT).as_posix() for path in found if path.name != "log.md"]
    return ["README.md", "CONTRIBUTING.md", "SECURITY.md", *names]


def all_pages() -> list[str]:
    """These, and the records: the changelog, the lab book and the decisions."""
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    records = [path.relative_to(ROOT).as_posix() for path in decisions]
    return [*user_pages(), "CHANGELOG.md", "docs/log.md", *records]


@cache
def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    text = read(page)
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for match in _FENCE.finditer(text)
    ]


def prose(page: str) -> str:
    """The page without its blocks."""
    return _FENCE.sub("", read(page))


def spans(page: str) -> list[str]:
    """The code spans of the prose, each on one line."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose(page))]


def links(page: str) -> list[str]:
    """The targets of the links of the prose."""
    return _LINK.findall(_SPAN.sub("", prose(page)))


@cache
def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    for heading in _HEADING.findall(prose(page)):
        text = _LINK.sub("]", heading).replace("[", "").replace("]", "")
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {slug if not number else f"{slug}-{number}" for slug, number in found.items()} | set(
        found
    )


def words(line: str) -> Iterator[list[str]]:
    """The commands of a line, as words: without comments, pipes, redirections and variables."""
    lexer = shlex.shlex(line.replace("\\", "/"), posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    command: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if set(word) <= set("|;&"):
            if command:
                yield command
            command = []
        elif set(word) <= set("<>"):
            skip = True  # the file of a redirection
        elif skip:
            skip = False
        elif command or not re.fullmatch(r"[A-Z_]+=.*|do|then", word):
            command.append(word)
