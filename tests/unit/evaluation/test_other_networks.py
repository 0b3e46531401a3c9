"""Networks of other architectures: the same pixels, any size, and what is none."""

import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from atdsr import imaging
from atdsr.evaluation import methods, other_networks
from atdsr.evaluation.other_networks import OtherNetworkError
from atdsr.inference.config import InferenceConfig

CPU = InferenceConfig(device="cpu", tile="off")


@pytest.fixture
def swinir(spandrel: ModuleType, tmp_path: Path) -> Path:
    """A small SwinIR of scale 2 with random weights; it works in windows of 8."""
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's code
        model = SwinIR(
            img_size=8,
            embed_dim=12,
            depths=[1],
            num_heads=[2],
            window_size=8,
            mlp_ratio=2,
            upscale=2,
            upsampler="pixelshuffledirect",
        )
    torch.save({"params": model.state_dict()}, tmp_path / "swin.pth")
    return tmp_path / "swin.pth"


def oracle(spandrel: ModuleType, path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spandrel.ModelLoader().load_from_file(path)


@pytest.mark.slow
def test_another_network_is_what_spandrel_makes_of_the_file(
    spandrel: ModuleType, swinir: Path
) -> None:
    bicubic, swin = methods.named([str(swinir)], config=CPU)
    assert [bicubic.name, swin.name, swin.scale] == ["bicubic", "swin", 2]
    theirs = oracle(spandrel, swinir)
    assert swin.parameters == sum(p.numel() for p in theirs.model.parameters())
    samples = np.random.default_rng(1).integers(0, 256, (16, 24, 3), np.uint8)
    enlarged = theirs.eval()(imaging.to_tensor(samples))
    assert np.array_equal(swin.enlarge(samples), imaging.to_array(enlarged))


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (16, 9)])
def test_sizes_that_are_no_multiple_of_its_windows(swinir: Path, size: tuple[int, int]) -> None:
    _, swin = methods.named([str(swinir)], config=CPU)
    height, width = size
    samples = np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
    assert swin.enlarge(samples).shape == (2 * height, 2 * width, 3)


def test_ensemble_is_the_mean_over_flips_and_turns(spandrel: ModuleType, swinir: Path) -> None:
    _, plus = methods.named(
        [str(swinir)], config=InferenceConfig(device="cpu", tile="off", ensemble=True)
    )
    assert plus.name == "swin+"
    theirs = oracle(spandrel, swinir).eval()
    samples = np.random.default_rng(3).integers(0, 256, (16, 24, 3), np.uint8)
    results = []
    for turns in range(4):
        for flip in (False, True):
            turned = np.rot90(samples[:, ::-1] if flip else samples, turns)
            out = theirs(imaging.to_tensor(np.ascontiguousarray(turned)))[0].permute(1, 2, 0)
            back = np.rot90(out.numpy(), -turns)
            results.append(back[:, ::-1] if flip else back)
    mean = torch.from_numpy(np.mean(results, axis=0)).permute(2, 0, 1)[None]
    difference = imaging.to_array(mean).astype(int) - plus.enlarge(samples)
    assert abs(difference).max() <= 1  # the order of a sum
    assert (difference != 0).mean() < 0.01


def test_without_spandrel(swinir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(OtherNetworkError, match=r"install it with pip install 'atdsr\[peers\]'"):
        methods.named([str(swinir)], config=CPU)


def test_weights_of_nothing_known(spandrel: ModuleType, tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3, 3)}, tmp_path / "odd.pth")
    with pytest.raises(
        OtherNetworkError, match=r"odd\.pth: spandrel cannot read these weights either"
    ):
        methods.named([str(tmp_path / "odd.pth")], config=CPU)


def test_a_network_that_does_not_enlarge(spandrel: ModuleType, tmp_path: Path) -> None:
    from spandrel.architectures.DnCNN import DnCNN

    model = DnCNN(in_nc=3, out_nc=3, nc=4, nb=8)
    torch.save(model.state_dict(), tmp_path / "denoise.pth")
    with pytest.raises(
        OtherNetworkError, match=r"denoise\.pth: its .* does not enlarge RGB pictures"
    ):
        methods.named([str(tmp_path / "denoise.pth")], config=CPU)


def test_a_network_that_fails_says_so(swinir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = other_networks.load(swinir, torch.device("cpu"))

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not enough memory: you tried to allocate\nmuch")

    monkeypatch.setattr(network._descriptor.model, "forward", fail)
    with pytest.raises(
        OtherNetworkError, match="its SwinIR network failed: not enough memory: you tri"
    ):
        network(torch.zeros(1, 3, 8, 8))


def test_the_import_leaves_torch_as_it_was() -> None:
    before = torch.library.register_fake
    with other_networks.without_torchvision_operators():
        assert torch.library.register_fake is not before
    assert torch.library.register_fake is before
