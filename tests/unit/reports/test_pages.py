"""What all pages have in common, whatever files and runs are called."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from atdsr.base import escaping
from atdsr.inference.upscaler import Upscaler
from atdsr.reports import evaluation_page, explain, html, run_page, training_runs
from helpers import evaluated, logs
from helpers.networks import TINY, lively

NAME = "photo\u202egnp.\u2066<img src=x onerror=alert(1)>\u200b\U000e0041\x1b[31m\"'&amp;"


def of_an_evaluation(folder: Path) -> Path:
    evaluation, test_set, images = evaluated.make(folder, [NAME], NAME)
    evaluation_page.write(evaluation, [test_set], images, folder / "a.html", overwrite=False)
    return folder / "a.html"


def of_a_run(folder: Path) -> Path:
    run = logs.write(folder / "run", steps=2_000, every=10, name=NAME)
    (run / "recipe.yaml").write_text(f"name: {NAME}\n")
    run_page.write(training_runs.read(run), folder / "a.html", overwrite=False)
    return folder / "a.html"


def of_a_picture(folder: Path) -> Path:
    samples = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(samples).save(folder / f"{NAME}.png")
    upscaler = Upscaler(lively(TINY), device="cpu")
    explain.run(upscaler, folder / f"{NAME}.png", folder / "out", layer="0.0")
    return folder / "out" / "index.html"


class Parsed(HTMLParser):
    """What a browser would make of a page.

    Attributes:
        policy: its Content-Security-Policy.
        shown: text and the values of attributes.
        handlers: names of attributes that would run a script.
        scripts: those that a browser runs.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.policy = ""
        self.shown: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort its attributes."""
        given = {name: value or "" for name, value in attrs}
        self._inside = tag if tag == "script" and "type" not in given else ""
        if given.get("http-equiv") == "Content-Security-Policy":
            assert not "".join(self.shown).strip(), "the policy comes before all that it is about"
            self.policy = given["content"]
        self.handlers += [name for name in given if name.startswith("on")]
        if tag not in ("meta", "html"):
            self.shown += [value for name, value in given.items() if name not in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        """No script goes on after it."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Keep it as text or as a script."""
        (self.scripts if self._inside == "script" else self.shown).append(data)


@given(st.text())
def test_a_template_shows_text_and_nothing_else(text: str) -> None:
    template = html._environment("atdsr.reports").from_string(
        "<p title='{{ text }}'>{{ text }}</p>"
    )
    rendered = template.render(text=text)
    parsed = Parsed(rendered)
    assert "".join(parsed.shown) == escaping.printable(text) * 2
    assert rendered.count("<") == 2
    assert rendered.count("'") == 2


def test_the_lines_of_a_file_stay_lines() -> None:
    assert html._lines("a: <b>\n\tc\u202e\r\nd") == "a: &lt;b&gt;\n    c\\u202e\nd"


@pytest.mark.slow
@pytest.mark.parametrize("make", [of_an_evaluation, of_a_run, of_a_picture])
def test_names_are_shown_as_they_are_and_do_nothing(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    source = make(tmp_path).read_text("utf-8")
    parsed = Parsed(source)
    assert not parsed.handlers
    assert any(escaping.printable(NAME) in text for text in parsed.shown)
    lines = [line for text in parsed.shown for line in text.splitlines()]
    assert all(escaping.printable(line) == line for line in lines)
    for script in parsed.scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in parsed.policy
    without_script = re.sub(r"; script-src '[^']*'", "", parsed.policy)
    assert without_script == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        "style-src 'unsafe-inline'"
    )
    assert not re.search(r'(?:src|href)="(?!data:|#)', source)
