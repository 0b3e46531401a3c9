"""Text from outside, shown in a terminal, in HTML and in Markdown."""

import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from atdsr.base import escaping

MARKS = (
    *("\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"),
    *("\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u061c", "\ufeff", "\u2060", "\u00ad"),
    *("\u2028", "\u2029", "\x1b", "\x00", "\n", "\r", "\t", "\x7f", "\x9b", "\ud800", "\udcff"),
    *("\u034f", "\u115f", "\u3164", "\ufe0f", "\uffa0", "\u180e", "\U000e0001", "\U000e0041"),
    *("\U000e0100", "\U0001d173", "\u206a", "\ufff9"),
)


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: f"{ord(mark):x}")
def test_what_cannot_be_seen_is_escaped(mark: str) -> None:
    shown = escaping.printable(f"a{mark}b")
    assert shown.startswith("a\\")
    assert shown.isprintable()
    assert shown.isascii()
    assert shown.encode().decode("unicode_escape") == f"a{mark}b"


@pytest.mark.parametrize(
    "text", ["", "a b_1.png", "Ärger 写真 фото صورة.png", "né 🙂 a\u3000b", "\\"]
)
def test_what_can_be_seen_stays(text: str) -> None:
    assert escaping.printable(text) == text


@given(st.text(st.characters()))
def test_nothing_hides(text: str) -> None:
    shown = escaping.printable(text)
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not hidden & {unicodedata.category(letter) for letter in shown}
    assert escaping.printable(shown) == shown


class Tags(HTMLParser):
    """The tags and the text of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Note it."""
        self.text += data


MARKDOWN = st.text(st.sampled_from("ab \\`*_[]()<>|~#+-.!$&:/@;\"'\n\u202e")) | st.sampled_from(
    [
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "![a](http://b/c.png)",
        "a|b",
        "a\\|b",
        "`a",
        "&lt;",
        "&#60;b&#62;",
        "**a**",
        "<http://a.b>",
    ]
)


@given(MARKDOWN)
def test_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    cell = escaping.markdown(text)
    table = f"| a{cell}b | c |\n| --- | ---: |\n| a{cell}b | c |\n"
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(table)
    parsed = Tags(html)
    row = ["tr", "th", "th", "tr", "td", "td"]
    assert [tag for tag in parsed.tags if tag not in ("table", "thead", "tbody")] == row
    assert parsed.text.count(f"a{escaping.printable(text)}b") == 2


@pytest.mark.parametrize("text", ["https://a.example/b", "www.a.example", "me@a.example"])
def test_an_address_is_no_link_where_bare_ones_become_one(text: str) -> None:
    assert "\\" in escaping.markdown(text)
