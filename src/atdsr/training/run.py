"""The objects that make up a run, one step of it, and what it leaves on disk."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from atdsr.base.errors import AtdsrError
from atdsr.inference.budget import is_out_of_memory
from atdsr.network.model import ATD
from atdsr.training import states
from atdsr.training.events import Validated
from atdsr.training.feed import Batch
from atdsr.training.ranks import Ranks
from atdsr.training.settings import Settings
from atdsr.training.stepper import Stepper, Tally
from atdsr.training.steps import optimizers_of, step_of
from atdsr.weights import (
    StateDict,
    Weights,
    first_non_finite,
    initialise_from,
    models,
    official_name,
    write_weights,
)

STATES = "training_states"
WEIGHTS, BEST = "weights.safetensors", "best.safetensors"
MODELS = "models"
OFFICIAL, OFFICIAL_BEST = f"{MODELS}/net_g_latest.pth", f"{MODELS}/net_g_best.pth"

Tell = Callable[[str], None]


class TrainingError(AtdsrError):
    """A run that cannot start or go on."""


class Run:
    """A network in training.

    Args:
        settings: of the run.
        ranks: the processes that share a batch.
        tell: called with a sentence that the user should know.

    Attributes:
        model: the network.
        average: the moving average of its weights.
        step: steps done.
        best: highest mean PSNR of a validation so far.
        validated: step of the last validation; -1 before the first.
    """

    def __init__(self, settings: Settings, ranks: Ranks, tell: Tell = lambda _: None) -> None:
        torch.manual_seed(settings.seed)
        checkpointing = settings.activation_checkpointing
        self._settings = settings
        self._ranks = ranks
        self._tell = tell
        model = ATD(settings.network, activation_checkpointing=checkpointing)
        how = step_of(settings)
        self.model = model.to(ranks.device, how.dtype)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.average.eval()
        self._optimizers = optimizers_of(settings, self.model)
        self._stepper = Stepper(self.model, self.average, self._optimizers, how, ranks.count, tell)
        self.step = 0
        self.best = -math.inf
        self.validated = -1
        self._saved = -1
        self._begun = 0, 0  # steps done and skipped when this process began

    # ------------------------------------------------------------------------- where it begins

    def start(self) -> None:
        """Take the newest state of the output folder, or the weights to start from.

        The leading process reads for all, so that the others need not see its files.

        Raises:
            TrainingError: the state or the weights are another network's.
            StateError, WeightsError: they cannot be read.
        """
        settings = self._settings
        state = self._ranks.from_lead(lambda: states.load(settings.output / STATES, self._tell))
        if state is not None:
            self._restore(state)
        elif settings.init_from is not None:
            source = settings.init_from
            group = settings.network.category_size if models.is_file(source) else None
            for network, key in ((self.model, "params"), (self.average, "params_ema")):
                weights = self._ranks.from_lead(
                    lambda key=key: models.load_weights(source, category_size=group, prefer=key)
                )
                left = initialise_from(network, weights.state)
            self._check_left(*left)

    def _check_left(self, interpolated: list[str], fresh: list[str]) -> None:
        """Say which parameters `init_from` does not have as they should be.

        Raises:
            TrainingError: no parameter, or not every one where it is to be strict.
        """
        source = self._settings.init_from
        if len(fresh) == len(self.model.state_dict()):
            raise TrainingError(f"nothing in {source} fits the network; choose another init_from.")
        left = interpolated + fresh
        if left and self._settings.init_strict:
            raise TrainingError(
                f"{source} does not fit the network: it has no {left[0]} of its shape; set "
                "init_strict to false to take what fits."
            )
        if interpolated:
            self._tell(f"{', '.join(interpolated)} of another scale: interpolated.")
        if fresh:
            self._tell(f"{source} does not have {', '.join(fresh)}; these begin fresh.")

    def _restore(self, state: dict[str, Any]) -> None:
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
            self.step = state["step"]
            self._stepper.restore(state["skipped"])
            self._begun = self.step, state["skipped"]
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
            self._tell(f"going on with other settings than before: {change}.")

    # ----------------------------------------------------------------------------------- a step

    def advance(self, batch: Batch) -> None:
        """One optimizer step on this process's share of a batch.

        On a GPU it is only begun; `check` or `tally` wait for it.

        Args:
            batch: LR and HR, uint8, on the device.

        Raises:
            TrainingError: see `check`; or memory ran out.
        """
        self.step += 1
        whole, rate = self._settings.stage(self.step).batch, self._settings.learning_rate(self.step)
        with memory_as_sentence():
            self._stepper(*batch, whole, rate)
        if self._ranks.device.type == "cpu":  # where nobody has to wait for the answer
            self.check()

    def check(self) -> None:
        """See whether the run makes progress; waits for the device.

        Raises:
            TrainingError: too many steps in a row changed nothing, or all steps of the run.
        """
        in_row = self._stepper.skips()[1]
        is_over = self.step >= self._settings.iterations and not self.has_learned
        if in_row >= self._settings.skip_limit or is_over:
            raise TrainingError(
                f"loss or gradient was no finite number in {in_row} steps in a row, the last of "
                f"them {self.step}; they changed nothing, and the saved states are intact. Lower "
                "optim.lr, or set optim.clip, and start again."
            )

    @property
    def has_learned(self) -> bool:
        """Whether a step of this process changed the weights, if it has done any; waits."""
        step, skipped = self._begun
        return self.step == step or self._stepper.skips()[0] - skipped < self.step - step

    def tally(self) -> Tally:
        """What the steps since the last call found; waits for the device."""
        with memory_as_sentence():
            return self._stepper.tally()

    # ---------------------------------------------------------------------------------- on disk

    def save(self) -> Path:
        """Write weights and state; a reader of any file sees the old one or the new.

        Raises:
            TrainingError: the weights are no finite numbers; nothing is written.
            FileError: one cannot be written; the states before are intact.
        """
        settings = self._settings
        self._check_finite()
        self._write_weights(WEIGHTS, OFFICIAL)
        state = {
            "settings": settings.model_dump(mode="json"),
            "step": self.step,
            "skipped": self._stepper.skips()[0],
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
            TrainingError: they are no finite numbers; nothing is written.
            FileError: they cannot be written.
        """
        self._check_finite()
        self._write_weights(BEST, OFFICIAL_BEST)

    @property
    def is_saved(self) -> bool:
        """Whether the state of this step is on disk."""
        return self._saved == self.step

    def _check_finite(self) -> None:
        """Let no weights on the disk that no network can be built of.

        Raises:
            TrainingError: a value is no finite number.
        """
        for network in (self.model, self.average):
            bad = first_non_finite(dict(network.named_parameters()))
            if bad is not None:
                raise TrainingError(
                    f"the weights are no finite numbers after step {self.step} (the first is in "
                    f"{official_name(bad)}); they were not saved, and the saved states are intact. "
                    "Lower optim.lr, or set optim.clip, and start again."
                )

    def _write_weights(self, name: str, official: str) -> None:
        folder = self._settings.output
        average = Weights(self._settings.network, _on_cpu(self.average))
        write_weights(average, folder / name, overwrite=True)
        write_weights(average, folder / official, overwrite=True, trained=_on_cpu(self.model))


@contextmanager
def memory_as_sentence() -> Iterator[None]:
    """Say what helps where a run takes more memory than there is.

    Raises:
        TrainingError: it does.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError, ImportError, SystemError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return
    # outside of the block, where the traceback keeps tensors alive
    raise TrainingError(
        "memory ran out; lower data.micro_batch or data.batch, or set activation_checkpointing, "
        "and start again. The saved states are intact."
    )


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


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Take what a saved optimizer has gathered, but not the settings that it ran with.

    Raises:
        ValueError: it is of other parameters.
    """
    kept = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(saved)
    for group, settings in zip(optimizer.param_groups, kept, strict=True):
        group.update(settings)


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
