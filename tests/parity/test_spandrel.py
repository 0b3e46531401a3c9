"""The same function as the independent oracle: same state dict, same input, same output."""

import dataclasses
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from atdsr.network.config import ATDConfig, atd, atd_light
from atdsr.network.fused_cpu import CPUBackend
from atdsr.network.model import ATD
from atdsr.weights import Weights, official_state_dict, read_weights, write_weights
from helpers.networks import TINY, lively, oracle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("stable_sort")]


def shallow_atd(scale: int) -> ATDConfig:
    """The classical network with all its widths and fewer layers."""
    return dataclasses.replace(atd(scale), depths=(2,), heads=(6,))


CONFIGS = {
    **{f"light x{scale}": atd_light(scale) for scale in (2, 3, 4)},
    **{f"classical x{scale}": shallow_atd(scale) for scale in (2, 3, 4)},
    "nearest x4": dataclasses.replace(shallow_atd(4), head="nearest+conv"),
}


def weights_of(model: ATD) -> Weights:
    return Weights(model.config, model.state_dict())


@pytest.fixture(scope="module")
def pairs(spandrel: ModuleType):
    """Our network and the oracle's with the same parameters, made once for each name."""
    made: dict[str, tuple[ATD, nn.Module]] = {}

    def pair(name: str) -> tuple[ATD, nn.Module]:
        if name not in made:
            ours = lively(CONFIGS[name]).double()
            made[name] = ours, oracle(spandrel, official_state_dict(weights_of(ours))).double()
        return made[name]

    return pair


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 40, 56), (2, 9, 13)])
def test_end_to_end_in_float64(pairs, name: str, shape: tuple[int, int, int]) -> None:
    ours, theirs = pairs(name)
    torch.manual_seed(1)
    batch, height, width = shape
    image = torch.rand(batch, 3, height, width, dtype=torch.float64)
    with torch.inference_mode():
        out, expected = ours(image), theirs(image)
    assert expected.std() > 0.1  # not a constant that anything would equal
    assert (out - expected).abs().max() <= 1e-9


@pytest.mark.parametrize("name", ["light x2", "classical x4"])
@pytest.mark.parametrize("size", [(1, 1), (3, 7), (5, 40)])
def test_sizes_that_the_oracle_refuses(pairs, name: str, size: tuple[int, int]) -> None:
    """It mirrors at most once, so it gets the picture mirrored as NumPy does, whole windows."""
    ours, theirs = pairs(name)
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    pads = [(0, -side % 16) for side in size]
    padded = torch.from_numpy(np.pad(image.numpy(), [(0, 0), (0, 0), *pads], mode="symmetric"))
    scale = ours.config.scale
    with torch.inference_mode():
        expected = theirs(padded)[..., : size[0] * scale, : size[1] * scale]
        assert (ours(image) - expected).abs().max() <= 1e-9


@pytest.mark.parametrize("name", CONFIGS)
def test_layer_by_layer_in_float32(pairs, name: str) -> None:
    """Each layer gets the oracle's input, so that no category flips before it."""
    ours, theirs = pairs(name)
    seen = []
    layers = [m for m in theirs.modules() if type(m).__name__ == "ATDTransformerLayer"]
    hooks = [
        layer.register_forward_hook(lambda _, args, out: seen.append((args, out)))
        for layer in layers
    ]
    torch.manual_seed(2)
    try:
        with torch.inference_mode():
            theirs.float()(torch.rand(1, 3, 32, 48))
            assert len(seen) == len(ours.layers) > 0
            for layer, ((x, dictionary, size, _), (expected, refined)) in zip(
                ours.float().layers, seen, strict=True
            ):
                out, new = layer(x.unflatten(1, size), dictionary, CPUBackend())
                assert (out.flatten(1, 2) - expected).abs().max() <= 1e-5 * expected.abs().max()
                assert (new - refined).abs().max() <= 1e-5 * refined.abs().max()
    finally:
        ours.double()
        theirs.double()
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("config", [TINY, atd_light(3)], ids=["tiny", "light x3"])
def test_files_written_here_load_there(
    spandrel: ModuleType, tmp_path: Path, config: ATDConfig, suffix: str
) -> None:
    ours = lively(config)
    path = tmp_path / f"model{suffix}"
    write_weights(weights_of(ours), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = spandrel.ModelLoader().load_from_file(path)
    assert theirs.architecture.id == "ATD"
    assert theirs.scale == config.scale
    image = torch.rand(1, 3, 24, 20, dtype=torch.float64)
    with torch.inference_mode():
        difference = theirs.model.eval().double()(image) - ours.double()(image)
    assert difference.abs().max() <= 1e-9


def test_parameters_of_the_oracle_load_here(spandrel: ModuleType, tmp_path: Path) -> None:
    """Both ways: a file of the oracle's own state dict gives the oracle's output."""
    theirs = oracle(spandrel, official_state_dict(weights_of(lively(atd_light(4))))).double()
    torch.save({"params": theirs.state_dict()}, tmp_path / "official.pth")
    ours = read_weights(tmp_path / "official.pth").build().double()
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    with torch.inference_mode():
        # the file's float64 parameters were rounded to float32 when built
        assert (ours(image) - theirs(image)).abs().max() <= 1e-9
