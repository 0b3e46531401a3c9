"""What a run does: the sections of a recipe, checked when they are made."""

import itertools
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    model_validator,
)

from atdsr.datasets import pairs
from atdsr.network.config import ATDConfig
from atdsr.training.stepper import Precision


def no_bool(value: Any) -> Any:
    """Let no true or false pass for a number.

    Raises:
        ValueError: it is one of them.
    """
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    return value


def _name(text: str) -> str:
    if text in ("", ".", "..") or not text.isprintable() or any(c in text for c in "/\\:"):
        raise ValueError("it becomes a folder's name, and cannot")
    return text


def _location(path: Path) -> Path:
    try:
        path = path.expanduser()
        path.exists()
    except RuntimeError:
        raise ValueError("there is no such user") from None
    except OSError as error:  # a name that is too long, say
        raise ValueError(f"it cannot be looked up ({error.strerror})") from None
    return path


def _template(text: str) -> str:
    try:
        pairs.check_template(text)
    except pairs.PairsError:
        raise ValueError("it must be a file's name with {} in it once") from None
    return text


_MOST = 1_000_000_000
_HIGHEST_RATE = 10.0  # of learning
_MOST_RISE = 1e6  # that all milestones together may make of the learning rate

Count = Annotated[PositiveInt, Field(le=_MOST), BeforeValidator(no_bool)]
"""A whole number from 1 to a billion."""
Crops = Annotated[PositiveInt, Field(le=65_536), BeforeValidator(no_bool)]
"""A number of crops."""
Side = Annotated[PositiveInt, Field(le=8192), BeforeValidator(no_bool)]
"""The side of a crop in pixels."""
Steps = Annotated[int, Field(ge=0, le=_MOST), BeforeValidator(no_bool)]
"""A number of steps, or one of them; 0 for none."""
Rate = Annotated[float, Field(gt=0), BeforeValidator(no_bool)]
"""A number above 0."""
Weight = Annotated[float, Field(ge=0, le=1_000_000), BeforeValidator(no_bool)]
"""A number from 0 to a million."""
FolderName = Annotated[str, AfterValidator(_name)]
"""The name of a folder, which leads nowhere else."""
Location = Annotated[Path, AfterValidator(_location)]
"""A file or a folder, `~` expanded."""
Template = Annotated[str, AfterValidator(_template)]
"""The name of an LR picture without its suffix; `{}` stands for the HR picture's."""


class Section(BaseModel):
    """A part of a recipe: frozen, without keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Section):
    """The crops.

    Attributes:
        train: a packed set, or a folder of HR pictures, which is packed beside itself at first.
        lr: folder of LR pictures for a folder of HR pictures; None makes them by MATLAB's bicubic.
        template: of the names of those LR pictures.
        batch: crops a step, over all devices.
        patch: side of an LR crop in pixels, at first; `stages` may change both.
        micro_batch: the most crops that a device takes at once; gradients of several runs are
            added up. None takes all.
        hflip: mirror half of the crops left to right.
        rot: mirror half of them upside down, and transpose half.
        candidates: places that are drawn in the picture for each crop; the one with the most
            detail is taken.
        residence: where the pictures are kept: in the memory of the device, in mapped files, or
            on the device where they fit ("auto").
    """

    train: Location
    lr: Location | None = None
    template: Template = "{}"
    batch: Crops = 32
    patch: Side = 64
    micro_batch: Crops | None = None
    hflip: bool = True
    rot: bool = True
    candidates: Annotated[Count, Field(le=256)] = 1
    residence: Literal["auto", "device", "mapped"] = "auto"


class Stage(Section):
    """A later part of a run with other crops.

    Attributes:
        after: the step after which it begins.
        patch: side of an LR crop in pixels.
        batch: crops a step, over all devices.
    """

    after: Count
    patch: Side
    batch: Crops


class Optim(Section):
    """The optimizer.

    Attributes:
        name: "adamw" as published, or "muon" for the matrices of linear layers and AdamW for the
            rest, both with one learning rate.
        lr: the highest learning rate.
        betas: of AdamW.
        weight_decay: of both.
        clip: the largest norm of all gradients together; longer ones are shortened to it.
    """

    name: Literal["adamw", "muon"] = "adamw"
    lr: Annotated[Rate, Field(le=_HIGHEST_RATE)] = 2e-4
    betas: tuple[float, float] = (0.9, 0.9)
    weight_decay: Weight = 0.0
    clip: Rate | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        return self


class Schedule(Section):
    """How the learning rate changes; steps are counted from 1.

    Attributes:
        kind: "multistep": by `gamma` in every step after each milestone; "cosine": half a wave
            over the whole run, from `lr` towards `floor`.
        warmup: steps W in which the rate rises linearly: step i has `i / W` of it.
        milestones: of "multistep".
        gamma: of "multistep".
        floor: of "cosine", a learning rate.
        cooldown: last steps, in which the rate falls linearly towards 0.
    """

    kind: Literal["multistep", "cosine"] = "multistep"
    warmup: Steps = 0
    milestones: tuple[Steps, ...] = ()
    gamma: Annotated[Rate, Field(le=1000)] = 0.5
    floor: Annotated[Weight, Field(le=_HIGHEST_RATE)] = 0.0
    cooldown: Steps = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.milestones) * math.log(self.gamma) > math.log(_MOST_RISE):
            raise ValueError(
                f"gamma at {len(self.milestones)} milestones raises the rate more than "
                f"{_MOST_RISE:,.0f} times"
            )
        return self


class Loss(Section):
    """What is minimised.

    Attributes:
        kind: "l1", the mean absolute difference d; "charbonnier", the mean of sqrt(d^2 + eps^2).
        eps: of "charbonnier".
        fft: weight of the mean absolute difference of the two-dimensional Fourier transforms'
            real and imaginary parts; 0 leaves it out.
    """

    kind: Literal["l1", "charbonnier"] = "l1"
    eps: Annotated[Rate, Field(le=1_000_000)] = 1e-3
    fft: Weight = 0.0


class TestFolder(Section):
    """A test set by its folders.

    Attributes:
        name: of the set.
        hr: folder of the HR pictures.
        lr: folder of the LR pictures; None makes them by MATLAB's bicubic.
        template: of the LR pictures' names.
    """

    __test__ = False  # not a test of pytest's

    name: FolderName
    hr: Location
    lr: Location | None = None
    template: Template = "{}"


class Validation(Section):
    """The test sets that a run is measured on.

    Attributes:
        sets: each as `atdsr eval --data` takes it, or by its folders.
        every: steps between two measurements.
        strips: pictures of each set that are shown, beside bicubic and HR.
    """

    sets: tuple[TestFolder | str, ...] = ()
    every: Count = 20_000
    strips: Steps = 4


class Save(Section):
    """The states of a run.

    Attributes:
        every: steps between two states.
        keep: how many are kept, the newest.
    """

    every: Count = 10_000
    keep: Count = 3


class Log(Section):
    """What a run tells of itself.

    Attributes:
        every: steps between two lines.
        tensorboard: whether TensorBoard's files are written as well.
        wandb: project of Weights & Biases that is told as well.
    """

    every: Count = 100
    tensorboard: bool = False
    wandb: str | None = None


class Settings(Section):
    """A run in full.

    Attributes:
        name: of the run.
        output: folder of the run.
        network: what is trained.
        iterations: optimizer steps in all.
        data: the crops.
        stages: later parts with other crops, in order.
        optim: the optimizer.
        schedule: of the learning rate.
        loss: what is minimised.
        ema: decay of the moving average of the weights, which starts as a copy of them; the
            average is what is measured and given out.
        init_from: model or file to take weights from: the network from a file's `params`, the
            average from its `params_ema`, both from what a model of `atdsr models` has.
        init_strict: whether every parameter must be in that file; else those are taken whose name
            and shape match, and those of another scale's sub-pixels interpolated.
        precision: of matrix products: "fp32", "bf16" by autocast, or "fp64" throughout.
        activation_checkpointing: recompute layers in the backward pass to save memory.
        compile: run the network through `torch.compile`.
        cuda_graph: on a GPU, record a step as one CUDA graph, so that none of its kernels waits
            to be launched.
        seed: of fresh parameters and of the crops.
        validate: test sets; named so in recipes and `validation` here.
        save: the states.
        log: the lines.
        skip_limit: steps in a row that may be skipped since loss or gradient is no finite number.
    """

    model_config = ConfigDict(
        validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    name: FolderName
    output: Location
    network: ATDConfig
    iterations: Count
    data: Data
    stages: tuple[Stage, ...] = ()
    optim: Optim = Optim()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    ema: Annotated[float, Field(ge=0, lt=1), BeforeValidator(no_bool)] = 0.999
    init_from: Location | None = None
    init_strict: bool = False
    precision: Precision = "fp32"
    activation_checkpointing: bool = False
    compile: bool = False
    cuda_graph: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(no_bool)] = 0
    validation: Annotated[Validation, Field(alias="validate")] = Validation()
    save: Save = Save()
    log: Log = Log()
    skip_limit: Count = 10

    @model_validator(mode="after")
    def _check(self) -> Self:
        begins = [stage.after for stage in self.stages]
        if any(later <= earlier for earlier, later in itertools.pairwise(begins)):
            raise ValueError("stages must come in the order of `after`")
        return self

    # ------------------------------------------------------------------ functions of the step

    def learning_rate(self, step: int) -> float:
        """The rate of a step, counted from 1."""
        schedule, peak = self.schedule, self.optim.lr
        if schedule.kind == "cosine":
            wave = 0.5 * (1 + math.cos(math.pi * (step - 1) / self.iterations))
            rate = schedule.floor + (peak - schedule.floor) * wave
        else:
            rate = peak * schedule.gamma ** sum(step > after for after in schedule.milestones)
        rate *= min(1.0, step / max(1, schedule.warmup))
        remaining = self.iterations - step + 1
        return rate * min(1.0, remaining / (schedule.cooldown + 1))

    def stage(self, step: int) -> Stage:
        """The crops of a step, counted from 1."""
        stage = Stage.model_construct(after=0, patch=self.data.patch, batch=self.data.batch)
        for later in self.stages:
            stage = later if step > later.after else stage
        return stage

    def first_crop(self, step: int) -> int:
        """How many crops all steps before this one take together."""
        total = 0
        parts = [self.stage(1), *self.stages]
        ends = [*(stage.after for stage in self.stages), step - 1]
        for stage, end in zip(parts, ends, strict=True):
            total += stage.batch * max(0, min(end, step - 1) - stage.after)
        return total
