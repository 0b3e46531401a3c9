"""Option files for training, turned into the values of a recipe."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from atdsr.base.errors import short
from atdsr.training import recipes
from atdsr.training.basicsr import sections
from atdsr.training.basicsr.sections import BasicSRError, Section, located
from atdsr.training.config import FolderName, TrainConfig, UserPath, reject_bool
from atdsr.training.config_errors import section_error
from atdsr.training.recipes import PartialRecipe, RecipeError


@dataclass(frozen=True)
class TrainingOptions:
    """What an option file for training asks for.

    Attributes:
        config: the run.
        notes: sentences about what is done otherwise than the file or the official code says, for
            the user to read.
    """

    config: TrainConfig
    notes: tuple[str, ...]


def read_training(path: str | Path, overrides: Sequence[str] = ()) -> TrainingOptions:
    """Read an option file for training.

    Paths in it are as seen from where the command runs; what is not there is looked for from the
    folder that holds the file's `options` folder. The run goes to `experiments/NAME`, seen from
    where the command runs.

    Args:
        path: the file.
        overrides: as of `recipes.load`, with the keys of recipes.

    Raises:
        BasicSRError: not a YAML mapping of plain values, a file for testing, a network that is no
            ATD, an unknown key (the nearest known one is named), a missing one, a value of the
            wrong kind, one that would change the result and is not supported, or an override that
            is wrong.
    """
    path = Path(path)
    with sections.following(path) as content:
        if "train" not in content and "test" in sections.phases(content):
            raise BasicSRError(
                f"this is an option file for testing; `atdsr eval -opt {path}` takes it."
            )
        sections.refuse_other_networks(content)
        wanted = _Options.model_validate(content)
        tests = {key: value for key, value in content["datasets"].items() if key != "train"}
        tests = _Tests.model_validate({"datasets": tests}).datasets if wanted.val else {}
        sections.check_names(tests)
        content = {**_recipe(wanted, path), **_validate(wanted, tests, path)}
        notes = [*_notes(wanted), *sections.made_pictures(tests)]
        if wanted.val:
            notes += sections.check_metrics(wanted.val.metrics, wanted.scale)
    recipe = PartialRecipe({str(path): content})
    try:
        config = recipes.resolve(recipe, overrides, name=wanted.name, source=str(path))
    except RecipeError as error:
        raise BasicSRError(str(error)) from None
    return TrainingOptions(config, tuple(notes))


# ------------------------------------------------------------- what a file may hold, key by key


_Steps = Annotated[int, BeforeValidator(reject_bool), Field(ge=1, le=1_000_000_000)]
_Weight = Annotated[float, BeforeValidator(reject_bool), Field(ge=0, le=1_000_000)]
_One = Annotated[float, BeforeValidator(reject_bool), Field(ge=1, le=1)]
_ADAMW_DECAY = 0.01
_ADAM_EPS = 1e-8
_FORKS_CLIP = 0.01


class _TrainingSet(sections.Dataset):
    passed_over = (
        "name phase scale use_shuffle num_worker_per_gpu dataset_enlarge_ratio prefetch_mode "
        "num_prefetch_queue pin_memory persistent_workers"
    )
    instead: ClassVar[dict[str, str]] = {
        **sections.Dataset.instead,
        **dict.fromkeys(
            ("gt_sizes", "iters", "mini_batch_sizes"),
            "take it out and give --set 'stages=[{after: STEP, patch: SIDE, batch: CROPS}]'",
        ),
    }

    gt_size: sections.Count
    use_hflip: bool
    use_rot: bool
    batch_size_per_gpu: sections.Count


class _Datasets(BaseModel):
    train: _TrainingSet

    @model_validator(mode="before")
    @classmethod
    def _known_phases(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise section_error("it must hold `key: value` lines.")
        for key in values:
            if key != "train" and str(key).split("_")[0] != "val":
                raise section_error(
                    f"there is no key {short(key)}; sets are called train, val_1, val_2 and so on."
                )
        return values


class _Tests(BaseModel):
    """The datasets besides that to train on."""

    datasets: dict[str, sections.TestDataset]


class _Network(sections.Network):
    passed_over = "img_size patch_size"

    use_checkpoint: bool = False


class _Paths(Section):
    passed_over = (
        "ignore_resume_networks experiments_root results_root models training_states log "
        "visualization"
    )
    instead: ClassVar[dict[str, str]] = {
        "resume_state": "a run goes on by itself where its folder has a state, so take the key out"
    }

    pretrain_network_g: UserPath | None = None
    strict_load_g: bool = True
    param_key_g: str | None = "params"


class _Optimizer(Section):
    type: Literal["AdamW", "Adam"]
    lr: Annotated[_Weight, Field(gt=0)]
    betas: tuple[_Weight, _Weight] = (0.9, 0.999)
    weight_decay: _Weight | None = None
    eps: _Weight = _ADAM_EPS
    amsgrad: Literal[False] = False


class _Scheduler(Section):
    type: Literal[
        "MultiStepLR", "MultiStepRestartLR", "CosineAnnealingRestartLR", "TrueCosineAnnealingLR"
    ]
    milestones: tuple[_Steps, ...] | None = None
    gamma: sections.Factor = 0.1
    restarts: tuple[Literal[0]] = (0,)
    restart_weights: tuple[_One] = (1,)
    periods: tuple[_Steps, ...] | None = None
    T_max: _Steps | None = None
    eta_min: _Weight = 0.0


class _PixelLoss(Section):
    type: Literal["L1Loss", "CharbonnierLoss"]
    loss_weight: _Weight = 1.0
    reduction: Literal["mean"] = "mean"
    eps: sections.Factor = 1e-12


class _FourierLoss(Section):
    type: Literal["FFTLoss"]
    loss_weight: _Weight = 1.0
    reduction: Literal["mean"] = "mean"


class _Training(Section):
    instead: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            ("perceptual_opt", "gan_opt", "ldl_opt", "optim_d", "net_d_iters", "net_d_init_iters"),
            "the losses here are pixel_opt and fft_opt",
        ),
        "mixing_augs": "crops are mirrored and transposed, never mixed",
    }

    ema_decay: Annotated[_Weight, Field(lt=1)] = 0.0
    optim_g: _Optimizer
    scheduler: _Scheduler
    total_iter: _Steps
    warmup_iter: Annotated[int, BeforeValidator(reject_bool), Field(ge=-1, le=1_000_000_000)] = -1
    use_grad_clip: bool = False
    pixel_opt: _PixelLoss
    fft_opt: _FourierLoss | None = None


class _Validation(Section):
    passed_over = "suffix pbar use_pbar"

    val_freq: _Steps
    save_img: bool = False
    metrics: sections.Metrics | None = None


class _Wandb(Section):
    passed_over = "resume_id"

    project: str | None = None


class _Logger(Section):
    print_freq: _Steps
    save_checkpoint_freq: _Steps
    use_tb_logger: bool = False
    wandb: _Wandb | None = None


class _Options(Section):
    passed_over = (
        "dist dist_params launcher rank world_size auto_resume is_train find_unused_parameters"
    )
    instead: ClassVar[dict[str, str]] = {
        "network_d": "there is no discriminator here; the losses are train.pixel_opt and fft_opt"
    }

    name: FolderName
    model_type: Literal["ATDModel", "SRModel"] = "ATDModel"
    scale: sections.Count
    num_gpu: (
        Literal["auto"] | Annotated[int, BeforeValidator(reject_bool), Field(ge=0, le=1_000_000)]
    )
    manual_seed: Annotated[int, BeforeValidator(reject_bool), Field(ge=0)] | None = None
    datasets: _Datasets
    network_g: _Network
    path: _Paths = _Paths()
    train: _Training
    val: _Validation | None = None
    logger: _Logger | None = None


# ---------------------------------------------------------------------- from options to a recipe


def _recipe(wanted: _Options, file: Path) -> dict[str, Any]:
    """The values of the recipe that says the same.

    Raises:
        BasicSRError: something would change the result and is not supported.
    """
    network = asdict(wanted.network_g.config(wanted.scale))
    scale = network.pop("scale")
    train = wanted.train
    content = {
        "name": wanted.name,
        "model": network,
        "scale": scale,
        "iterations": train.total_iter,
        "data": _data(wanted, file),
        "optim": _optim(train),
        "schedule": _schedule(train),
        "loss": _loss(train),
        "ema": train.ema_decay,
        **_start(wanted.path, file),
        "activation_checkpointing": wanted.network_g.use_checkpoint,
        "seed": wanted.manual_seed or 0,
    }
    if wanted.logger is not None:
        wandb = wanted.logger.wandb
        content["save"] = {"every": wanted.logger.save_checkpoint_freq}
        content["log"] = {
            "every": wanted.logger.print_freq,
            "tensorboard": wanted.logger.use_tb_logger,
            "wandb": wandb.project if wandb else None,
        }
    return content


def _devices(num_gpu: int | Literal["auto"]) -> int:
    return max(1, torch.cuda.device_count() if num_gpu == "auto" else num_gpu)


def _data(wanted: _Options, file: Path) -> dict[str, Any]:
    dataset = wanted.datasets.train
    patch, rest = divmod(dataset.gt_size, wanted.scale)
    if rest or not patch:
        raise BasicSRError(
            f"datasets.train.gt_size is {dataset.gt_size}; it must be a multiple of the scale "
            f"{wanted.scale}."
        )
    lr = dataset.dataroot_lq
    return {
        "train": str(located(dataset.dataroot_gt, file)),
        "lr": str(located(lr, file)) if lr else None,
        "template": dataset.filename_tmpl,
        "batch": dataset.batch_size_per_gpu * _devices(wanted.num_gpu),
        "patch": patch,
        "hflip": dataset.use_hflip,
        "rot": dataset.use_rot,
    }


def _start(paths: _Paths, file: Path) -> dict[str, Any]:
    weights = paths.pretrain_network_g
    if weights is not None and paths.param_key_g not in ("params", None):
        raise BasicSRError(
            f"path.param_key_g is {short(paths.param_key_g)}; the network starts from a "
            "file's params and its average from params_ema. To start from the average alone, make "
            f"a file of it (`atdsr convert {weights} average.safetensors`), name that and take the "
            "key out."
        )
    return {
        "init_from": str(located(weights, file)) if weights else None,
        "init_strict": paths.strict_load_g,
    }


def _optim(train: _Training) -> dict[str, Any]:
    wanted = train.optim_g
    decay = wanted.weight_decay
    if decay is None:
        decay = _ADAMW_DECAY if wanted.type == "AdamW" else 0.0
    if wanted.type == "Adam" and decay:
        raise BasicSRError(
            f"train.optim_g.weight_decay is {decay}; Adam's decay is not that of AdamW, which "
            "this trainer has. Write type: AdamW, or weight_decay: 0."
        )
    if wanted.eps != _ADAM_EPS:
        raise BasicSRError(f"train.optim_g.eps is {wanted.eps}; it must be {_ADAM_EPS}.")
    return {
        "name": "adamw",
        "lr": wanted.lr,
        "betas": list(wanted.betas),
        "weight_decay": decay,
        "clip": _FORKS_CLIP if train.use_grad_clip else None,
    }


_KEYS_OF_SCHEDULERS = {
    "MultiStepLR": {"milestones", "gamma", "restarts", "restart_weights"},
    "MultiStepRestartLR": {"milestones", "gamma", "restarts", "restart_weights"},
    "CosineAnnealingRestartLR": {"periods", "restart_weights", "eta_min"},
    "TrueCosineAnnealingLR": {"T_max", "eta_min"},
}


def _schedule(train: _Training) -> dict[str, Any]:
    wanted, warmup = train.scheduler, max(0, train.warmup_iter)
    own = _KEYS_OF_SCHEDULERS[wanted.type]
    for key in sorted(wanted.model_fields_set - own - {"type"}):
        raise BasicSRError(f"train.scheduler.{key} is no key of {wanted.type}; take it out.")
    if "milestones" in own:
        if wanted.milestones is None:
            raise BasicSRError("the key train.scheduler.milestones is missing.")
        for milestone in wanted.milestones:
            if milestone < warmup - 1:
                raise BasicSRError(
                    f"train.scheduler.milestones has {milestone}, inside the warm-up of {warmup} "
                    "steps, which the official code passes over; take it out."
                )
        return {"warmup": warmup, "milestones": list(wanted.milestones), "gamma": wanted.gamma}
    key, period = "T_max", (wanted.T_max,)
    if "periods" in own:
        key, period = "periods", wanted.periods
    if period != (train.total_iter,):
        raise BasicSRError(
            f"train.scheduler.{key} must be train.total_iter, {train.total_iter}: the cosine here "
            "is one over the whole run."
        )
    return {"kind": "cosine", "warmup": warmup, "floor": wanted.eta_min}


def _loss(train: _Training) -> dict[str, Any]:
    wanted = train.pixel_opt
    if wanted.loss_weight != 1:
        raise BasicSRError(
            f"train.pixel_opt.loss_weight is {wanted.loss_weight}; it must be 1, as AdamW takes "
            "equal steps for any. Divide the weight of fft_opt by it where there is one."
        )
    loss: dict[str, Any] = {"fft": train.fft_opt.loss_weight if train.fft_opt else 0.0}
    if wanted.type == "CharbonnierLoss":  # the official eps stands under the root as it is
        return {"kind": "charbonnier", "eps": math.sqrt(wanted.eps), **loss}
    if "eps" in wanted.model_fields_set:
        raise BasicSRError("train.pixel_opt.eps is no key of L1Loss; take it out.")
    return {"kind": "l1", **loss}


def _validate(
    wanted: _Options, tests: Mapping[str, sections.TestDataset], file: Path
) -> dict[str, Any]:
    if wanted.val is None:
        return {}
    sets = [each.model_dump(mode="json") for each in sections.test_folders(tests, file)]
    return {"validate": {"every": wanted.val.val_freq, "sets": sets}}


def _notes(wanted: _Options) -> Iterator[str]:
    """Sentences about what is done otherwise."""
    train, dataset = wanted.train, wanted.datasets.train
    if wanted.num_gpu == "auto":
        devices = _devices("auto")
        yield (
            f"num_gpu is auto, which is {devices} here: a batch has "
            f"{dataset.batch_size_per_gpu * devices} crops; data.batch sets them."
        )
    if wanted.manual_seed is None:
        yield "manual_seed is missing; the official code draws one, here it is 0."
    if dataset.dataroot_lq is None:
        yield "datasets.train has no dataroot_lq; LR pictures are made by MATLAB's bicubic."
    if train.warmup_iter > 1:
        warmup = train.warmup_iter
        if train.scheduler.type.startswith("MultiStep"):
            yield (
                f"After train.warmup_iter, {warmup} steps, the rate is lr; the official code stays "
                f"at lr * {warmup - 1} / {warmup}."
            )
        else:
            yield (
                f"During train.warmup_iter, {warmup} steps, the rate is the cosine times the ramp; "
                "in the official code it is lr times the ramp, and the cosine comes after."
            )
    if train.ema_decay == 0:
        yield "train.ema_decay is 0: params_ema of the files that are written equals params."
    if train.use_grad_clip:
        yield f"train.use_grad_clip shortens the gradients to {_FORKS_CLIP}, as in its forks."
    if train.fft_opt is not None:
        yield (
            "train.fft_opt is the mean absolute difference of real and imaginary parts, without "
            "normalisation; see whether your fork's FFTLoss is too."
        )
    if wanted.val is not None and wanted.val.save_img:
        yield "val.save_img: parts of the pictures are written as strips, not each picture."
    if "debug" in wanted.name:
        yield (
            f"name is {wanted.name}; the official code would measure, save and log every few steps "
            "for its `debug`, here all is as written."
        )
