"""The log of a training run of several days, for tests of pages and tables."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAME = "101_ATD_light_SRx2_scratch"
SETS = {"Set5": (33.66, 38.24), "Set14": (30.24, 33.94), "Urban100": (26.88, 33.04)}
"""PSNR of bicubic and what the run comes to, by set."""
TOTAL = 500_000


def write(folder: Path, steps: int = 341_200, every: int = 100, name: str = NAME) -> Path:
    """The folder of a run with a restart, a few skipped steps, validations and their strips."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = [started(0, name)]
    best = 0.0
    for step in range(every, steps + 1, every):
        if step == every * (steps // every // 3) + every:
            records.append(started(step - every, name))
        records.append(line(step, every, rng))
        if step % (200 * every) == 0:
            psnr = {set_: reached(step, *ends, rng) for set_, ends in SETS.items()}
            mean = sum(psnr.values()) / len(psnr)
            records.append(validated(folder, step, psnr, is_best=mean > best))
            best = max(best, mean)
        if step % (100 * every) == 0:
            records.append({"kind": "saved", "step": step, "path": f"{folder}/{step:08}.pt"})
    records.append({"kind": "told", "step": 71_300, "text": "step 71,300 was skipped: <nan> loss."})
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "log.jsonl").write_text(text)
    (folder / "recipe.yaml").write_text(f"name: {name}\niterations: {TOTAL}\n")
    return folder


def started(step: int, name: str = NAME) -> dict[str, Any]:
    return {
        "kind": "started",
        "step": step,
        "iterations": TOTAL,
        "name": name,
        "parameters": 753_204,
        "pictures": 800,
        "device": "NVIDIA H200",
        "ranks": 2,
    }


def line(step: int, steps: int, rng: np.random.Generator) -> dict[str, Any]:
    lr = 5e-4 * 0.5 ** sum(step > m for m in (250_000, 400_000, 450_000, 475_000))
    loss = 0.0168 + 0.012 * math.exp(-step / 30_000) + 0.2 * math.exp(-step / 600) + lr
    return {
        "kind": "line",
        "step": step,
        "loss": float(loss * rng.lognormal(0, 0.035)),
        "lr": lr,
        "gradient": float(rng.lognormal(-1, 0.3)),
        "seconds": float(steps / 6.2 * rng.lognormal(0, 0.02)),
        "waited": float(rng.random() * 0.05),
        "memory": 21_400_000_000,
        "skipped": 3 if step > 71_300 else 0,
        "patch": 64,
        "batch": 32,
    }


def reached(step: int, bicubic: float, end: float, rng: np.random.Generator) -> float:
    part = 1 - 0.22 * math.exp(-step / 40_000) - 0.035 * (step <= 250_000)
    return bicubic + (end - bicubic) * part + float(rng.normal(0, 0.012))


def validated(folder: Path, step: int, psnr: dict[str, float], *, is_best: bool) -> dict[str, Any]:
    strips = folder / "validation" / f"{step:08}.png"
    strips.parent.mkdir(exist_ok=True)
    Image.new("RGB", (240, 120), (250, 250, 200 - step // 5000)).save(strips)
    return {
        "kind": "validated",
        "step": step,
        "psnr": psnr,
        "ssim": {name: 0.96 - 0.001 * (40 - value) for name, value in psnr.items()},
        "bicubic": {name: ends[0] for name, ends in SETS.items()},
        "seconds": 74.0,
        "best": is_best,
        "strips": str(strips),
    }
