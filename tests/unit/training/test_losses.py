"""Losses against their definitions written out."""

import math

import numpy as np
import pytest
import torch

from atdsr.training.config import LossConfig
from atdsr.training.losses import charbonnier, spectral_l1, training_loss


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    sr, hr = torch.rand(2, 2, 3, 5, 4, dtype=torch.float64)
    return sr.requires_grad_(), hr


def test_l1(pair) -> None:
    sr, hr = pair
    assert training_loss(sr, hr, LossConfig()).item() == pytest.approx(
        (sr - hr).abs().mean().item()
    )


def test_charbonnier(pair) -> None:
    sr, hr = (x.detach().flatten().tolist() for x in pair)
    expected = sum(math.sqrt((a - b) ** 2 + 0.1**2) for a, b in zip(sr, hr, strict=True)) / len(sr)
    assert charbonnier(pair[0], pair[1], eps=0.1).item() == pytest.approx(expected)
    loss = training_loss(pair[0], pair[1], LossConfig(kind="charbonnier", eps=0.1))
    assert loss.item() == pytest.approx(expected)
    same = pair[1].clone().requires_grad_()
    charbonnier(same, pair[1], eps=1e-3).backward()
    assert same.grad is not None
    assert torch.equal(same.grad, torch.zeros_like(same))  # smooth where L1 is not


def test_spectral_l1(pair) -> None:
    """The transform as a product with the matrices of its definition."""
    sr, hr = (x.detach().numpy() for x in pair)
    height, width = sr.shape[-2:]
    rows, columns = (
        np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in (height, width)
    )
    difference = rows @ (sr - hr) @ columns
    expected = (np.abs(difference.real) + np.abs(difference.imag)).mean() / 2
    assert spectral_l1(pair[0], pair[1]).item() == pytest.approx(expected)
    both = training_loss(pair[0], pair[1], LossConfig(fft=0.05)).item()
    assert both == pytest.approx(np.abs(sr - hr).mean() + 0.05 * expected)
