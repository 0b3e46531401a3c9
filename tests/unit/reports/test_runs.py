"""Logs of runs, read, summed up and drawn."""

import contextlib
import json
import math
import os
import re
import tracemalloc
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from atdsr.base import files, units
from atdsr.base.files import FileError
from atdsr.base.reporter import Reporter
from atdsr.reports import plots, run_curves, run_page, training_runs
from atdsr.reports.training_runs import TrainingRun, TrainingRunError
from atdsr.training.events import LogEntry, Started, Validated
from atdsr.training.run_log import RunLog
from helpers import logs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A run of 3412 lines with a restart, 17 validations of three sets, and strips."""
    return training_runs.read(logs.write(tmp_path_factory.mktemp("runs") / logs.NAME))


def log(folder: Path, *records: Any) -> TrainingRun:
    """The run of a log with these lines; what is no text becomes JSON."""
    lines = (each if isinstance(each, str) else json.dumps(each) for each in records)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return training_runs.read(folder)


def line(step: int, **fields: Any) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {**logs.line(step, 100, rng), "seconds": 50.0, "waited": 0.5, **fields}


def validated(step: int, **psnr: float) -> dict[str, Any]:
    return {"kind": "validated", "step": step, "psnr": psnr, "bicubic": dict.fromkeys(psnr, 30.0)}


# ----------------------------------------------------------------------------------------- reading


def test_a_log_that_a_run_has_written_is_read_back(tmp_path: Path):
    journal = RunLog(tmp_path)
    journal.open(0, -1)
    told = [
        Started(0, 500, "a run", 753, 3, "cpu", 2),
        LogEntry(100, 0.25, 5e-4, 0.5, 40.0, 1.0, 2**30, 2, 64, 32),
        Validated(100, {"A": 31.5}, {"A": 0.9}, {"A": 30.0}, 4.0, True, tmp_path / "a.png"),
        LogEntry(200, math.nan, 5e-4, 0.5, 60.0, 1.0, 2**30, 2, 64, 32),
    ]
    for event in told:
        journal(event)
    read = training_runs.read(tmp_path)
    assert read.starts == (told[0],)
    assert read.entries[0] == told[1]
    assert math.isnan(read.entries[1].loss)
    assert read.validations == (told[2],)
    assert (read.name, read.step, read.iterations, read.unread) == ("a run", 200, 500, 0)
    assert read.seconds == 100
    assert read.pace == 0.5
    assert read.wait == 0.02
    assert read.recent_loss == 0.25


def test_lines_that_are_cut_or_foreign_are_counted_and_left_out(tmp_path: Path):
    read = log(
        tmp_path,
        '{"kind": "line", "step": 1',
        "no JSON",
        "[1, 2]",
        "null",
        "",
        {"kind": "other", "step": 1},
        {"kind": ["line"], "step": 1},
        {"step": 3},
        {"kind": "line", "step": "4"},
        {"kind": "line", "step": -1},
        {"kind": "line", "step": True},
        line(100),
    )
    assert [each.step for each in read.entries] == [100]
    assert read.unread == 10


def test_fields_that_are_missing_or_of_another_kind_are_no_figures(tmp_path: Path):
    read = log(
        tmp_path,
        {"kind": "started", "step": 0, "iterations": "many", "name": 7},
        {"kind": "line", "step": 100, "loss": "small", "skipped": None},
        {"kind": "validated", "step": 100, "psnr": [1], "best": 1},
        {"kind": "validated", "step": 200, "psnr": {"A": None, "B": 31}, "strips": 3},
        {"kind": "told", "step": 5},
    )
    assert read.name == tmp_path.name
    assert read.iterations == 0
    assert math.isnan(read.entries[0].loss)
    assert read.entries[0].skipped == 0
    assert math.isnan(read.recent_loss)
    assert read.validations[0].psnr == {}
    assert read.best is read.validations[1]
    assert read.sets == ["A", "B"]
    assert training_runs.facts(read)["step"] == "200"
    assert run_page.write(read, tmp_path / "a.html", overwrite=False) is None


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path):
    (tmp_path / "log.jsonl").write_bytes(b"\xff\xfe\x00\n" + json.dumps(line(100)).encode())
    assert training_runs.read(tmp_path).step == 100


@pytest.mark.parametrize(
    "foreign",
    ["[" * 200_000, '{"kind": "line", "step": 2, "memory": %s}' % ("1" * 400)],
    ids=["deep", "large"],
)
def test_a_line_that_no_reader_can_hold_is_left_out(tmp_path: Path, foreign: str):
    found = log(tmp_path, line(1), foreign)
    assert [each.step for each in found.entries] == [1]
    assert found.unread == 1


ABSURD: dict[str, list[Any]] = {
    "numbers": [
        line(1, loss=1e308, seconds=1e308, memory=10**290),
        line(2, loss=5e-324, lr=-1e308),
    ],
    "no numbers": [
        '{"kind": "line", "step": 1, "loss": NaN, "lr": Infinity, "seconds": -Infinity}'
    ],
    "steps": [line(2**53), line(10**20), {"kind": "line", "step": 1e3}],
    "start": [
        {"kind": "started", "step": 0, "iterations": 10**290, "ranks": -3, "name": "n" * 5_000}
    ],
    "types": [{**line(1), "seconds": [1], "skipped": {}, "loss": "x", "memory": True}],
    "figures": [{**validated(1), "psnr": {"A": 10**290, "B": True, "C": [1], "D": -1e308, "": 1}}],
    "sets": [validated(step, **{f"s{step}-{n}": 30.0 for n in range(300)}) for step in range(20)],
    "names": [logs.started(0, "$\\frac{\u202e写<b>\n"), validated(1, **{"$\\x^{_": 31.0})],
    "deep": [
        '{"kind": ' * 2_000,
        '{"kind": "line", "step": 1, "loss": %s}' % ("[" * 900 + "]" * 900),
    ],
    "restarts": [each for n in range(3_000) for each in (line(n), logs.started(n))],
    "told": [{"kind": "told", "step": 1, "text": "<" * 5_000}] * 2_000,
    "nothing": ["\0" * 3_000_000, "{}", "[]", "null", "1", '""', "\u2028", " "],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ABSURD)
def test_an_absurd_log_is_read_drawn_and_put_on_a_page(tmp_path: Path, case: str):
    run = log(tmp_path / "run", *ABSURD[case])
    assert all(
        isinstance(text, str) and len(text) < 1_100 for text in training_runs.facts(run).values()
    )
    assert len(run.name) <= 200
    assert len(run.sets) <= 16
    run_page.write(run, tmp_path / "a.html", overwrite=False)
    assert (tmp_path / "a.html").stat().st_size < 10_000_000
    with contextlib.suppress(TrainingRunError):  # where there is nothing to draw
        run_curves.png(run, tmp_path / "a.png", overwrite=False)


def test_a_line_of_any_length_is_passed_over_in_little_memory(tmp_path: Path):
    run = log(tmp_path, line(100), "x" * 3_000_000, line(200))
    assert [each.step for each in run.entries] == [100, 200]
    assert run.unread == 1
    with (tmp_path / "log.jsonl").open("a") as file:
        for _ in range(50):
            file.write("y" * 2**20)
    tracemalloc.start()
    assert training_runs.read(tmp_path).unread == 2
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n" * (training_runs.MOST_LINES + 1), "more than 150,000 lines"),
        (
            "{}\n" * (training_runs.MOST_FOREIGN + 1),
            "more than 10,000 lines that no run has written",
        ),
        (
            "".join(json.dumps(validated(n, A=1.0)) + "\n" for n in range(2_001)),
            "more than 2,000 validations",
        ),
    ],
    ids=["lines", "foreign", "validations"],
)
def test_a_log_that_no_run_has_is_refused(tmp_path: Path, text: str, sentence: str):
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(TrainingRunError, match=rf"log\.jsonl has {sentence}"):
        training_runs.read(tmp_path)


def test_a_log_that_is_far_too_large_is_not_even_opened(tmp_path: Path):
    with (tmp_path / "log.jsonl").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(
        TrainingRunError, match=r"has 1,099,511,627,776 bytes, and the log of a run"
    ):
        training_runs.read(tmp_path)


def test_one_log_of_several_that_cannot_be_read_is_named(tmp_path: Path):
    log(tmp_path / "good", line(100))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "log.jsonl").write_text("{}\n" * (training_runs.MOST_FOREIGN + 1))
    (tmp_path / "pipe").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe" / "log.jsonl")  # nobody writes, and none waits for that
    told: list[str] = []
    assert [run.name for run in training_runs.find(tmp_path, Reporter(notice=told.append))] == [
        "good"
    ]
    assert len(told) == 1
    assert "bad" in told[0]


def test_a_time_that_no_calendar_has_is_none(run: TrainingRun):
    assert training_runs.written(replace(run, written=1e300)) == units.UNKNOWN


def test_an_empty_log_is_a_run_with_nothing_done(tmp_path: Path):
    read = log(tmp_path)
    assert (read.step, read.name, read.best) == (0, tmp_path.name, None)
    assert list(training_runs.facts(read)) == ["step", "last written"]
    with pytest.raises(TrainingRunError, match="nothing to draw"):
        run_curves.png(read, tmp_path / "a.png", overwrite=False)
    run_page.write(read, tmp_path / "a.html", overwrite=False)
    assert "<svg" not in (tmp_path / "a.html").read_text()


def test_a_restart_undoes_what_came_after_the_state_it_goes_on_from(tmp_path: Path):
    read = log(
        tmp_path,
        logs.started(0),
        *(line(step, loss=1.0) for step in range(100, 600, 100)),
        validated(200, A=31.0),
        validated(400, A=99.0),
        logs.started(300),
        line(400, loss=2.0),
        line(400, loss=3.0),
    )
    assert [(each.step, each.loss) for each in read.entries] == [
        *((step, 1.0) for step in (100, 200, 300)),
        (400, 3.0),
    ]
    assert [each.step for each in read.validations] == [200]
    assert training_runs.facts(read)["restarts"] == "1"


def test_a_start_after_the_last_step_is_no_restart(tmp_path: Path):
    read = log(tmp_path, logs.started(0), line(100), logs.started(logs.TOTAL))
    assert "restarts" not in training_runs.facts(read)


def test_the_best_validation_has_the_highest_mean(tmp_path: Path):
    read = log(
        tmp_path, validated(1, A=30.0, B=36.0), validated(2, A=34.0, B=33.0), validated(3, A=33.0)
    )
    assert read.best is read.validations[1]
    assert read.validations[1].mean_psnr == 33.5


def test_runs_of_a_folder_come_latest_first(tmp_path: Path):
    for name, written in {"old": 1e9, "new": 3e9, "middle": 2e9}.items():
        log(tmp_path / name, logs.started(0, name))
        os.utime(tmp_path / name / "log.jsonl", (written, written))
    (tmp_path / "no run").mkdir()
    assert [each.name for each in training_runs.find(tmp_path)] == ["new", "middle", "old"]
    assert [each.name for each in training_runs.find(tmp_path / "old")] == ["old"]


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_what_is_no_run_is_named(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(TrainingRunError, match=name):
        training_runs.find(tmp_path / name)
    with pytest.raises(TrainingRunError, match=name):
        training_runs.read(tmp_path / name)


# --------------------------------------------------------------------------------------- in a word


def test_facts_say_what_a_run_has_come_to(run: TrainingRun):
    facts = training_runs.facts(run)
    assert facts["step"] == "341,200 of 500,000 (68%)"
    assert facts["parameters"] == "753,204"
    assert facts["device"] == "NVIDIA H200, 2 processes"
    assert facts["skipped steps"] == "3"
    assert facts["restarts"] == "1"
    assert re.fullmatch(r"6\.\d\d it/s", facts["speed"])
    assert re.fullmatch(r"15 h \d+ min", facts["trained"])
    assert re.fullmatch(r"7 h \d+ min", facts["to go"])


# ------------------------------------------------------------------------------------------ curves


@pytest.mark.slow
def test_the_picture_of_the_curves_can_be_read(run: TrainingRun, tmp_path: Path):
    run_curves.png(run, tmp_path / "a.png", overwrite=False)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 500
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 50
    with pytest.raises(FileError, match=r"a\.png"):
        run_curves.png(run, tmp_path / "a.png", overwrite=False)


@pytest.mark.parametrize(
    ("values", "bicubic", "least", "most"),
    [
        ([32.83], 30.1, 2.7, 5),  # a single validation is seen by its distance from bicubic
        ([32.83], None, 0.2, 1),
        ([29.0], 30.1, 1.1, 3),  # or below it
        ([32.83, 32.84, 32.83], 30.1, 0.2, 1),  # what is less is chance
        ([30.0, 33.0, 33.2], 29.5, 3.7, 6),
    ],
)
def test_the_span_of_a_validation_curve(
    values: list[float], bicubic: float | None, least: float, most: float
):
    axes = Figure().add_subplot()
    run_curves._draw_psnr(
        axes, plots.ON_PAPER, np.arange(1, len(values) + 1), np.array(values), bicubic
    )
    low, high = axes.get_ylim()
    assert least <= high - low <= most
    shown = values if bicubic is None or len(values) > 1 else [*values, bicubic]
    assert all(low < value < high for value in shown)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(labels)) == len(labels) >= 2


def test_each_curve_has_the_pages_colours_and_names_of_its_own(run: TrainingRun):
    curves = run_curves.svgs(run)
    psnr = [f"PSNR on {name} (dB)" for name in logs.SETS]
    assert list(curves) == ["loss", "learning rate", *psnr]
    names: list[str] = []
    for svg in curves.values():
        assert "#0" not in re.sub(r"#plot-\d-\w+", "", svg), "a stand-in is left"
        assert "var(--ink)" in svg or "var(--accent)" in svg
        assert "font-family" not in svg
        ElementTree.fromstring(svg.replace("xlink:", ""))
        own = re.findall(r' id="([^"]*)"', svg)
        assert set(re.findall(r'(?:url\(#|href="#)([^")]*)', svg)) <= set(own)
        names += own
    assert len(set(names)) == len(names)
    best = max(each.psnr["Set5"] for each in run.validations)
    assert f"{best:.2f}</text>" in curves[psnr[0]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "records",
    [
        [line(100)],
        [line(100, loss=0.5), line(200, loss=0.5)],
        [line(100, loss=None), line(200, loss=0.0)],
        [validated(100, A=31.0)],
        [validated(0, A=31.0), validated(100, A=31.0), validated(200, A=25.0)],
        [line(100, loss=1e9), line(200, loss=1e-9, lr=0.0)],
        [line(100, lr=0.0)],
        [validated(100, A=math.inf), validated(200, A=31.0), validated(300, B=3.0)],
    ],
)
def test_any_log_can_be_drawn(tmp_path: Path, records: list[Any]):
    read = log(tmp_path, *records)
    run_curves.png(read, tmp_path / "a.png", overwrite=False)
    run_page.write(read, tmp_path / "a.html", overwrite=False)
    with Image.open(tmp_path / "a.png") as drawn:
        assert len(drawn.convert("RGB").getcolors(2**24) or ()) > 10  # not an empty sheet
    assert "<svg" in (tmp_path / "a.html").read_text("utf-8")


def test_a_curve_of_very_many_lines_keeps_its_end(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_curves, "_MOST_POINTS", 100)
    seen: list[np.ndarray] = []
    monkeypatch.setattr(run_curves, "_draw_loss", lambda *given: seen.append(given[2]))
    run_curves._training_curves(run)["loss"](Figure().add_subplot(), plots.ON_PAGE)
    assert 90 < len(seen[0]) <= 100
    assert seen[0][-1] == run.entries[-1].step


def test_the_page_holds_table_curves_and_validation_images(run: TrainingRun, tmp_path: Path):
    run_page.write(run, tmp_path / "a.html", overwrite=False)
    text = (tmp_path / "a.html").read_text()
    assert text.count("<svg") == 5
    assert text.count("data:image/png;base64,") == 3  # last, best, first
    assert text.count("<tr>") == 2 + len(run.validations)
    best = max(each.psnr["Urban100"] for each in run.validations)
    assert f'<td class="best">{best:.2f}</td>' in text
    assert "&lt;nan&gt;" in text
    assert "iterations: 500000" in text
    assert "://" not in re.sub(r'"http://www\.w3\.org/[^"]*"', "", text)


# ----------------------------------------------------------------------------------------- folders


def test_a_run_is_set_aside_under_the_next_free_name(tmp_path: Path):
    folder = tmp_path / "run"
    assert training_runs.set_aside(folder) is None
    for number in (1, 2):
        log(folder, line(number * 100))
        assert training_runs.set_aside(folder) == tmp_path / f"run.{number}"
        assert not folder.exists()
        assert training_runs.read(tmp_path / f"run.{number}").step == number * 100


@pytest.mark.parametrize("folder", [".", "..", "/"])
def test_a_folder_without_a_name_of_its_own_is_not_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "log.jsonl").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("renamed"))
    with pytest.raises(FileError, match="cannot be renamed"):
        training_runs.set_aside(Path(folder))


def test_a_folder_of_something_else_is_not_set_aside(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(TrainingRunError, match="holds no training run"):
        training_runs.set_aside(tmp_path / "photos")
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_a_run_that_goes_on_is_not_set_aside(tmp_path: Path):
    log(tmp_path / "run", line(100))
    with (
        files.folder_lock(tmp_path / "run"),
        pytest.raises(TrainingRunError, match="another process"),
    ):
        training_runs.set_aside(tmp_path / "run")
    assert (tmp_path / "run").is_dir()
