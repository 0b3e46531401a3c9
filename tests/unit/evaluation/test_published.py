"""The published figures that come with the package."""

import pytest

from atdsr.evaluation import published


def test_the_row_of_a_table() -> None:
    rows = {(row.model, row.dataset): row for row in published.rows(2, ["Set5", "Urban100"])}
    light = rows["ATD-light", "Set5"]
    assert light == published.PublishedRow(
        "ATD-light", "Set5", 2, 753_000, "light", 38.29, 0.9616, 38.285
    )
    assert rows["ATD", "Urban100"].parameters == 20_100_000
    assert rows["ATD", "Urban100"].group == "classical"
    assert rows["IPT", "Set5"].ssim is None
    assert rows["HAT", "Set5"].exact_psnr_y is None


def test_only_what_was_asked_for() -> None:
    assert published.rows(8, ["Set5"]) == ()
    assert published.rows(2, ["holiday photos"]) == ()
    rows = published.rows(3, ["Manga109", "Set5", "Set5"])
    assert {row.scale for row in rows} == {3}
    assert len({(row.model, row.dataset) for row in rows}) == len(rows)
    assert "IPT" not in {row.model for row in rows if row.dataset == "Manga109"}


def test_bsd100_is_b100() -> None:
    old, new = published.rows(4, ["B100"]), published.rows(4, ["BSD100"])
    assert [row.psnr for row in old] == [row.psnr for row in new]
    assert {row.dataset for row in new} == {"BSD100"}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_logs_agree_with_the_printed_tables(scale: int) -> None:
    sets = ["Set5", "Set14", "B100", "Urban100", "Manga109"]
    exact = [row for row in published.rows(scale, sets) if row.exact_psnr_y is not None]
    assert {row.model for row in exact} == {"ATD", "ATD-light"}
    assert len(exact) == 10
    for row in exact:
        assert row.exact_psnr_y == pytest.approx(row.psnr, abs=0.015)
