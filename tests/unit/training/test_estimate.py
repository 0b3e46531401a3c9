"""Estimates of memory and time, against the thing itself where it can be measured."""

from pathlib import Path

import pytest
import torch

from atdsr.network.config import atd_light
from atdsr.network.model import ATD
from atdsr.training import TrainConfig
from atdsr.training.estimate import _WORKING, Estimate, estimate
from helpers.training_runs import changed, tiny_config

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def settings() -> TrainConfig:
    """Neither the data nor the weights that it names exist."""
    return changed(tiny_config(Path("no/set"), Path("run")), init_from="no/weights.pth")


def test_time_and_memory_grow_with_crops_and_steps(settings: TrainConfig) -> None:
    small = estimate(settings, CPU)
    assert small.parameters == 19_660
    assert small.iterations == 4
    assert small.seconds == pytest.approx(4 * small.step_seconds)
    staged = changed(settings, iterations=30, stages=[{"after": 10, "patch": 32, "batch": 6}])
    large = estimate(staged, CPU)
    # a stage of 20 steps with 3 times as many crops of 4 times as many tokens
    assert large.seconds == pytest.approx(large.step_seconds * (10 + 20 * 12))
    assert large.bytes > small.bytes
    parted = estimate(changed(staged, data={"micro_batch": 1}), CPU)
    assert small.bytes < parted.bytes < large.bytes
    shared = estimate(staged, CPU, ranks=2)
    assert shared.seconds == pytest.approx(shared.step_seconds * (10 + 20 * 12))
    assert shared.crops == 1


def test_activations_are_what_autograd_keeps() -> None:
    """Against the memory that a whole network's graph holds, by PyTorch's own account."""
    settings = changed(
        tiny_config(Path("no/set"), Path("run")),
        network=atd_light(2).__dict__,
        data={"batch": 1, "patch": 32},
    )
    with_one, with_three = (
        estimate(changed(settings, data={"batch": batch}), CPU).bytes for batch in (1, 3)
    )
    model, held = ATD(atd_light(2)), {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model(torch.rand(1, 3, 32, 32))
    assert out.requires_grad
    kept = sum(held.values()) - sum(p.nbytes for p in model.parameters())
    working = _WORKING / len(model.layers) * kept
    assert (with_three - with_one) / 2 == pytest.approx(kept + working, rel=0.05)


def test_recomputing_takes_less(settings: TrainConfig) -> None:
    light = changed(settings, network=atd_light(2).__dict__, data={"patch": 64, "batch": 8})
    plain = estimate(light, CPU).bytes
    assert estimate(changed(light, activation_checkpointing=True), CPU).bytes < 0.7 * plain


def test_what_is_said() -> None:
    known = Estimate(
        parameters=753_204,
        bytes=27_100_000_000,
        step_seconds=0.5,
        seconds=250_000.0,
        crops=32,
        patch=64,
        timed=64,
        blocks=4,
        iterations=500_000,
        ranks=1,
        device="cpu, 2 threads",
        free=20_000_000_000,
    )
    assert known.lines() == [
        "network: 753,204 parameters.",
        "memory: about 25.2 GiB for 32 crops of 64x64 at once; 18.6 GiB are free.",
        "time: about 2 d 21 h here, 500,000 steps of 0.5 s, without validation.",
        "Both are extrapolated: one block of 4 was timed on one crop of 64x64 (cpu, 2 threads).",
        "That is more memory than is free: set data.micro_batch or activation_checkpointing.",
    ]


def test_one_crop_is_singular() -> None:
    known = Estimate(
        **dict.fromkeys(("parameters", "patch", "timed", "blocks", "iterations", "ranks"), 8),
        **dict.fromkeys(("bytes", "free"), 1),
        step_seconds=0.5,
        seconds=2.0,
        crops=1,
        device="cpu",
    )
    assert " for 1 crop of 8x8 at once by each of 8 processes; " in known.lines()[1]
