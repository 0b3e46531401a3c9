"""The training loop: validation, stop, step, log entry, checkpoint."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psutil
import torch

from atdsr import datasets
from atdsr.base import files, interrupts, memory, units
from atdsr.base.reporter import Reporter
from atdsr.datasets import PackConfig
from atdsr.evaluation import methods
from atdsr.network.unet import Network, build
from atdsr.training.config import TrainConfig
from atdsr.training.crop_loader import CropLoader
from atdsr.training.distributed import Distributed, describe, process_group
from atdsr.training.events import (
    Callback,
    Callbacks,
    LogEntry,
    Notice,
    Saved,
    Started,
    Stepped,
    Validated,
)
from atdsr.training.restoration import RestorationValidator
from atdsr.training.run_log import LOG_FILE, RunLog
from atdsr.training.schedule_checks import warnings
from atdsr.training.trackers import trackers
from atdsr.training.trainer import (
    BEST,
    CHECKPOINT_FOLDER,
    MODELS,
    OFFICIAL,
    OFFICIAL_BEST,
    WEIGHTS,
    Trainer,
    TrainingError,
    out_of_memory_as_error,
)
from atdsr.training.validation import VALIDATION_FOLDER, Validator


class StoppedError(TrainingError):
    """A run that was asked to stop, and saved its state first."""


def fit(
    config: TrainConfig,
    *,
    device: str | torch.device = "cpu",
    callback: Callback = lambda _: None,
) -> Path:
    """Train until `config.iterations`, resuming from the newest checkpoint of the output folder.

    The same call resumes a run that was stopped: a stop by SIGINT or SIGTERM saves first, and
    resuming gives the same bits as never having stopped (on one machine and thread count). If
    torchrun started several processes, each calls this and takes its share of every batch.

    Args:
        config: Configuration of the run.
        device: Device to compute on; "cuda" takes the GPU of the process's local rank.
        callback: Called with every event, in the main process only.

    Returns:
        The file with the averaged weights.

    Raises:
        StoppedError: SIGINT or SIGTERM came; the state is saved.
        TrainingError: The run cannot start or go on; the saved states are intact.
        DistributedError, DataError, PictureError, StateError, WeightsError, FileError,
            ValidationError, EvaluationError, TrackerError: The same, see where they come from.
    """
    with out_of_memory_as_error(), ExitStack() as stack:
        distributed = stack.enter_context(process_group(torch.device(device)))
        run_log = RunLog(config.output)
        emit = Callbacks((run_log, callback) if distributed.is_main_process else ())

        reporter = Reporter(notice=lambda text: emit(Notice(trainer.step, text)))

        _check_memory(config, distributed)
        trainer = Trainer(config, distributed, reporter)
        distributed.on_main(lambda: stack.enter_context(_locked_folder(config.output)))
        trainer.start()
        validator = distributed.on_main(lambda: _validator(config, distributed.device, reporter))
        packed_folder = _prepare_dataset(config, distributed, reporter)
        pictures = datasets.PackedSet(packed_folder, config.network.scale)
        distributed.on_main(lambda: run_log.open(trainer.step, trainer.validated))
        loader = stack.enter_context(closing(CropLoader(config, pictures, distributed)))
        tracker = distributed.on_main(
            lambda: stack.enter_context(trackers(config, trainer.step, reporter))
        )
        if tracker is not None:
            emit = Callbacks((run_log, callback, tracker))
        if trainer.step < config.iterations:
            for sentence in warnings(config):
                reporter.notice(sentence)
        emit(_started(trainer, config, distributed, len(pictures.records)))
        meter = _Meter(trainer, loader, distributed, config)
        stop_requested = stack.enter_context(interrupts.stop_requests())

        while True:
            if _validation_is_due(trainer, config):
                with meter.paused():
                    _save(trainer, distributed, emit)
                    _validate(trainer, distributed, validator, stop_requested, emit)
            if trainer.step >= config.iterations or distributed.any(stop_requested()):
                break
            trainer.advance(loader.batch(trainer.step + 1))
            meter.steps += 1
            emit(Stepped(trainer.step))
            if trainer.step % config.log.every == 0 or trainer.step == config.iterations:
                emit(meter.entry())
                trainer.check()
            if trainer.step % config.save.every == 0:
                with meter.paused():
                    _save(trainer, distributed, emit)
        if meter.steps:
            emit(meter.entry())
        _save(trainer, distributed, emit)

    if trainer.step < config.iterations or _validation_is_due(trainer, config):
        outcome = f"its state is saved in {config.output}, and the same command goes on from there"
        if not trainer.has_learned:
            outcome = "no step has changed anything, so the saved states are as before"
        raise StoppedError(f"stopped at step {trainer.step} of {config.iterations}; {outcome}.")
    return config.output / WEIGHTS


# ------------------------------------------------------------------------------ before the start


def _check_memory(config: TrainConfig, distributed: Distributed) -> None:
    """Refuse a network or a batch that cannot fit into memory, before anything is allocated.

    Raises:
        TrainingError: Memory is too small; the sentence names the key.
    """
    free = memory.available_bytes()
    with torch.device("meta"):
        weights = sum(parameter.nbytes for parameter in build(config.network).parameters())
    if weights > free:
        raise TrainingError(
            f"the weights of the network take {units.byte_size(weights)} and "
            f"{units.byte_size(free)} of memory are free; choose a smaller model."
        )
    for number, stage in enumerate((config.stage(1), *config.stages)):
        pixels = stage.patch**2 * (1 + config.network.scale**2)
        batch = len(distributed.shard(stage.batch)) * config.channels * pixels
        if batch > free:
            key = f"stages.{number - 1}" if number else "data"
            raise TrainingError(
                f"{stage.batch:,} crops of {stage.patch}x{stage.patch} take "
                f"{units.byte_size(batch)} and {units.byte_size(free)} of memory are free; lower "
                f"{key}.batch or {key}.patch."
            )


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Lock the folder of a run, and clean up after a process that was killed in it.

    Raises:
        TrainingError: Another process has it.
        FileError: It, or a file that the run will write there, cannot be written.
    """
    try:
        with files.folder_lock(folder):
            for name in ("", CHECKPOINT_FOLDER, MODELS, VALIDATION_FOLDER):
                files.delete_leftovers(folder / name)
            checkpoint = f"{CHECKPOINT_FOLDER}/any.pt"
            for name in (LOG_FILE, WEIGHTS, BEST, OFFICIAL, OFFICIAL_BEST, checkpoint):
                files.check_target(folder / name, overwrite=True)
            yield
    except BlockingIOError:
        raise TrainingError(
            f"another process trains in {folder}; wait for its end or choose another output."
        ) from None


def _prepare_dataset(config: TrainConfig, distributed: Distributed, reporter: Reporter) -> Path:
    """Return the packed set, which is made first if the configuration names a folder of pictures.

    Raises:
        TrainingError: A batch is too small for the number of processes.
        DataError, PictureError, WeightsError, MethodError: The set cannot be made.
    """
    smallest = min([config.data.batch, *(stage.batch for stage in config.stages)])
    if smallest < distributed.world_size:
        raise TrainingError(
            f"a batch of {smallest} leaves some of {distributed.world_size} processes without a "
            "crop; raise data.batch or start fewer."
        )
    return distributed.from_main(
        lambda: datasets.prepare(
            config.data.train, pack_config(config, distributed.device), reporter
        )
    )


def _validator(
    config: TrainConfig, device: torch.device, reporter: Reporter
) -> Validator | RestorationValidator:
    if config.restores:
        return RestorationValidator(config, device)
    return Validator(config, device, reporter)


def pack_config(config: TrainConfig, device: torch.device) -> PackConfig:
    """Return what a run packs of a folder of pictures; a teacher's network is loaded.

    Args:
        config: Configuration of the run.
        device: Device for the teacher.

    Raises:
        DataError, WeightsError, MethodError, OtherNetworkError: The crop or the teacher is none.
    """
    data, scale = config.data, config.network.scale
    teacher = None
    if data.teacher is not None:
        teacher = methods.teacher(data.teacher.as_posix(), scale, str(device))
    return PackConfig((scale,), data.lr, data.template, data.crop, teacher, data.min_side)


def _started(
    trainer: Trainer, config: TrainConfig, distributed: Distributed, pictures: int
) -> Started:
    return Started(
        step=trainer.step,
        iterations=config.iterations,
        name=config.name,
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        pictures=pictures,
        device=describe(distributed.device),
        ranks=distributed.world_size,
    )


# --------------------------------------------------------------------------------- between steps


def _save(trainer: Trainer, distributed: Distributed, emit: Callback) -> None:
    """Save the run unless its state is on disk already, or no step has changed anything.

    Raises:
        TrainingError: The weights are not finite; nothing is written.
        FileError: It cannot be written; the checkpoints before are intact.
    """
    if trainer.is_saved or not trainer.has_learned:
        return
    path = distributed.from_main(trainer.save)
    trainer.mark_saved()
    emit(Saved(trainer.step, path))


def _validation_is_due(trainer: Trainer, config: TrainConfig) -> bool:
    """Return whether the weights of this step are to be measured and were not yet.

    A validation is due at intervals, at the end, and at the beginning of a fine-tuning.
    """
    if not config.validation.sets or trainer.validated == trainer.step:
        return False
    is_start = trainer.step == 0 and config.init_from is not None
    is_regular = trainer.step > 0 and trainer.step % config.validation.every == 0
    return is_start or is_regular or trainer.step >= config.iterations


def _validate(
    trainer: Trainer,
    distributed: Distributed,
    validator: Validator | RestorationValidator | None,
    stop_requested: Callable[[], bool],
    emit: Callback,
) -> None:
    """Measure the averaged weights, unless a request to stop comes in the middle."""

    def measure() -> Validated | None:
        assert validator is not None, "the main process has one"
        with suppress(_ValidationStopped), _stoppable(trainer.average, stop_requested):
            return validator.measure(trainer.step, trainer.average, trainer.best)
        return None

    result = distributed.from_main(measure)
    if result is None:
        return
    trainer.record_validation(result)
    if result.best:
        distributed.on_main(trainer.save_best)
    emit(result)


class _ValidationStopped(Exception):  # noqa: N818 - it is not an error
    """A validation that was abandoned because the run is to stop."""


@contextmanager
def _stoppable(model: Network, stop_requested: Callable[[], bool]) -> Iterator[None]:
    """Raise `_ValidationStopped` in the next layer of the network once a stop is requested."""

    def check(*_: object) -> None:
        if stop_requested():
            raise _ValidationStopped

    hooks = [layer.register_forward_pre_hook(check) for layer in model.layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Meter:
    """Collects the figures of the steps since the last log entry.

    Attributes:
        steps: Number of these steps.
    """

    def __init__(
        self,
        trainer: Trainer,
        loader: CropLoader,
        distributed: Distributed,
        config: TrainConfig,
    ) -> None:
        self._trainer, self._loader, self._distributed = trainer, loader, distributed
        self._config = config
        self._reset()

    def _reset(self) -> None:
        self.steps = 0
        self._start = time.perf_counter()
        self._waited_before = self._loader.waited
        self._memory = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of the block."""
        start = time.perf_counter()
        # a validation resets the peak of the device
        self._memory = max(self._memory, _memory_bytes(self._distributed.device))
        yield
        self._start += time.perf_counter() - start

    def entry(self) -> LogEntry:
        """Return the log entry of all steps since the last one, and start again."""
        trainer, step = self._trainer, self._trainer.step
        stats = trainer.stats()
        stage = self._config.stage(step)
        entry = LogEntry(
            step=step,
            loss=self._distributed.mean(stats.loss),
            lr=self._config.learning_rate(step),
            gradient=stats.gradient,
            seconds=time.perf_counter() - self._start,
            waited=self._loader.waited - self._waited_before,
            memory=max(self._memory, _memory_bytes(self._distributed.device)),
            skipped=stats.skipped,
            patch=stage.patch,
            batch=stage.batch,
        )
        self._reset()
        return entry


def _memory_bytes(device: torch.device) -> int:
    """Return the peak memory on CUDA, else the memory that the process has now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss
