"""Which files inputs name, what is made of each, and what becomes of a job."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atdsr import jobs, pixels
from atdsr.errors import AtdsrError
from atdsr.jobs import Job, JobError, Outcome, Plan, plan
from atdsr.pixels import Picture
from atdsr.upscale import Progress, UpscaleError, Upscaler


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def pairs(*inputs: str, out: str | None = None, scale: int = 2, format_name: str | None = None):
    made = plan(inputs, out, scale, format_name)
    return {str(job.source): str(job.target) for job in made.jobs}


def test_one_picture_goes_beside_itself_or_where_it_is_told():
    touch("p/a.png", "folder/b.png")
    assert pairs("p/a.png") == {"p/a.png": "p/a_x2.png"}
    assert pairs("p/a.png", scale=3) == {"p/a.png": "p/a_x3.png"}
    assert pairs("p/a.png", out="new.jpg") == {"p/a.png": "new.jpg"}
    assert pairs("p/a.png", out="new/") == {"p/a.png": "new/a_x2.png"}
    assert pairs("p/a.png", out="folder") == {"p/a.png": "folder/a_x2.png"}
    assert not plan(["p/a.png"], None, 2).several


def test_suffixes_stay_unless_a_format_is_named():
    touch("a.PNG", "b.jpeg")
    assert pairs("a.PNG", "b.jpeg") == {"a.PNG": "a_x2.PNG", "b.jpeg": "b_x2.jpeg"}
    assert pairs("a.PNG", "b.jpeg", format_name="tiff") == {
        "a.PNG": "a_x2.tiff",
        "b.jpeg": "b_x2.tiff",
    }
    assert pairs("a.PNG", out="new", format_name="webp") == {"a.PNG": "new.webp"}
    assert pairs("a.PNG", out="new.WEBP", format_name="webp") == {"a.PNG": "new.WEBP"}
    assert pairs("a.PNG", out="new.tif", format_name="tiff") == {"a.PNG": "new.tif"}
    with pytest.raises(JobError, match=r"new\.jpg does not end in \.webp"):
        plan(["a.PNG"], "new.jpg", 2, "webp")


def test_a_folder_is_its_visible_pictures_in_order():
    touch("f/b.PNG", "f/a.jpg", "f/notes.txt", "f/._a.jpg", "f/deeper/c.png")
    Path("f/looks-like.png").mkdir()
    assert pairs("f") == {"f/a.jpg": "f/a_x2.jpg", "f/b.PNG": "f/b_x2.PNG"}
    assert pairs("f", out="new") == {"f/a.jpg": "new/a_x2.jpg", "f/b.PNG": "new/b_x2.PNG"}
    assert plan(["f"], None, 2).several


def test_globs_are_their_pictures_also_of_folders_inside():
    touch("f/b.png", "f/a.png", "f/notes.txt", "f/deeper/c.png")
    assert list(pairs("f/*")) == ["f/a.png", "f/b.png"]
    assert list(pairs("f/[ab].png")) == ["f/a.png", "f/b.png"]
    assert list(pairs("f/**/*.png")) == ["f/a.png", "f/b.png", "f/deeper/c.png"]
    assert pairs("f/b*", out="new") == {"f/b.png": "new/b_x2.png"}
    assert plan(["f/b*"], None, 2).several


def test_a_file_called_like_a_glob_is_that_file():
    touch("[1].png", "1.png", "a*.png", "ab.png")
    assert list(pairs("[1].png")) == ["[1].png"]
    assert list(pairs("a*.png")) == ["a*.png"]


def test_a_picture_named_twice_is_done_once():
    touch("f/a.png", "f/b.png")
    assert list(pairs("f/b.png", "f", "./f/b.png")) == ["f/b.png", "f/a.png"]


@pytest.mark.parametrize("named", [("f",), ("f/*",), ("f/a.png", "f/a_x2.png", "f/a_x3.jpg")])
def test_earlier_outputs_are_left_out_of_lists(named: tuple[str, ...]):
    touch("f/a.png", "f/a_x2.png", "f/a_x3.jpg")
    made = plan(named, None, 2)
    assert made.jobs == (Job(Path("f/a.png"), Path("f/a_x2.png")),)
    assert made.left_out == (Path("f/a_x3.jpg"),)  # a_x2.png is kept or replaced by its job


def test_what_only_looks_like_an_output_is_taken():
    touch("f/a_x2.png", "f/b.png", "f/b_x5.png", "f/_x2.png", "g/a.png")
    assert list(pairs("f", "g")) == [
        "f/_x2.png",
        "f/a_x2.png",
        "f/b.png",
        "f/b_x5.png",
        "g/a.png",
    ]
    touch("f/a.png")
    assert pairs("f/a_x2.png") == {"f/a_x2.png": "f/a_x2_x2.png"}  # named alone


def test_a_missing_file_is_left_to_its_turn():
    assert list(pairs("missing.png", "also.png")) == ["missing.png", "also.png"]


@pytest.mark.parametrize(
    ("inputs", "out", "words"),
    [
        (["empty"], None, "empty is a folder without pictures"),
        (["a.png", "*.webp"], None, r"no picture matches \*\.webp"),
        ([""], None, "an INPUT is empty"),
        (["a.png", "b.png"], "notes.txt", r"notes\.txt is a file; name a folder"),
        (["a.png"], "notes.txt/", r"notes\.txt/ is a file; name a folder"),
        (["a.png", "b.png"], "new.png", r"new\.png reads like one file for several pictures"),
        (["a.png", "f/a.png"], "new", "a.png and f/a.png would both become new/a_x2.png"),
        (["a.png"], "a.png", "a.png is an input and is never overwritten"),
        (["a.png"], "link.png", "link.png is an input and is never overwritten"),
        (["a.png"], "hard.png", "hard.png is an input and is never overwritten"),
        (["link.png"], "./a.png", "a.png is an input and is never overwritten"),
        (["n" * 300], None, "cannot be read: File name too long"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    inputs: list[str], out: str | None, words: str
):
    touch("a.png", "b.png", "f/a.png", "notes.txt")
    Path("empty").mkdir()
    Path("link.png").symlink_to("a.png")
    Path("hard.png").hardlink_to("a.png")
    with pytest.raises(JobError, match=words):
        plan(inputs, out, 2)


def test_two_outputs_that_are_one_file_by_links_are_refused():
    touch("a.png", "b.png", "f/a_x2.png")
    Path("f/b_x2.png").symlink_to("a_x2.png")
    with pytest.raises(JobError, match="would both become"):
        plan(["a.png", "b.png"], "f", 2)


def test_a_loop_of_links_is_no_traceback():
    Path("loop.png").symlink_to("loop.png")
    assert pairs("loop.png") == {"loop.png": "loop_x2.png"}


def test_an_unreadable_folder_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    Path("f").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(JobError, match="f cannot be read: Permission denied"):
        plan(["f"], None, 2)


class Doubler(Upscaler):
    """Repeats pixels, and reports half of the work on the way."""

    def __init__(self) -> None:
        pass

    def __call__(self, picture: Any, *, progress: Progress = lambda _: None) -> Any:
        progress(0.5)
        return Picture(picture.samples.repeat(2, 0).repeat(2, 1))


class Refuser(Upscaler):
    """Fails as it is told."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, picture: Any, *, progress: Progress = lambda _: None) -> Any:
        raise self.error


def square(name: str) -> Job:
    pixels.write(Picture(np.zeros((2, 2, 3), np.uint8)), name)
    return Job(Path(name), Path(f"big_{name}"))


def test_jobs_go_on_past_failures_and_report_their_share():
    good, bad, last = square("a.png"), Job(Path("none.png"), Path("none_x2.png")), square("c.png")
    seen: list[tuple[str, float]] = []
    made = Plan((good, bad, last), (), several=True)
    results = list(
        jobs.run(made, Doubler(), progress=lambda job, done: seen.append((job.source.name, done)))
    )
    assert [result.outcome for result in results] == ["done", "failed", "done"]
    assert results[0].line == "a.png -> big_a.png"
    assert results[1].line.startswith("none.png: ")
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
    assert jobs.summary(results, 3) == "2 of 3 pictures done, 1 failed"


@pytest.mark.parametrize("several", [False, True])
def test_an_existing_output_is_kept_unless_told(several: bool):
    job = square("a.png")
    job.target.write_text("mine")
    made = Plan((job,), (), several)
    (result,) = jobs.run(made, Doubler())
    assert result.outcome is (Outcome.KEPT if several else Outcome.FAILED)
    assert "big_a.png exists and is kept" in result.line
    assert job.target.read_text() == "mine"
    (result,) = jobs.run(made, Doubler(), overwrite=True)
    assert result.outcome is Outcome.DONE
    assert pixels.read(job.target).samples.shape == (4, 4, 3)


@pytest.mark.parametrize(
    "error", [UpscaleError("a picture of 2x2 is too large."), MemoryError()], ids=type
)
def test_a_failure_while_enlarging_names_the_file(error: Exception):
    job = square("a.png")
    with pytest.raises(AtdsrError, match=r"^a\.png.* too large"):
        job.run(Refuser(error))
    assert not job.target.exists()


def test_an_output_name_that_is_too_long_fails_its_job_only():
    name = "n" * 249 + ".png"
    made = Plan((Job(square("a.png").source, Path(f"x_{name}_x2")), square("b.png")), (), True)
    assert [result.outcome for result in jobs.run(made, Doubler())] == ["failed", "done"]


def test_the_summary_counts():
    assert jobs.summary([], 1) == "0 of 1 picture done"
    results = [jobs.Result(Outcome(name), "") for name in ("done", "kept", "kept", "failed")]
    assert jobs.summary(results, 5) == "1 of 5 pictures done, 2 kept, 1 failed"


@pytest.mark.parametrize("moment", ["read", "write"])
def test_ctrl_c_waits_for_libvips_which_would_lose_it(monkeypatch: pytest.MonkeyPatch, moment: str):
    job = square("a.png")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a batch job may ignore it
    function, over = getattr(pixels, moment), []

    def disturbed(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        made = function(*args, **options)
        over.append(moment)
        return made

    monkeypatch.setattr(pixels, moment, disturbed)
    try:
        with pytest.raises(KeyboardInterrupt):
            job.run(Doubler())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert over == [moment]
    assert job.target.exists() == (moment == "write")


def test_where_ctrl_c_is_ignored_it_stays_so(monkeypatch: pytest.MonkeyPatch):
    job, read = square("a.png"), pixels.read
    monkeypatch.setattr(
        pixels, "read", lambda path: (signal.raise_signal(signal.SIGINT), read(path))[1]
    )
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        job.run(Doubler())
    finally:
        signal.signal(signal.SIGINT, handler)
    assert job.target.exists()


def test_a_job_may_run_in_any_thread():
    job = square("a.png")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(job.run, Doubler()).result()
    assert job.target.exists()
