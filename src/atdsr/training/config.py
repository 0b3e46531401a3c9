"""The configuration of a run: the sections of a recipe, checked when they are created."""

import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    model_validator,
)

from atdsr.base.sections import ConfigSection, Number, PositiveFloat
from atdsr.datasets import degradations, pairs
from atdsr.datasets.degradations import Degradation
from atdsr.network.config import ATDUConfig, NetworkConfig


def _check_folder_name(text: str) -> str:
    if text in ("", ".", "..") or not text.isprintable() or any(c in text for c in "/\\:"):
        raise ValueError(
            "it becomes a folder's name, and cannot hold / or \\ or a colon, or be empty"
        )
    return text


def _expand_path(path: Path) -> Path:
    try:
        path = path.expanduser()
        path.exists()
    except RuntimeError:
        raise ValueError("there is no such user") from None
    except OSError as error:  # for example, the name is too long
        raise ValueError(f"it cannot be looked up ({error.strerror})") from None
    return path


def _check_template(text: str) -> str:
    try:
        pairs.check_template(text)
    except pairs.PairsError:
        raise ValueError("it must be a file's name with {} in it once") from None
    return text


def _unquoted_braces(value: Any) -> Any:
    """Return the template `{}` if its quotes are missing, which YAML reads as an empty mapping."""
    return "{}" if value == {} else value


def _check_degradation(value: Any) -> Any:
    if not isinstance(value, Degradation | Mapping) and value not in degradations.NAMES:
        raise ValueError(
            f"it must be {', '.join(degradations.NAMES)}, or hold the key `operations`"
        )
    return value


def _check_loss(text: str) -> str:
    if text not in _LOSSES and not _IMPORT_PATH.fullmatch(text):
        raise ValueError(
            f"it must be {' or '.join(_LOSSES)}, or a function of your own as "
            "package.module:function"
        )
    return text


_LOSSES = ("l1", "charbonnier")
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_MAX_COUNT = 1_000_000_000
_MAX_LEARNING_RATE = 10.0
_MAX_LR_GROWTH = 1e6  # by all milestones together

Precision = Literal["fp32", "bf16", "fp64"]
PositiveCount = Annotated[PositiveInt, Field(le=_MAX_COUNT), Number]
"""A whole number from 1 to a billion."""
CropCount = Annotated[PositiveInt, Field(le=65_536), Number]
"""A number of crops."""
CropSide = Annotated[PositiveInt, Field(le=8192), Number]
"""The side of a crop in pixels."""
StepCount = Annotated[int, Field(ge=0, le=_MAX_COUNT), Number]
"""A step or a number of steps; 0 for none."""
LearningRate = Annotated[PositiveFloat, Field(le=_MAX_LEARNING_RATE)]
"""A learning rate."""
NonNegativeFloat = Annotated[float, Field(ge=0, le=1_000_000), Number]
"""A number from 0 to a million."""
FolderName = Annotated[str, AfterValidator(_check_folder_name)]
"""The name of a folder, which leads nowhere else."""
UserPath = Annotated[Path, AfterValidator(_expand_path)]
"""A file or a folder; `~` is expanded."""
DegradationOrName = Annotated[
    Degradation | degradations.PresetName, BeforeValidator(_check_degradation)
]
"""A degradation, or the name of a preset."""
LossKind = Annotated[str, AfterValidator(_check_loss)]
"""The name of a loss, or where to import a function from."""
Template = Annotated[str, AfterValidator(_check_template), BeforeValidator(_unquoted_braces)]
"""The name of an LR picture without its suffix; `{}` stands for the HR picture's name."""


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the data type of parameters and crops; bf16 is that of products alone."""
    return torch.float64 if precision == "fp64" else torch.float32


class MixupConfig(ConfigSection):
    """Mixup: every crop of a batch is mixed with another one of it, LR with LR and HR with HR.

    A batch has one share L for all of its crops, and one permutation: crop i becomes L times itself
    and 1 - L times the crop that the permutation puts in its place.

    Source:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", https://arxiv.org/abs/1710.09412

    Attributes:
        probability: Share of the batches that are mixed.
        beta: Both parameters of the Beta distribution of L.
    """

    probability: Annotated[float, Field(ge=0, le=1), Number] = 0.5
    beta: Annotated[float, Field(ge=0.1, le=100), Number] = 1.2


class DataConfig(ConfigSection):
    """The crops to train on.

    Attributes:
        train: A packed set, or a folder of HR pictures, which is first packed beside itself.
        lr: Folder of LR pictures for a folder of HR pictures; None makes them by MATLAB's bicubic.
        template: Names of those LR pictures.
        crop: Side in HR pixels of the most detailed square that is packed of each picture of a
            folder; None packs whole pictures.
        min_side: Side in HR pixels that smaller pictures of a folder are extended to by their
            mirror image when they are packed, so that crops fit into them; None leaves them.
        teacher: A model's name or a file of weights; what this network makes of the LR pictures of
            a folder is packed as the target in the place of HR. None keeps HR.
        batch: Crops per step, over all devices.
        patch: Side of an LR crop in pixels at the start; `stages` may change both.
        micro_batch: The most crops that a device takes at once; their gradients are accumulated.
            None takes all crops at once.
        hflip: Mirror half of the crops left to right.
        rot: Mirror half of the crops upside down, and transpose half of them.
        candidates: Positions that are drawn in the picture for each crop; the one with the most
            detail is taken.
        degradation: How LR is made from each HR crop: the name of a preset, or its operations. None
            takes the LR pictures of the set.
        mixup: How crops are mixed with each other; None leaves them.
        residence: Where the pictures are kept: in the memory of the device ("device"), in mapped
            files ("mapped"), or on the device if they fit ("auto").
    """

    train: UserPath
    lr: UserPath | None = None
    template: Template = "{}"
    crop: PositiveCount | None = None
    min_side: CropSide | None = None
    teacher: UserPath | None = None
    batch: CropCount = 32
    patch: CropSide = 64
    micro_batch: CropCount | None = None
    hflip: bool = True
    rot: bool = True
    candidates: Annotated[PositiveCount, Field(le=256)] = 1
    degradation: DegradationOrName | None = None
    mixup: MixupConfig | None = None
    residence: Literal["auto", "device", "mapped"] = "auto"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.degradation is not None and self.lr is not None:
            raise ValueError(
                "lr names LR pictures, and degradation makes them from HR; leave one of them out"
            )
        return self

    def degradation_at(self, scale: int) -> Degradation | None:
        """Return the degradation of crops for a scale."""
        if isinstance(self.degradation, str):
            return degradations.preset(self.degradation, scale)
        return self.degradation


class StageConfig(ConfigSection):
    """A later stage of a run, with other crops.

    Attributes:
        after: The step after which the stage begins.
        patch: Side of an LR crop in pixels.
        batch: Crops per step, over all devices.
    """

    after: PositiveCount
    patch: CropSide
    batch: CropCount


class OptimizerConfig(ConfigSection):
    """The optimizer.

    Attributes:
        name: "adamw" as published for ATD. "muon" has Muon for the matrices of linear layers and
            AdamW for the other parameters, both with the same learning rate. "muon-aux-adam", as
            published for ATD-U, has Muon for all tensors of two or more axes but those of the
            first convolution, and AdamW with a rate of its own for the rest.
        lr: The highest learning rate.
        adam_lr: That of AdamW in "muon-aux-adam"; None is `lr`.
        betas: Betas of AdamW.
        eps: What AdamW adds to the root of the second moment.
        weight_decay: Weight decay of both optimizers.
        clip: Maximum norm of all gradients together; larger ones are scaled down to it.
    """

    name: Literal["adamw", "muon", "muon-aux-adam"] = "adamw"
    lr: LearningRate = 2e-4
    adam_lr: LearningRate | None = None
    betas: tuple[float, float] = (0.9, 0.9)
    eps: Annotated[PositiveFloat, Field(le=1)] = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    clip: PositiveFloat | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must be from 0 to below 1")
        if self.adam_lr is not None and self.name != "muon-aux-adam":
            raise ValueError("adam_lr is a rate of muon-aux-adam; take it out, or name that")
        return self


class ScheduleConfig(ConfigSection):
    """The learning rate schedule; steps are counted from 1.

    Attributes:
        kind: "multistep" multiplies the rate by `gamma` in every step after each milestone;
            "cosine" follows half a wave over the whole run, from `lr` towards `floor`.
        warmup: Steps W in which the rate rises linearly: step i has `i / W` of it.
        milestones: Milestones of "multistep".
        gamma: Factor of "multistep".
        floor: Lowest learning rate of "cosine".
        cooldown: Number of last steps in which the rate falls linearly towards 0.
    """

    kind: Literal["multistep", "cosine"] = "multistep"
    warmup: StepCount = 0
    milestones: tuple[StepCount, ...] = ()
    gamma: Annotated[PositiveFloat, Field(le=1000)] = 0.5
    floor: Annotated[NonNegativeFloat, Field(le=_MAX_LEARNING_RATE)] = 0.0
    cooldown: StepCount = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.milestones) * math.log(self.gamma) > math.log(_MAX_LR_GROWTH):
            raise ValueError(
                f"gamma at {len(self.milestones)} milestones raises the rate more than "
                f"{_MAX_LR_GROWTH:,.0f} times"
            )
        return self


class LossConfig(ConfigSection):
    """The loss.

    Attributes:
        kind: "l1" for the mean absolute difference d, "charbonnier" for the mean of
            sqrt(d^2 + eps^2), or a function of your own as "package.module:function", see
            `losses.loss_function`.
        eps: Constant of "charbonnier".
        fft: Weight of the mean absolute difference of the real and imaginary parts of the
            two-dimensional Fourier transforms; 0 leaves the term out.
    """

    kind: LossKind = "l1"
    eps: Annotated[PositiveFloat, Field(le=1_000_000)] = 1e-3
    fft: NonNegativeFloat = 0.0

    @property
    def is_code(self) -> bool:
        """Whether `kind` names a function that is to be imported."""
        return self.kind not in _LOSSES


class TestFolder(ConfigSection):
    """A test set, given by its folders.

    Attributes:
        name: Name of the set.
        hr: Folder of the HR pictures.
        lr: Folder of the LR pictures; None makes them by MATLAB's bicubic.
        template: Names of the LR pictures.
    """

    __test__ = False  # not a test for pytest

    name: FolderName
    hr: UserPath
    lr: UserPath | None = None
    template: Template = "{}"


class ValidationConfig(ConfigSection):
    """The test sets that a run is measured on.

    Attributes:
        sets: The sets, each as `atdsr eval --data` takes it, or given by its folders.
        every: Steps between two validations.
        strips: Number of pictures of each set that are shown beside bicubic and HR.
    """

    sets: tuple[TestFolder | str, ...] = ()
    every: PositiveCount = 20_000
    strips: StepCount = 4


class CheckpointConfig(ConfigSection):
    """The checkpoints of a run.

    Attributes:
        every: Steps between two checkpoints.
        keep: Number of newest checkpoints to keep.
    """

    every: PositiveCount = 10_000
    keep: PositiveCount = 3


class LogConfig(ConfigSection):
    """The log of a run.

    Attributes:
        every: Steps between two entries.
        tensorboard: Whether to write TensorBoard files as well.
        wandb: Project of Weights & Biases to log to as well.
    """

    every: PositiveCount = 100
    tensorboard: bool = False
    wandb: str | None = None


class TrainConfig(ConfigSection):
    """The full configuration of a run.

    Attributes:
        name: Name of the run.
        output: Folder of the run.
        network: The network to train.
        iterations: Optimizer steps of the whole run.
        data: The crops.
        stages: Later stages with other crops, in order.
        optim: The optimizer.
        schedule: The learning rate schedule.
        loss: The loss.
        ema: Decay of the exponential moving average of the weights, which starts as a copy of
            them. The average is what is validated and published; with 0, it is the weights.
        init_from: Model or file to take weights from. The network starts from a file's `params`
            and the average from its `params_ema`; a model of `atdsr models` gives both the same.
        init_strict: Whether the file must have every parameter. Otherwise parameters are taken
            whose name and shape match, and sub-pixels of another scale are interpolated.
        precision: Precision of matrix products: "fp32", "bf16" with sums in float32, or "fp64"
            throughout.
        activation_checkpointing: Recompute layers in the backward pass to save memory.
        compile: Run the network through `torch.compile`.
        cuda_graph: On a GPU, record a step as one CUDA graph, so that none of its kernels waits
            to be launched.
        seed: Seed of fresh parameters and of the crops.
        validation: The test sets. The key in recipes is `validate`.
        save: The checkpoints.
        log: The log.
        skip_limit: Number of steps in a row that may be skipped because loss or gradient is not
            finite.
    """

    model_config = ConfigDict(
        validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    name: FolderName
    output: UserPath
    network: NetworkConfig
    iterations: PositiveCount
    data: DataConfig
    stages: tuple[StageConfig, ...] = ()
    optim: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    ema: Annotated[float, Field(ge=0, lt=1), Number] = 0.999
    init_from: UserPath | None = None
    init_strict: bool = False
    precision: Precision = "fp32"
    activation_checkpointing: bool = False
    compile: bool = False
    cuda_graph: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**63), Number] = 0
    validation: Annotated[ValidationConfig, Field(alias="validate")] = ValidationConfig()
    save: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    skip_limit: PositiveCount = 10

    @model_validator(mode="after")
    def _check(self) -> Self:
        starts = [stage.after for stage in self.stages]
        if any(later <= earlier for earlier, later in itertools.pairwise(starts)):
            raise ValueError("stages must come in the order of `after`")
        if self.restores:
            self._check_restoration()
        return self

    def _check_restoration(self) -> None:
        """Refuse what only networks that enlarge can be trained with.

        Raises:
            ValueError: With the key.
        """
        data = self.data
        if data.degradation is None:
            raise ValueError(
                "an ATD-U restores pictures, and data.degradation must say what is done to them, "
                "such as {operations: [{kind: jpeg, quality: [10, 40]}]}"
            )
        if data.teacher is not None:
            raise ValueError("data.teacher makes targets for networks that enlarge; take it out")
        if data.candidates > 1:
            raise ValueError(
                "data.candidates weighs what is lost in LR, which an ATD-U has not; set it to 1"
            )
        if any(isinstance(each, TestFolder) and each.lr for each in self.validation.sets):
            raise ValueError(
                "a set of validate.sets has lr; for an ATD-U data.degradation makes the pictures, "
                "so take it out"
            )

    @property
    def restores(self) -> bool:
        """Whether the network restores pictures, and does not enlarge them."""
        return isinstance(self.network, ATDUConfig)

    @property
    def channels(self) -> int:
        """Channels of the crops, 3 for RGB and 1 for gray."""
        return self.network.channels if isinstance(self.network, ATDUConfig) else 3

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        schedule, peak = self.schedule, self.optim.lr
        if schedule.kind == "cosine":
            wave = 0.5 * (1 + math.cos(math.pi * (step - 1) / self.iterations))
            rate = schedule.floor + (peak - schedule.floor) * wave
        else:
            rate = peak * schedule.gamma ** sum(step > after for after in schedule.milestones)
        rate *= min(1.0, step / max(1, schedule.warmup))
        remaining = self.iterations - step + 1
        return rate * min(1.0, remaining / (schedule.cooldown + 1))

    def stage(self, step: int) -> StageConfig:
        """Return the stage of a step, counted from 1."""
        stage = StageConfig.model_construct(after=0, patch=self.data.patch, batch=self.data.batch)
        for later in self.stages:
            stage = later if step > later.after else stage
        return stage

    def first_crop(self, step: int) -> int:
        """Return how many crops all steps before this one take together."""
        total = 0
        stages = [self.stage(1), *self.stages]
        ends = [*(stage.after for stage in self.stages), step - 1]
        for stage, end in zip(stages, ends, strict=True):
            total += stage.batch * max(0, min(end, step - 1) - stage.after)
        return total
