"""Callbacks that log a run to TensorBoard and Weights & Biases, if asked to (extras)."""

import importlib
import secrets
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from atdsr import imaging
from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.base.extras import install_command
from atdsr.base.reporter import SILENT, Reporter
from atdsr.training.config import TrainConfig
from atdsr.training.events import Callback, Callbacks, Event, LogEntry, Started, Validated

TENSORBOARD = "tensorboard"
"""The folder of a run with TensorBoard's files."""
WANDB_ID = "wandb-id"
"""The file of a run with its ID at Weights & Biases."""


class TrackerError(AtdsrError):
    """A tracker that is not installed, or does not start."""


@contextmanager
def trackers(config: TrainConfig, step: int, reporter: Reporter = SILENT) -> Iterator[Callback]:
    """Return the trackers that `config.log` asks for as one callback, which may do nothing.

    A tracker that fails in the middle of a run is left out from then on: its loss matters less
    than that of the run. TensorBoard, which the published recipes ask for, may not be installed.

    Args:
        config: Configuration of the run.
        step: Step that the run resumes from; what was tracked of later steps is replaced.
        reporter: Receives a notice about a tracker that fails, or if TensorBoard is missing.

    Raises:
        TrackerError: Weights & Biases is not installed, or does not start.
        FileError: The run's folder cannot be written.
    """
    with ExitStack() as stack:
        callbacks: list[Callback] = []
        if config.log.tensorboard:
            try:
                callback = stack.enter_context(_tensorboard(config.output / TENSORBOARD, step))
                callbacks.append(_FailSafe("TensorBoard", callback, reporter))
            except TrackerError as error:
                reporter.notice(f"going on without TensorBoard: {error}")
        if config.log.wandb is not None:
            callback = stack.enter_context(_wandb(config, config.log.wandb))
            callbacks.append(_FailSafe("Weights & Biases", callback, reporter))
        yield Callbacks(tuple(callbacks))


class _FailSafe:
    """A callback of other people's code, which must not end the run, whatever it raises."""

    def __init__(self, name: str, callback: Callback, reporter: Reporter) -> None:
        self._name, self._callback, self._reporter = name, callback, reporter
        self._has_failed = False

    def __call__(self, event: Event) -> None:
        if self._has_failed:
            return
        try:
            with _no_warnings():
                self._callback(event)
        except Exception as error:  # it has as many ways to fail as there are networks and disks
            self._has_failed = True
            self._reporter.notice(
                f"{self._name} failed and is left out from here on: {_first_line(error)}."
            )


class _Scalars:
    """The numbers of an event by name, the same for every tracker."""

    def __init__(self) -> None:
        self._step = 0

    def __call__(self, event: Event) -> dict[str, float]:
        """Return the numbers of an event; most events have none."""
        if isinstance(event, Started):
            self._step = event.step
        if isinstance(event, Validated):
            return {
                **{f"psnr/{name}": value for name, value in event.psnr.items()},
                **{f"ssim/{name}": value for name, value in event.ssim.items()},
            }
        if not isinstance(event, LogEntry):
            return {}
        steps, self._step = event.step - self._step, event.step
        seconds = max(event.seconds, 1e-9)
        return {
            "train/loss": event.loss,
            "train/lr": event.lr,
            "train/gradient": event.gradient,
            "train/skipped": event.skipped,
            "speed/it_per_s": steps / seconds,
            "speed/data_wait": event.waited / seconds,
            "speed/memory_gib": event.memory / 2**30,
        }


@contextmanager
def _tensorboard(folder: Path, step: int) -> Iterator[Callback]:
    """Write TensorBoard's files.

    Raises:
        TrackerError: TensorBoard is not installed.
        FileError: The folder cannot be written.
    """
    module = _import("torch.utils.tensorboard", "TensorBoard", "tensorboard")
    scalars = _Scalars()
    try:
        with _no_warnings():
            # later points, which an earlier start wrote and a kill undid, are purged
            writer = module.SummaryWriter(str(folder), purge_step=step + 1)
    except OSError as error:
        raise files.FileError(f"{folder}: it cannot be written: {error.strerror}.") from None

    def callback(event: Event) -> None:
        for name, value in scalars(event).items():
            writer.add_scalar(name, value, event.step)
        if isinstance(event, Validated):
            if event.strips is not None:
                samples = imaging.read(event.strips).samples
                writer.add_image("strips", samples, event.step, dataformats="HWC")
            writer.flush()

    try:
        yield callback
    finally:
        writer.close()


@contextmanager
def _wandb(config: TrainConfig, project: str) -> Iterator[Callback]:
    """Log to Weights & Biases.

    It refuses a second point for a step that it has. After a restart the run repeats those steps
    with the same figures, so nothing is lost.

    Raises:
        TrackerError: It is not installed, or does not start.
        FileError: The run's ID cannot be written.
    """
    module = _import("wandb", "Weights & Biases", "wandb")
    scalars = _Scalars()
    config.output.mkdir(parents=True, exist_ok=True)
    try:
        with _no_warnings():
            run = module.init(
                project=project,
                name=config.name,
                id=_stable_id(config.output / WANDB_ID),
                resume="allow",
                dir=str(config.output),
                config=config.model_dump(mode="json"),
            )
    except Exception as error:  # no network, no key, a project that is not theirs
        raise TrackerError(
            f"Weights & Biases does not start: {_first_line(error)}. To go on without it, leave "
            "out log.wandb; to send the run later, set the environment variable "
            "WANDB_MODE=offline."
        ) from None

    def callback(event: Event) -> None:
        values: dict[str, Any] = {**scalars(event)}
        if isinstance(event, Validated) and event.strips is not None:
            values["strips"] = module.Image(str(event.strips))
        if values:
            run.log(values, step=event.step)

    try:
        yield callback
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


def _stable_id(path: Path) -> str:
    """Return the ID in a file, which is drawn at the first start of a run.

    Raises:
        FileError: The file cannot be written.
    """
    if path.is_file() and (name := path.read_text("utf-8").strip()):
        return name
    name = secrets.token_hex(4)
    with files.atomic_write(path, overwrite=True) as temporary:
        temporary.write_text(name + "\n", "utf-8")
    return name


def _import(module: str, title: str, extra: str) -> Any:
    """Import a module of an extra.

    Raises:
        TrackerError: It is not installed.
    """
    try:
        with _no_warnings():
            return importlib.import_module(module)
    except ImportError as error:
        raise TrackerError(
            f"{title} is not installed ({error}); install it with {install_command(extra)}, or "
            f"leave out log.{extra}."
        ) from None


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Ignore the warnings of other people's code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    """Return the first line of an exception's text."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
