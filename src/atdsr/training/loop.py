"""The training loop, straight down: validation, stop, step, line, state."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from atdsr import datasets
from atdsr.base import files, interrupts, memory, units
from atdsr.network.model import ATD
from atdsr.training.events import Line, Saved, Started, Stepped, Told, Validated, Watch, Watchers
from atdsr.training.feed import Feed
from atdsr.training.journal import LOG, Journal
from atdsr.training.ranks import Ranks, describe, joined
from atdsr.training.run import (
    BEST,
    MODELS,
    OFFICIAL,
    OFFICIAL_BEST,
    STATES,
    WEIGHTS,
    Run,
    StoppingError,
    TrainingError,
    memory_as_sentence,
    unless_asked_to_stop,
)
from atdsr.training.settings import Settings
from atdsr.training.trackers import trackers
from atdsr.training.validation import FOLDER as STRIPS
from atdsr.training.validation import Validator


class StoppedError(TrainingError):
    """A run that was asked to stop, and saved its state first."""


def fit(
    settings: Settings, *, device: str | torch.device = "cpu", watch: Watch = lambda _: None
) -> Path:
    """Train until `settings.iterations`, going on from the newest state in the output folder.

    The same call goes on with a run that was stopped: a stop by SIGINT or SIGTERM saves first, and
    going on gives the same bits as never having stopped (on one machine and thread count). Where
    torchrun started several processes, each calls this and takes its share of every batch.

    Args:
        settings: the run.
        device: where to compute; "cuda" takes the GPU of the process's local rank.
        watch: called with every event, in the leading process only.

    Returns:
        The file with the averaged weights.

    Raises:
        StoppedError: SIGINT or SIGTERM came; the state is saved.
        TrainingError: the run cannot start or go on; the saved states are intact.
        RanksError, DataError, PictureError, StateError, WeightsError, FileError,
            ValidationError, EvaluationError, TrackerError: the same, see where they come from.
    """
    with memory_as_sentence(), ExitStack() as stack:
        ranks = stack.enter_context(joined(torch.device(device)))
        journal = Journal(settings.output)
        emit = Watchers((journal, watch) if ranks.leads else ())

        def tell(text: str) -> None:
            emit(Told(run.step, text))

        _check_memory(settings, ranks)
        run = Run(settings, ranks, tell)
        ranks.lead(lambda: stack.enter_context(_own(settings.output)))
        run.start()
        validator = ranks.lead(lambda: Validator(settings, ranks.device, tell))
        pictures = datasets.PackedSet(_packed(settings, ranks, tell), settings.network.scale)
        ranks.lead(lambda: journal.open(run.step, run.validated))
        feed = stack.enter_context(closing(Feed(settings, pictures, ranks)))
        tracked = ranks.lead(lambda: stack.enter_context(trackers(settings, run.step, tell)))
        if tracked is not None:
            emit = Watchers((journal, watch, tracked))
        emit(_started(run, settings, ranks, len(pictures.entries)))
        meter = _Meter(run, feed, ranks, settings)
        asked = stack.enter_context(interrupts.stop_requests())

        while True:
            if _validation_is_due(run, settings):
                with meter.paused():
                    _keep(run, ranks, emit)
                    _validate(run, ranks, validator, asked, emit)
            if run.step >= settings.iterations or ranks.any(asked()):
                break
            run.advance(feed.batch(run.step + 1))
            meter.steps += 1
            emit(Stepped(run.step))
            if run.step % settings.log.every == 0 or run.step == settings.iterations:
                emit(meter.line())
                run.check()
            if run.step % settings.save.every == 0:
                with meter.paused():
                    _keep(run, ranks, emit)
        if meter.steps:
            emit(meter.line())
        _keep(run, ranks, emit)

    if run.step < settings.iterations or _validation_is_due(run, settings):
        kept = f"its state is saved in {settings.output}, and the same command goes on from there"
        if not run.has_learned:
            kept = "no step has changed anything, so the saved states are as before"
        raise StoppedError(f"stopped at step {run.step} of {settings.iterations}; {kept}.")
    return settings.output / WEIGHTS


def _check_memory(settings: Settings, ranks: Ranks) -> None:
    """Refuse a network or a batch that cannot fit into memory, before anything is made.

    Raises:
        TrainingError: naming the setting.
    """
    free = memory.available_bytes()
    with torch.device("meta"):
        weights = sum(parameter.nbytes for parameter in ATD(settings.network).parameters())
    if weights > free:
        raise TrainingError(
            f"the weights of the network take {units.byte_size(weights)} and "
            f"{units.byte_size(free)} of "
            "memory are free; choose a smaller model."
        )
    for number, stage in enumerate((settings.stage(1), *settings.stages)):
        pixels = stage.patch**2 * (1 + settings.network.scale**2)
        batch = len(ranks.share(stage.batch)) * 3 * pixels
        if batch > free:
            key = f"stages.{number - 1}" if number else "data"
            raise TrainingError(
                f"{stage.batch:,} crops of {stage.patch}x{stage.patch} take "
                f"{units.byte_size(batch)} "
                f"and {units.byte_size(free)} of memory are free; lower {key}.batch or {key}.patch."
            )


def _packed(settings: Settings, ranks: Ranks, tell: Callable[[str], None]) -> Path:
    """The packed set, made first where the settings name a folder of pictures.

    Raises:
        TrainingError: a batch is too small for so many processes.
        DataError, PictureError: it cannot be made.
    """
    smallest = min([settings.data.batch, *(stage.batch for stage in settings.stages)])
    if smallest < ranks.count:
        raise TrainingError(
            f"a batch of {smallest} leaves some of {ranks.count} processes without a crop; raise "
            "data.batch or start fewer."
        )
    source, scale = settings.data, settings.network.scale
    return ranks.from_lead(
        lambda: datasets.prepare(
            source.train,
            scale,
            source.lr,
            source.template,
            tell=tell,
            progress=lambda pictures: _tell_tenths(pictures, tell),
        )
    )


def _tell_tenths(pictures: Sequence[Any], tell: Callable[[str], None]) -> Iterator[Any]:
    """The pictures one by one, with a sentence after every tenth of many."""
    tenth = max(1, len(pictures) // 10)
    for number, picture in enumerate(pictures, start=1):
        yield picture
        if len(pictures) >= 100 and number % tenth == 0:
            tell(f"packed {number} of {len(pictures)} pictures.")


def _started(run: Run, settings: Settings, ranks: Ranks, pictures: int) -> Started:
    return Started(
        step=run.step,
        iterations=settings.iterations,
        name=settings.name,
        parameters=sum(parameter.numel() for parameter in run.model.parameters()),
        pictures=pictures,
        device=describe(ranks.device),
        ranks=ranks.count,
    )


# --------------------------------------------------------------------- what happens between steps


def _keep(run: Run, ranks: Ranks, emit: Watch) -> None:
    """Save the run unless its step is on disk already, or no step has changed anything.

    Raises:
        TrainingError: the weights are no finite numbers; nothing is written.
        FileError: it cannot be written; the states before are intact.
    """
    if run.is_saved or not run.has_learned:
        return
    path = ranks.from_lead(run.save)
    run.mark_saved()
    emit(Saved(run.step, path))


def _validation_is_due(run: Run, settings: Settings) -> bool:
    """Whether the weights of this step are to be measured and were not yet.

    They are at intervals, at the end, and at the beginning of a fine-tuning.
    """
    if not settings.validation.sets or run.validated == run.step:
        return False
    begins = run.step == 0 and settings.init_from is not None
    regular = run.step > 0 and run.step % settings.validation.every == 0
    return begins or regular or run.step >= settings.iterations


def _validate(
    run: Run, ranks: Ranks, validator: Validator | None, asked: Callable[[], bool], emit: Watch
) -> None:
    """Measure the averaged weights, unless a request to stop comes in the middle."""

    def measure() -> Validated | None:
        assert validator is not None, "the leading process has one"
        with suppress(StoppingError), unless_asked_to_stop(run.average, asked):
            return validator.measure(run.step, run.average, run.best)
        return None

    result = ranks.from_lead(measure)
    if result is None:
        return
    run.take_validation(result)
    if result.best:
        ranks.lead(run.save_best)
    emit(result)


class _Meter:
    """What the log says of the steps since its last line.

    Attributes:
        steps: how many they are.
    """

    def __init__(self, run: Run, feed: Feed, ranks: Ranks, settings: Settings) -> None:
        self._run, self._feed, self._ranks, self._settings = run, feed, ranks, settings
        self._begin()

    def _begin(self) -> None:
        self.steps = 0
        self._since = time.perf_counter()
        self._waited_before = self._feed.waited
        self._memory = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of the block."""
        start = time.perf_counter()
        self._memory = max(self._memory, _memory(self._ranks.device))  # a validation resets it
        yield
        self._since += time.perf_counter() - start

    def line(self) -> Line:
        """The line for all steps since the last one; counting begins anew."""
        run, step = self._run, self._run.step
        tally = run.tally()
        stage = self._settings.stage(step)
        line = Line(
            step=step,
            loss=self._ranks.mean(tally.loss),
            lr=self._settings.learning_rate(step),
            gradient=tally.gradient,
            seconds=time.perf_counter() - self._since,
            waited=self._feed.waited - self._waited_before,
            memory=max(self._memory, _memory(self._ranks.device)),
            skipped=tally.skipped,
            patch=stage.patch,
            batch=stage.batch,
        )
        self._begin()
        return line


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


# ------------------------------------------------------------------------ the run and its machine


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Keep the folder of a run from other processes, and clear up after one that was killed.

    Raises:
        TrainingError: another process has it.
        FileError: it, or a file that the run will leave there, cannot be written.
    """
    try:
        with files.folder_lock(folder):
            for part in (folder, folder / STATES, folder / MODELS, folder / STRIPS):
                files.delete_leftovers(part)
            for name in (LOG, WEIGHTS, BEST, OFFICIAL, OFFICIAL_BEST, f"{STATES}/any.pt"):
                files.check_target(folder / name, overwrite=True)
            yield
    except BlockingIOError:
        raise TrainingError(
            f"another process trains in {folder}; wait for its end or choose another output."
        ) from None
