"""`Reporter`: silent by default, and parts that map onto the whole."""

import logging

import pytest

from atdsr.base.reporter import SILENT, Reporter


def test_the_default_ignores_everything() -> None:
    SILENT.progress(0.5)
    SILENT.part(0, 1).notice("tiles are used.")


def test_a_part_maps_its_progress_onto_the_whole_and_passes_notices_on() -> None:
    fractions: list[float] = []
    notices: list[str] = []
    reporter = Reporter(fractions.append, notices.append)
    first, second = reporter.part(0, 0.25), reporter.part(0.25, 1)
    first.progress(1)
    second.progress(0)
    second.part(0.5, 1).progress(1)
    second.notice("tiles are used.")
    assert fractions == [0.25, 0.25, 1]
    assert notices == ["tiles are used."]


def test_notices_go_to_the_logger_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "atdsr")
    fractions: list[float] = []
    notices: list[str] = []
    reporter = Reporter(fractions.append, notices.append).logged()
    reporter.part(0, 0.5).notice("100 % of a tile is used.")
    reporter.progress(1)
    assert notices == ["100 % of a tile is used."]
    assert fractions == [1]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("atdsr", "INFO")
    assert record.getMessage() == notices[0]
