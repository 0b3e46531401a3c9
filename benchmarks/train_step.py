"""Steps of the published ATD-light x2 recipe: this trainer's against spandrel's network by hand.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/train_step.py SET
    python benchmarks/train_step.py SET --device cuda --batch 32 --patch 64 --precision bf16

SET is a packed set. The other side is what one would write in an afternoon: spandrel's ATD, AdamW,
an EMA, the same crops already in memory. Both take turns; the table has medians of a step (on a
CPU in seconds of user and system time, which other work disturbs less), their ratio, the share of
the time in which steps of ours waited for crops, and the peak memory on CUDA.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atdsr import checkpoint
from atdsr.checkpoint import Weights
from atdsr.data import Crops, PackedSet
from atdsr.evaluation import peers
from atdsr.model import atd_light
from atdsr.training import Settings
from atdsr.training.feed import Feed
from atdsr.training.ranks import Ranks, describe
from atdsr.training.run import Run

Step = Callable[[int], object]


def ours(settings: Settings, pictures: PackedSet, device: torch.device) -> tuple[Step, Feed, Run]:
    """A step of this trainer, crops included."""
    ranks = Ranks(0, 1, device)
    run, feed = Run(settings, ranks), Feed(settings, pictures, ranks)
    return lambda step: run.advance(feed.batch(step)), feed, run


def by_hand(settings: Settings, run: Run, batches: list[tuple[Tensor, Tensor]]) -> Step:
    """A step of spandrel's network with the same parameters."""
    weights = Weights(settings.network, {k: v.cpu() for k, v in run.model.state_dict().items()})
    loader = peers.import_spandrel().ModelLoader()
    network: nn.Module = loader.load_from_state_dict(checkpoint.to_official(weights)).model
    network = network.to(batches[0][0].device).train()
    average = [p.detach().clone() for p in network.parameters()]
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, (0.9, 0.9), weight_decay=0)
    kind = batches[0][0].device.type

    def step(number: int) -> Tensor:
        lr, hr = batches[number % len(batches)]
        with torch.autocast(kind, torch.bfloat16, enabled=settings.precision == "bf16"):
            sr = network(lr)
        loss = F.l1_loss(sr.float(), hr)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for mean, value in zip(average, network.parameters(), strict=True):
                mean.mul_(0.999).add_(value, alpha=0.001)
        return loss

    return step


def timed(step: Step, number: int, device: torch.device) -> float:
    """Seconds of a step: of wall time on CUDA, of the processor on a CPU."""
    if device.type == "cpu":
        start = time.process_time()
        step(number)
        return time.process_time() - start
    start = time.perf_counter()
    step(number)
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    """Take turns and print the table."""
    parser = argparse.ArgumentParser(description="Steps of this trainer against spandrel's ATD.")
    parser.add_argument("set", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=9)
    wanted = parser.parse_args()
    device = torch.device(wanted.device)
    settings = Settings.model_validate(
        {
            "name": "benchmark",
            "output": "benchmark",
            "network": atd_light(2),
            "iterations": 10**6,
            "data": {"train": wanted.set, "batch": wanted.batch, "patch": wanted.patch},
            "precision": wanted.precision,
            "optim": {"lr": 1e-4},
        }
    )
    pictures = PackedSet(wanted.set, 2)
    mine, feed, run = ours(settings, pictures, device)
    crops = Crops(pictures, 0)
    batches = [
        tuple(
            side.to(device).float() / 255
            for side in crops.batch(range(n * wanted.batch, (n + 1) * wanted.batch), wanted.patch)
        )
        for n in range(4)
    ]
    theirs = by_hand(settings, run, [(lr, hr) for lr, hr in batches])
    times: dict[str, list[float]] = {"ours": [], "spandrel": []}
    memory: dict[str, int] = {}
    waited = 0.0
    with closing(feed):
        for number in range(1, wanted.steps + 2):
            if number == 2:  # the first one warmed up
                waited = feed.waited
            for name, step in (("ours", mine), ("spandrel", theirs)):
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)
                times[name].append(timed(step, number, device))
                if device.type == "cuda":
                    memory[name] = torch.cuda.max_memory_allocated(device)
        waited = feed.waited - waited
    seconds = {name: statistics.median(each[1:]) for name, each in times.items()}
    print(
        f"ATD-light x2, batch {wanted.batch} of {wanted.patch}x{wanted.patch}, {wanted.precision}, "
        f"{describe(device)}, torch {torch.__version__}, {wanted.steps} steps each, in turns"
    )
    for name, each in seconds.items():
        peak = f", peak {memory[name] / 2**30:.2f} GiB" if memory else ""
        print(f"{name:10} {each:8.3f} s a step, {1 / each:7.2f} it/s{peak}")
    print(f"ratio      {seconds['spandrel'] / seconds['ours']:8.2f}")
    print(f"data wait  {100 * waited / sum(times['ours'][1:]):8.2f} % of our steps")


if __name__ == "__main__":
    main()
