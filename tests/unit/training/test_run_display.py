"""What a person sees of a run while it goes on."""

import io
import itertools
import re
from pathlib import Path

import pytest
from rich.console import Console

from atdsr.cli.run_display import RunDisplay, StepTimer
from atdsr.reports import training_runs
from atdsr.training.events import LogEntry, Notice, Saved, Started, Stepped, Validated
from helpers import logs

NEW = Started(0, 500_000, "a run", 753_204, 800, "NVIDIA H200", 1)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def line(step: int, seconds: float = 50.0, **more: int) -> LogEntry:
    fields = {"memory": 2_100_000_000, "skipped": 0, "patch": 64, "batch": 32, **more}
    return LogEntry(step, 0.018123, 5e-4, 0.5, seconds, seconds * 0.003, **fields)


def validated(step: int, psnr: float, *, best: bool) -> Validated:
    return Validated(step, {"Set5": psnr}, {"Set5": 0.96}, {"Set5": 33.66}, 74.0, best)


def watcher(
    folder: Path, clock: Clock, width: int, *, terminal: bool = False
) -> tuple[RunDisplay, Console]:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=terminal,
        no_color=True,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
    )
    return RunDisplay(console, folder, clock), console


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    console.file.truncate(0)
    console.file.seek(0)
    return lines


# --------------------------------------------------------------------------------------- the pace


def test_the_pace_is_that_of_the_lines_but_the_first():
    pace = StepTimer(Clock())
    pace(NEW)
    pace(line(100, 300.0))  # the machine warms up
    assert pace.seconds == 3.0
    pace(line(200, 50.0))
    pace(line(300, 60.0))
    assert pace.seconds == 0.55
    assert pace.latest == 0.6


def test_before_the_first_line_the_steps_tell_without_what_is_between_them():
    clock = Clock()
    pace = StepTimer(clock)
    for event, seconds in (
        (NEW, 5.0),
        (Stepped(1), 60.0),  # compiles
        (Stepped(2), 2.0),
        (Saved(2, Path("a")), 30.0),
        (validated(2, 37.0, best=True), 500.0),
        (Stepped(3), 2.0),
        (Stepped(4), 4.0),
    ):
        clock.now += seconds
        pace(event)
    assert pace.seconds == pytest.approx(8 / 3)


def test_a_restart_in_the_middle_of_a_line_counts_its_own_steps():
    pace = StepTimer(Clock())
    pace(Started(150, 500_000, "a run", 753_204, 800, "cpu", 1))
    pace(line(200, 50.0))
    assert pace.seconds == 1.0


def test_other_crops_have_a_pace_of_their_own():
    pace = StepTimer(Clock())
    for event in (NEW, line(100), line(200), line(300, 200.0, patch=96)):
        pace(event)
    assert pace.seconds == 2.0


# -------------------------------------------------------------------------------------- plain lines


def test_without_a_terminal_every_line_of_the_log_is_one_of_text(tmp_path: Path):
    watch, console = watcher(tmp_path, Clock(), 40)
    for event in (
        Notice(0, "packing 800 pictures"),
        NEW,
        Stepped(1),
        line(1_200, 625.0),
        Saved(1_200, Path("a")),
        line(1_300, 52.0, skipped=3),
        validated(1_300, 37.94, best=True),
        validated(1_300, 36.94, best=False),
    ):
        watch(event)
    assert printed(console) == [
        "packing 800 pictures",
        "a run: 753,204 parameters, 800 pictures, NVIDIA H200",
        "step 1,200/500,000  loss 0.01812  lr 5.00e-04  1.92 it/s  data 0.3%  2.0 GiB  eta 3 d",
        "step 1,300/500,000  loss 0.01812  lr 5.00e-04  1.92 it/s  data 0.3%  2.0 GiB  skipped 3  "
        "eta 3 d",
        "step 1,300/500,000  Set5 37.94 dB (+4.28)  best so far  1 min 14 s",
        "step 1,300/500,000  Set5 36.94 dB (+3.28)  1 min 14 s",
    ]


def test_control_codes_in_a_name_do_not_reach_the_terminal(tmp_path: Path):
    watch, console = watcher(tmp_path, Clock(), 80)
    watch(Started(7, 9, "a\x1b[2Jrun\n", 1, 1, "cpu", 2))
    assert printed(console) == [
        "a\\x1b[2Jrun\\n: 1 parameter, 1 picture, cpu, 2 processes; goes on after step 7"
    ]


def test_a_finished_run_does_not_go_on(tmp_path: Path):
    watch, console = watcher(tmp_path, Clock(), 80)
    watch(Started(6, 6, "short", 2, 1_200, "cpu", 1))
    assert printed(console) == [
        "short: 2 parameters, 1,200 pictures, cpu; all 6 steps are done already"
    ]


# ------------------------------------------------------------------------------------ in a terminal


def bar(watch: RunDisplay, console: Console) -> list[str]:
    """The lines at the bottom, as they are now."""
    console.print(watch, soft_wrap=False)
    return [text.rstrip() for text in printed(console)]


def test_the_bar_has_every_figure_where_there_is_room(tmp_path: Path):
    watch, console = watcher(tmp_path, Clock(), 120, terminal=True)
    for event in (NEW, line(250_000, 125_000.0), validated(250_000, 38.01, best=True)):
        watch(event)
    watch(line(250_100, 50.0))
    watch(validated(250_100, 37.94, best=False))
    above = printed(console)
    assert len(above) == 3  # the beginning and the validations; lines only move the bar
    head, figures = [plain(text) for text in bar(watch, console)]
    assert head.startswith("250,100/500,000  ━━")
    assert head.endswith("50.0%  1 d 11 h left")
    assert figures == (
        "loss 0.01812   2.00 it/s   Set5 37.94, best 38.01   lr 5.00e-04   data 0.3%   2.0 GiB"
    )
    watch.close()
    (left,) = printed(console)
    assert left.startswith("step 250,100/500,000  loss 0.01812")


def plain(text: str) -> str:
    """Without the codes for colours and bold letters."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("width", [1, 2, 5, 10, 18, 30, 45, 60, 80, 300])
def test_a_terminal_of_any_width_has_two_lines_that_fit(tmp_path: Path, width: int):
    watch, console = watcher(tmp_path, Clock(), width, terminal=True)
    events = (NEW, Stepped(1), line(100), validated(100, 37.9, best=True), line(250_000, skipped=3))
    for number in itertools.count():
        shown = [plain(text) for text in bar(watch, console)]
        assert len(shown) == (2 if number else 0)
        assert all(len(text) <= width for text in shown)
        if number == len(events):
            break
        watch(events[number])
        printed(console)


def test_after_a_restart_the_best_of_before_is_known(tmp_path: Path):
    folder = logs.write(tmp_path / "run", steps=4_000, every=10)
    watch, console = watcher(folder, Clock(), 120, terminal=True)
    earlier = training_runs.read(folder)
    watch(Started(4_000, 500_000, "a run", 753_204, 800, "cpu", 1))
    watch(validated(4_100, 30.0, best=False))
    printed(console)
    assert earlier.best is not None
    best = earlier.best.mean_psnr
    assert f"Set5 30.00, best {best:.2f}" in plain(bar(watch, console)[1])
