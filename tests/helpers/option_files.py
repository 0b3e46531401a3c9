"""Option files for training with the keys and values of the official ones, for tests.

They are made of a table of what differs between the seven, so that a test can also change one
value, take one out, or put another in.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Official:
    """What sets an official option file apart from the others.

    Attributes:
        light: whether it trains ATD-light.
        scale: of the network.
        gt_size: side of an HR crop.
        start: the run whose weights it starts from.
        lr: learning rate.
        milestones: after which it is halved.
        total_iter: steps in all.
        warmup_iter: steps of warm-up.
    """

    light: bool
    scale: int
    gt_size: int
    start: str | None = None
    lr: float = 2e-4
    milestones: tuple[int, ...] = (150_000, 200_000, 225_000, 240_000)
    total_iter: int = 250_000
    warmup_iter: int = 10_000


OFFICIAL = {
    "000_ATD_SRx2_scratch": Official(
        light=False, scale=2, gt_size=128, milestones=(250_000,), total_iter=300_000
    ),
    "001_ATD_SRx2_finetune": Official(
        light=False, scale=2, gt_size=192, start="000_ATD_SRx2_scratch"
    ),
    "002_ATD_SRx3_finetune": Official(
        light=False, scale=3, gt_size=288, start="001_ATD_SRx2_finetune"
    ),
    "003_ATD_SRx4_finetune": Official(
        light=False, scale=4, gt_size=384, start="001_ATD_SRx2_finetune"
    ),
    "101_ATD_light_SRx2_scratch": Official(
        light=True,
        scale=2,
        gt_size=128,
        lr=5e-4,
        milestones=(250_000, 400_000, 450_000, 475_000, 490_000),
        total_iter=500_000,
        warmup_iter=20_000,
    ),
    "102_ATD_light_SRx3_finetune": Official(
        light=True, scale=3, gt_size=192, start="101_ATD_light_SRx2_scratch"
    ),
    "103_ATD_light_SRx4_finetune": Official(
        light=True, scale=4, gt_size=256, start="101_ATD_light_SRx2_scratch"
    ),
}
"""The seven by their names."""

_SETS = {
    "Set5": "Set5",
    "Set14": "Set14",
    "BSD100": "B100",
    "Urban100": "Urban100",
    "Manga109": "Manga109",
}  # name in the file -> folder
_DISK = {"type": "disk"}


def options(name: str) -> dict[str, Any]:
    """The content of an official option file; the caller may change it."""
    wanted = OFFICIAL[name]
    scale = wanted.scale
    sets = {
        f"val_{number}": {
            "name": set_name,
            "type": "PairedImageDataset",
            "dataroot_gt": f"datasets/TestDataSR/HR/{folder}/x{scale}",
            "dataroot_lq": f"datasets/TestDataSR/LR/LRBI/{folder}/x{scale}",
            "io_backend": dict(_DISK),
        }
        for number, (set_name, folder) in enumerate(_SETS.items(), start=1)
    }
    start = wanted.start and f"experiments/{wanted.start}/models/net_g_latest.pth"
    figures = {
        key: {"type": f"calculate_{key}", "crop_border": scale, "test_y_channel": True}
        for key in ("psnr", "ssim")
    }
    return {
        "name": name,
        "model_type": "ATDModel",
        "scale": scale,
        "num_gpu": 2 if wanted.light else 8,
        "manual_seed": 0,
        "datasets": {"train": _training_set(wanted), **sets},
        "network_g": _network(wanted),
        "path": {
            "pretrain_network_g": start,
            "strict_load_g": start is None or scale == 2,
            "resume_state": None,
        },
        "train": {
            "ema_decay": 0.999,
            "optim_g": {
                "type": "AdamW",
                "lr": wanted.lr,
                "weight_decay": 0,
                "betas": [0.9, 0.9],
            },
            "scheduler": {
                "type": "MultiStepLR",
                "milestones": list(wanted.milestones),
                "gamma": 0.5,
            },
            "total_iter": wanted.total_iter,
            "warmup_iter": wanted.warmup_iter,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "val": {"val_freq": 2e4, "save_img": False, "metrics": figures},
        "logger": {
            "print_freq": 100,
            "save_checkpoint_freq": 1e4,
            "use_tb_logger": True,
            "wandb": {"project": None, "resume_id": None},
        },
        "dist_params": {"backend": "nccl", "port": 29500},
    }


def _training_set(wanted: Official) -> dict[str, Any]:
    data, scale = "DIV2K" if wanted.light else "DF2K", wanted.scale
    return {
        "name": data,
        "type": "PairedImageDataset",
        "dataroot_gt": f"datasets/{data}/{data}_train_HR",
        "dataroot_lq": f"datasets/{data}/{data}_train_LR_bicubic/X{scale}",
        "filename_tmpl": f"{{}}x{scale}",
        "io_backend": dict(_DISK),
        "gt_size": wanted.gt_size,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": 6,
        "batch_size_per_gpu": 16 if wanted.light else 4,
        "dataset_enlarge_ratio": 1,
        "prefetch_mode": "cuda",
        "pin_memory": True,
        "persistent_workers": True,
    }


def _network(wanted: Official) -> dict[str, Any]:
    own: dict[str, Any] = {
        "embed_dim": 210,
        "depths": [6] * 6,
        "num_heads": [6] * 6,
        "category_size": 256,
        "num_tokens": 128,
        "reducted_dim": 20,
        "convffn_kernel_size": 5,
        "mlp_ratio": 2,
        "upsampler": "pixelshuffle",
        "use_checkpoint": True,
    }
    if wanted.light:
        own = {
            "embed_dim": 48,
            "depths": [6] * 4,
            "num_heads": [4] * 4,
            "category_size": 128,
            "num_tokens": 64,
            "reducted_dim": 8,
            "convffn_kernel_size": 7,
            "mlp_ratio": 1,
            "upsampler": "pixelshuffledirect",
            "use_checkpoint": False,
        }
    return {
        "type": "ATD",
        "upscale": wanted.scale,
        "in_chans": 3,
        "img_size": 64,
        "window_size": 16,
        "img_range": 1.0,
        "resi_connection": "1conv",
        **own,
    }


SECOND = {
    "000_ATD_SRx2_scratch": (4, 12, 2e-4, [250_000], 300_000, 5_000),
    "001_ATD_SRx2_finetune": (4, 12, 1e-4, [80_000, 100_000], 120_000, 5_000),
    "002_ATD_SRx3_finetune": (4, 12, 1e-4, [80_000, 100_000], 120_000, 5_000),
    "003_ATD_SRx4_finetune": (4, 12, 1e-4, [80_000, 100_000], 120_000, 5_000),
    "101_ATD_light_SRx2_scratch": (
        *(2, 32, 5e-4, [250_000, 400_000, 450_000, 480_000]),
        *(500_000, 20_000),
    ),
    "102_ATD_light_SRx3_finetune": (
        *(4, 16, 2e-4, [125_000, 200_000, 225_000, 240_000]),
        *(250_000, 10_000),
    ),
    "103_ATD_light_SRx4_finetune": (
        *(2, 32, 2e-4, [125_000, 200_000, 225_000, 240_000]),
        *(250_000, 10_000),
    ),
}
"""What the files of the same names for ATD v2 change: GPUs, crops on each, rate, milestones, steps,
warm-up."""


def second_options(name: str) -> dict[str, Any]:
    """The content of an official option file for ATD v2."""
    content = options(name)
    gpus, crops, rate, milestones, steps, warmup = SECOND[name]
    light, scale = "light" in name, content["scale"]
    content["num_gpu"] = gpus
    content["network_g"] |= {
        "embed_dim": 48 if light else 216,
        "num_heads": [3] * 4 if light else [4] * 6,
        "num_tokens": 128 if light else 512,
        "reducted_dim": 12 if light else 16,
        "dim_ffn_td": 4 if light else 16,
        "use_checkpoint": True,
    }
    train = content["datasets"]["train"]
    train |= {
        "batch_size_per_gpu": crops,
        "filename_tmpl": "{}",
        "dataroot_gt": f"{train['dataroot_gt']}_sub",
        "dataroot_lq": f"{train['dataroot_lq']}_sub",
    }
    if name[:3] in ("002", "003"):
        content["path"]["pretrain_network_g"] = (
            "experiments/000_ATD_SRx2_scratch/models/net_g_latest.pth"
        )
    content["path"]["strict_load_g"] = not light and scale == 2
    content["train"]["use_fp16"] = True
    content["train"]["optim_g"]["lr"] = rate
    content["train"]["scheduler"]["milestones"] = milestones
    content["train"] |= {"total_iter": steps, "warmup_iter": warmup}
    content["val"]["val_freq"] = 1e4
    return content


_RESTORED = {
    "denoising_color": {
        "CBSD68": "ColorDN/CBSD68HQ",
        "Kodak24": "ColorDN/Kodak24HQ",
        "McMaster": "ColorDN/McMasterHQ",
    },
    "denoising_gray": {"Set12": "GrayDN/Set12", "BSD68": "GrayDN/BSD68"},
    "jpegcar_gray": {"Classic5": "CAR/classic5/Classic5_HQ", "Live1": "CAR/LIVE1/LIVE1_HQ"},
}


def restorer_options(name: str) -> dict[str, Any]:
    """The content of an official option file for ATD-U, such as `401_ATD_U_jpegcar_gray_q10`."""
    task, strength = name[len("401_ATD_U_") :].rsplit("_", 1)
    level = int(strength.removeprefix("sigma").removeprefix("q"))
    jpeg, channels = task == "jpegcar_gray", 3 if "color" in task else 1
    kind = {"type": "Dataset_JPEGCAR" if jpeg else "Dataset_GaussianDenoising", "in_ch": channels}
    sets = {
        f"val_{number}": {
            "name": set_name,
            **kind,
            "quality_factor" if jpeg else "sigma_test": level,
            "dataroot_gt": f"datasets/{folder}",
            "dataroot_lq": "none",
            "io_backend": dict(_DISK),
        }
        for number, (set_name, folder) in enumerate(_RESTORED[task].items(), start=1)
    }
    train = {
        "name": "DFWB",
        **kind,
        **({"quality_factor": level} if jpeg else {"sigma_type": "constant", "sigma_range": level}),
        "dataroot_gt": "datasets/DFWB",
        "dataroot_lq": "none",
        "geometric_augs": True,
        "filename_tmpl": "{}",
        "io_backend": dict(_DISK),
        "num_worker_per_gpu": 4,
        "batch_size_per_gpu": 6,
        "persistent_workers": True,
        "mini_batch_sizes": [6, 3],
        "iters": [60_000, 40_000],
        "gt_size": 384,
        "gt_sizes": [256, 384],
        "dataset_enlarge_ratio": 100,
    }
    metrics = {"psnr": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": jpeg}}
    return {
        "name": name,
        "model_type": "ATDUNetModel",
        "scale": 1,
        "num_gpu": 4,
        "manual_seed": 0,
        "datasets": {"train": train, **sets},
        "network_g": {
            "type": "ATDUNet",
            "upscale": 1,
            "in_chans": channels,
            "embed_dim": 48,
            "depths": [6, 8, 8, 6],
            "num_heads": [1, 2, 4, 8],
            "window_size": [16, 8, 8, 8],
            "dim_ffn_td": [6, 12, 12, 12],
            "category_size": [128] * 4,
            "num_tokens": [128] * 4,
            "reducted_dim": [6, 12, 24, 24],
            "convffn_kernel_size": 5,
            "bias": False,
            "img_range": 1.0,
            "mlp_ratio": 2.66,
            "use_checkpoint": True,
        },
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "use_fp16": True,
            **({"ema_decay": 0.999} if jpeg else {}),
            "total_iter": 100_000,
            "warmup_iter": -1,
            "use_grad_clip": True,
            "scheduler": {
                "type": "MultiStepLR",
                "milestones": [50_000, 70_000, 90_000],
                "gamma": 0.5,
            },
            "mixing_augs": {"mixup": True, "mixup_beta": 1.2, "use_identity": True},
            "optim_g": {"type": "MUON", "lr": [8e-4 if jpeg else 1e-3, 2e-4]},
            "pixel_opt": {
                "type": "CharbonnierLoss",
                "loss_weight": 1,
                "reduction": "mean",
                "eps": 1e-3,
            },
        },
        "val": {"val_freq": 5_000, "save_img": False, "metrics": metrics},
        "logger": {
            "print_freq": 100,
            "save_checkpoint_freq": 5e3,
            "use_tb_logger": True,
            "wandb": {"project": None, "resume_id": None},
        },
        "dist_params": {"backend": "nccl", "port": 29500},
    }


def changed(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The content with another value at a key such as `train.optim_g.lr`; `...` takes it out."""
    *outer, last = key.split(".")
    inside = content
    for part in outer:
        inside = inside[part]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return content


def write(root: Path, content: dict[str, Any], name: str = "train") -> Path:
    """Put an option file where the official repository, with its root in a folder, has it."""
    path = root / f"options/train/{name}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
