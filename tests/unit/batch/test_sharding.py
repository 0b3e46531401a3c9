"""Which part of the pictures a process makes: its hash, its name, and what schedulers say."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdsr import batch
from atdsr.base.option_values import OptionError
from atdsr.batch import BatchConfig, Factor, Shard
from helpers.upscaling import forbid_listing, touch


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*inputs: str, out: str | None = None, **config: Any) -> batch.Plan:
    config = {"recursive": True} | config
    return batch.plan(inputs, out, BatchConfig(Factor(2), **config))


def sources(made: batch.Plan) -> list[str]:
    return [item.source.as_posix() for item in made.items]


# The hash


@pytest.mark.parametrize(
    ("name", "of_7", "of_64"),
    # printf %s NAME | sha256sum | cut -c1-16, as a number modulo 7 and 64, plus 1
    [("a.png", 2, 25), ("p/q/b.jpg", 4, 53), ("ü/é.webp", 4, 31), ("\udcff.png", 5, 30)],
)
def test_the_shard_of_a_name_never_changes(name: str, of_7: int, of_64: int):
    assert [k for k in range(1, 8) if Shard(k, 7).holds(name)] == [of_7]
    assert [k for k in range(1, 65) if Shard(k, 64).holds(name)] == [of_64]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 200))
def test_each_name_is_in_one_shard(name: str, total: int):
    assert sum(Shard(k, total).holds(name) for k in range(1, total + 1)) == 1


def test_shards_are_about_equal():
    counts = Counter(
        next(k for k in range(1, 9) if Shard(k, 8).holds(f"holiday/{n:05}.jpg"))
        for n in range(4000)
    )
    assert len(counts) == 8
    assert max(counts.values()) < 600 > 400 < min(counts.values())  # about 5 sigma


# Its name


@pytest.mark.parametrize(("text", "shard"), [("1/1", Shard(1, 1)), ("3/64", Shard(3, 64))])
def test_a_number_of_a_total_needs_no_scheduler(text: str, shard: Shard):
    inside = {"SLURM_ARRAY_TASK_ID": "9", "JOB_COMPLETION_INDEX": "9"}
    assert Shard.parse(text, {}) == Shard.parse(text, inside) == shard
    assert str(shard) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0/4", "'0/4' is not like 3/64, auto or auto/64."),
        ("4", "'4' is not like 3/64, auto or auto/64."),
        ("-1/4", "'-1/4' is not like 3/64, auto or auto/64."),
        ("1/٤", "'1/٤' is not like 3/64, auto or auto/64."),
        ("auto/0", "'auto/0' is not like 3/64, auto or auto/64."),
        ("1/9999999999", "'1/9999999999' is not like 3/64, auto or auto/64."),
        ("5/4", "'5/4' is not one of the shards 1/4 to 4/4."),
    ],
)
def test_what_names_no_shard(text: str, said: str):
    with pytest.raises(OptionError) as caught:
        Shard.parse(text, {})
    assert str(caught.value) == said


def slurm(task: int | str, first: int, last: int, count: int, step: int | None = 1):
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count}
    values |= {} if step is None else {"STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        (slurm(0, 0, 63, 64), "1/64"),
        (slurm(63, 0, 63, 64), "64/64"),
        (slurm(1, 1, 64, 64), "1/64"),
        (slurm(64, 1, 64, 64, None), "64/64"),
        (slurm(14, 10, 18, 5, 2), "3/5"),
        (slurm(7, 7, 7, 1), "1/1"),
    ],
)
def test_the_tasks_of_a_slurm_array(environment: dict[str, str], shard: str):
    assert str(Shard.parse("auto", environment)) == shard
    assert str(Shard.parse(f"auto/{shard.partition('/')[2]}", environment)) == shard


def test_the_pods_of_a_kubernetes_job():
    for index in range(3):
        assert Shard.parse("auto/3", {"JOB_COMPLETION_INDEX": str(index)}) == Shard(index + 1, 3)


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("auto", {}, "auto needs a SLURM array or an indexed Kubernetes Job, and neither"),
        ("auto/3", {}, "auto/3 needs a SLURM array"),
        ("auto", {"JOB_COMPLETION_INDEX": ""}, "auto needs a SLURM array"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "how many completions its Job has; write auto/N"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "3"}, "auto/3 is for the indexes 0 to 2"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "x"}, "JOB_COMPLETION_INDEX is 'x' and no number"),
        ("auto/3", {"JOB_COMPLETION_INDEX": "0", **slurm(1, 1, 3, 3)}, "are both set"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_COUNT is '' and no number"),
        ("auto/64", slurm(7, 7, 7, 1), "auto/64 is for an array of 64 tasks, and this one has 1"),
        ("auto", slurm(5, 1, 6, 3), "not evenly spaced from 1 to 6"),  # --array=1,5,6
        ("auto", slurm(2, 1, 5, 3, 2), "not evenly spaced from 1 to 5"),
    ],
)
def test_a_scheduler_that_does_not_tell(text: str, environment: dict[str, str], said: str):
    with pytest.raises(OptionError) as caught:
        Shard.parse(text, environment)
    assert said in str(caught.value)


# Plans


NAMES = [f"in/{folder}{n}.png" for folder in ("", "p/", "p/q/") for n in range(8)]


@pytest.mark.parametrize("total", [1, 2, 5, 40])
def test_shards_of_a_tree_are_the_whole_of_it(here: Path, total: int):
    touch(*NAMES)
    whole = plan("in", out="out")
    parts = [plan("in", out="out", shard=Shard(k, total)) for k in range(1, total + 1)]
    assert sorted(item.target for part in parts for item in part.items) == sorted(
        item.target for item in whole.items
    )
    assert sum(part.total for part in parts) == whole.total == len(NAMES)


def test_a_shard_depends_on_neither_the_place_nor_the_order_of_the_listing(
    here: Path, monkeypatch: pytest.MonkeyPatch
):
    touch(*NAMES, *(f"elsewhere/{name}" for name in NAMES))
    shard = Shard(2, 3)
    first = sources(plan("in", shard=shard))
    assert 0 < len(first) < len(NAMES)
    moved = sources(plan(str(here / "elsewhere" / "in"), shard=shard))
    assert [f"{here}/elsewhere/{name}" for name in first] == [str(Path(m)) for m in moved]
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(sorted(iterdir(path), reverse=True)))
    assert sources(plan("in", shard=shard)) == first
    for name in set(NAMES) - set(first):
        os.remove(name)  # noqa: PTH107
    assert sources(plan("in", shard=shard)) == first


def test_each_file_that_gets_no_name_is_a_problem_of_its_shard(here: Path):
    names = [f"in/{n}.ico" for n in range(6)]  # an icon is opened, to see its size
    touch(*names)
    problems = [
        [str(path) for path, _ in plan("in", template="{stem}_{width}", shard=Shard(k, 3)).problems]
        for k in (1, 2, 3)
    ]
    assert sorted([*problems[0], *problems[1], *problems[2]]) == names
    assert all(len(each) < 6 for each in problems)


def test_a_folder_that_cannot_be_read_is_a_problem_of_every_shard(
    here: Path, monkeypatch: pytest.MonkeyPatch
):
    touch("in/a.png", "in/secret/b.png")
    forbid_listing(monkeypatch, "secret")
    for k in (1, 2):
        (problem,) = plan("in", shard=Shard(k, 2)).problems
        assert problem == (Path("in/secret"), "in/secret cannot be read: Permission denied.")


def test_every_shard_refuses_what_the_whole_would(here: Path):
    touch("in/a.png", "in/a.jpg", *(f"in/{n}.png" for n in range(6)))
    for k in range(1, 9):
        with pytest.raises(batch.BatchError, match="would both become"):
            plan("in", out="out", format_name="webp", shard=Shard(k, 8))
