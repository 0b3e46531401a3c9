"""The sections of option files, for testing and for training, with all of their keys.

Each key is a field of its section, or has no bearing on the result and is ignored, or is refused.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from atdsr.base.errors import nearest, short
from atdsr.datasets.degradations.config import Level, Quality
from atdsr.network.config import Head
from atdsr.training.config import FolderName, NonNegativeFloat, Number, Template, UserPath
from atdsr.training.config_errors import section_error


def _check_part_of_name(text: str) -> str:
    if not text.isprintable() or any(character in text for character in "/\\:"):
        raise ValueError("it becomes part of a file's name, and cannot hold / or \\ or a colon")
    return text


_Size = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
_Factor = Annotated[float, Field(gt=0, le=1_000_000)]
_Steps = Annotated[int, Number, Field(ge=1, le=1_000_000_000)]
_One = Annotated[float, Number, Field(ge=1, le=1)]
_PartOfName = Annotated[str, AfterValidator(_check_part_of_name)]

ADAM_EPS = 1e-8
Metrics = dict[str, dict[str, Any]]


class Section(BaseModel):
    """A mapping in an option file, which refuses unknown keys."""

    ignored: ClassVar[str] = ""
    """Keys, between spaces, that have no bearing on the result."""
    unsupported: ClassVar[dict[str, str]] = {}
    """Keys that have and are refused, with what to do instead; no value (`~`) is fine."""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise section_error("it must hold `key: value` lines.")
        names = [*cls.model_fields, *cls.ignored.split()]
        for key, value in values.items():
            if key in cls.unsupported and value is not None:
                raise section_error(f"{key} is not supported: {cls.unsupported[key]}.")
            if key not in names and key not in cls.unsupported:
                name = nearest(key, names)
                hint = f"did you mean {name!r}?" if name else "take it out if nothing needs it."
                raise section_error(f"there is no key {short(key)}; {hint}")
        return {key: value for key, value in values.items() if key in cls.model_fields}


# ------------------------------------------------------------------------------------- of both


class _Backend(Section):
    type: Literal["disk"] = "disk"


_LOADER_KEYS = (
    "phase scale use_shuffle num_worker_per_gpu dataset_enlarge_ratio prefetch_mode "
    "num_prefetch_queue pin_memory persistent_workers"
)


class _Dataset(Section):
    ignored = _LOADER_KEYS
    unsupported: ClassVar[dict[str, str]] = {
        "meta_info_file": "put the pictures of the set in a folder of their own",
        "color": "the network takes RGB",
        "mean": "the network subtracts its own mean colour",
        "std": "the network takes samples as they are",
    }

    type: Literal["PairedImageDataset"]
    dataroot_gt: UserPath
    dataroot_lq: UserPath | None = None
    filename_tmpl: Template = "{}"
    io_backend: _Backend = _Backend()


class TestDataset(_Dataset):
    """A test set."""

    __test__ = False  # not a test for pytest

    ignored = f"{_Dataset.ignored} gt_size use_hflip use_rot batch_size_per_gpu"

    name: FolderName


class _Network(Section):
    """The arguments of the official network, with their defaults there."""

    ignored = "img_size patch_size"

    type: Literal["ATD"]
    upscale: _Size = 2
    in_chans: Literal[3] = 3
    embed_dim: _Size = 90
    depths: tuple[_Size, ...] = (6, 6, 6, 6)
    num_heads: tuple[_Size, ...] = (6, 6, 6, 6)
    window_size: _Size = 8
    dim_ffn_td: _Size | None = None  # an ATD v2 has it; without it the file is for an ATD
    category_size: _Size = 128
    num_tokens: _Size = 64
    reducted_dim: _Size = 4
    convffn_kernel_size: _Size = 5
    mlp_ratio: _Factor = 2.0
    qkv_bias: Literal[True] = True
    ape: Literal[False] = False
    patch_norm: Literal[True] = True
    img_range: _Factor = 1.0
    upsampler: Head
    resi_connection: Literal["1conv"] = "1conv"
    use_checkpoint: bool = False


class _Paths(Section):
    ignored = (
        "ignore_resume_networks experiments_root results_root models training_states log "
        "visualization"
    )

    strict_load_g: bool = True


class FileSchema(Section):
    """What a file for testing and one for training have in common."""

    ignored = (
        "dist dist_params launcher rank world_size auto_resume is_train find_unused_parameters"
    )

    name: FolderName
    model_type: Literal["ATDModel", "SRModel"] = "ATDModel"
    scale: _Size
    network_g: _Network


# ---------------------------------------------------------------------------------- of testing


class _TestPaths(_Paths):
    ignored = f"{_Paths.ignored} resume_state"

    pretrain_network_g: UserPath
    param_key_g: Literal["params", "params_ema"] | None = "params"


class _TestValidation(Section):
    ignored = "val_freq pbar use_pbar"

    save_img: bool = False
    suffix: _PartOfName | None = None
    metrics: Metrics | None = None


class TestFileSchema(FileSchema):
    """A file for testing."""

    __test__ = False  # not a test for pytest

    ignored = f"{FileSchema.ignored} num_gpu manual_seed logger"
    unsupported: ClassVar[dict[str, str]] = {"tile": "give --tile to the command"}

    datasets: dict[str, TestDataset]
    path: _TestPaths
    val: _TestValidation = _TestValidation()


# --------------------------------------------------------------------------------- of training


class _TrainDataset(_Dataset):
    ignored = f"{_Dataset.ignored} name"
    unsupported: ClassVar[dict[str, str]] = {
        **_Dataset.unsupported,
        **dict.fromkeys(
            ("gt_sizes", "iters", "mini_batch_sizes"),
            "take it out and give --set 'stages=[{after: STEP, patch: SIDE, batch: CROPS}]'",
        ),
    }

    gt_size: _Size
    use_hflip: bool
    use_rot: bool
    batch_size_per_gpu: _Size


class _PhasedDatasets(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _check_phases(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise section_error("it must hold `key: value` lines.")
        for key in values:
            if key != "train" and str(key).split("_")[0] != "val":
                raise section_error(
                    f"there is no key {short(key)}; sets are called train, val_1, val_2 and so on."
                )
        return values


class _TrainDatasets(_PhasedDatasets):
    train: _TrainDataset


class TestDatasets(BaseModel):
    """The datasets besides the one to train on."""

    __test__ = False  # not a test for pytest

    datasets: dict[str, TestDataset]


class _TrainPaths(_Paths):
    unsupported: ClassVar[dict[str, str]] = {
        "resume_state": "a run goes on by itself where its folder has a state, so take the key out"
    }

    pretrain_network_g: UserPath | None = None
    param_key_g: str | None = "params"


class _Optimizer(Section):
    type: Literal["AdamW", "Adam"]
    lr: Annotated[NonNegativeFloat, Field(gt=0)]
    betas: tuple[NonNegativeFloat, NonNegativeFloat] = (0.9, 0.999)
    weight_decay: NonNegativeFloat | None = None
    eps: NonNegativeFloat = ADAM_EPS
    amsgrad: Literal[False] = False


class _Scheduler(Section):
    type: Literal[
        "MultiStepLR", "MultiStepRestartLR", "CosineAnnealingRestartLR", "TrueCosineAnnealingLR"
    ]
    milestones: tuple[_Steps, ...] | None = None
    gamma: _Factor = 0.1
    restarts: tuple[Literal[0]] = (0,)
    restart_weights: tuple[_One] = (1,)
    periods: tuple[_Steps, ...] | None = None
    T_max: _Steps | None = None
    eta_min: NonNegativeFloat = 0.0


class _PixelLoss(Section):
    type: Literal["L1Loss", "CharbonnierLoss"]
    loss_weight: NonNegativeFloat = 1.0
    reduction: Literal["mean"] = "mean"
    eps: _Factor = 1e-12


class _FourierLoss(Section):
    type: Literal["FFTLoss"]
    loss_weight: NonNegativeFloat = 1.0
    reduction: Literal["mean"] = "mean"


class TrainSchema(Section):
    """What the section `train` has in all files."""

    unsupported: ClassVar[dict[str, str]] = dict.fromkeys(
        ("perceptual_opt", "gan_opt", "ldl_opt", "optim_d", "net_d_iters", "net_d_init_iters"),
        "the losses here are pixel_opt and fft_opt",
    )

    use_fp16: bool = False
    ema_decay: Annotated[NonNegativeFloat, Field(lt=1)] = 0.0
    scheduler: _Scheduler
    total_iter: _Steps
    warmup_iter: Annotated[int, Number, Field(ge=-1, le=1_000_000_000)] = -1
    use_grad_clip: bool = False
    pixel_opt: _PixelLoss
    fft_opt: _FourierLoss | None = None


class EnlargerTrainSchema(TrainSchema):
    """The section `train` of a file for an ATD."""

    unsupported: ClassVar[dict[str, str]] = {
        **TrainSchema.unsupported,
        "mixing_augs": "take it out and give --set 'data.mixup={beta: 1.2}'",
    }

    optim_g: _Optimizer


class _TrainValidation(Section):
    ignored = "suffix pbar use_pbar"

    val_freq: _Steps
    save_img: bool = False
    metrics: Metrics | None = None


class _Wandb(Section):
    ignored = "resume_id"

    project: str | None = None


class _Logger(Section):
    print_freq: _Steps
    save_checkpoint_freq: _Steps
    use_tb_logger: bool = False
    wandb: _Wandb | None = None


_DeviceCount = Literal["auto"] | Annotated[int, Number, Field(ge=0, le=1_000_000)]
_Seed = Annotated[int, Number, Field(ge=0)]


class TrainingFileSchema(FileSchema):
    """A file for training."""

    unsupported: ClassVar[dict[str, str]] = {
        "network_d": "there is no discriminator here; the losses are train.pixel_opt and fft_opt"
    }

    num_gpu: _DeviceCount
    manual_seed: _Seed | None = None
    datasets: _TrainDatasets
    path: _TrainPaths = _TrainPaths()
    train: EnlargerTrainSchema
    val: _TrainValidation | None = None
    logger: _Logger | None = None


# ------------------------------------------------------------------------ of training an ATD-U


def _check_one_for_all(values: Any) -> Any:
    """Return the number that all levels have, of a list with one for each."""
    if not isinstance(values, list):
        return values
    if len(set(map(str, values))) != 1:
        raise ValueError("it must be the same number for all levels")
    return values[0]


_OneForAll = Annotated[_Size, BeforeValidator(_check_one_for_all)]
_Levels = tuple[_Size, ...]


class _Restorer(Section):
    """The arguments of the official ATD-U; no file uses the defaults that they have there."""

    ignored = "img_size"

    type: Literal["ATDUNet"]
    upscale: Literal[1] = 1
    in_chans: Literal[1, 3]
    embed_dim: _Size
    depths: _Levels
    num_heads: _Levels
    window_size: _Levels
    dim_ffn_td: _Levels
    category_size: _OneForAll
    num_tokens: _OneForAll
    reducted_dim: _Levels
    convffn_kernel_size: _Size
    bias: Literal[False]
    img_range: _One = 1
    mlp_ratio: _Factor
    use_checkpoint: bool = False


class _DegradedDataset(Section):
    """Pictures that are degraded when they are read."""

    ignored = f"{_LOADER_KEYS} dataroot_lq filename_tmpl"
    unsupported: ClassVar[dict[str, str]] = {
        key: _Dataset.unsupported[key] for key in ("meta_info_file", "mean", "std")
    }

    name: FolderName
    type: Literal["Dataset_GaussianDenoising", "Dataset_JPEGCAR"]
    in_ch: Literal[1, 3]
    dataroot_gt: UserPath
    quality_factor: Quality | None = None
    io_backend: _Backend = _Backend()


class RestorerTrainDataset(_DegradedDataset):
    """The pictures to train an ATD-U on."""

    sigma_type: Literal["constant"] = "constant"
    sigma_range: Level | None = None
    geometric_augs: bool
    batch_size_per_gpu: _Size
    gt_size: _Size
    gt_sizes: tuple[_Size, ...]
    mini_batch_sizes: tuple[_Size, ...]
    iters: tuple[_Steps, ...]


class RestorerTestDataset(_DegradedDataset):
    """A test set of an ATD-U."""

    sigma_test: Level | None = None


class RestorerTestDatasets(BaseModel):
    """The datasets besides the one to train on."""

    datasets: dict[str, RestorerTestDataset]


class _RestorerDatasets(_PhasedDatasets):
    train: RestorerTrainDataset


class _RestorerOptimizer(Section):
    type: Literal["MUON"]
    lr: tuple[Annotated[NonNegativeFloat, Field(gt=0)], Annotated[NonNegativeFloat, Field(gt=0)]]


class _Mixing(Section):
    mixup: bool
    mixup_beta: _Factor = 1.2
    use_identity: bool = False


class RestorerTrainSchema(TrainSchema):
    """The section `train` of a file for an ATD-U."""

    optim_g: _RestorerOptimizer
    mixing_augs: _Mixing | None = None


class RestorerFileSchema(Section):
    """A file for training an ATD-U."""

    ignored = FileSchema.ignored
    unsupported = TrainingFileSchema.unsupported

    name: FolderName
    model_type: Literal["ATDUNetModel"]
    scale: Literal[1]
    network_g: _Restorer
    num_gpu: _DeviceCount
    manual_seed: _Seed | None = None
    datasets: _RestorerDatasets
    path: _TrainPaths = _TrainPaths()
    train: RestorerTrainSchema
    val: _TrainValidation | None = None
    logger: _Logger | None = None
