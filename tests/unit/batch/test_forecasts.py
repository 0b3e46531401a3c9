"""What a plan would do: sizes, networks, time and memory, and nothing that is written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atdsr import batch, imaging
from atdsr.batch import BatchConfig, Factor, Networks, Outcome, TargetBox, forecasts
from atdsr.imaging import Picture
from atdsr.inference import Upscaler
from helpers.networks import TINY, lively

SPEED = 1e-4  # seconds a pixel


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forecasts, "seconds_per_pixel", lambda _: SPEED)
    return tmp_path


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks(
        {2: "two", 3: "three"},
        lambda name: Upscaler(
            lively(replace(TINY, scale={"two": 2, "three": 3}[name])), device="cpu"
        ),
    )


def save(name: str, width: int, height: int) -> None:
    imaging.write(Picture(np.zeros((height, width, 3), np.uint8)), name)


def forecast(networks: Networks, *inputs: str, size: Any, **config: Any) -> list[batch.Forecast]:
    plan = batch.plan(inputs, None, BatchConfig(size, models=networks.models, **config))
    return list(batch.forecast(plan, networks))


def test_sizes_network_time_and_memory(networks: Networks):
    save("a.png", 10, 8)
    (made,) = forecast(networks, "a.png", size=Factor(3))
    assert (made.source_size, made.size, made.model) == ((10, 8), (30, 24), "three")
    assert made.seconds == pytest.approx(80 * SPEED)
    assert made.workload is not None
    assert made.workload.memory == networks.for_factor(3).estimate(8, 10)
    assert made.line.startswith("a.png -> a_x3.png  10x8 -> 30x24, three, about 0.01 s, 20.")
    assert sorted(Path().iterdir()) == [Path("a.png")]


def test_a_picture_that_takes_two_passes(networks: Networks):
    save("a.png", 10, 8)
    (made,) = forecast(networks, "a.png", size=TargetBox(70, 56))
    assert made.workload is not None
    assert (made.workload.passes, made.workload.pixels) == (2, 80 + 9 * 80)
    assert ", three 2 times, " in made.line
    record = made.record()
    assert (record["source_width"], record["source_height"]) == (10, 8)
    assert (record["width"], record["height"], record["passes"]) == (70, 56, 2)
    assert record["seconds"] == pytest.approx(800 * SPEED)


def test_a_picture_that_is_reduced_needs_no_network(networks: Networks):
    save("a.png", 10, 8)
    (made,) = forecast(networks, "a.png", size=TargetBox(5, 4))
    assert made.seconds == 0
    assert made.line == "a.png -> a_5x4.png  10x8 -> 5x4, about 0 s"


def test_what_is_skipped_and_what_fails(networks: Networks):
    save("in/a.png", 4, 4)
    save("in/a_x2.png", 8, 8)
    save("in/c.png", 4, 4)
    Path("in/b.png").write_bytes(b"no picture")
    Path("in/d.psd").touch()
    plan = batch.plan(["in"], None, BatchConfig(Factor(2)))
    made = list(batch.forecast(plan, networks))
    assert [each.outcome for each in made] == [Outcome.SKIPPED, Outcome.FAILED, Outcome.DONE]
    assert made[0].line == "in/a.png: in/a_x2.png exists and is kept"
    tally = batch.ForecastTally()
    for each in made:
        tally.add_forecast(each)
    summary = batch.forecast_summary(tally, plan)
    assert summary.startswith("1 of 3 pictures would be made, 1 skipped, 1 failed, in about 0 s")
    assert summary.endswith("; 1 PSD not read")
    assert tally.memory == made[2].workload.memory  # type: ignore[union-attr]
    totals = batch.forecast_totals(tally, plan)
    assert (totals["total"], totals["done"], totals["skipped"]) == (3, 1, 1)
    assert totals["unread"] == {"PSD": 1}


def test_the_share_of_a_picture_is_its_share_of_the_pixels(networks: Networks):
    save("in/a.png", 10, 10)
    Path("in/b.png").write_bytes(b"no picture")
    save("in/c.png", 10, 30)
    done = batch.work_done(batch.plan(["in"], None, BatchConfig(Factor(2))), networks)
    assert [done(pictures) for pictures in (0, 0.5, 1, 2, 2.5, 3)] == pytest.approx(
        [0, 0.125, 0.25, 0.25, 0.625, 1]
    )


def test_the_share_where_there_is_nothing_to_do(networks: Networks):
    for name in ("in/a.png", "in/b.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"no picture")
    done = batch.work_done(batch.plan(["in"], None, BatchConfig(Factor(2))), networks)
    assert [done(pictures) for pictures in (0, 1, 2)] == [0, 0.5, 1]


def test_of_very_many_pictures_the_number_counts(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
):
    save("in/a.png", 10, 10)
    save("in/b.png", 10, 30)
    plan = batch.plan(["in"], None, BatchConfig(Factor(2)))
    assert batch.work_done(plan, networks)(1) == pytest.approx(0.25)
    monkeypatch.setattr(forecasts, "MOST_OPENED", 1)
    assert batch.work_done(plan, networks)(1) == 0.5
