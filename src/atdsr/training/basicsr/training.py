"""Reads option files for training and turns them into recipes."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from atdsr.base.errors import short
from atdsr.datasets import SIDE_MULTIPLE
from atdsr.network.config import U_NETWORK
from atdsr.training import recipes
from atdsr.training.basicsr import reading
from atdsr.training.basicsr.reading import BasicSRError
from atdsr.training.basicsr.sections import (
    EnlargerTrainSchema,
    Metrics,
    RestorerFileSchema,
    RestorerTestDataset,
    RestorerTestDatasets,
    RestorerTrainDataset,
    TestDatasets,
    TrainingFileSchema,
    TrainSchema,
)
from atdsr.training.config import TrainConfig
from atdsr.training.recipes import PartialRecipe, RecipeError

_ADAMW_DECAY = 0.01  # PyTorch's default
_CLIP = 0.01


@dataclass(frozen=True)
class TrainingOptions:
    """What an option file for training asks for.

    Attributes:
        config: Configuration of the run.
        notes: Sentences for the user about what is done otherwise than the file or the official
            code says.
    """

    config: TrainConfig
    notes: tuple[str, ...]


def read_training(
    path: str | Path, overrides: Sequence[str] = (), *, allow_code: bool = False
) -> TrainingOptions:
    """Read an option file for training.

    Paths in it are relative to the working directory. What does not exist there is looked for in
    the folder that holds the file's `options` folder. The run goes to `experiments/NAME` in the
    working directory.

    Args:
        path: The file.
        overrides: As for `recipes.load`, with the keys of recipes.
        allow_code: As for `recipes.load`.

    Raises:
        BasicSRError: The file is no YAML mapping of plain values, is one for testing, is for a
            network that is no ATD, or has an unknown key (the nearest known one is named), a
            missing one, a value of the wrong kind, or one that would change the result and is not
            supported; or an override is wrong.
    """
    path = Path(path)
    with reading.option_file(path, (reading.ATD, reading.ATD_U)) as content:
        if "train" not in content and "test" in reading.phases(content):
            raise BasicSRError(
                f"this is an option file for testing; `atdsr eval -opt {path}` takes it."
            )
        network = content.get("network_g")
        restores = isinstance(network, dict) and network.get("type") == reading.ATD_U
        recipe, notes = (_restorer if restores else _enlarger)(content, path)
    try:
        config = recipes.resolve(
            PartialRecipe({str(path): recipe}),
            overrides,
            name=recipe["name"],
            source=str(path),
            allow_code=allow_code,
        )
    except RecipeError as error:
        raise BasicSRError(str(error)) from None
    return TrainingOptions(config, tuple(notes))


Recipe = tuple[dict[str, Any], list[str]]
"""A recipe that says the same as an option file, and the notes."""
AnyFile = TrainingFileSchema | RestorerFileSchema


def _enlarger(content: dict[Any, Any], file: Path) -> Recipe:
    """Return the recipe and the notes of a file for an ATD.

    Raises:
        BasicSRError: Something would change the result and is not supported.
    """
    options = TrainingFileSchema.model_validate(content)
    network = reading.network_config(options).to_dict()
    recipe = {
        "scale": network.pop("scale"),
        "model": network,
        "data": _data(options, file),
        "optim": _optimizer(options.train),
        **_common(options, file),
    }
    notes = [*_enlarger_notes(options), *_notes(options)]
    if options.val is not None:
        datasets = TestDatasets.model_validate(_test_sets(content)).datasets
        sets = reading.find_test_folders(datasets, file)
        notes += reading.evaluation_notes(sets, options.val.metrics, options.scale)
        recipe["validate"] = {
            "every": options.val.val_freq,
            "sets": [test_set.model_dump(mode="json") for test_set in sets],
        }
    return recipe, notes


def _test_sets(content: dict[Any, Any]) -> dict[str, Any]:
    """Return the datasets besides the one to train on."""
    return {"datasets": {key: v for key, v in content["datasets"].items() if key != "train"}}


def _common(options: AnyFile, file: Path) -> dict[str, Any]:
    """Return what the recipes of all files have in common."""
    train, logger = options.train, options.logger
    recipe = {
        "name": options.name,
        "iterations": train.total_iter,
        "schedule": _schedule(train),
        "loss": _loss(train),
        "ema": train.ema_decay,
        "init_from": _initial_weights(options, file),
        "init_strict": options.path.strict_load_g,
        "activation_checkpointing": options.network_g.use_checkpoint,
        "seed": options.manual_seed or 0,
    }
    if logger is not None:
        recipe["save"] = {"every": logger.save_checkpoint_freq}
        recipe["log"] = {
            "every": logger.print_freq,
            "tensorboard": logger.use_tb_logger,
            "wandb": logger.wandb.project if logger.wandb else None,
        }
    return recipe


def _device_count(options: AnyFile) -> int:
    return max(1, torch.cuda.device_count() if options.num_gpu == "auto" else options.num_gpu)


def _data(options: TrainingFileSchema, file: Path) -> dict[str, Any]:
    dataset = options.datasets.train
    patch, remainder = divmod(dataset.gt_size, options.scale)
    if remainder or not patch:
        raise BasicSRError(
            f"datasets.train.gt_size is {dataset.gt_size}; it must be a multiple of the scale "
            f"{options.scale}."
        )
    lr = dataset.dataroot_lq
    return {
        "train": str(reading.locate(dataset.dataroot_gt, file)),
        "lr": str(reading.locate(lr, file)) if lr else None,
        "template": dataset.filename_tmpl,
        "batch": dataset.batch_size_per_gpu * _device_count(options),
        "patch": patch,
        "hflip": dataset.use_hflip,
        "rot": dataset.use_rot,
    }


def _initial_weights(options: AnyFile, file: Path) -> str | None:
    weights, key = options.path.pretrain_network_g, options.path.param_key_g
    if weights is None:
        return None
    if key not in ("params", None):
        raise BasicSRError(
            f"path.param_key_g is {short(key)}; the network starts from a file's params and its "
            "average from params_ema. To start from the average alone, make a file of it (`atdsr "
            f"convert {weights} average.safetensors`), name that and take the key out."
        )
    return str(reading.locate(weights, file))


def _optimizer(train: EnlargerTrainSchema) -> dict[str, Any]:
    optimizer, decay = train.optim_g, train.optim_g.weight_decay
    if decay is None:
        decay = _ADAMW_DECAY if optimizer.type == "AdamW" else 0.0
    if optimizer.type == "Adam" and decay:
        raise BasicSRError(
            f"train.optim_g.weight_decay is {decay}; Adam's decay is not that of AdamW, which "
            "this trainer has. Write type: AdamW, or weight_decay: 0."
        )
    return {
        "name": "adamw",
        "lr": optimizer.lr,
        "betas": list(optimizer.betas),
        "eps": optimizer.eps,
        "weight_decay": decay,
        "clip": _CLIP if train.use_grad_clip else None,
    }


_SCHEDULER_KEYS = {
    "MultiStepLR": {"milestones", "gamma", "restarts", "restart_weights"},
    "MultiStepRestartLR": {"milestones", "gamma", "restarts", "restart_weights"},
    "CosineAnnealingRestartLR": {"periods", "restart_weights", "eta_min"},
    "TrueCosineAnnealingLR": {"T_max", "eta_min"},
}


def _schedule(train: TrainSchema) -> dict[str, Any]:
    scheduler, warmup = train.scheduler, max(0, train.warmup_iter)
    keys = _SCHEDULER_KEYS[scheduler.type]
    for key in sorted(scheduler.model_fields_set - keys - {"type"}):
        raise BasicSRError(f"train.scheduler.{key} is not a key of {scheduler.type}; take it out.")
    if "milestones" in keys:
        if scheduler.milestones is None:
            raise BasicSRError("the key train.scheduler.milestones is missing.")
        for milestone in scheduler.milestones:
            if milestone < warmup - 1:
                raise BasicSRError(
                    f"train.scheduler.milestones has {milestone}, inside the warm-up of {warmup} "
                    "steps, which the official code passes over; take it out."
                )
        milestones = list(scheduler.milestones)
        return {"warmup": warmup, "milestones": milestones, "gamma": scheduler.gamma}
    if "periods" in keys:
        key, periods = "periods", scheduler.periods
    else:
        key, periods = "T_max", (scheduler.T_max,)
    if periods != (train.total_iter,):
        raise BasicSRError(
            f"train.scheduler.{key} must be train.total_iter, {train.total_iter}: the cosine here "
            "is one over the whole run."
        )
    return {"kind": "cosine", "warmup": warmup, "floor": scheduler.eta_min}


def _loss(train: TrainSchema) -> dict[str, Any]:
    pixel_loss = train.pixel_opt
    if pixel_loss.loss_weight != 1:
        raise BasicSRError(
            f"train.pixel_opt.loss_weight is {pixel_loss.loss_weight}; it must be 1, as AdamW "
            "takes equal steps for any. Divide the weight of fft_opt by it where there is one."
        )
    fft = train.fft_opt.loss_weight if train.fft_opt else 0.0
    if pixel_loss.type == "CharbonnierLoss":  # the official code takes the root of d^2 + eps
        return {"kind": "charbonnier", "eps": math.sqrt(pixel_loss.eps), "fft": fft}
    if "eps" in pixel_loss.model_fields_set:
        raise BasicSRError("train.pixel_opt.eps is not a key of L1Loss; take it out.")
    return {"kind": "l1", "fft": fft}


def _enlarger_notes(options: TrainingFileSchema) -> Iterator[str]:
    """Yield sentences about what is done otherwise with an ATD."""
    if options.datasets.train.dataroot_lq is None:
        yield "datasets.train has no dataroot_lq; LR pictures are made by MATLAB's bicubic."
    if options.train.use_grad_clip:
        yield f"train.use_grad_clip shortens the gradients to {_CLIP}, as in its forks."
    if options.val is not None and options.val.save_img:
        yield "val.save_img: parts of the pictures are written as strips, not each picture."


def _notes(options: AnyFile) -> Iterator[str]:
    """Yield sentences about what is done otherwise with any network."""
    train, dataset, warmup = options.train, options.datasets.train, options.train.warmup_iter
    if options.num_gpu == "auto":
        devices = _device_count(options)
        yield (
            f"num_gpu is auto, which is {devices} here: a batch has "
            f"{dataset.batch_size_per_gpu * devices} crops; data.batch sets them."
        )
    if options.manual_seed is None:
        yield "manual_seed is missing; the official code draws one, here it is 0."
    if train.use_fp16:
        yield (
            "train.use_fp16: float16 is not offered; this run is in float32, and --set "
            "precision=bf16 takes bfloat16."
        )
    if warmup > 1 and train.scheduler.type.startswith("MultiStep"):
        yield (
            f"After train.warmup_iter, {warmup} steps, the rate is lr; the official code stays "
            f"at lr * {warmup - 1} / {warmup}."
        )
    elif warmup > 1:
        yield (
            f"During train.warmup_iter, {warmup} steps, the rate is the cosine times the ramp; "
            "in the official code it is lr times the ramp, and the cosine comes after."
        )
    if train.ema_decay == 0:
        yield "train.ema_decay is 0: params_ema of the files that are written equals params."
    if train.fft_opt is not None:
        yield (
            "train.fft_opt is the mean absolute difference of real and imaginary parts, without "
            "normalisation; see whether your fork's FFTLoss is too."
        )
    if "debug" in options.name:
        yield (
            f"name is {options.name}; the official code would measure, save and log every few "
            "steps for its `debug`, here all is as written."
        )


# --------------------------------------------------------------------------------------- ATD-U


def _restorer(content: dict[Any, Any], file: Path) -> Recipe:
    """Return the recipe and the notes of a file for an ATD-U.

    Raises:
        BasicSRError: Something would change the result and is not supported.
    """
    options = RestorerFileSchema.model_validate(content)
    network, train, dataset = options.network_g, options.train, options.datasets.train
    if dataset.in_ch != network.in_chans:
        raise BasicSRError(
            f"network_g.in_chans is {network.in_chans} and datasets.train.in_ch {dataset.in_ch}; "
            "they must be equal."
        )
    degradation = _degradation(dataset, "datasets.train")
    first, *later = _stages(dataset, _device_count(options))
    muon, adam = train.optim_g.lr
    mixing = train.mixing_augs
    mixup = mixing is not None and mixing.mixup
    recipe = {
        "model": {
            "network": U_NETWORK,
            **{field: getattr(network, key) for field, key in reading.RESTORER_KEYS.items()},
        },
        "data": {
            "train": str(reading.locate(dataset.dataroot_gt, file)),
            "batch": first["batch"],
            "patch": first["patch"],
            "min_side": -(-max(dataset.gt_sizes) // SIDE_MULTIPLE) * SIDE_MULTIPLE,
            "hflip": dataset.geometric_augs,
            "rot": dataset.geometric_augs,
            "degradation": degradation,
            "mixup": {"beta": mixing.mixup_beta, "probability": 0.5 if mixing.use_identity else 1}
            if mixing is not None and mixup
            else None,
        },
        "stages": later,
        "optim": {
            "name": "muon-aux-adam",
            "lr": muon,
            "adam_lr": adam,
            "betas": [0.9, 0.95],
            "eps": 1e-10,
            "weight_decay": _ADAMW_DECAY,
            "clip": _CLIP if train.use_grad_clip else None,
        },
        **_common(options, file),
    }
    notes = [*_restorer_notes(dataset, mixup=mixup), *_notes(options)]
    if options.val is not None:
        notes += ["val.save_img: no pictures are written."] if options.val.save_img else []
        sets = RestorerTestDatasets.model_validate(_test_sets(content)).datasets
        for key, each in sets.items():
            if _degradation(each, f"datasets.{key}") != degradation or each.in_ch != dataset.in_ch:
                raise BasicSRError(
                    f"datasets.{key} differs from datasets.train in what is done to the pictures; "
                    "they are measured as they are trained on, so make them alike."
                )
        notes += _measured(options.val.metrics)
        recipe["validate"] = {
            "every": options.val.val_freq,
            "sets": [
                {"name": each.name, "hr": str(reading.locate(each.dataroot_gt, file))}
                for each in sets.values()
            ],
        }
    return recipe, notes


def _degradation(dataset: RestorerTrainDataset | RestorerTestDataset, key: str) -> dict[str, Any]:
    """Return what is done to the pictures of a dataset.

    Raises:
        BasicSRError: How strong it is is missing.
    """
    is_jpeg = dataset.type == "Dataset_JPEGCAR"
    if is_jpeg:
        name, strength = "quality_factor", dataset.quality_factor
    elif isinstance(dataset, RestorerTrainDataset):
        name, strength = "sigma_range", dataset.sigma_range
    else:
        name, strength = "sigma_test", dataset.sigma_test
    if strength is None:
        raise BasicSRError(f"the key {key}.{name} is missing.")
    bounds = [strength, strength]
    if is_jpeg:
        return {"operations": [{"kind": "jpeg", "quality": bounds, "offset": False}]}
    noise = {"kind": "noise", "sigma": bounds, "gray": 0}
    return {"eight_bits": False, "operations": [noise]}


def _stages(dataset: RestorerTrainDataset, devices: int) -> list[dict[str, int]]:
    """Return the stages of a file, each with the step after which it begins.

    Raises:
        BasicSRError: Its lists are of different lengths, or a crop or a batch is larger than what
            is read.
    """
    if not len(dataset.gt_sizes) == len(dataset.mini_batch_sizes) == len(dataset.iters) > 0:
        raise BasicSRError(
            "datasets.train: gt_sizes, mini_batch_sizes and iters must have a number for each "
            "stage."
        )
    for key, most_key in (("gt_sizes", "gt_size"), ("mini_batch_sizes", "batch_size_per_gpu")):
        largest, most = max(getattr(dataset, key)), getattr(dataset, most_key)
        if largest > most:
            raise BasicSRError(
                f"datasets.train.{key} has {largest}, more than {most_key}, which is {most}."
            )
    starts = [0, *itertools.accumulate(dataset.iters)]
    return [
        {"after": start, "patch": patch, "batch": batch * devices}
        for start, patch, batch in zip(
            starts, dataset.gt_sizes, dataset.mini_batch_sizes, strict=False
        )
    ]


def _restorer_notes(dataset: RestorerTrainDataset, *, mixup: bool) -> Iterator[str]:
    """Yield sentences about what is done otherwise with an ATD-U."""
    if min(dataset.gt_sizes) < dataset.gt_size:
        blocks = ""
        if dataset.type == "Dataset_JPEGCAR":
            blocks = ", so that blocks of JPEG begin anywhere; here they begin in the corner"
        yield (
            f"Each crop is drawn by itself; the official code cuts smaller ones out of crops of "
            f"{dataset.gt_size}{blocks}."
        )
    if mixup:
        yield (
            "mixing_augs mixes the crops of a whole batch; in the official code each GPU mixes "
            "its own."
        )


def _measured(metrics: Metrics | None) -> Iterator[str]:
    """Yield a note for each metric that is not measured during training.

    Raises:
        BasicSRError: PSNR is asked for without a border.
    """
    for name, metric in (metrics or {}).items():
        if metric.get("type") != "calculate_psnr":
            yield f"val.metrics.{name} ({short(metric.get('type'))}) is not measured; PSNR is."
        elif metric.get("crop_border") != 0:
            raise BasicSRError(
                f"val.metrics.{name}.crop_border is {short(metric.get('crop_border'))}; the whole "
                "picture is measured, so write 0."
            )
