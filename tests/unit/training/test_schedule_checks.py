"""Warnings about settings that have no effect in a run of so many steps."""

import re
from pathlib import Path
from typing import Any

import pytest

from atdsr import training
from atdsr.training import Notice, recipes
from atdsr.training.schedule_checks import warnings
from helpers.training_runs import changed, packed, tiny_config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, None),
        ({"schedule": {"warmup": 100}}, None),
        ({"schedule": {"warmup": 101}}, r"schedule.warmup is 101 and the run has 100 steps"),
        ({"schedule": {"warmup": 1_000}}, r"no higher than 0.0001 of 0.001 .*for example to 4\."),
        ({"schedule": {"warmup": 10, "cooldown": 90}}, None),
        ({"schedule": {"warmup": 50, "cooldown": 100}}, r"overlap .* no higher than 0\.000\d+ of"),
        ({"schedule": {"cooldown": 101}}, r"schedule.cooldown is 101 .*lower it to 50"),
        ({"schedule": {"milestones": (50, 99)}}, None),
        ({"schedule": {"milestones": (50, 100, 2_000)}}, r"does not get past 100, 2,000"),
        ({"schedule": {"kind": "cosine", "milestones": (200,)}}, None),
        ({"stages": [{"after": 99, "patch": 8, "batch": 1}]}, None),
        ({"stages": [{"after": 100, "patch": 8, "batch": 1}]}, r"stages.0 begins after step 100"),
        ({"validate": {"every": 101}}, None),  # without a test set
        ({"validate": {"every": 100, "sets": ["Set5"]}}, None),
        ({"validate": {"every": 101, "sets": ["Set5"]}}, r"validate.every is 101 and"),
        ({"save": {"every": 100}}, None),
        ({"save": {"every": 101}}, r"save.every is 101 and .*a crash loses everything"),
        ({"save": {"every": 101}, "validate": {"every": 10, "sets": ["Set5"]}}, None),
        ({"log": {"every": 100}}, None),
        ({"log": {"every": 101}}, r"log.every is 101 and"),
    ],
)
def test_what_lies_beyond_the_end_is_named(changes: dict[str, Any], sentence: str | None) -> None:
    settings = changed(tiny_config(Path("set"), Path("run")), iterations=100, **changes)
    said = warnings(settings)
    if sentence is None:
        assert said == []
    else:
        assert len(said) == 1
        assert re.search(sentence, said[0])


def test_published_recipes_are_without_fault() -> None:
    assert [warnings(recipes.load(name)) for name in recipes.names()] == [[]] * len(recipes.names())


def test_a_short_run_on_top_of_a_published_recipe() -> None:
    said = warnings(recipes.load("101", ["iterations=3000"]))
    keys = [sentence.split()[0].rstrip(":") for sentence in said]
    assert keys == ["schedule.warmup", "schedule.milestones", "validate.every", "save.every"]


def test_they_are_said_at_the_start_of_a_run_and_not_after_its_end(tmp_path: Path) -> None:
    settings = tiny_config(packed(tmp_path), tmp_path / "run", save={"every": 50})
    said: list[str] = []

    def callback(event: training.Event) -> None:
        if isinstance(event, Notice):
            said.append(event.text)

    training.fit(settings, callback=callback)
    assert [sentence.split()[0] for sentence in said] == ["save.every"]
    training.fit(settings, callback=callback)
    assert len(said) == 1
