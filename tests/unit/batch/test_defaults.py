"""Which of a person's defaults give way to what was typed."""

from pathlib import Path
from typing import Any

import pytest

from atdsr import batch
from atdsr.batch import BatchConfig, Factor
from helpers.upscaling import touch

MINE: dict[str, Any] = {"format_name": "webp", "template": "{stem}-big.jpg", "recursive": True}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(*inputs: str, out: str | None = None, typed: str | None = None, **fields: Any):
    """The fields of `MINE` that are left, all of them defaults but one."""
    defaults = frozenset(MINE) - {typed}
    config = BatchConfig(Factor(2), **(MINE | fields), defaults=defaults)
    left = batch.give_way(config, inputs, out)
    return left.format_name, left.template, left.recursive


def test_a_file_as_output_wins_over_format_and_name():
    touch("f/a.png")
    assert given("a.png", out="x.png") == (None, None, True)
    assert given("a.png", out="x.png", typed="format_name") == ("webp", None, True)
    assert given("a.png", out="x.png", typed="template") == (None, "{stem}-big.jpg", True)
    for inputs, out in [
        (["a.png"], "x"),
        (["a.png"], "x.png/"),
        (["f"], "x.png"),
        (["a.png"], None),
    ]:
        assert given(*inputs, out=out) == ("webp", "{stem}-big.jpg", True)


def test_of_format_and_name_the_one_that_was_typed_wins():
    assert given("a.png", typed="format_name") == ("webp", "{stem}-big{ext}", True)
    assert given("a.png", typed="template") == (None, "{stem}-big.jpg", True)
    template = "{stem}-big"
    assert given("a.png", typed="template", template=template) == ("webp", template, True)


@pytest.mark.parametrize(("inputs", "out"), [("-", "x"), ("a.png", "-")])
def test_streams_win_over_name_and_recursion(inputs: str, out: str):
    assert given(inputs, out=out) == ("webp", None, False)
    assert given(inputs, out=out, typed="recursive") == ("webp", None, True)
