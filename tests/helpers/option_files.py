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
