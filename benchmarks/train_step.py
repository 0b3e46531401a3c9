"""Training steps of the published ATD-light x2 recipe: our trainer against spandrel's network.

    python benchmarks/train_step.py SET
    python benchmarks/train_step.py SET --device cuda --batch 32 --patch 64 --precision bf16
    python benchmarks/train_step.py --quick

SET is a packed set; without it one is made of the sample photo. The other side is what one would
write in an afternoon: spandrel's ATD, AdamW, an EMA, the same crops already in memory. All take
turns; the table has medians of a step (on a CPU in seconds of user and system time, which other
work disturbs less), their ratio, how many forward passes without gradients a step takes, and the
share of the time in which steps of ours waited for crops.

On a CPU each side has a process of its own, ours as its command line runs, spandrel's with malloc
as it is and tuned; memory is what a process has at the peak of its steps above what it has with
everything loaded and no step done. On CUDA both share a process, and memory is the peak of a step.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from statistics import median

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr import datasets
from atdsr.base import memory
from atdsr.datasets import Crops, PackedSet
from atdsr.network.config import ATDConfig, atd_light
from atdsr.network.model import ATD
from atdsr.training import TrainConfig
from atdsr.training.crop_loader import CropLoader
from atdsr.training.distributed import Distributed, describe
from atdsr.training.trainer import Trainer
from networks_compared import AS_IS, FUSED, PLAIN, TINY, TUNED, Side, official
from script import run_script
from turns import Worker, machine, timed


class Ours:
    """This trainer, crops included.

    Attributes:
        waited: seconds that steps waited for crops so far.
    """

    def __init__(self, settings: TrainConfig, pictures: PackedSet, device: torch.device) -> None:
        alone = Distributed(0, 1, device)
        self._run = Trainer(settings, alone)
        self._loader = CropLoader(settings, pictures, alone)

    @property
    def waited(self) -> float:
        """Seconds that steps waited for crops so far."""
        return self._loader.waited

    def step(self, number: int) -> None:
        """One step, counted from 1."""
        self._batch = self._loader.batch(number)
        self._run.advance(self._batch)

    def forward(self) -> None:
        """A forward pass without gradients on the crops of the last step."""
        with torch.inference_mode():
            self._run.model(self._batch[0] / 255)


class ByHand:
    """Spandrel's network with the same parameters, and crops that are ready."""

    waited = 0.0

    def __init__(self, settings: TrainConfig, pictures: PackedSet, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        assert isinstance(settings.network, ATDConfig)
        self._network = official(ATD(settings.network)).to(device).train()
        self._average = [p.detach().clone() for p in self._network.parameters()]
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), 1e-4, (0.9, 0.9), weight_decay=0
        )
        self._autocast = partial(
            torch.autocast, device.type, torch.bfloat16, enabled=settings.precision == "bf16"
        )
        crops, size, patch = Crops(pictures, 0), settings.data.batch, settings.data.patch
        self._batches = [
            [
                side.to(device).float() / 255
                for side in crops.batch(range(first, first + size), patch)
            ]
            for first in range(0, 4 * size, size)
        ]

    def step(self, number: int) -> None:
        """One step, counted from 1."""
        lr, hr = self._batches[number % len(self._batches)]
        with self._autocast():
            sr: Tensor = self._network(lr)
        loss = F.l1_loss(sr.float(), hr)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            for mean, value in zip(self._average, self._network.parameters(), strict=True):
                mean.mul_(0.999).add_(value, alpha=0.001)

    def forward(self) -> None:
        """A forward pass without gradients on some crops."""
        with torch.inference_mode():
            self._network(self._batches[0][0])


@dataclass(frozen=True)
class Took:
    """What a step took.

    Attributes:
        seconds: of wall time on CUDA, of the processor on a CPU.
        forward: those of a forward pass without gradients.
        waited: seconds of wall time for crops.
        bytes: memory at its peak; None where the system does not tell.
    """

    seconds: float
    forward: float
    waited: float
    bytes: int | None


class OnCPU:
    """A side in a process of its own."""

    def __init__(self, side: Side, settings: TrainConfig, pictures: Path) -> None:
        side.prepare()
        self._trainer = trainer(side, settings, pictures, torch.device("cpu"))
        self._before = psutil.Process().memory_info().rss

    def step(self, number: int) -> Took:
        """One step; its memory is what the process has above everything loaded."""
        waited = self._trainer.waited
        with memory.peak() as peak:
            seconds = timed(partial(self._trainer.step, number)).cpu
        above = None if peak.bytes is None else peak.bytes - self._before
        forward = timed(self._trainer.forward).cpu
        return Took(seconds, forward, self._trainer.waited - waited, above)


class OnCUDA:
    """A side in this process."""

    def __init__(
        self, side: Side, settings: TrainConfig, pictures: Path, device: torch.device
    ) -> None:
        self._trainer = trainer(side, settings, pictures, device)
        self._device = device

    def step(self, number: int) -> Took:
        """One step; its memory is what PyTorch has allocated on the device."""
        torch.cuda.reset_peak_memory_stats(self._device)
        waited, start = self._trainer.waited, time.perf_counter()
        self._trainer.step(number)
        torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - start
        most, start = torch.cuda.max_memory_allocated(self._device), time.perf_counter()
        self._trainer.forward()
        torch.cuda.synchronize(self._device)
        forward = time.perf_counter() - start
        return Took(seconds, forward, self._trainer.waited - waited, most)


def trainer(
    side: Side, settings: TrainConfig, pictures: Path, device: torch.device
) -> Ours | ByHand:
    """What a side trains with."""
    kind = Ours if side.network == "atdsr" else ByHand
    return kind(settings, PackedSet(pictures, 2), device)


def taking_turns(steps: dict[Side, Callable[[int], Took]], count: int) -> dict[Side, list[Took]]:
    """Let every side do a step, then the next one, after one that warms up."""
    took: dict[Side, list[Took]] = {side: [] for side in steps}
    for number in range(1, count + 2):
        for side, step in steps.items():
            took[side].append(step(number))
    return took


def table(took: dict[Side, list[Took]]) -> str:
    """The sides in Markdown; the first round counts for memory only."""
    lines = [
        "| side | s a step | it/s | as is / it | forward passes | peak MiB | of as is "
        "| waited for crops |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    seconds = {side: median(each.seconds for each in all_[1:]) for side, all_ in took.items()}
    peaks = {side: max((each.bytes or 0) for each in all_) for side, all_ in took.items()}
    for side, each in took.items():
        waited = sum(t.waited for t in each[1:]) / sum(t.seconds for t in each[1:])
        forward = median(t.forward for t in each[1:])
        of_as_is = f"{peaks[side] / peaks[AS_IS]:.2f}" if peaks[AS_IS] else ""
        lines.append(
            f"| {side.name} | {seconds[side]:.3f} | {1 / seconds[side]:.2f} | "
            f"{seconds[AS_IS] / seconds[side]:.2f} | {seconds[side] / forward:.2f} | "
            f"{peaks[side] / 2**20:,.0f} | {of_as_is} | "
            f"{waited:.2%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Take turns and print the table."""
    parser = argparse.ArgumentParser(description="Steps of this trainer against spandrel's ATD.")
    parser.add_argument("set", type=Path, nargs="?")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a tiny network, for a trial")
    wanted = parser.parse_args()
    if wanted.quick:
        wanted.batch, wanted.patch, wanted.steps = 1, 16, 1
    device = torch.device(wanted.device)
    with ExitStack() as stack:
        pictures = wanted.set
        if pictures is None:
            pictures = sample_set(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        PackedSet(pictures, 2)  # fails here with a sentence, and not in the other processes
        settings = TrainConfig.model_validate(
            {
                "name": "benchmark",
                "output": "benchmark",
                "network": TINY if wanted.quick else atd_light(2),
                "iterations": 10**6,
                "data": {"train": pictures, "batch": wanted.batch, "patch": wanted.patch},
                "precision": wanted.precision,
                "optim": {"lr": 1e-4},
            }
        )
        steps: dict[Side, Callable[[int], Took]] = {}
        if device.type == "cuda":
            for side in (AS_IS, PLAIN):
                steps[side] = OnCUDA(side, settings, pictures, device).step
        else:
            for side in (AS_IS, TUNED, PLAIN, FUSED):
                if (why_not := side.why_not()) is not None:
                    print(f"{side.name} is left out: {why_not}")
                    continue
                worker = stack.enter_context(Worker(OnCPU, side, settings, pictures))
                steps[side] = partial(worker.ask, OnCPU.step)
        took = taking_turns(steps, wanted.steps)
    where = describe(device) if device.type == "cuda" else machine()
    print(
        f"{'tiny' if wanted.quick else 'ATD-light'} x2, batch {wanted.batch} of "
        f"{wanted.patch}x{wanted.patch}, {wanted.precision}, {where}; {wanted.steps} steps each, "
        f"in turns, medians\n\n{table(took)}"
    )


def sample_set(folder: Path) -> Path:
    """A packed set of the sample photo alone."""
    (folder / "HR").mkdir()
    with as_file(files("atdsr.reports") / "sample" / "coffee.png") as path:
        shutil.copy(path, folder / "HR")
    datasets.pack(folder / "HR", folder / "set")
    return folder / "set"


if __name__ == "__main__":
    run_script(main)
