"""CPU seconds of degrading the crops of a step, beside those of the step itself.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/degradations.py

The step is one of ATD-light x2 in training with crops of 64x64; the crops are cut from the sample
photo. User and system time of the process count, so that other work disturbs little. All take
turns, and of each the fastest round counts.
"""

import tempfile
import time
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import torch

from atdsr import datasets
from atdsr.base import memory
from atdsr.datasets import Crops, PackConfig, PackedSet
from atdsr.datasets.degradations import NAMES, Degrader, PresetName, preset
from atdsr.network.config import atd_light
from atdsr.training import TrainConfig
from atdsr.training.distributed import Distributed, describe
from atdsr.training.trainer import Trainer

SCALE, PATCH, BATCH = 2, 64, 2
ROUNDS = 3
CROPS = 16  # that are degraded in a round


def seconds(work: Callable[[], object]) -> float:
    """Seconds of user and system time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def degrade(name: PresetName, hr: torch.Tensor) -> Callable[[], object]:
    """The work of degrading some crops."""
    degrader = Degrader(preset(name, SCALE), SCALE, 0)
    return lambda: degrader(hr, range(len(hr)))


def main() -> None:
    """Measure and print."""
    memory.keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        with as_file(files("atdsr.reports") / "sample" / "coffee.png") as path:
            (folder / "pictures" / path.name).write_bytes(path.read_bytes())
        datasets.pack(folder / "pictures", folder / "set", PackConfig((SCALE,)))
        settings = TrainConfig.model_validate(
            {
                "name": "step",
                "output": folder / "run",
                "network": atd_light(SCALE),
                "iterations": ROUNDS,
                "data": {"train": folder / "set", "batch": BATCH, "patch": PATCH},
            }
        )
        crops = Crops(PackedSet(folder / "set", SCALE), 0)
        trainer = Trainer(settings, Distributed(0, 1, torch.device("cpu")))
        lr, hr = crops.batch(range(BATCH), PATCH)
        _, many = crops.batch(range(CROPS), PATCH)
        works = {name: degrade(name, many) for name in NAMES}
        works["step"] = lambda: trainer.advance((lr, hr))
        best = dict.fromkeys(works, float("inf"))
        for _ in range(ROUNDS):
            for name, work in works.items():
                best[name] = min(best[name], seconds(work))
    step = best.pop("step") / BATCH
    print(f"{describe(torch.device('cpu'))}; a step takes {step:.2f} s of CPU time per crop")
    print("| preset | ms per crop | share of a step |\n|---|---|---|")
    for name, total in best.items():
        each = total / CROPS
        print(f"| `{name}` | {1000 * each:.1f} | {each / step:.2%} |")


if __name__ == "__main__":
    main()
