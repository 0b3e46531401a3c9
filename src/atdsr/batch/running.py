"""Doing what is planned: one bad file never stops the others."""

import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from atdsr import imaging
from atdsr.base import files, interrupts, units
from atdsr.base.errors import AtdsrError
from atdsr.base.files import ExistsError
from atdsr.batch.finding import unread_words
from atdsr.batch.order import JobError
from atdsr.batch.planning import Job, Plan
from atdsr.imaging import Frames, Picture, PictureError
from atdsr.inference import UpscaleError, Upscaler

LARGE = 64_000_000
"""Pixels of a result from which on it is gathered in a file instead of in memory."""

MOST_PIXELS = 2**32
"""Pixels of the largest result: a square of 65536."""

_TOO_LARGE = "too large for the memory of this machine"

RECORD_FORMAT = 1
"""Raised when a field of `Result.record` or `totals` changes its meaning or goes away."""


BATCH_PIXELS = 2**14
"""Pixels of small pictures that are enlarged side by side."""

SMALL = 2**10
"""Pixels of a picture up to which that is clearly faster (`benchmarks/batches.py`)."""

_Made = tuple[int | None, int | None, int | None]
"""Width, height and number of the frames of a new file; None where there is none."""


class Outcome(StrEnum):
    """What became of a job."""

    DONE = "done"
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """What became of a picture.

    Attributes:
        source: the file.
        target: the file to make of it; None where it could not even be named.
        outcome: whether it was made.
        message: a line for people.
        width: of what was made, in pixels; None where nothing was.
        height: likewise.
        frames: how many were made.
        seconds: that it took.
        notices: what was said on the way, such as that tiles were used.
    """

    source: Path
    target: Path | None
    outcome: Outcome
    message: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """The same for programs: only strings, numbers, lists and None; see docs/upscaling.md."""
        return {
            "event": "picture",
            "format": RECORD_FORMAT,
            "source": str(self.source),
            "target": None if self.target is None else str(self.target),
            "outcome": self.outcome.value,
            "width": self.width,
            "height": self.height,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "notices": list(self.notices),
            "message": self.message,
        }


def run(
    plan: Plan,
    upscaler: Upscaler,
    *,
    progress: Callable[[Job, float], None] = lambda _job, _done: None,
    tell: Callable[[Job, str], None] = lambda _job, _sentence: None,
) -> Iterator[Result]:
    """Do the jobs in their order, small pictures of one size that follow each other side by side.

    Args:
        plan: what to do.
        upscaler: what to do it with.
        progress: called with the job in work and how many are done by now, the share of this one
            included.
        tell: called with the job in work and a sentence about how it is done.

    Yields:
        What became of each picture, those first that have no job; a failed one does not end the
        rest.
    """
    for source, sentence in plan.problems:
        yield Result(source, None, Outcome.FAILED, sentence)
    attempts = (
        _Attempt(plan, job, upscaler, number, progress, tell)
        for number, job in enumerate(plan.jobs, len(plan.problems))
    )
    with closing(_groups(attempts)) as groups:
        for group in groups:
            if len(group) > 1:
                _enlarge_together(group)
            for attempt in group:
                attempt.finish()
                yield attempt.result


def _groups(attempts: Iterable["_Attempt"]) -> Generator[list["_Attempt"]]:
    """What to do side by side, opened; most are alone. What is left unfinished is closed."""
    group: list[_Attempt] = []
    try:
        for attempt in attempts:
            group.append(attempt)
            attempt.open()
            kind = attempt.batch_kind
            if kind != group[0].batch_kind:
                yield group[:-1]
                group = [attempt]
            if kind is None or len(group) * kind.width * kind.height >= BATCH_PIXELS:
                yield group
                group = []
        if group:
            yield group
    finally:  # also on an interrupt
        for attempt in group:
            attempt.close()


def _enlarge_together(group: list["_Attempt"]) -> None:
    """Enlarge small pictures of one kind; where that fails, each is left to be tried alone."""
    first, begin = group[0], time.perf_counter()
    pictures = [attempt.opened for attempt in group if isinstance(attempt.opened, Picture)]

    def share(done: float) -> None:
        first.share(done * len(group))

    try:
        made = first.upscaler.batch(
            pictures, size=first.size_of(pictures[0]), progress=share, tell=first.tell
        )
    except (AtdsrError, MemoryError):
        return
    seconds = (time.perf_counter() - begin) / len(group)
    for attempt, enlarged in zip(group, made, strict=True):
        attempt.enlarged = enlarged
        attempt.seconds += seconds


class _Kind(NamedTuple):
    """What pictures have in common that can be enlarged side by side."""

    width: int
    height: int
    channels: int
    dtype: str


class _Attempt:
    """A job on its way: opened, enlarged, written; what goes wrong becomes its result.

    Attributes:
        upscaler: what to do it with.
        opened: the picture, or several frames; None where there is nothing to do.
        enlarged: what has been made of the picture already.
        seconds: spent on it so far.
        result: what became of it, from `finish` on.
    """

    def __init__(
        self,
        plan: Plan,
        job: Job,
        upscaler: Upscaler,
        number: int,
        progress: Callable[[Job, float], None],
        tell: Callable[[Job, str], None],
    ) -> None:
        self.upscaler = upscaler
        self.opened: Picture | Frames | None = None
        self.enlarged: Picture | None = None
        self.seconds = 0.0
        self._plan, self._job, self._order = plan, job, plan.order
        self._number, self._progress, self._tell = number, progress, tell
        self._notices: dict[str, str] = {}
        self._result: Result | None = None
        self._held = ExitStack()  # the claim on the target

    @property
    def result(self) -> Result:
        """What became of the job."""
        assert self._result is not None, "it is finished"
        return self._result

    @property
    def batch_kind(self) -> _Kind | None:
        """Of a picture that is worth enlarging beside others."""
        if not isinstance(self.opened, Picture):
            return None
        height, width, channels = self.opened.samples.shape
        if height * width > SMALL:
            return None
        return _Kind(width, height, channels, self.opened.samples.dtype.name)

    def share(self, done: float) -> None:
        """Report the share of the job that is done, from 0 to 1."""
        self._progress(self._job, self._number + done)

    def tell(self, sentence: str) -> None:
        """Pass on a sentence about the work, once for all the frames of an animation."""
        kind = re.sub(r"[\d.]+", "", sentence)
        if kind not in self._notices:
            self._notices[kind] = sentence
            self._tell(self._job, sentence)

    def size_of(self, picture: Picture) -> tuple[int, int]:
        """Width and height of what becomes of it."""
        return self._order.goal.size(picture.width, picture.height)

    def open(self) -> None:
        """Read the picture, or the begin of several frames, unless the job is done already."""
        self._step(self._open)

    def finish(self) -> None:
        """Enlarge what is not enlarged yet, and write it."""
        alone = self.enlarged is None  # else the batch has reported what is done
        if alone:
            self.share(0)
        if self._result is None:
            self._step(self._finish)
        if alone:
            self.share(1)
        self.opened = self.enlarged = None  # results are kept, pictures are not
        self.close()

    def close(self) -> None:
        """Leave the target to other processes."""
        self._held.close()

    def _step(self, work: Callable[[], None]) -> None:
        """Do a part of the work; a failure becomes the result."""
        job, begin = self._job, time.perf_counter()
        try:
            work()
        except ExistsError as error:  # another process was faster
            if self._plan.several:
                self._end(Outcome.KEPT, f"{job.source}: {job.target} exists and is kept")
            else:
                self._end(Outcome.FAILED, str(error))
        except AtdsrError as error:
            self._end(Outcome.FAILED, str(error))
        except OSError as error:  # such as a name that is too long to ask for
            self._end(Outcome.FAILED, f"{job.target}: {error.strerror or error}.")
        except MemoryError:
            self._end(Outcome.FAILED, f"{job.source} is {_TOO_LARGE}.")
        self.seconds += time.perf_counter() - begin
        if self._result is not None:
            self._result = replace(
                self._result, seconds=self.seconds, notices=tuple(self._notices.values())
            )

    def _end(self, outcome: Outcome, message: str, made: _Made = (None, None, None)) -> None:
        self._result = Result(self._job.source, self._job.target, outcome, message, *made)

    def _open(self) -> None:
        """Read, once it is clear that the result can be written.

        Raises:
            JobError, PictureError, FileError: one sentence naming the file.
        """
        job, order = self._job, self._order
        files.delete_leftovers_once(job.target.parent)
        if not order.overwrite and job.target.is_file():
            if self._plan.several:
                return self._end(Outcome.KEPT, f"{job.source}: {job.target} exists and is kept")
            raise JobError(
                f"{job.target} exists and is kept; replace it with --overwrite, or name another "
                "with -o."
            )
        with interrupts.deferred():
            frames = imaging.open_frames(job.source)
        width, height = order.goal.size(frames.width, frames.height)
        if width * height > MOST_PIXELS:
            raise JobError(
                f"{job.source}: the result would be {width}x{height}, more than the limit of "
                f"{MOST_PIXELS:,} pixels; ask for less."
            )
        self._check_target((width, height), len(frames))  # before memory and time go into it
        if not self._claim():
            return None
        if len(frames) > 1:
            self.opened = frames
            return None
        with interrupts.deferred():
            picture = next(iter(frames))
        alpha, gray = picture.is_transparent, picture.is_gray
        self._check_target((width, height), 1, alpha=alpha, gray=gray)
        self.opened = imaging.without_metadata(picture) if order.strip_metadata else picture
        return None

    def _claim(self) -> bool:
        """Claim the target, unless another process has; that makes it while this one goes on.

        Raises:
            JobError: it is the only one.
            ExistsError, FileError: see `files.check_target`.
        """
        job = self._job
        try:
            self._held.enter_context(files.output_lock(job.target))
        except BlockingIOError:
            being_made = f"{job.target} is being made by another process"
            if not self._plan.several:
                raise JobError(f"{being_made}; wait for its end, or name another.") from None
            self._end(Outcome.KEPT, f"{job.source}: {being_made}")
            return False
        files.check_target(job.target, overwrite=self._order.overwrite)  # it may be done by now
        return True

    def _check_target(self, size: tuple[int, int], frames: int, **kind: bool) -> None:
        overwrite = self._order.overwrite
        imaging.check_target(
            self._job.target, overwrite=overwrite, size=size, frames=frames, **kind
        )

    def _finish(self) -> None:
        """Make the target, whole or not at all.

        Raises:
            JobError, PictureError, FileError: one sentence naming the file.
        """
        if isinstance(self.opened, Picture):
            self._write_one(self.opened)
            made = (*self.size_of(self.opened), 1)
        else:
            assert self.opened is not None, "it is open"
            self._write_all(self.opened)
            size = self._order.goal.size(self.opened.width, self.opened.height)
            made = (*size, len(self.opened))
        self._end(Outcome.DONE, f"{self._job.source} -> {self._job.target}", made)

    def _write_one(self, picture: Picture) -> None:
        """Make the target of a single picture, by way of a file if it is a large one."""
        width, height = self.size_of(picture)
        if width * height < LARGE:
            return self._write(self.enlarged or self._enlarge(picture, self.share))
        samples = picture.samples
        shape = (height, width, samples.shape[2])
        with imaging.temporary_array(self._job.target, shape, samples.dtype) as out:
            return self._write(self._enlarge(picture, self.share, out))

    def _write(self, enlarged: Picture) -> None:
        self._tell_what_changes(enlarged)
        overwrite, quality = self._order.overwrite, self._order.quality
        with interrupts.deferred():
            imaging.write(enlarged, self._job.target, overwrite=overwrite, quality=quality)

    def _tell_what_changes(self, picture: Picture) -> None:
        for sentence in imaging.notices(picture, self._job.target):
            self.tell(sentence)

    def _write_all(self, frames: Frames) -> None:
        """Make the target of an animation or of a document, frame by frame."""

        def enlarged() -> Iterator[Picture]:
            for number, frame in enumerate(frames):

                def share(done: float, number: int = number) -> None:
                    self.share((number + done) / len(frames))

                if self._order.strip_metadata:
                    frame = imaging.without_metadata(frame)
                if number == 0 or frames.durations is None:  # an animation is as its first frame
                    self._tell_what_changes(frame)
                yield self._enlarge(frame, share)

        imaging.write_frames(
            enlarged(),
            self._job.target,
            durations=frames.durations,
            loop=frames.loop,
            overwrite=self._order.overwrite,
            quality=self._order.quality,
        )

    def _enlarge(
        self, picture: Picture, progress: Callable[[float], None], out: np.ndarray | None = None
    ) -> Picture:
        """The network's part.

        Raises:
            JobError: naming the picture, which the network does not know.
        """
        size = self.size_of(picture)
        try:
            return self.upscaler(picture, size=size, out=out, progress=progress, tell=self.tell)
        except (UpscaleError, PictureError) as error:
            raise JobError(f"{self._job.source}: {error}") from None


def totals(results: Sequence[Result], plan: Plan, *, interrupted: bool) -> dict[str, object]:
    """The sums over all pictures for programs, as `Result.record` is for one."""
    counts = Counter(result.outcome for result in results)
    return {
        "event": "summary",
        "format": RECORD_FORMAT,
        "total": plan.total,
        **{outcome.value: counts[outcome] for outcome in Outcome},
        "interrupted": interrupted,
        "left_out": [str(path) for path in plan.left_out],
        "unread": dict(plan.unread),
        "seconds": round(sum(result.seconds for result in results), 3),
    }


def summary(results: Sequence[Result], plan: Plan) -> str:
    """How many pictures are done, kept, failed and not read, and in what time.

    As in "2 of 4 pictures done, 1 kept, in 3.2 s; 1 PSD not read".
    """
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[Outcome.DONE]} of {plan.total} picture{'s' * (plan.total != 1)} done"]
    parts += [f"{counts[o]} {o}" for o in (Outcome.KEPT, Outcome.FAILED) if counts[o]]
    said = ", ".join((*parts, f"in {units.duration(sum(result.seconds for result in results))}"))
    return f"{said}; {unread_words(plan.unread)}" if plan.unread else said
