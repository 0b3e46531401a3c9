"""The first steps of the runs of ATD v2 and ATD-U against loops written from their descriptions.

The networks themselves are compared with the authors' code in `test_vectors.py`. Everything around
them is written here once more, tensor by tensor and in float64: loss, mixup, clipping, optimizers,
rates and averages. The crops are those of `Crops`.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from atdsr.datasets import Crops, PackedSet
from atdsr.network.config import ATDUConfig, NetworkConfig, atd_light_v2
from atdsr.network.unet import Network
from atdsr.training import LogEntry, TrainConfig, fit, mixup, recipes
from atdsr.training.mixup import Mix
from atdsr.weights import Weights, read_weights, write_weights
from helpers.networks import TINY_U, lively
from helpers.training_runs import packed

pytestmark = pytest.mark.slow

STEPS = 5
Batch = tuple[Tensor, Tensor]


def run(
    recipe: str, network: NetworkConfig, folder: Path, *overrides: str
) -> tuple[TrainConfig, Network, list[float]]:
    """Train by a recipe that is made small; its settings, the network at the start, the losses."""
    start = lively(network)
    write_weights(Weights(network, start.state_dict()), folder / "start.safetensors")
    config = recipes.load(
        recipe,
        [
            f"data.train={packed(folder)}",
            "data.lr=null",
            f"init_from={folder / 'start.safetensors'}",
            "precision=fp64",
            f"iterations={STEPS}",
            "log={every: 1}",
            "validate.sets=[]",
            f"output={folder / 'run'}",
            *overrides,
        ],
    )
    config = config.model_copy(update={"network": network})
    losses: list[float] = []
    fit(config, callback=lambda e: losses.append(e.loss) if isinstance(e, LogEntry) else None)
    return config, start.double(), losses


class Adam:
    """AdamW of one tensor: moments without bias, decoupled decay."""

    def __init__(self, betas: tuple[float, float], eps: float, decay: float) -> None:
        self.betas, self.eps, self.decay = betas, eps, decay
        self.steps, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def __call__(self, value: Tensor, grad: Tensor, rate: float) -> Tensor:
        self.steps += 1
        b1, b2 = self.betas
        self.first = b1 * self.first + (1 - b1) * grad
        self.second = b2 * self.second + (1 - b2) * grad**2
        first, second = self.first / (1 - b1**self.steps), self.second / (1 - b2**self.steps)
        return value - rate * self.decay * value - rate * first / (second.sqrt() + self.eps)


class Muon:
    """Muon of one tensor: Nesterov momentum of 0.95, five steps of Newton and Schulz.

    A norm below 1e-7 counts as that: there are gradients that are 0 but for rounding.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self.momentum = decay, torch.zeros(())

    def __call__(self, value: Tensor, grad: Tensor, rate: float) -> Tensor:
        self.momentum = 0.95 * self.momentum + 0.05 * grad
        x = (0.05 * grad + 0.95 * self.momentum).reshape(len(grad), -1)
        is_tall = len(x) > x.shape[1]
        x = x.T if is_tall else x
        x = x / max(x.norm().item(), 1e-7)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
        x = x.T if is_tall else x
        factor = math.sqrt(max(1.0, grad.shape[-2] / grad.shape[-1]))
        return (1 - rate * self.decay) * value - rate * factor * x.reshape(grad.shape)


def expected(
    network: Network,
    batches: Iterator[Batch],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizers: dict[str, Any],
    rates: Callable[[str, int], float],
    clip: float = math.inf,
    decay: float = 0.0,
) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of the steps, and the average of the weights at the end."""
    losses: list[float] = []
    average = {name: p.detach().clone() for name, p in network.named_parameters()}
    for step, (lr, hr) in enumerate(batches, start=1):
        loss = loss_of(network(lr), hr)
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, list(network.parameters()))
        norm = math.sqrt(sum(grad.square().sum().item() for grad in grads))
        with torch.no_grad():
            for (name, p), grad in zip(network.named_parameters(), grads, strict=True):
                shortened = grad * min(1.0, clip / (norm + 1e-6))
                p.copy_(optimizers[name](p, shortened, rates(name, step)))
                average[name] = decay * average[name] + (1 - decay) * p
    return losses, average


def test_the_losses_of_an_atd_v2(tmp_path: Path) -> None:
    config, network, ours = run(
        "v2_101",
        atd_light_v2(2),
        tmp_path,
        "data.patch=16",
        "data.batch=1",
        "schedule={warmup: 2, milestones: [4]}",
        "optim.lr=1e-3",
        "init_strict=true",
    )

    def batches() -> Iterator[Batch]:
        crops = Crops(PackedSet(config.data.train, 2), seed=0)
        for step in range(STEPS):
            lr, hr = crops.batch(range(step, step + 1), 16)
            yield lr.double() / 255, hr.double() / 255

    losses, average = expected(
        network,
        batches(),
        lambda sr, hr: (sr - hr).abs().mean(),
        {name: Adam((0.9, 0.9), 1e-8, 0.0) for name, _ in network.named_parameters()},
        lambda _, step: 1e-3 * min(1, step / 2) * (0.5 if step > 4 else 1),
        decay=0.999,
    )
    assert ours == pytest.approx(losses, rel=1e-6)
    assert ours[-1] < 0.9 * ours[0]
    assert_average(config, average)


@pytest.mark.parametrize(
    ("recipe", "channels", "rate", "ema"),
    [("202", 3, 1e-3, 0.0), ("401", 1, 8e-4, 0.999)],
    ids=["colour noise", "gray JPEG"],
)
def test_the_losses_of_an_atd_u(
    recipe: str, channels: int, rate: float, ema: float, tmp_path: Path
) -> None:
    config, network, ours = run(
        recipe,
        dataclasses.replace(TINY_U, channels=channels),
        tmp_path,
        f"model=atd-u-{'color' if channels == 3 else 'gray'}",
        "data.patch=32",
        "data.batch=3",
        "stages=[{after: 3, patch: 48, batch: 2}]",
        "schedule.milestones=[2, 4]",
        "init_strict=true",
        f"seed={SEED}",
    )
    assert isinstance(config.network, ATDUConfig)
    mixes = [draw(config, step, 3 if step <= 3 else 2) for step in range(1, STEPS + 1)]
    assert 0 < sum(mix is None for mix in mixes) < STEPS
    assert any(mix and mix.partners != tuple(sorted(mix.partners)) for mix in mixes)

    def batches() -> Iterator[Batch]:
        crops = Crops(
            PackedSet(config.data.train, 1),
            SEED,
            degradation=config.data.degradation_at(1),
            gray=channels == 1,
        )
        for numbers, mix in zip(
            (range(3), range(3, 6), range(6, 9), range(9, 11), range(11, 13)), mixes, strict=True
        ):
            lr, hr = crops.batch(numbers, 32 if len(numbers) == 3 else 48)
            assert (lr.dtype, hr.dtype) == (
                torch.float32 if channels == 3 else torch.uint8,
                torch.uint8,
            )
            lr, hr = lr.double() / (1 if channels == 3 else 255), hr.double() / 255
            if mix is not None:
                lr, hr = (
                    torch.stack(
                        [
                            mix.share * x[place] + (1 - mix.share) * x[partner]
                            for place, partner in enumerate(mix.partners)
                        ]
                    )
                    for x in (lr, hr)
                )
            yield lr, hr

    def has_muon(name: str) -> bool:
        return name != "conv_first.weight" and dict(network.named_parameters())[name].ndim > 1

    losses, average = expected(
        network,
        batches(),
        lambda restored, hr: ((restored - hr) ** 2 + 1e-3).sqrt().mean(),
        {
            name: Muon(0.01) if has_muon(name) else Adam((0.9, 0.95), 1e-10, 0.01)
            for name, _ in network.named_parameters()
        },
        lambda name, step: (rate if has_muon(name) else 2e-4) * 0.5 ** ((step > 2) + (step > 4)),
        clip=0.01,
        decay=ema,
    )
    assert ours == pytest.approx(losses, rel=1e-6)
    assert len(set(ours)) == STEPS
    assert_average(config, average)


SEED = 1


def draw(config: TrainConfig, step: int, batch: int) -> Mix | None:
    assert config.data.mixup is not None
    return mixup.draw(config.data.mixup, SEED, step, batch)


def assert_average(config: TrainConfig, average: dict[str, Tensor]) -> None:
    """Against the file that the run has written, in float32."""
    written = read_weights(
        config.output / "weights.safetensors", category_size=config.network.category_size
    ).state
    for name, value in average.items():
        torch.testing.assert_close(written[name], value.float(), rtol=1e-5, atol=1e-7)
