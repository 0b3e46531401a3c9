"""What becomes of planned pictures: results, failures, progress, Ctrl-C."""

import json
import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atdsr import batch, imaging
from atdsr.base.reporter import Reporter
from atdsr.batch import BatchConfig, BatchItem, Factor, Outcome, Plan, Result, Tally, running
from atdsr.imaging import Picture
from atdsr.inference import UpscaleError, Upscaler

X2 = BatchConfig(Factor(2))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tally(results: Iterable[Result]) -> Tally:
    counted = Tally()
    for result in results:
        counted.add(result.outcome, result.message, result.seconds)
    return counted


class Repeater(Upscaler):
    """Repeats pixels, and tells of half of the work on the way."""

    scale = 2

    def __init__(self) -> None:
        self.outs: list[np.ndarray | None] = []

    def __call__(
        self,
        picture: Any,
        *,
        size: Any = None,
        out: Any = None,
        progress: Any = None,
        tell: Any = None,
    ) -> Any:
        progress(0.5)
        tell(f"{size[0] / 7} GiB are free.")
        self.outs.append(out)
        width, height = size
        rows = np.arange(height) * picture.height // height
        columns = np.arange(width) * picture.width // width
        made = picture.samples[rows][:, columns]
        if out is not None:
            out[:] = made
        return replace(picture, samples=made if out is None else out)


class Refuser(Upscaler):
    """Fails as it is told."""

    scale = 2

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, picture: Any, **_: Any) -> Any:
        raise self.error


def square(name: str) -> BatchItem:
    imaging.write(Picture(np.zeros((2, 2, 3), np.uint8)), name)
    return BatchItem(Path(name), Path(f"big_{name}"))


def run(
    *items: BatchItem, upscaler: Upscaler | None = None, config: BatchConfig = X2, **options: Any
):
    several = options.pop("several", False)
    plan = Plan(items, (), several, config, **options)
    return list(batch.run(plan, upscaler or Repeater()))


def test_pictures_go_on_past_failures_and_report_their_share():
    good, bad, last = (
        square("a.png"),
        BatchItem(Path("none.png"), Path("none_x2.png")),
        square("c.png"),
    )
    seen: list[tuple[str, float]] = []
    plan = Plan((good, bad, last), (), several=True, config=X2)
    results = list(
        batch.run(
            plan,
            Repeater(),
            lambda item: Reporter(lambda done: seen.append((item.source.name, done))),
        )
    )
    assert [result.outcome for result in results] == ["done", "failed", "done"]
    assert results[0].message == "a.png -> big_a.png"
    assert results[1].message.startswith("none.png does not exist; ")
    assert seen == [
        ("a.png", 0),
        ("a.png", 0.5),
        ("a.png", 1),
        ("none.png", 1),
        ("none.png", 2),
        ("c.png", 2),
        ("c.png", 2.5),
        ("c.png", 3),
    ]


def test_what_could_not_be_planned_fails_first():
    item = square("a.png")
    seen: list[float] = []
    plan = Plan((item,), (), True, X2, problems=((Path("f"), "f cannot be read."),))
    first, second = batch.run(plan, Repeater(), lambda _: Reporter(seen.append))
    assert first == Result(Path("f"), None, Outcome.FAILED, "f cannot be read.")
    assert second.outcome is Outcome.DONE
    assert seen == [1, 1.5, 2]


@pytest.mark.parametrize("several", [False, True])
def test_an_existing_output_is_kept_unless_told(several: bool):
    item = square("a.png")
    Path(item.target).write_text("mine")
    (result,) = run(item, several=several)
    assert result.outcome is (Outcome.SKIPPED if several else Outcome.FAILED)
    assert "big_a.png exists and is kept" in result.message
    assert Path(item.target).read_text() == "mine"
    (result,) = run(item, several=several, config=replace(X2, overwrite=True))
    assert result.outcome is Outcome.DONE
    assert imaging.read(item.target).samples.shape == (4, 4, 3)


@pytest.mark.parametrize(
    "error",
    [
        UpscaleError("a picture of 2x2 is too large."),
        imaging.PictureError("values too large."),
        MemoryError(),
    ],
    ids=type,
)
def test_a_failure_while_enlarging_names_the_file(error: Exception):
    item = square("a.png")
    (result,) = run(item, upscaler=Refuser(error))
    assert result.outcome is Outcome.FAILED
    assert result.message.startswith("a.png")
    assert "too large" in result.message
    assert not item.target.exists()


def test_no_memory_for_the_picture_itself(monkeypatch: pytest.MonkeyPatch):
    def refuse(_: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(imaging, "open_frames", refuse)
    (result,) = run(square("a.png"))
    assert result.message == "a.png is too large for the memory of this machine."


def test_an_output_name_that_is_too_long_fails_only_its_picture():
    long = BatchItem(square("a.png").source, Path(f"x_{'n' * 249}.png_x2"))
    results = run(long, square("b.png"), several=True)
    assert [result.outcome for result in results] == ["failed", "done"]


def test_a_result_of_too_many_pixels_is_refused():
    (result,) = run(square("a.png"), config=BatchConfig(Factor(40_000)))
    assert "the result would be 80000x80000, more than the limit" in result.message


def test_the_target_size_decides_on_the_size():
    item = square("a.png")
    (result,) = run(item, config=BatchConfig(batch.TargetBox(7, 5, exact=True)))
    assert (result.width, result.height, result.frames) == (7, 5, 1)
    assert imaging.read(item.target).samples.shape == (5, 7, 3)


def test_a_large_result_is_gathered_in_a_file(monkeypatch: pytest.MonkeyPatch):
    upscaler, monitored = Repeater(), []
    scratch = imaging.temporary_array

    def watched(path: Path, shape: Any, dtype: Any) -> Any:
        monitored.append((path, shape, dtype))
        return scratch(path, shape, dtype)

    monkeypatch.setattr(imaging, "temporary_array", watched)
    monkeypatch.setattr(running, "LARGE", 17)
    small = square("a.png")
    (result,) = run(small, upscaler=upscaler)
    assert result.outcome is Outcome.DONE
    assert not monitored
    large = square("b.png")
    (result,) = run(large, upscaler=upscaler, config=BatchConfig(Factor(3)))
    assert result.outcome is Outcome.DONE
    assert monitored == [(large.target, (6, 6, 3), np.uint8)]
    assert [out is None for out in upscaler.outs] == [True, False]
    assert imaging.read(large.target).samples.shape == (6, 6, 3)
    left = {path.name for path in Path().iterdir()}
    assert left == {"a.png", "b.png", "big_a.png", "big_b.png"}


def test_a_large_result_that_fails_leaves_no_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "LARGE", 1)
    (result,) = run(square("a.png"), upscaler=Refuser(UpscaleError("no.")))
    assert result.outcome is Outcome.FAILED
    assert [path.name for path in Path().iterdir()] == ["a.png"]


def test_notices_come_once_and_are_remembered():
    notices: list[tuple[str, str]] = []
    plan = Plan((square("a.png"),), (), False, X2)
    (result,) = batch.run(
        plan,
        Repeater(),
        lambda item: Reporter(notice=lambda sentence: notices.append((item.source.name, sentence))),
    )
    assert result.notices == (f"{4 / 7} GiB are free.",)
    assert notices == [("a.png", result.notices[0])]


def test_what_the_format_cannot_hold_is_told_once():
    flat = Picture(np.zeros((2, 2, 3), np.uint8), code_points=imaging.CodePoints(9, 16))
    imaging.write(flat, "a.png")
    imaging.write_frames([flat] * 3, "b.png", durations=[40] * 3)
    free = f"{4 / 7} GiB are free."
    kept = "BT.2020 PQ is kept as an ICC profile, since {} holds no code points."
    for source, target, format_name in (
        *(("a.png", "a.jpg", "jpg"), ("a.png", "b.tiff", "tiff"), ("b.png", "c.webp", "webp")),
        ("a.png", "d.png", None),
    ):
        (result,) = run(BatchItem(Path(source), Path(target)))
        assert set(result.notices) == {free, *([kept.format(format_name)] if format_name else [])}


def test_records_are_plain_json():
    good, bad = square("a.png"), BatchItem(Path("\udcff.png"), Path("b.png"))
    results = run(good, bad, several=True)
    records = [json.loads(json.dumps(result.record())) for result in results]
    assert records[0].pop("seconds") >= 0
    assert records[0] == {
        "event": "picture",
        "format": 2,
        "source": "a.png",
        "target": "big_a.png",
        "outcome": "done",
        "width": 4,
        "height": 4,
        "frames": 1,
        "notices": [f"{4 / 7} GiB are free."],
        "message": "a.png -> big_a.png",
    }
    assert records[1]["source"] == "\udcff.png"
    assert records[1]["outcome"] == "failed"
    assert records[1]["width"] is None
    plan = Plan((good, bad), (Path("a_x2.png"),), True, X2, unread={"PSD": 1})
    totals = json.loads(json.dumps(batch.totals(tally(results), plan, interrupted=False)))
    assert totals.pop("seconds") >= 0
    assert totals == {
        "event": "summary",
        "format": 2,
        "total": 2,
        "done": 1,
        "skipped": 0,
        "failed": 1,
        "interrupted": False,
        "shard": None,
        "left_out": ["a_x2.png"],
        "unread": {"PSD": 1},
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.04 s"),
        (59.94, "1 min"),
        (61, "1 min 1 s"),
        (3599, "59 min 59 s"),
        (7321, "2 h 2 min"),
    ],
)
def test_the_summary_counts_and_tells_the_time(seconds: float, words: str):
    item = BatchItem(Path("a.png"), Path("a_x2.png"))
    assert (
        batch.summary(tally([]), Plan((item,), (), False, X2), 5) == "0 of 1 picture done, in 5 s"
    )
    results = tally(
        Result(Path(), None, Outcome(name), "") for name in ("done", "skipped", "skipped", "failed")
    )
    five = Plan((item,) * 5, (), True, X2)
    said = f"1 of 5 pictures done, 2 skipped, 1 failed, in {words}"
    assert batch.summary(results, five, seconds) == said
    unread = {"HEIC": 3, "PSD": 1}
    assert batch.summary(results, replace(five, unread=unread), seconds) == (
        f"{said}; 3 HEIC and 1 PSD not read; HEIC needs: pip install 'atdsr[formats]'"
    )


@pytest.mark.parametrize("moment", ["open_frames", "write"])
def test_ctrl_c_waits_for_libvips_which_would_lose_it(monkeypatch: pytest.MonkeyPatch, moment: str):
    item = square("a.png")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    function, over = getattr(imaging, moment), []

    def disturbed(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        made = function(*args, **options)
        over.append(moment)
        return made

    monkeypatch.setattr(imaging, moment, disturbed)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(item)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert over == [moment]
    assert item.target.exists() == (moment == "write")


def test_where_ctrl_c_is_ignored_it_stays_so(monkeypatch: pytest.MonkeyPatch):
    item, read = square("a.png"), imaging.open_frames
    monkeypatch.setattr(
        imaging, "open_frames", lambda path: (signal.raise_signal(signal.SIGINT), read(path))[1]
    )
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(item)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert item.target.exists()


def test_pictures_may_run_in_any_thread():
    item = square("a.png")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run, item).result()
    assert item.target.exists()


def test_what_cannot_be_written_fails_alone(monkeypatch: pytest.MonkeyPatch):
    items = [square(f"{number}.png") for number in range(3)]
    write = imaging.write

    def refuse(picture: Any, path: Any, **options: Any) -> None:
        if path.name == "big_1.png":
            raise imaging.PictureError("big_1.png: no.")
        write(picture, path, **options)

    monkeypatch.setattr(imaging, "write", refuse)
    results = run(*items, several=True)
    assert [result.outcome for result in results] == ["done", "failed", "done"]


def test_a_million_failures_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "MOST_SENTENCES", 2)
    counted = tally(Result(Path(), None, Outcome.FAILED, f"{n}") for n in range(5))
    assert counted.failures == ["0", "1"]
    assert counted.counts[Outcome.FAILED] == 5
