"""CPU time of a Muon step over the matrices of ATD-light: PyTorch's, and ours by shapes.

OMP_WAIT_POLICY=PASSIVE python benchmarks/muon.py
"""

from statistics import median

import torch
from torch import nn
from torch.profiler import profile

from atdsr.network.config import atd_light
from atdsr.network.model import ATD
from atdsr.training.muon import Muon
from turns import machine, timed

KINDS: tuple[type[torch.optim.Muon], ...] = (torch.optim.Muon, Muon)
ROUNDS = 8


def optimizer(kind: type[torch.optim.Muon]) -> torch.optim.Muon:
    """An optimizer of the network's matrices, which have gradients."""
    torch.manual_seed(0)
    matrices = [m.weight for m in ATD(atd_light(2)).modules() if isinstance(m, nn.Linear)]
    for matrix in matrices:
        matrix.grad = torch.randn_like(matrix)
    return kind(matrices, lr=1e-4, adjust_lr_fn="match_rms_adamw")


def main() -> None:
    """Take turns, and print the table."""
    made = [optimizer(kind) for kind in KINDS]
    seconds = [[timed(each.step).cpu for each in made] for _ in range(ROUNDS + 1)][1:]
    print(f"{machine()}; {ROUNDS} steps each, in turns, medians of CPU time\n")
    print("| Muon | ms a step | operations |\n|---|---|---|")
    for name, each, took in zip(
        ("PyTorch's", "by shapes"), made, zip(*seconds, strict=True), strict=True
    ):
        with profile() as profiled:
            each.step()
        calls = sum(e.count for e in profiled.key_averages() if e.key.startswith("aten::"))
        print(f"| {name} | {1e3 * median(took):.0f} | {calls:,} |")


if __name__ == "__main__":
    main()
