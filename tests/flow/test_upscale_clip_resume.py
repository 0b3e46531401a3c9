"""An interrupted clip goes on, and becomes the same as without the interruption."""

import errno
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from atdsr.video import segments
from atdsr.video.segments import Parts, folder_of
from helpers.clips import make_clip, picture, said_of, samples
from helpers.upscaling import Run, start

FRAMES = 110  # two whole segments and a part


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(path: str, frames: int = FRAMES) -> Path:
    return make_clip(path, frames=frames, size=(32, 16), chapters=True)


def fail_in_segment(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let the run fail in the middle of a segment."""
    add = segments._OpenSegment.add

    def fail(self: segments._OpenSegment, *args: object) -> None:
        if self._path.name == f"{number:06}.mkv" and len(self.pts) == 5:
            raise error
        add(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(segments._OpenSegment, "add", fail)


def equal_frames(first: str, second: str) -> bool:
    return all(
        np.array_equal(a, b)
        for one, other in zip(samples(first), samples(second), strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_costs_a_segment(run: Run, monkeypatch: pytest.MonkeyPatch, number: int):
    small("a.mp4")
    run("a.mp4", "-o", "whole.mp4")
    with monkeypatch.context() as patch:
        fail_in_segment(patch, number, OSError(errno.ENOSPC, "No space left on device"))
        lines = run("a.mp4", code=1)
    assert lines == [
        "error: a_x2.mp4: its segments cannot be written to .a_x2.mp4.parts: no space left on "
        f"device; {48 * number} frames are kept, and the same command goes on."
    ]
    assert not Path("a_x2.mp4").exists()
    assert f"a.mp4: goes on after {48 * number} frames." in run("a.mp4")
    assert equal_frames("a_x2.mp4", "whole.mp4")
    assert said_of("a_x2.mp4") == said_of("whole.mp4")
    assert not folder_of(Path("a_x2.mp4")).exists()


def test_a_full_disk_at_the_beginning_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch):
    small("a.mp4", frames=8)
    fail_in_segment(monkeypatch, 0, OSError(errno.ENOSPC, "No space left on device"))
    lines = run("a.mp4", code=1)
    assert "no space left on device." in lines[0]
    assert [path.name for path in Path().iterdir()] == ["a.mp4"]


@pytest.mark.slow
def test_another_command_begins_anew(run: Run, monkeypatch: pytest.MonkeyPatch):
    small("a.mp4")
    for change in (("--crf", "30"), ()):
        with monkeypatch.context() as patch:
            fail_in_segment(patch, 1, OSError(errno.ENOSPC, "No space left on device"))
            run("a.mp4", "--overwrite", code=1)
        if not change:  # another clip of the same name
            make_clip("a.mp4", frames=FRAMES, size=(32, 16), audio=())
        assert any("begins anew" in line for line in run("a.mp4", *change, "--overwrite"))
        assert len(samples("a_x2.mp4")) == FRAMES


@pytest.mark.slow
def test_a_killed_process_goes_on(run: Run, tiny_file: Path):
    small("a.mkv")
    run("a.mkv", "-o", "whole.mkv")
    folder = folder_of(Path("a_x2.mkv"))
    process = start("upscale", "a.mkv", "-m", str(tiny_file))
    while not (folder / "000000.mkv").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    lines = run("a.mkv")
    assert any(re.search(r"goes on after (48|96) frames", line) for line in lines)
    assert equal_frames("a_x2.mkv", "whole.mkv")


@pytest.mark.slow
def test_ctrl_c_keeps_finished_segments(tiny_file: Path):
    small("a.mkv", frames=20 * FRAMES)
    folder = folder_of(Path("a_x2.mkv"))
    process = start(
        *("upscale", "a.mkv", "-m", str(tiny_file)),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may ignore it
    )
    while not (folder / "000000.mkv").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in said
    assert not [path.name for path in folder.iterdir() if path.suffix not in (".mkv", ".jsonl")]


def test_an_index_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path):
    target = tmp_path / "a.mkv"
    parts = Parts(target, {"a": 1})
    for number in range(2):
        temporary = parts.folder / "x.part"
        temporary.write_bytes(b"segment")
        parts.add(segments.Segment(f"{number:06}.mkv", (number,), 1, 0, 0), temporary)
    index = parts.folder / segments.INDEX_NAME
    index.write_bytes(index.read_bytes()[:-9])
    (parts.folder / "000002.part").write_bytes(b"half")
    again = Parts(target, {"a": 1})
    assert [segment.name for segment in again.segments] == ["000000.mkv"]
    assert sorted(path.name for path in parts.folder.iterdir()) == ["000000.mkv", "index.jsonl"]
    assert Parts(target, {"a": 1}).frames == 1
    other = Parts(target, {"a": 2})
    assert (other.frames, other.is_new_start) == (0, True)


@pytest.mark.slow
def test_segments_do_not_depend_on_repeated_frames_before(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    """The first frame of a segment equals the last of the one before, which is not there again."""
    from atdsr.video.colour import PixelFormat

    still = picture(0, 32, 16, PixelFormat("yuv", 8, (2, 2)))
    make_clip("a.mkv", frames=100, size=(32, 16), codec="ffv1", frame=lambda _: still, audio=())
    lines = run("a.mkv", "-o", "whole.mkv")
    assert "a.mkv: 97 of 100 frames equal the one before and were not computed again." in lines
    with monkeypatch.context() as patch:
        fail_in_segment(patch, 1, OSError(errno.ENOSPC, "No space left on device"))
        run("a.mkv", code=1)
    run("a.mkv")
    assert equal_frames("a_x2.mkv", "whole.mkv")
