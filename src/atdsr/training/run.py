"""The objects that make up a run, one step of it, and what it leaves on disk."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from atdsr import checkpoint
from atdsr.checkpoint import StateDict, Weights
from atdsr.errors import AtdsrError
from atdsr.inference import is_out_of_memory
from atdsr.model import ATD
from atdsr.training import states
from atdsr.training.events import Validated
from atdsr.training.feed import Batch
from atdsr.training.losses import objective
from atdsr.training.ranks import Ranks
from atdsr.training.settings import Optim, Settings

STATES = "training_states"
WEIGHTS, BEST = "weights.safetensors", "best.safetensors"
MODELS = "models"
OFFICIAL, OFFICIAL_BEST = f"{MODELS}/net_g_latest.pth", f"{MODELS}/net_g_best.pth"

Tell = Callable[[str], None]


class TrainingError(AtdsrError):
    """A run that cannot start or go on."""


class Run:
    """A network in training.

    Attributes:
        model: the network.
        average: the moving average of its weights.
        step: steps done.
        skipped: of these, how many changed nothing since loss or gradient was no number.
        best: highest mean PSNR of a validation so far.
        validated: step of the last validation; -1 before the first.
    """

    def __init__(self, settings: Settings, ranks: Ranks) -> None:
        torch.manual_seed(settings.seed)
        checkpointing = settings.activation_checkpointing
        self._settings = settings
        self._ranks = ranks
        model = ATD(settings.network, activation_checkpointing=checkpointing)
        self.model = model.to(ranks.device, dtype(settings))
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.average.eval()
        self._optimizers = optimizers(self.model, settings.optim)
        self.step = 0
        self.skipped = 0
        self._skipped_in_row = 0
        self.best = -math.inf
        self.validated = -1
        self._saved = -1
        self._network = self._wrapped()

    def _wrapped(self) -> nn.Module:
        """The network as it is called: over all processes, compiled."""
        network: nn.Module = self.model
        if self._ranks.count > 1:
            # the buffers are constants, which need not go round before every step
            constants = [name for name, _ in self.model.named_buffers()]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, constants)
            devices = [self._ranks.device] if self._ranks.device.type == "cuda" else None
            network = DistributedDataParallel(
                network, device_ids=devices, gradient_as_bucket_view=True
            )
        return torch.compile(network) if self._settings.compile else network  # pyright: ignore

    # ------------------------------------------------------------------------- where it begins

    def start(self, tell: Tell) -> None:
        """Take the newest state of the output folder, or the weights to start from.

        The leading process reads for all, so that the others need not see its files.

        Raises:
            TrainingError: the state or the weights are another network's.
            StateError, CheckpointError: they cannot be read.
        """
        settings = self._settings
        state = self._ranks.from_lead(lambda: states.load(settings.output / STATES, tell))
        if state is not None:
            self._restore(state, tell)
        elif settings.init_from is not None:
            source, group = settings.init_from, settings.network.category_size
            for network, key in ((self.model, "params"), (self.average, "params_ema")):
                weights = self._ranks.from_lead(
                    lambda key=key: checkpoint.load(source, category_size=group, prefer=key)
                )
                fresh = checkpoint.initialise(network, weights.state)
            self._check_fresh(fresh, tell)

    def _check_fresh(self, fresh: list[str], tell: Tell) -> None:
        """Say which parameters `init_from` has not.

        Raises:
            TrainingError: all of them, or any where it is to be strict.
        """
        source = self._settings.init_from
        if len(fresh) == len(self.model.state_dict()):
            raise TrainingError(f"nothing in {source} fits the network; choose another init_from.")
        if fresh and self._settings.init_strict:
            raise TrainingError(
                f"{source} does not fit the network: it has no {fresh[0]} of its shape; set "
                "init_strict to false to take what fits."
            )
        if fresh:
            tell(f"{source} does not have {', '.join(fresh)}; these begin fresh.")

    def _restore(self, state: dict[str, Any], tell: Tell) -> None:
        try:
            before, now = state["settings"], self._settings.model_dump(mode="json")
            if (
                before["network"] != now["network"]
                or before["optim"]["name"] != now["optim"]["name"]
            ):
                raise KeyError
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
                _restore_optimizer(optimizer, saved)
            self.step, self.skipped = state["step"], state["skipped"]
            self.best, self.validated = state["best"], state["validated"]
            torch.set_rng_state(state["rng"])
        except (KeyError, RuntimeError, ValueError):
            raise TrainingError(
                f"{self._settings.output} holds a run of another network or optimizer; choose "
                "another output folder, or begin anew (--restart)."
            ) from None
        if (self._settings.output / WEIGHTS).is_file():  # else all is written once more
            self._saved = self.step
        for change in _changes(before, now):
            tell(f"going on with other settings than before: {change}.")

    # ----------------------------------------------------------------------------------- a step

    def advance(self, batch: Batch) -> tuple[Tensor, float]:
        """One optimizer step on this process's share of a batch.

        A step whose loss or gradient is no finite number changes nothing and is counted.

        Args:
            batch: LR and HR, uint8, on the device.

        Returns:
            The loss, over this share and weighed so that its mean over the processes is the mean
            over the batch, left on the device; and the norm of the gradient.

        Raises:
            TrainingError: too many steps in a row were skipped, or memory ran out.
        """
        settings = self._settings
        self.step += 1
        with _memory_as_sentence():
            loss, length = self._try(batch)
        if math.isfinite(length):
            self._skipped_in_row = 0
        else:
            self.skipped += 1
            self._skipped_in_row += 1
        self.model.zero_grad()
        if self._skipped_in_row >= settings.skip_limit:
            raise TrainingError(
                f"loss or gradient was no finite number in {self._skipped_in_row} steps in a row, "
                f"the last of them {self.step}; the weights are as before these, and the saved "
                "states are intact. Lower optim.lr, or set optim.clip, and start again."
            )
        return loss, length

    def _try(self, batch: Batch) -> tuple[Tensor, float]:
        """What `advance` returns; the weights change unless the norm is no finite number."""
        loss = self._backward(batch)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        length = norm.item()
        if math.isfinite(length):
            clip = self._settings.optim.clip
            if clip is not None:
                nn.utils.clip_grads_with_norm_(self.model.parameters(), clip, norm)
            self._update()
        return loss, length

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of the loss, in parts that fit the device."""
        settings, ranks = self._settings, self._ranks
        lr, hr = batch
        whole = settings.stage(self.step).batch
        size = settings.data.micro_batch or len(lr)
        total = torch.zeros((), device=lr.device)
        for begin in range(0, len(lr), size):
            small, large = (_to_float(x[begin : begin + size], settings) for x in (lr, hr))
            weight = len(small) * ranks.count / whole
            with self._gradients_stay_here(unless=begin + size >= len(lr)):
                with autocast(settings, lr.device):
                    sr = self._network(small)
                loss = objective(sr.to(large.dtype), large, settings.loss) * weight
                # one that is no number spoils all gradients, so that all processes skip the step
                (loss * (1 + 0 * loss.detach())).backward()
            total = total + loss.detach()
        return total

    def _gradients_stay_here(self, unless: bool) -> AbstractContextManager[None]:
        """Where parts of a batch follow, only the last one's gradients go round."""
        if unless or self._ranks.count == 1:
            return nullcontext()
        return self._network.no_sync()  # pyright: ignore  # of DistributedDataParallel

    def _update(self) -> None:
        settings = self._settings
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate(self.step)
            optimizer.step()
        with torch.no_grad():
            averages, values = list(self.average.parameters()), list(self.model.parameters())
            torch._foreach_lerp_(averages, values, 1 - settings.ema)  # pyright: ignore

    # ---------------------------------------------------------------------------------- on disk

    def save(self) -> Path:
        """Write weights and state; a reader of any file sees the old one or the new.

        Raises:
            FileError: one cannot be written; the states before are intact.
        """
        settings = self._settings
        self._write_weights(WEIGHTS, OFFICIAL)
        state = {
            "settings": settings.model_dump(mode="json"),
            "step": self.step,
            "skipped": self.skipped,
            "best": self.best,
            "validated": self.validated,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "rng": torch.get_rng_state(),
        }
        return states.save(state, settings.output / STATES, self.step, settings.save.keep)

    def mark_saved(self) -> None:
        """Note that what is now is on disk, whichever process wrote it."""
        self._saved = self.step

    def take_validation(self, result: Validated) -> None:
        """Note what a validation found; the state on disk does not know it yet."""
        self.validated = result.step
        if result.best:
            self.best = result.mean_psnr
        self._saved = -1

    def save_best(self) -> None:
        """Write the weights as the best so far.

        Raises:
            FileError: they cannot be written.
        """
        self._write_weights(BEST, OFFICIAL_BEST)

    @property
    def is_saved(self) -> bool:
        """Whether the state of this step is on disk."""
        return self._saved == self.step

    def _write_weights(self, name: str, official: str) -> None:
        folder = self._settings.output
        average = Weights(self._settings.network, _on_cpu(self.average))
        checkpoint.save(average, folder / name, overwrite=True)
        checkpoint.save(average, folder / official, overwrite=True, trained=_on_cpu(self.model))


@contextmanager
def _memory_as_sentence() -> Iterator[None]:
    """Say what helps where a step takes more memory than there is.

    Raises:
        TrainingError: it does.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            "memory ran out in the middle of a step; lower data.micro_batch, or set "
            "activation_checkpointing, and start again. The saved states are intact."
        ) from None


@contextmanager
def unless_asked_to_stop(model: ATD, asked: Callable[[], bool]) -> Iterator[None]:
    """Let work with a network end with `StoppingError` soon after it is asked to."""

    def check(*_: object) -> None:
        if asked():
            raise StoppingError

    hooks = [layer.register_forward_pre_hook(check) for layer in model.layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class StoppingError(Exception):
    """Work that was left since the run is to stop."""


def dtype(settings: Settings) -> torch.dtype:
    """Of parameters and crops; bf16 is a matter of `autocast`."""
    return torch.float64 if settings.precision == "fp64" else torch.float32


def autocast(settings: Settings, device: torch.device) -> torch.autocast:
    """Where matrix products take the precision of the run."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")


def optimizers(model: ATD, optim: Optim) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the matrices of the layers and AdamW for the rest.

    Muon's update is scaled to the size of AdamW's, so both follow one learning rate.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if optim.name == "adamw":
        return [_adamw(trained, optim)]
    matrices = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    known = {id(matrix) for matrix in matrices}
    muon = torch.optim.Muon(
        matrices, optim.lr, weight_decay=optim.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, _adamw([p for p in trained if id(p) not in known], optim)]


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Take what a saved optimizer has gathered, but not the settings that it ran with.

    Raises:
        ValueError: it is of other parameters.
    """
    kept = [
        {key: value for key, value in group.items() if key not in ("params", "lr")}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(saved)
    for group, settings in zip(optimizer.param_groups, kept, strict=True):
        group.update(settings)


def _adamw(parameters: list[nn.Parameter], optim: Optim) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters, optim.lr, betas=optim.betas, weight_decay=optim.weight_decay, fused=True
    )


def _to_float(samples: Tensor, settings: Settings) -> Tensor:
    """Uint8 -> floats in [0, 1], divided in the precision of the run."""
    return samples.to(dtype(settings)) / 255


def _on_cpu(model: ATD) -> StateDict:
    """The parameters as files have them."""
    return {name: value.detach().float().cpu() for name, value in model.state_dict().items()}


def _changes(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """What two trees of settings do not have in common, a line each."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in now:
            inner = f"{key}.{name}" if key else name
            yield from _changes(before.get(name), now[name], inner)
    elif before != now:
        yield f"{key} is {now}, was {before}"
