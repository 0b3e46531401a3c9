"""`atdsr runs` through the command line, and its page as a browser shows it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from atdsr import cli
from atdsr.reports.training_runs import set_aside
from helpers import browser, logs, tables
from helpers.browser import Page

OTHER = "<b onmouseover=alert(1)>&amp;\"'"


def atdsr(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.app, ["runs", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiments")
    logs.write(folder / logs.NAME)
    logs.write(folder / "other", steps=2_000, every=10, name=OTHER)
    return folder


def test_a_run_is_shown_with_its_validations(experiments: Path):
    lines = atdsr("show", experiments / logs.NAME).stdout.splitlines()
    assert lines[0] == logs.NAME
    assert "  step              341,200 of 500,000 (68%)" in lines
    rows = tables.rows("\n".join(lines))
    assert rows[0][0] == "bicubic"
    assert len(rows) == 1 + 17
    best = [row for row in rows if "best" in row]
    assert len(best) == 1
    means = {row[0]: float(row[4]) for row in rows[1:]}
    assert means[best[0][0]] == max(means.values())


def test_several_runs_have_a_line_each_whatever_the_width(
    experiments: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "40")
    for command in ("show", "list"):
        rows = tables.rows(atdsr(command, experiments).stdout)
        assert len(rows) == 2
        assert not any("…" in cell for row in rows for cell in row)
        assert any(row[0] == OTHER for row in rows)
        assert any(row[1:3] == ["341,200", "500,000"] for row in rows)


@pytest.mark.slow
def test_a_table_that_would_be_very_long_has_its_end(tmp_path: Path):
    psnr = {f"s{n}": 30.0 for n in range(16)}
    records = [{"kind": "validated", "step": step, "psnr": psnr} for step in range(600)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    lines = atdsr("show", tmp_path).stdout.splitlines()
    assert "the last 526 of 600 validations:" in lines
    assert len(tables.rows("\n".join(lines))) == 1 + 526


def test_a_log_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path: Path):
    logs.write(tmp_path / "good", steps=300)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "log.jsonl").write_text("x\n" * 10_001)
    result = atdsr("list", tmp_path)
    assert "left out:" in result.stderr
    assert "more than 10,000 lines" in result.stderr
    assert logs.NAME in result.stdout
    assert "more than 10,000 lines" in atdsr("show", tmp_path / "bad", code=1).stderr


@pytest.mark.slow
def test_curves_and_page_are_written_and_not_replaced_unasked(experiments: Path, tmp_path: Path):
    png, html = tmp_path / "a.png", tmp_path / "a.html"
    arguments = ("show", experiments / logs.NAME, "--png", png, "--html", html)
    said = atdsr(*arguments).stdout
    assert f"curves: {png}" in said
    assert f"page:   {html}" in said
    before = html.stat().st_mtime_ns
    assert "--overwrite" in atdsr(*arguments, code=1).stderr
    assert html.stat().st_mtime_ns == before
    atdsr(*arguments, "--overwrite")
    assert html.stat().st_mtime_ns > before


def test_what_is_no_run_ends_in_a_sentence(experiments: Path, tmp_path: Path):
    assert str(tmp_path) in atdsr("show", tmp_path, code=1).stderr
    assert "none does not exist" in atdsr("list", tmp_path / "none", code=1).stderr
    said = atdsr("show", experiments, "--png", tmp_path / "a.png", code=1).stderr
    assert "several runs" in said
    assert not (tmp_path / "a.png").exists()


def test_the_table_needs_no_matplotlib(experiments: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert logs.NAME in atdsr("show", experiments / logs.NAME).stdout
    assert logs.NAME in atdsr("list", experiments).stdout


# ------------------------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def html(experiments: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page of <all> & 100%.html"
    atdsr("show", experiments / "other", "--html", path)
    return path


@pytest.fixture(scope="module", params=["light", "dark"])
def page(html: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    with browser.opened(html, dark=request.param == "dark") as page:
        yield page


@pytest.mark.slow
def test_it_loads_without_a_complaint_and_asks_for_nothing_else(page: Page, html: Path):
    assert page.errors == []
    assert page.requests == [html.as_uri()]


def test_the_name_shows_as_it_is(page: Page):
    assert page.evaluate("document.querySelector('h1').textContent") == OTHER
    assert page.evaluate("document.querySelector('[onmouseover]')") is None


def test_curves_have_the_colours_of_the_page(page: Page):
    ink = page.evaluate("getComputedStyle(document.body).color")
    lines = page.evaluate(
        "[...document.querySelectorAll('.plot path')].map(path => getComputedStyle(path).stroke)"
    )
    assert ink in lines
    drawn = page.evaluate(
        "[...document.querySelectorAll('.plot')].map(plot => plot.getBoundingClientRect().height)"
    )
    assert len(drawn) == 5
    assert min(drawn) > 150


def test_every_validation_image_decodes(page: Page):
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    widths = page.evaluate(
        "Promise.all([...document.querySelectorAll('.images img')].map("
        "image => image.decode().then(() => image.naturalWidth)))"
    )
    assert widths == [240]


@pytest.mark.slow
def test_a_phone_need_not_be_scrolled_sideways(html: Path):
    with browser.opened(html, width=390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_run_that_was_set_aside_is_listed_by_its_new_name(tmp_path: Path):
    logs.write(tmp_path / "mine", steps=200, every=10, name="mine")
    assert set_aside(tmp_path / "mine") == tmp_path / "mine.1"
    logs.write(tmp_path / "mine", steps=100, every=10, name="mine")
    rows = [row[0] for row in tables.rows(atdsr("list", tmp_path).stdout)]
    assert sorted(rows) == ["mine", "mine.1"]
    assert atdsr("show", tmp_path / "mine.1").stdout.splitlines()[0] == "mine.1"


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path):
    for folder in ("first", "second"):
        logs.write(tmp_path / folder, steps=100, every=10, name="mine")
    shown = atdsr("list", tmp_path).stdout
    assert "mine (first)" in shown
    assert "mine (second)" in shown
