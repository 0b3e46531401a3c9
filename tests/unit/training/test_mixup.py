"""Mixup: which crops are mixed, and that any share of a batch has the bits of the whole."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from atdsr.datasets import Crops, PackedSet
from atdsr.training import TrainConfig, mixup
from atdsr.training.config import MixupConfig
from atdsr.training.crop_loader import CropLoader
from atdsr.training.distributed import Distributed
from helpers.networks import TINY_U
from helpers.training_runs import packed, tiny_config

CPU = torch.device("cpu")
ALWAYS = MixupConfig(probability=1)


def beta_shares(parameter: float, count: int = 4_000) -> np.ndarray:
    config = MixupConfig(probability=1, beta=parameter)
    mixes = (mixup.draw(config, 0, step, 2) for step in range(1, count + 1))
    return np.array([mix.share for mix in mixes if mix is not None])


@pytest.mark.parametrize("parameter", [0.2, 0.6, 1, 1.2, 5, 100])
def test_shares_follow_the_beta_distribution(parameter: float) -> None:
    """Kolmogorov's distance to its distribution function, which is summed up here."""
    shares = np.sort(beta_shares(parameter))
    assert ((shares >= 0) & (shares <= 1)).all()
    # over t = log(x / (1 - x)), in which the density is smooth for all parameters
    t = np.linspace(-800, 800, 1_600_001)
    logarithm = -parameter * (np.logaddexp(0, t) + np.logaddexp(0, -t))
    below = np.cumsum(np.exp(logarithm - logarithm.max()))
    with np.errstate(divide="ignore"):
        places = np.log(shares) - np.log1p(-shares)
    expected = np.interp(np.clip(places, -800, 800), t, below / below[-1])
    observed = np.arange(len(shares) + 1) / len(shares)
    gap = max((observed[1:] - expected).max(), (expected - observed[:-1]).max())
    assert gap * math.sqrt(len(shares)) < 1.95  # one in 1000 exceeds it


def test_half_of_the_batches_are_mixed_by_any_permutation() -> None:
    mixes = [mixup.draw(MixupConfig(), 0, step, 3) for step in range(1, 2_001)]
    mixed = [mix for mix in mixes if mix is not None]
    assert len(mixed) == pytest.approx(1_000, abs=80)
    counts = Counter(mix.partners for mix in mixed)
    assert len(counts) == 6
    assert min(counts.values()) > len(mixed) / 6 - 50
    assert mixup.draw(MixupConfig(probability=0), 0, 1, 3) is None


def test_a_mix_is_a_function_of_seed_and_step() -> None:
    first, again, later = (mixup.draw(ALWAYS, 3, step, 8) for step in (5, 5, 6))
    assert first == again
    assert first != later
    assert first != mixup.draw(ALWAYS, 4, 5, 8)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("mixup"))


def loaded(settings: TrainConfig, ranks: int, step: int) -> list[torch.Tensor]:
    """LR and HR of a step, from the shares of all processes."""
    pictures = PackedSet(settings.data.train, settings.network.scale)
    shares = []
    for rank in range(ranks):
        loader = CropLoader(settings, pictures, Distributed(rank, ranks, CPU))
        shares.append(loader.batch(step))
        loader.close()
    return [torch.cat(sides) for sides in zip(*shares, strict=True)]


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("noise", [True, False], ids=["noise", "jpeg"])
def test_the_crops_of_a_mixed_batch(train: Path, precision: str, noise: bool) -> None:
    operation = {"kind": "noise", "sigma": [25, 25]} if noise else {"kind": "jpeg"}
    settings = tiny_config(
        train,
        train / "run",
        network=TINY_U,
        data={
            "batch": 5,
            "mixup": {"probability": 0.5},
            "degradation": {"eight_bits": not noise, "operations": [operation]},
        },
        precision=precision,
        stages=[{"after": 2, "patch": 20, "batch": 4}],
        iterations=8,
    )
    crops = Crops(PackedSet(train, 1), settings.seed, degradation=settings.data.degradation_at(1))
    dtype = torch.float64 if precision == "fp64" else torch.float32
    mixed = 0
    for step in range(1, 9):
        first, count, patch = (5 * (step - 1), 5, 16) if step < 3 else (10 + 4 * (step - 3), 4, 20)
        sides = crops.batch(range(first, first + count), patch)
        floats = [x.to(dtype) if x.is_floating_point() else x.to(dtype) / 255 for x in sides]
        assert settings.data.mixup is not None
        mix = mixup.draw(settings.data.mixup, settings.seed, step, count)
        if mix is not None:
            mixed += 1
            share, order = mix.share, list(mix.partners)
            floats = [share * x + (1 - share) * x[order] for x in floats]
        for ranks in (1, 2, 3, 4):
            ours = loaded(settings, ranks, step)
            assert all(map(torch.equal, ours, floats))
            assert [x.dtype for x in ours] == [dtype, dtype]
    assert 0 < mixed < 8
