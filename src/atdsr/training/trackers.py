"""What a run tells TensorBoard and Weights & Biases, where it is asked to (extras)."""

import importlib
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from atdsr import imaging
from atdsr.base import files
from atdsr.base.errors import AtdsrError
from atdsr.training.events import Event, Line, Started, Validated, Watch, Watchers
from atdsr.training.settings import Settings

TENSORBOARD = "tensorboard"
"""The folder of a run with TensorBoard's files."""
WANDB_ID = "wandb-id"
"""The file of a run with the name that Weights & Biases knows it by."""

Tell = Callable[[str], None]


class TrackerError(AtdsrError):
    """A tracker that is not installed, or does not start."""


@contextmanager
def trackers(settings: Settings, step: int, tell: Tell = lambda _: None) -> Iterator[Watch]:
    """What `settings.log` asks for, as one watcher; with nothing asked for it does nothing.

    A tracker that fails in the middle of a run is left out from there on: its loss is smaller
    than the run's. TensorBoard, which the published recipes ask for, may be missing altogether.

    Args:
        settings: of the run.
        step: steps that the run goes on from; what was tracked of later ones is replaced.
        tell: called with a sentence about a tracker that fails, or about TensorBoard missing.

    Raises:
        TrackerError: Weights & Biases is not installed, or does not start.
        FileError: the run's folder cannot be written.
    """
    with ExitStack() as stack:
        watchers: list[Watch] = []
        if settings.log.tensorboard:
            try:
                watch = stack.enter_context(_tensorboard(settings.output / TENSORBOARD, step))
                watchers.append(_Careful("TensorBoard", watch, tell))
            except TrackerError as error:
                tell(f"going on without TensorBoard: {error}")
        if settings.log.wandb is not None:
            watch = stack.enter_context(_wandb(settings, settings.log.wandb))
            watchers.append(_Careful("Weights & Biases", watch, tell))
        yield Watchers(tuple(watchers))


class _Careful:
    """A watcher of other people's code, which must not end the run, whatever it raises."""

    def __init__(self, name: str, watch: Watch, tell: Tell) -> None:
        self._name, self._watch, self._tell = name, watch, tell
        self._works = True

    def __call__(self, event: Event) -> None:
        if not self._works:
            return
        try:
            with _silent():
                self._watch(event)
        except Exception as error:  # it has as many ways to fail as there are networks and disks
            self._works = False
            self._tell(f"{self._name} failed and is left out from here on: {_said(error)}.")


class _Figures:
    """The numbers of an event by their names, the same for every tracker."""

    def __init__(self) -> None:
        self._step = 0

    def __call__(self, event: Event) -> dict[str, float]:
        """Those of an event; none of most."""
        if isinstance(event, Started):
            self._step = event.step
        if isinstance(event, Validated):
            return {
                **{f"psnr/{name}": value for name, value in event.psnr.items()},
                **{f"ssim/{name}": value for name, value in event.ssim.items()},
            }
        if not isinstance(event, Line):
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


# ------------------------------------------------------------------------------------- TensorBoard


@contextmanager
def _tensorboard(folder: Path, step: int) -> Iterator[Watch]:
    """Writes TensorBoard's files.

    Raises:
        TrackerError: it is not installed.
        FileError: the folder cannot be written.
    """
    module = _module("torch.utils.tensorboard", "TensorBoard", "tensorboard")
    figures = _Figures()
    try:
        with _silent():
            # points from here on, which an earlier start made and a kill undid, disappear
            writer = module.SummaryWriter(str(folder), purge_step=step + 1)
    except OSError as error:
        raise files.FileError(f"{folder}: it cannot be written: {error.strerror}.") from None

    def watch(event: Event) -> None:
        for name, value in figures(event).items():
            writer.add_scalar(name, value, event.step)
        if isinstance(event, Validated):
            if event.strips is not None:
                samples = imaging.read(event.strips).samples
                writer.add_image("strips", samples, event.step, dataformats="HWC")
            writer.flush()

    try:
        yield watch
    finally:
        writer.close()


# ------------------------------------------------------------------------------- Weights & Biases


@contextmanager
def _wandb(settings: Settings, project: str) -> Iterator[Watch]:
    """Tells Weights & Biases.

    It takes no second point for a step that it has one for. After a restart the run repeats
    those steps with the same figures, so nothing doubles.

    Raises:
        TrackerError: it is not installed, or does not start.
        FileError: the run's name for it cannot be kept.
    """
    module = _module("wandb", "Weights & Biases", "wandb")
    figures = _Figures()
    settings.output.mkdir(parents=True, exist_ok=True)
    try:
        with _silent():
            run = module.init(
                project=project,
                name=settings.name,
                id=_stable_id(settings.output / WANDB_ID),
                resume="allow",
                dir=str(settings.output),
                config=settings.model_dump(mode="json"),
            )
    except Exception as error:  # no network, no key, a project that is not theirs
        raise TrackerError(
            f"Weights & Biases does not start: {_said(error)}. To go on without it, leave out "
            "log.wandb; to send the run later, set the environment variable WANDB_MODE=offline."
        ) from None

    def watch(event: Event) -> None:
        told: dict[str, Any] = {**figures(event)}
        if isinstance(event, Validated) and event.strips is not None:
            told["strips"] = module.Image(str(event.strips))
        if told:
            run.log(told, step=event.step)

    try:
        yield watch
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


def _stable_id(path: Path) -> str:
    """The name in a file, made at the first start of a run.

    Raises:
        FileError: it cannot be written.
    """
    if path.is_file() and (name := path.read_text("utf-8").strip()):
        return name
    name = secrets.token_hex(4)
    with files.atomic_write(path, overwrite=True) as temporary:
        temporary.write_text(name + "\n", "utf-8")
    return name


# ------------------------------------------------------------------------------ what both need


def _module(name: str, title: str, extra: str) -> Any:
    """A module of an extra.

    Raises:
        TrackerError: it is not installed.
    """
    try:
        with _silent():
            return importlib.import_module(name)
    except ImportError as error:
        raise TrackerError(
            f"{title} is not installed ({error}); install it with pip install 'atdsr[{extra}]', "
            f"or leave out log.{extra}."
        ) from None


@contextmanager
def _silent() -> Iterator[None]:
    """Without the warnings of other people's code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _said(error: Exception) -> str:
    """The first line of an exception's text."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
