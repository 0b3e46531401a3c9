"""The training loop: L1, AdamW, warm-up and cooldown, an EMA of the weights, exact restart."""

import contextlib
import copy
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atdsr import checkpoint
from atdsr.data import CropSampler, PackedSet
from atdsr.errors import AtdsrError
from atdsr.files import replacing
from atdsr.model import ATD, ATDConfig

STATE_FILE = "state.pt"
WEIGHTS_FILE = "weights.safetensors"
LOG_FILE = "log.jsonl"


class TrainingError(AtdsrError):
    """A run that cannot start or go on."""


class StoppedError(TrainingError):
    """A run that was asked to stop, and saved its state first."""


@dataclass(frozen=True)
class Settings:
    """What a run does, apart from the network.

    Attributes:
        data: folder of a packed training set.
        output: folder of the run: its state, its log, its weights.
        iterations: optimizer steps in all.
        batch: crops a step.
        patch: side of an LR crop in pixels.
        lr: peak learning rate.
        optimizer: "adamw" as published, or "muon" for the matrices and AdamW for the rest.
        betas: of AdamW, published as (0.9, 0.9).
        warmup: steps W of linear warm-up; the rate of step i, from 1 on, is `lr * i / W` till W.
        milestones: steps after which the rate is halved.
        cooldown: last steps, in which the rate falls linearly towards 0.
        ema: decay of the moving average of the weights, which starts as a copy of them.
        init_from: file to take every parameter from whose name and shape match.
        activation_checkpointing: recompute layers in the backward pass to save memory.
        seed: of the fresh parameters and of the crops.
        log_every: steps between two lines of the log.
        save_every: steps between two saved states.
    """

    data: Path
    output: Path
    iterations: int
    batch: int = 4
    patch: int = 32
    lr: float = 5e-4
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.9)
    warmup: int = 100
    milestones: tuple[int, ...] = ()
    cooldown: int = 0
    ema: float = 0.999
    init_from: Path | None = None
    activation_checkpointing: bool = False
    seed: int = 0
    log_every: int = 20
    save_every: int = 200

    def __post_init__(self) -> None:
        """Refuse settings that make no run, naming the field.

        Raises:
            TrainingError: with the field's name.
        """
        for name in ("iterations", "batch", "patch", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("warmup", "cooldown"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise TrainingError(f"lr is {self.lr}; it must be positive.")
        if not 0 <= self.ema < 1:
            raise TrainingError(f"ema is {self.ema}; it must lie in [0, 1).")

    def learning_rate(self, step: int) -> float:
        """The rate of a step, counted from 1."""
        rate = self.lr * min(1.0, step / max(1, self.warmup))
        rate *= 0.5 ** sum(step > milestone for milestone in self.milestones)
        remaining = self.iterations - step + 1
        return rate * min(1.0, remaining / (self.cooldown + 1))


@dataclass(frozen=True)
class Report:
    """What a run says of itself at a line of its log.

    Attributes:
        step: steps done.
        loss: mean L1 since the last report.
        lr: learning rate of the last step.
        seconds: spent in this process since the last report.
    """

    step: int
    loss: float
    lr: float
    seconds: float


def fit(
    config: ATDConfig,
    settings: Settings,
    *,
    device: str | torch.device = "cpu",
    report: Callable[[Report], None] = lambda _: None,
) -> Path:
    """Train until `settings.iterations`, from the state in the output folder if there is one.

    The same call continues a run that was stopped: a stop by SIGINT or SIGTERM saves first, and
    going on gives the same bits as never having stopped (on one machine and thread count).

    Args:
        config: the network.
        settings: the run.
        device: where to train.
        report: called at every line of the log.

    Returns:
        The file with the EMA weights.

    Raises:
        StoppedError: SIGINT or SIGTERM came; the state is saved.
        TrainingError: the loss is no longer finite; the last saved state is intact.
        DataError, CheckpointError, FileError: see the modules they come from.
    """
    crops = CropSampler(PackedSet(settings.data, config.scale), settings.patch, settings.seed)
    run = _Run.start(config, settings, torch.device(device))
    losses: list[Tensor] = []
    since = time.perf_counter()
    with _stop_requests() as stop_requested, _log(settings, run.step) as log:
        while run.step < settings.iterations and not stop_requested():
            lr, hr = (x.to(device) for x in crops.batch(run.step, settings.batch))
            losses.append(run.advance(lr, hr, settings))
            if run.step % settings.log_every == 0 or run.step == settings.iterations:
                now, loss = time.perf_counter(), _finite_mean(losses, run.step)
                line = Report(run.step, loss, settings.learning_rate(run.step), now - since)
                log.write(json.dumps(asdict(line)) + "\n")
                log.flush()
                report(line)
                losses, since = [], now
            if run.step % settings.save_every == 0 and run.step < settings.iterations:
                _finite_mean(losses, run.step)  # a broken state never replaces a good one
                run.save(settings.output)
        _finite_mean(losses, run.step)
        run.save(settings.output)
    if run.step < settings.iterations:
        raise StoppedError(
            f"stopped at step {run.step} of {settings.iterations}; its state is saved in "
            f"{settings.output}, and the same command goes on from there."
        )
    return settings.output / WEIGHTS_FILE


def _finite_mean(losses: list[Tensor], step: int) -> float:
    """Mean of the losses since the last report; 0 where there are none.

    Raises:
        TrainingError: one of them is no finite number.
    """
    mean = torch.stack(losses).mean().item() if losses else 0.0
    if not math.isfinite(mean):
        raise TrainingError(
            f"the loss became {mean} before step {step}; lower lr and start the command again: it "
            "goes on from the last saved state."
        )
    return mean


class _Run:
    """The objects that make up a run; a restart needs these and nothing else."""

    def __init__(self, model: ATD, ema: ATD, optimizers: list[torch.optim.Optimizer]) -> None:
        self.model = model
        self.ema = ema
        self.optimizers = optimizers
        self.step = 0

    @classmethod
    def start(cls, config: ATDConfig, settings: Settings, device: torch.device) -> "_Run":
        """Fresh, or from `init_from`, or as the output folder has it."""
        torch.manual_seed(settings.seed)
        model = ATD(config, activation_checkpointing=settings.activation_checkpointing)
        ema = copy.deepcopy(model).requires_grad_(False)
        if settings.init_from is not None:
            for network, key in ((model, "params"), (ema, "params_ema")):
                weights = checkpoint.load(
                    settings.init_from, category_size=config.category_size, prefer=key
                )
                checkpoint.initialise(network, weights.state)
        model, ema = model.to(device), ema.to(device)
        run = cls(model, ema, _optimizers(model, settings))
        saved = settings.output / STATE_FILE
        if saved.exists():
            run._restore(checkpoint.load_run(saved), saved)
        return run

    def _restore(self, state: dict[str, Any], source: Path) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step = state["step"]
        except (KeyError, RuntimeError, ValueError):
            raise TrainingError(
                f"{source} is the state of another run; choose another output folder."
            ) from None

    def save(self, folder: Path) -> None:
        """Replace the state and the EMA weights in the run's folder."""
        weights = checkpoint.Weights(self.ema.config, self.ema.state_dict())
        checkpoint.save(weights, folder / WEIGHTS_FILE, overwrite=True)
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        checkpoint.save_run(state, folder / STATE_FILE)

    def advance(self, lr: Tensor, hr: Tensor, settings: Settings) -> Tensor:
        """One optimizer step on a batch; the loss, left on the device."""
        self.step += 1
        self.model.zero_grad()
        loss = F.l1_loss(self.model(lr), hr)
        loss.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate(self.step)
            optimizer.step()
        with torch.no_grad():
            for average, value in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                average.lerp_(value, 1 - settings.ema)
        return loss.detach()


def _optimizers(model: ATD, settings: Settings) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the matrices of the layers and AdamW for the rest.

    Muon's update is scaled to the size of AdamW's, so both follow one learning rate.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if settings.optimizer == "adamw":
        return [_adamw(trained, settings)]
    matrices = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    known = {id(matrix) for matrix in matrices}
    muon = torch.optim.Muon(matrices, settings.lr, weight_decay=0, adjust_lr_fn="match_rms_adamw")
    return [muon, _adamw([p for p in trained if id(p) not in known], settings)]


def _adamw(parameters: list[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters, settings.lr, betas=settings.betas, weight_decay=0, fused=True
    )


@contextlib.contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a question that the loop asks between two steps."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread alone
        return
    handlers = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _log(settings: Settings, step: int) -> Iterator[TextIO]:
    """The run's log, without the lines after the step that a restart goes on from."""
    path = settings.output / LOG_FILE
    lines = path.read_text().splitlines() if path.exists() else []
    with replacing(path, overwrite=True) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines if _step_of(line) <= step))
    with path.open("a") as log:
        yield log


def _step_of(line: str) -> float:
    """The step that a line of the log is about; infinite where a kill cut it short."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf
