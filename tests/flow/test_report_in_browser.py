"""The report of an evaluation as a browser shows it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from atdsr.reports import evaluation_page
from helpers import browser
from helpers.browser import Page
from helpers.evaluated import make

NAMES = ["plain", "<b onmouseover=alert(1)>&amp;\"'"]
SHOWN = "document.querySelector('#viewer .stage img')"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    evaluation, test_set, images = make(folder, NAMES)
    path = folder / "report of <all> & 100%.html"
    evaluation_page.write(evaluation, [test_set], images, path, overwrite=False)
    return path


@pytest.fixture(scope="module", params=["light", "dark"])
def page(html: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    with browser.opened(html, dark=request.param == "dark") as page:
        yield page


def pressed(page: Page) -> str:
    return page.evaluate("document.querySelector('.choices [aria-pressed=true]').textContent")


@pytest.mark.slow
def test_it_loads_without_a_complaint_and_asks_for_nothing_else(page: Page, html: Path):
    assert page.errors == []
    assert page.requests == [html.as_uri()]


def test_every_picture_decodes(page: Page):
    sizes = page.evaluate(
        "Promise.all([...document.querySelectorAll('article img')].map("
        "image => image.decode().then(() => image.naturalWidth)))"
    )
    assert len(sizes) == 2 * (5 + 3 + 1)  # crops, error maps and the whole picture
    assert min(sizes) > 0


def test_names_of_files_show_as_they_are(page: Page):
    shown = page.evaluate("[...document.querySelectorAll('h4')].map(title => title.textContent)")
    assert sorted(shown) == sorted(NAMES)
    assert page.evaluate("document.querySelector('[onmouseover]')") is None


def test_methods_flip_in_place(page: Page):
    crop = "document.querySelectorAll('article')[0].querySelectorAll('.crop')"
    assert page.evaluate("document.getElementById('viewer').open") is False
    page.evaluate(f"{crop}[1].focus()")
    page.press("Enter")
    assert page.evaluate("document.getElementById('viewer').open")
    assert pressed(page) == "2bicubic"
    page.press("4")
    assert pressed(page) == "4large"
    assert page.evaluate(f"{SHOWN}.src === {crop}[3].src")
    assert "large" in page.evaluate("document.querySelector('#viewer .bar').textContent")
    page.press(" ")
    assert pressed(page) == "2bicubic"
    page.press("e")
    assert page.evaluate(f"{SHOWN}.src === document.querySelectorAll('.error')[0].src")
    page.press("e")
    page.evaluate("document.querySelector('.choices button').click()")
    assert page.evaluate(f"{SHOWN}.src === {crop}[0].src")
    page.evaluate("document.querySelector('[data-do=close]').click()")
    assert page.evaluate("document.getElementById('viewer').open") is False
    assert page.errors == []


def test_pictures_are_put_in_order(page: Page):
    names = "[...document.querySelectorAll('article')].map(article => article.dataset.name)"
    gains = "[...document.querySelectorAll('article')].map(article => +article.dataset.gain)"
    page.evaluate("document.querySelector('[data-by=name]').click()")
    by_name = page.evaluate(names)
    page.evaluate("document.querySelector('[data-by=gain]').click()")
    by_gain = page.evaluate(gains)
    assert by_name == [NAMES[1], NAMES[0]]
    assert by_gain == sorted(by_gain, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_no_wider_than_the_window(html: Path, width: int):
    with browser.opened(html, width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_a_fragment_opens_the_pictures_set(html: Path):
    with browser.opened(html, fragment="picture-2") as page:
        assert page.evaluate("document.getElementById('picture-2').closest('details').open")
        assert page.evaluate("scrollY") > 0


@pytest.mark.slow
def test_it_is_readable_without_its_script(html: Path, tmp_path: Path):
    text = html.read_text("utf-8")
    bare = tmp_path / "bare.html"
    bare.write_text(text[: text.rindex("<script>")] + "</body></html>", "utf-8")
    with browser.opened(bare) as page:
        assert page.evaluate("document.querySelectorAll('article .crop').length") == 10
        # nothing is offered that would not work
        assert page.evaluate("document.querySelector('.scripted').checkVisibility()") is False
        assert page.evaluate("document.querySelector('.order').checkVisibility()") is False


@pytest.mark.slow
def test_it_prints(html: Path):
    with browser.opened(html) as page:
        assert page.pdf().startswith(b"%PDF")
