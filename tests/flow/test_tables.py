"""The tables of the commands, on terminals of several widths and in files."""

import io

import pytest
from rich.console import Console

from atdsr.cli import console

HEADER = ("network", "Set5 PSNR", "Set14 PSNR")
LINES = (("bicubic", "33.66", "30.24"), ("a long name", "38.61", ""), ("published:",))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("COLUMNS", raising=False)

    def show(width: int, *, terminal: bool = True) -> list[str]:
        file = io.StringIO()
        screen = Console(
            file=file, width=width, force_terminal=terminal, color_system=None, soft_wrap=True
        )
        monkeypatch.setattr(console.out, "console", screen)
        console.print_table(HEADER, LINES, section=1, title="PSNR in dB of both of the sets")
        return [line.rstrip() for line in file.getvalue().splitlines()]

    return show


TABLE = [
    "PSNR in dB of both of the sets",
    "network      Set5 PSNR  Set14 PSNR",
    "─" * 34,
    "bicubic          33.66       30.24",
    "─" * 34,
    "a long name      38.61",
    "published:",
]


@pytest.mark.parametrize(("width", "terminal"), [(34, True), (120, True), (10, False)])
def test_a_table_that_fits_or_goes_into_a_file_is_one(shown, width: int, terminal: bool):
    assert shown(width, terminal=terminal) == TABLE


def test_on_a_narrow_terminal_each_line_is_a_paragraph(shown):
    assert shown(30) == [
        "PSNR in dB of both of the sets",
        "bicubic",
        "  Set5 PSNR 33.66,",
        "  Set14 PSNR 30.24",
        "-" * 30,
        "a long name",
        "  Set5 PSNR 38.61",
        "published:",
    ]


def test_a_cell_that_is_longer_than_the_terminal_keeps_all_of_it(shown, monkeypatch):
    monkeypatch.setitem(globals(), "LINES", (("a", "x" * 50),))
    assert "".join(shown(30)).count("x") == 50
