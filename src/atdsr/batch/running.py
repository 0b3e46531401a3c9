"""Running a plan: each picture is read, enlarged and written, and one bad file stops no other."""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from atdsr import imaging
from atdsr.base import files, interrupts, units
from atdsr.base.errors import AtdsrError
from atdsr.base.files import ExistsError, kept
from atdsr.base.reporter import SILENT, Reporter
from atdsr.base.stores import Location
from atdsr.batch.config import BatchConfig, BatchError, enlargement
from atdsr.batch.inputs import describe_unread
from atdsr.batch.networks import Networks
from atdsr.batch.planning import BatchItem, LocalItem, Plan
from atdsr.batch.staging import Stage
from atdsr.imaging import Frames, Picture, PictureError
from atdsr.inference import UpscaleError, Upscaler

_LOGGER = logging.getLogger("atdsr")

LARGE = 64_000_000
"""Results of this many pixels or more are gathered in a file instead of in memory."""

MOST_PIXELS = 2**32
"""Pixels of the largest result: a square of 65536."""

RECORD_FORMAT = 2
"""Raised when a field of `Result.record` or `totals` changes its meaning or goes away."""


class Outcome(StrEnum):
    """What became of a picture."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """What became of a picture.

    Attributes:
        source: The picture's file or object.
        target: The file or object to write. None if not even its name could be found.
        outcome: Whether it was written.
        message: One line for people, without what the other fields tell in numbers.
        width: Width of the written picture in pixels; None if nothing was written.
        height: Height of the written picture in pixels; None if nothing was written.
        frames: Number of frames written; None if nothing was written.
        seconds: How long it took.
        notices: What was reported on the way, such as that tiles were used.
    """

    source: Location
    target: Location | None
    outcome: Outcome
    message: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The message, for a written picture with its size and how long it took."""
        if self.outcome is not Outcome.DONE:
            return self.message
        size = units.picture_size(self.width, self.height, self.frames)
        return f"{self.message}  {size}, {units.duration(self.seconds)}"

    def record(self) -> dict[str, object]:
        """Return the result for programs, as plain JSON; the fields are in docs/upscaling.md."""
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
    upscaler: Upscaler | Networks,
    reporter_for: Callable[[BatchItem], Reporter] = lambda _: SILENT,
) -> Iterator[Result]:
    """Enlarge the pictures of a plan, one after another.

    Args:
        plan: What to do.
        upscaler: The network, or those from which each picture gets the best one for its factor.
        reporter_for: Returns the reporter for one picture. Its progress counts pictures: those
            before it, and the fraction of this one that is done.

    Yields:
        What became of each picture, those first that could not be planned. A failure does not
        stop the others.
    """
    return run_each(_enlarge_file, plan, upscaler, reporter_for)


MakeFile = Callable[[LocalItem, Plan, Networks, Reporter], tuple[int, int, int]]
"""Makes one file of a plan; returns its width and height, and its number of frames."""


def run_each(
    make: MakeFile,
    plan: Plan,
    upscaler: Upscaler | Networks,
    reporter_for: Callable[[BatchItem], Reporter],
) -> Iterator[Result]:
    """Make the files of a plan, one after another, as `run` does.

    Args:
        make: Makes one of them, or raises an error that becomes its result.
        plan: As for `run`.
        upscaler: As for `run`.
        reporter_for: As for `run`.
    """
    networks = upscaler if isinstance(upscaler, Networks) else Networks.single(upscaler)
    for source, sentence in plan.problems:
        yield Result(source, None, Outcome.FAILED, sentence)
    stage = Stage(plan)
    for number, item in enumerate(plan.items, len(plan.problems)):
        reporter = reporter_for(item).part(number, number + 1)
        yield _run_item(make, item, stage, plan, networks, reporter)


def _run_item(
    make: MakeFile,
    item: BatchItem,
    stage: Stage,
    plan: Plan,
    networks: Networks,
    reporter: Reporter,
) -> Result:
    """Make one file; a failure becomes its result."""
    notices: dict[str, str] = {}

    def notice_once(sentence: str) -> None:
        kind = re.sub(r"[\d.]+", "", sentence)  # the frames of an animation differ in numbers only
        if kind not in notices:
            notices[kind] = sentence
            reporter.notice(sentence)

    source, target, start = item.source, item.target, time.perf_counter()
    reporter.progress(0)
    width = height = frames = None
    try:
        with stage.files_for(item) as here:
            width, height, frames = make(
                here, plan, networks, replace(reporter, notice=notice_once)
            )
        outcome, message = Outcome.DONE, f"{source} -> {target}"
    except (AtdsrError, OSError, MemoryError) as error:
        outcome, message = explain(error, item, plan)
    reporter.progress(1)
    seconds = time.perf_counter() - start
    return Result(
        source, target, outcome, message, width, height, frames, seconds, tuple(notices.values())
    )


def explain(
    error: AtdsrError | OSError | MemoryError, item: BatchItem, plan: Plan
) -> tuple[Outcome, str]:
    """Return what becomes of a picture because of an error, and the sentence for people."""
    outcome, sentence = _explain(error, item, plan)
    is_listed = outcome is Outcome.FAILED and item.origin
    return outcome, f"{item.origin}: {sentence}" if is_listed else sentence


def _explain(
    error: AtdsrError | OSError | MemoryError, item: BatchItem, plan: Plan
) -> tuple[Outcome, str]:
    source, target = item.source, item.target
    if isinstance(error, _BusyError):
        return Outcome.SKIPPED, f"{source}: {error}"
    if isinstance(error, ExistsError) and plan.several:
        return Outcome.SKIPPED, f"{source}: {target} exists and is kept"
    if isinstance(error, OSError):  # such as a name that is too long to ask for
        return Outcome.FAILED, f"{target}: {error.strerror or error}."
    if isinstance(error, MemoryError):
        return Outcome.FAILED, f"{source} is too large for the memory of this machine."
    return Outcome.FAILED, str(error)


class _BusyError(BatchError):
    """Another process is making the same output, and this one has other pictures to do."""


def open_checked(item: LocalItem, plan: Plan) -> tuple[Frames, int, int]:
    """Open a picture, after all that can be checked before memory and time go into it.

    Returns:
        The picture, and width and height of its result.

    Raises:
        BatchError, PictureError, FileError: One sentence that names the file.
    """
    source, target, config = item.source, item.target, plan.config
    check_kept(item, plan)
    with interrupts.deferred():
        frames = imaging.open_frames(source)
    width, height = checked_size(source, frames.width, frames.height, config)
    imaging.check_target(
        target, overwrite=config.overwrite, size=(width, height), frames=len(frames)
    )
    return frames, width, height


def check_kept(item: LocalItem, plan: Plan) -> None:
    """Check that no existing output would be replaced unasked.

    Raises:
        ExistsError: One would be.
    """
    if not plan.config.overwrite and item.target.is_file():
        raise kept(item.target)


def checked_size(source: Path, width: int, height: int, config: BatchConfig) -> tuple[int, int]:
    """Return width and height of the result of a picture or frame of that size.

    Raises:
        BatchError: It would have more than `MOST_PIXELS`.
    """
    to_width, to_height = config.size.resolve(width, height)
    if to_width * to_height > MOST_PIXELS:
        raise BatchError(
            f"{source}: the result would be {to_width}x{to_height}, more than the limit of "
            f"{MOST_PIXELS:,} pixels; ask for less."
        )
    return to_width, to_height


def _enlarge_file(
    item: LocalItem, plan: Plan, networks: Networks, reporter: Reporter
) -> tuple[int, int, int]:
    """Read a picture file or a clip, enlarge it and write it, wholly or not at all.

    Returns:
        Width and height of the result, and its number of frames.

    Raises:
        BatchError, PictureError, FileError: One sentence that names the file.
    """
    files.delete_leftovers_once(item.target.parent)
    if (clips := plan.config.clips_for(item.source)) is not None:
        return clips.make(item, plan, networks, reporter)
    frames, width, height = open_checked(item, plan)
    with claimed_output(item, plan):
        if len(frames) == 1:
            _enlarge_picture(frames, item, plan.config, networks, reporter)
        else:
            _enlarge_frames(frames, item, plan.config, networks, reporter)
    return width, height, len(frames)


@contextmanager
def claimed_output(item: LocalItem, plan: Plan) -> Iterator[None]:
    """Keep other processes from making the same output during the block.

    Raises:
        BatchError: Another process is making it.
        FileError: It cannot be written, or was made meanwhile.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(files.output_lock(item.target))
        except BlockingIOError:
            busy = f"{item.target} is being made by another process"
            if plan.several:
                raise _BusyError(busy) from None
            raise BatchError(f"{busy}; wait for its end, or name another.") from None
        files.check_target(item.target, overwrite=plan.config.overwrite)  # it may be done by now
        yield


def _enlarge_picture(
    frames: Frames, item: LocalItem, config: BatchConfig, networks: Networks, reporter: Reporter
) -> None:
    """Enlarge a file of one picture and write it."""
    start = time.perf_counter()
    with interrupts.deferred():
        picture = next(iter(frames))
    _log_seconds("reading", item.source, start)
    width, height = config.size.resolve(picture.width, picture.height)
    imaging.check_target(
        item.target,
        overwrite=config.overwrite,
        size=(width, height),
        frames=1,
        alpha=picture.is_transparent,
        gray=picture.is_gray,
    )
    samples = picture.samples
    gathered_in_file = (
        imaging.temporary_array(item.target, (height, width, samples.shape[2]), samples.dtype)
        if width * height >= LARGE
        else nullcontext()
    )
    with gathered_in_file as out:
        enlarged = _enlarge(picture, item, config, networks, reporter, out)
        for sentence in imaging.notices(enlarged, item.target):
            reporter.logged().notice(sentence)
        start = time.perf_counter()
        with interrupts.deferred():
            imaging.write(enlarged, item.target, overwrite=config.overwrite, quality=config.quality)
        _log_seconds("writing", item.target, start)


def _log_seconds(stage: str, path: Path, start: float) -> None:
    seconds = units.duration(time.perf_counter() - start)
    _LOGGER.debug("%s %s took %s", stage, path, seconds)


def _enlarge_frames(
    frames: Frames, item: LocalItem, config: BatchConfig, networks: Networks, reporter: Reporter
) -> None:
    """Enlarge an animation or a document of several pages and write it, frame by frame."""

    def enlarged() -> Iterator[Picture]:
        for number, frame in enumerate(frames):
            if number == 0 or frames.durations is None:  # an animation is like its first frame
                shown = imaging.without_metadata(frame) if config.strip_metadata else frame
                for sentence in imaging.notices(shown, item.target):
                    reporter.logged().notice(sentence)
            part = reporter.part(number / len(frames), (number + 1) / len(frames))
            yield _enlarge(frame, item, config, networks, part)

    imaging.write_frames(
        enlarged(),
        item.target,
        durations=frames.durations,
        loop=frames.loop,
        overwrite=config.overwrite,
        quality=config.quality,
    )


def _enlarge(
    picture: Picture,
    item: LocalItem,
    config: BatchConfig,
    networks: Networks,
    reporter: Reporter,
    out: np.ndarray | None = None,
) -> Picture:
    """Enlarge one picture in memory, or into `out`.

    Raises:
        BatchError: The upscaler refuses it; the sentence names the file, which it does not know.
    """
    if config.strip_metadata:
        picture = imaging.without_metadata(picture)
    size = config.size.resolve(picture.width, picture.height)
    upscaler = networks.for_factor(enlargement(picture.width, picture.height, *size))
    try:
        return upscaler(
            picture, size=size, out=out, progress=reporter.progress, tell=reporter.notice
        )
    except (UpscaleError, PictureError) as error:
        raise BatchError(f"{item.source}: {error}") from None


MOST_SENTENCES = 1000
"""So many failures are kept for the end; a million of them would fill the memory."""


@dataclass
class Tally:
    """What has become of the pictures so far, without their results.

    Attributes:
        counts: How many pictures have each outcome.
        seconds: The sum of their times.
        failures: The sentences of the first `MOST_SENTENCES` failures.
    """

    counts: Counter[Outcome] = field(default_factory=Counter)
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, message: str, seconds: float) -> None:
        """Count a picture.

        Args:
            outcome: What became of it.
            message: One line for people.
            seconds: How long it took.
        """
        self.counts[outcome] += 1
        self.seconds += seconds
        if outcome is Outcome.FAILED and len(self.failures) < MOST_SENTENCES:
            self.failures.append(message)


def totals(tally: Tally, plan: Plan, *, interrupted: bool) -> dict[str, object]:
    """Return the sums over all pictures for programs, as `Result.record` does for one picture."""
    return {
        "event": "summary",
        "format": RECORD_FORMAT,
        "total": plan.total,
        **{outcome.value: tally.counts[outcome] for outcome in Outcome},
        "interrupted": interrupted,
        "shard": None if plan.config.shard is None else str(plan.config.shard),
        "left_out": [str(path) for path in plan.left_out],
        "unread": dict(plan.unread),
        "seconds": round(tally.seconds, 3),
    }


def summary(tally: Tally, plan: Plan, seconds: float) -> str:
    """Return how many pictures are done, skipped, failed and not read, and how long it took.

    Args:
        tally: What became of the pictures so far.
        plan: The plan that they are from.
        seconds: Time since the beginning, also of a picture that was interrupted.

    Example: "2 of 4 pictures done, 1 skipped, in 3.2 s; 1 PSD not read".
    """
    counts = tally.counts
    parts = [f"{counts[Outcome.DONE]} of {units.counted(plan.total, 'picture')} done"]
    parts += [f"{counts[o]} {o}" for o in (Outcome.SKIPPED, Outcome.FAILED) if counts[o]]
    parts.append(f"in {units.duration(seconds)}")
    return summary_line(parts, plan)


def summary_line(parts: Iterable[str], plan: Plan) -> str:
    """Return the parts of a summary in a line, with the shard before and what is not read after."""
    shard = "" if plan.config.shard is None else f"shard {plan.config.shard}: "
    unread = f"; {describe_unread(plan.unread)}" if plan.unread else ""
    return f"{shard}{', '.join(parts)}{unread}"
