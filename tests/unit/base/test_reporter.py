"""`Reporter`: a log by default, and parts that map onto the whole."""

import logging

import pytest

from atdsr.base.reporter import SILENT, Reporter


def test_by_default_notices_are_logged_and_nothing_is_shown(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    SILENT.progress(0.5)
    with caplog.at_level(logging.INFO, "atdsr"):
        SILENT.part(0, 1).notice("tiles of 10% are used.")
    assert caplog.record_tuples == [("atdsr", logging.INFO, "tiles of 10% are used.")]
    assert capfd.readouterr() == ("", "")


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
