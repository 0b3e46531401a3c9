"""Losses against their definitions written out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from atdsr.training import Event, LogEntry, fit
from atdsr.training.config import LossConfig
from atdsr.training.losses import LossError, charbonnier, loss_function, spectral_l1
from helpers.training_runs import changed, packed, tiny_config


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    sr, hr = torch.rand(2, 2, 3, 5, 4, dtype=torch.float64)
    return sr.requires_grad_(), hr


def test_l1(pair) -> None:
    sr, hr = pair
    assert loss_function(LossConfig())(sr, hr).item() == pytest.approx(
        (sr - hr).abs().mean().item()
    )


def test_charbonnier(pair) -> None:
    sr, hr = (x.detach().flatten().tolist() for x in pair)
    expected = sum(math.sqrt((a - b) ** 2 + 0.1**2) for a, b in zip(sr, hr, strict=True)) / len(sr)
    assert charbonnier(pair[0], pair[1], eps=0.1).item() == pytest.approx(expected)
    loss = loss_function(LossConfig(kind="charbonnier", eps=0.1))(pair[0], pair[1])
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
    both = loss_function(LossConfig(fft=0.05))(pair[0], pair[1]).item()
    assert both == pytest.approx(np.abs(sr - hr).mean() + 0.05 * expected)


OWN = """
import torch

def squared(sr, hr):
    return (sr - hr).square().mean()

def per_sample(sr, hr):
    return (sr - hr).square()

def plain_number(sr, hr):
    return 0.5

half = 0.5
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with loss functions of a user's."""
    (tmp_path / "losses_of_a_user.py").write_text(OWN)
    (tmp_path / "broken_of_a_user.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "losses_of_a_user"


def test_a_function_of_the_users(pair, own_module: str) -> None:
    sr, hr = pair
    expected = (sr - hr).square().mean().item()
    kind = f"{own_module}:squared"
    assert loss_function(LossConfig(kind=kind))(sr, hr).item() == pytest.approx(expected)
    with_fft = loss_function(LossConfig(kind=kind, fft=0.5))(sr, hr)
    assert with_fft.item() == pytest.approx(expected + 0.5 * spectral_l1(sr, hr).item())
    with_fft.backward()
    assert sr.grad is not None


def test_a_run_with_a_function_of_the_users(tmp_path: Path, own_module: str) -> None:
    settings = tiny_config(packed(tmp_path), tmp_path / "run", iterations=2)
    losses: dict[str, list[float]] = {}
    for kind in ("l1", f"{own_module}:squared"):
        output = tmp_path / kind.partition(":")[0]
        run = changed(settings, output=output, loss={"kind": kind})
        entries: list[LogEntry] = []

        def callback(event: Event, entries: list[LogEntry] = entries) -> None:
            if isinstance(event, LogEntry):
                entries.append(event)

        fit(run, callback=callback)
        losses[kind] = [entry.loss for entry in entries]
    absolute, squared = losses.values()
    assert len(squared) == 2
    assert absolute[0] ** 2 < squared[0] < absolute[0]  # of the same first batch


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("{}:gone", "cannot be imported: AttributeError"),
        ("{}.gone:squared", "cannot be imported: ModuleNotFoundError"),
        ("broken_of_a_user:any", "cannot be imported: ZeroDivisionError"),
        ("{}:half", "which is not a function"),
    ],
)
def test_what_cannot_be_imported(own_module: str, kind: str, sentence: str) -> None:
    with pytest.raises(LossError, match=sentence):
        loss_function(LossConfig(kind=kind.format(own_module)))


@pytest.mark.parametrize(
    ("name", "what"),
    [("per_sample", r"a tensor of shape \(2, 3, 5, 4\)"), ("plain_number", "float")],
)
def test_what_is_no_loss(pair, own_module: str, name: str, what: str) -> None:
    with pytest.raises(LossError, match=f"returned .*{what}.*one number as a tensor"):
        loss_function(LossConfig(kind=f"{own_module}:{name}"))(*pair)
