"""LPIPS and DISTS: what is said where pyiqa or its weights are missing, and how it is called."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from atdsr.evaluation import perceptual
from atdsr.evaluation.perceptual import PerceptualError

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PyTorch's folder of weights, empty, and no way to the network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr("socket.socket.connect", refuse)
    return tmp_path / "hub"


@pytest.fixture
def pyiqa(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, torch.device]]:
    """A stand-in whose metrics are mean differences, result minus original."""
    made: list[tuple[str, torch.device]] = []

    def create_metric(name: str, device: torch.device) -> object:
        print("Loading pretrained model")
        made.append((name, device))
        return lambda target, reference: (target - reference).mean().reshape(1, 1)

    module = types.ModuleType("pyiqa")
    module.create_metric = create_metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    return made


def put(cache: Path, *names: str) -> None:
    for name in names:
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(b"weights")


def test_a_metric_of_pyiqa(
    cache: Path, pyiqa: list[tuple[str, torch.device]], capsys: pytest.CaptureFixture[str]
) -> None:
    put(cache, "pyiqa/LPIPS_v0.1_alex-df73285e.pth", "checkpoints/alexnet-owt-7be5be79.pth")
    measure = perceptual.load("lpips", CPU)
    assert pyiqa == [("lpips", CPU)]
    hr, sr = np.full((8, 9, 3), 51, np.uint8), np.full((8, 9, 3), 102, np.uint8)
    assert measure(hr, sr) == pytest.approx(0.2)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("pyiqa")
@pytest.mark.parametrize(
    ("name", "there", "missing", "folder"),
    [
        ("lpips", [], "LPIPS_v0.1_alex-df73285e.pth", "pyiqa"),
        (
            "lpips",
            ["pyiqa/LPIPS_v0.1_alex-df73285e.pth"],
            "alexnet-owt-7be5be79.pth",
            "checkpoints",
        ),
        ("dists", [], "DISTS_weights-f5e65c96.pth", "pyiqa"),
        ("dists", ["pyiqa/DISTS_weights-f5e65c96.pth"], "vgg16-397923af.pth", "checkpoints"),
    ],
)
def test_missing_weights_are_named(
    cache: Path, name: str, there: list[str], missing: str, folder: str
) -> None:
    put(cache, *there)
    with pytest.raises(PerceptualError) as error:
        perceptual.load(name, CPU)
    assert f"put {missing} from https://" in str(error.value)
    assert str(error.value).endswith(f" into {cache / folder}.")


def test_without_pyiqa(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(PerceptualError, match=r"install it with pip install 'atdsr\[metrics\]'"):
        perceptual.load("dists", CPU)


def test_no_such_metric() -> None:
    with pytest.raises(PerceptualError, match="no metric 'niqe'; use lpips or dists"):
        perceptual.load("niqe", CPU)


def test_damaged_weights(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create_metric(name: str, device: torch.device) -> object:
        raise RuntimeError(f"{name} on {device}: invalid load key")

    module = types.ModuleType("pyiqa")
    module.create_metric = create_metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    put(cache, "pyiqa/DISTS_weights-f5e65c96.pth", "checkpoints/vgg16-397923af.pth")
    with pytest.raises(
        PerceptualError, match="pyiqa cannot make dists: dists on cpu: invalid load"
    ):
        perceptual.load("dists", CPU)
