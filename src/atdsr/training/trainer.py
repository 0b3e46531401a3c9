"""Trains a network step by step, and writes and restores its checkpoints and weights."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import SILENT, Reporter
from atdsr.inference.budget import is_out_of_memory
from atdsr.network.config import ATDConfig
from atdsr.network.kernels import gpu
from atdsr.network.unet import Network, build
from atdsr.training import checkpoints
from atdsr.training.config import TrainConfig
from atdsr.training.crop_loader import Batch
from atdsr.training.distributed import Distributed
from atdsr.training.events import Validated
from atdsr.training.step import StepConfig, StepStats, TrainStep, build_optimizers
from atdsr.weights import (
    StateDict,
    Weights,
    first_non_finite,
    initialise_from,
    models,
    official_name,
    write_weights,
)

CHECKPOINT_FOLDER = "training_states"
WEIGHTS, BEST = "weights.safetensors", "best.safetensors"
MODELS = "models"
OFFICIAL, OFFICIAL_BEST = f"{MODELS}/net_g_latest.pth", f"{MODELS}/net_g_best.pth"


class TrainingError(AtdsrError):
    """A run that cannot start or go on."""


class Trainer:
    """A network in training, with its averaged weights and its optimizers.

    Args:
        config: Configuration of the run.
        distributed: The processes that share a batch.
        reporter: Receives notices, from `start` on.

    Attributes:
        model: The network.
        average: The exponential moving average of its weights, as a network.
        step: Steps done.
        best: Highest mean PSNR of a validation so far.
        validated: Step of the last validation; -1 before the first.
    """

    def __init__(
        self, config: TrainConfig, distributed: Distributed, reporter: Reporter = SILENT
    ) -> None:
        torch.manual_seed(config.seed)
        self._config = config
        self._distributed = distributed
        self._reporter = reporter.logged()
        model = build(config.network, activation_checkpointing=config.activation_checkpointing)
        step_config = StepConfig.from_train_config(config)
        self.model = model.to(distributed.device, step_config.dtype)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.average.eval()
        self._optimizers = build_optimizers(self.model, config.optim)
        self._train_step = TrainStep(
            self.model,
            self.average,
            self._optimizers,
            step_config,
            distributed.world_size,
            reporter,
        )
        self.step = 0
        self.best = -math.inf
        self.validated = -1
        self._saved = -1
        self._resumed_at = 0, 0  # steps done and skipped when this process began

    # ------------------------------------------------------------------------------- the start

    def start(self) -> None:
        """Resume from the newest checkpoint of the output folder, or load the initial weights.

        The main process reads for all, so that the others need not see its files.

        Raises:
            TrainingError: The checkpoint or the weights are those of another network.
            StateError, WeightsError: They cannot be read.
        """
        config = self._config
        folder = config.output / CHECKPOINT_FOLDER
        state = self._distributed.from_main(lambda: checkpoints.load(folder, self._reporter))
        if state is not None:
            self._restore(state)
        elif config.init_from is not None:
            self._initialise(config.init_from)
        if (notice := gpu.notice_once(self._distributed.device)) is not None:
            self._reporter.notice(notice)

    def _initialise(self, source: Path) -> None:
        """Take the weights of a model or a file.

        Raises:
            TrainingError: The source has no parameter that fits, or lacks one where all must fit.
            WeightsError: It cannot be read.
        """
        category_size = self._config.network.category_size if models.is_file(source) else None
        interpolated: list[str] = []
        fresh: list[str] = []
        for network, key in ((self.model, "params"), (self.average, "params_ema")):
            weights = self._distributed.from_main(
                lambda key=key: models.load_weights(source, category_size=category_size, prefer=key)
            )
            self._check_kind(weights, source)
            interpolated, fresh = initialise_from(network, weights.state)
        if len(fresh) == len(self.model.state_dict()):
            raise TrainingError(f"nothing in {source} fits the network; choose another init_from.")
        missing = interpolated + fresh
        if missing and self._config.init_strict:
            raise TrainingError(
                f"{source} does not fit the network: it has no {missing[0]} of its shape; set "
                "init_strict to false to take what fits."
            )
        if interpolated:
            self._reporter.notice(f"{', '.join(interpolated)} of another scale: interpolated.")
        if fresh:
            self._reporter.notice(f"{source} does not have {', '.join(fresh)}; these begin fresh.")

    def _check_kind(self, weights: Weights, source: Path) -> None:
        """Refuse weights of a network that does something else than that of the run.

        Raises:
            TrainingError, WeightsError: One of the two restores, and the other one enlarges.
        """
        if not self._config.restores:
            weights.enlarging("this run")
        elif isinstance(weights.config, ATDConfig):
            raise TrainingError(
                f"{source} holds an ATD, which enlarges, and this run trains an ATD-U, which "
                "restores; choose another init_from."
            )

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            # as a configuration, since earlier versions did not write all fields
            before, now = TrainConfig.model_validate(state["settings"]), self._config
            if (before.network, before.optim.name) != (now.network, now.optim.name):
                raise KeyError
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
                _restore_optimizer(optimizer, saved)
            self.step = state["step"]
            self._train_step.restore(state["skipped"])
            self._resumed_at = self.step, state["skipped"]
            self.best, self.validated = state["best"], state["validated"]
            torch.set_rng_state(state["rng"])
        except (KeyError, RuntimeError, ValueError):
            raise TrainingError(
                f"{self._config.output} holds a run of another network or optimizer; choose "
                "another output folder, or begin anew (--restart)."
            ) from None
        if (self._config.output / WEIGHTS).is_file():  # else everything is written once more
            self._saved = self.step
        for change in _changes(before.model_dump(mode="json"), now.model_dump(mode="json")):
            self._reporter.notice(f"going on with other settings than before: {change}.")

    # ----------------------------------------------------------------------------------- a step

    def advance(self, batch: Batch) -> None:
        """Take one optimizer step on this process's share of a batch.

        On a GPU the step is only launched; `check` and `stats` wait for it.

        Args:
            batch: LR and HR on the device, as `CropLoader.batch` returns them.

        Raises:
            TrainingError: See `check`; or memory ran out.
        """
        self.step += 1
        batch_size = self._config.stage(self.step).batch
        with out_of_memory_as_error():
            self._train_step(*batch, batch_size, self._config.learning_rate(self.step))
        if self._distributed.device.type == "cpu":  # where nobody has to wait for the answer
            self.check()

    def check(self) -> None:
        """See whether the run makes progress; waits for the device.

        Raises:
            TrainingError: Too many steps in a row were skipped, or all steps of the run.
        """
        in_row = self._train_step.skipped()[1]
        is_over = self.step >= self._config.iterations and not self.has_learned
        if in_row >= self._config.skip_limit or is_over:
            raise TrainingError(
                f"loss or gradient was no finite number in {in_row} steps in a row, the last of "
                f"them {self.step}; they changed nothing, and the saved states are intact. Lower "
                "optim.lr, or set optim.clip, and start again."
            )

    @property
    def has_learned(self) -> bool:
        """Whether a step of this process changed the weights, or none was due; waits."""
        step, skipped = self._resumed_at
        return self.step == step or self._train_step.skipped()[0] - skipped < self.step - step

    def stats(self) -> StepStats:
        """Return the statistics of the steps since the last call; waits for the device."""
        with out_of_memory_as_error():
            return self._train_step.stats()

    # ------------------------------------------------------------------------------------ files

    def save(self) -> Path:
        """Write weights and a checkpoint; a reader of any file sees the old one or the new.

        Raises:
            TrainingError: The weights are not finite; nothing is written.
            FileError: A file cannot be written; the checkpoints before are intact.
        """
        config = self._config
        self._check_finite()
        self._write_weights(WEIGHTS, OFFICIAL)
        state = {
            "settings": config.model_dump(mode="json"),
            "step": self.step,
            "skipped": self._train_step.skipped()[0],
            "best": self.best,
            "validated": self.validated,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "rng": torch.get_rng_state(),
        }
        folder = config.output / CHECKPOINT_FOLDER
        return checkpoints.save(state, folder, self.step, config.save.keep)

    def mark_saved(self) -> None:
        """Note that the current state is on disk, whichever process wrote it."""
        self._saved = self.step

    @property
    def is_saved(self) -> bool:
        """Whether the current state is on disk."""
        return self._saved == self.step

    def record_validation(self, result: Validated) -> None:
        """Note the result of a validation, which the checkpoint on disk does not have yet."""
        self.validated = result.step
        if result.best:
            self.best = result.mean_psnr
        self._saved = -1

    def save_best(self) -> None:
        """Write the weights as the best so far.

        Raises:
            TrainingError: They are not finite; nothing is written.
            FileError: They cannot be written.
        """
        self._check_finite()
        self._write_weights(BEST, OFFICIAL_BEST)

    def _check_finite(self) -> None:
        """Keep weights off the disk that no network can be built from.

        Raises:
            TrainingError: A value is not finite.
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
        folder = self._config.output
        average = Weights(self._config.network, _on_cpu(self.average))
        write_weights(average, folder / name, overwrite=True)
        write_weights(average, folder / official, overwrite=True, trained=_on_cpu(self.model))


@contextmanager
def out_of_memory_as_error() -> Iterator[None]:
    """Turn an out-of-memory error into a sentence that says what helps.

    Raises:
        TrainingError: Memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError, ImportError, SystemError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return
    # outside of the except block, in which the traceback keeps tensors alive
    raise TrainingError(
        "memory ran out; lower data.micro_batch or data.batch, or set activation_checkpointing, "
        "and start again. The saved states are intact."
    )


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load the state of a saved optimizer, but not the hyperparameters that it ran with.

    Raises:
        ValueError: It is an optimizer of other parameters.
    """
    hyperparameters = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(saved)
    for group, values in zip(optimizer.param_groups, hyperparameters, strict=True):
        group.update(values)


def _on_cpu(model: Network) -> StateDict:
    """Return the state dict of a network as files have it."""
    return {name: value.detach().float().cpu() for name, value in model.state_dict().items()}


def _changes(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """Yield a sentence for each value in which two nested configurations differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in now:
            inner = f"{key}.{name}" if key else name
            yield from _changes(before.get(name), now[name], inner)
    elif before != now:
        yield f"{key} is {now}, was {before}"
