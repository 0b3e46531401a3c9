"""ATD v2 and ATD-U against what the authors' code computed.

Each file of `vectors/` holds a small network with every parameter moved away from its start
(float32), a picture and the float64 output of the authors' code (commit c064084) with a stable
sort. The index buffers that follow from the sizes have been taken out.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from torch import Tensor

from atdsr.network import kernels
from atdsr.network.config import ATDConfig, ATDUConfig
from atdsr.network.fused_cpu import CPUBackend
from atdsr.weights import Weights, official_state_dict, read_weights, write_weights
from atdsr.weights.state_dict import is_position_index

VECTORS = Path(__file__).with_name("vectors")
ENLARGING = ("v2_light_x2", "v2_classical_x3", "v2_real_x4")
RESTORING = ("atd_u_3ch", "atd_u_1ch")
ALL = (*ENLARGING, *RESTORING)


def vector(name: str) -> tuple[dict[str, Tensor], Tensor, Tensor, dict]:
    """Parameters by their official names, input, output, and options of the network."""
    with safetensors.safe_open(VECTORS / f"{name}.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        options = json.loads(file.metadata()["network_g"])
    parameters = {
        key.removeprefix("weights."): value
        for key, value in tensors.items()
        if key.startswith("weights.")
    }
    return parameters, tensors["input"], tensors["output"], options


def weights_of(name: str, folder: Path) -> Weights:
    """The network, read from a file as the authors' code saves it."""
    parameters, _, _, options = vector(name)
    torch.save({"params_ema": parameters}, folder / f"{name}.pth")
    (category_size,) = {*np.ravel(options["category_size"]).tolist()}
    return read_weights(folder / f"{name}.pth", category_size=category_size)


@pytest.mark.parametrize("name", ALL)
def test_the_authors_output_in_float64(name: str, tmp_path: Path) -> None:
    _, image, expected, _ = vector(name)
    model = weights_of(name, tmp_path).build().double()
    with torch.inference_mode():
        out = model(image)
    assert expected.std() > 0.1  # not a constant that anything would equal
    assert out.shape == expected.shape
    assert (out - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("name", ENLARGING)
def test_the_configuration_is_read_off_the_tensors(name: str, tmp_path: Path) -> None:
    _, _, _, options = vector(name)
    config = weights_of(name, tmp_path).config
    assert isinstance(config, ATDConfig)
    assert config.code_width == options["dim_ffn_td"]
    assert config.dictionary_size == options["num_tokens"]
    assert config.reduced_width == options["reducted_dim"]
    assert list(config.heads) == options["num_heads"]
    assert config.hidden == int(options["embed_dim"] * options["mlp_ratio"])
    assert (config.scale, config.head) == (options["upscale"], options["upsampler"])


@pytest.mark.parametrize("name", RESTORING)
def test_the_configuration_of_an_atd_u(name: str, tmp_path: Path) -> None:
    _, _, _, options = vector(name)
    config = weights_of(name, tmp_path).config
    assert isinstance(config, ATDUConfig)
    assert (config.scale, config.channels) == (1, options["in_chans"])
    assert list(config.code_widths) == options["dim_ffn_td"]
    assert list(config.reduced_widths) == options["reducted_dim"]
    assert list(config.windows) == options["window_size"]
    assert list(config.depths) == options["depths"]
    assert list(config.heads) == options["num_heads"]
    assert (config.width, config.ffn_ratio) == (options["embed_dim"], options["mlp_ratio"])


@pytest.mark.parametrize("name", ALL)
def test_the_official_names_are_written(name: str, tmp_path: Path) -> None:
    """Both ways, the same tensors under the same names."""
    parameters, _, _, _ = vector(name)
    weights = weights_of(name, tmp_path)
    write_weights(weights, tmp_path / "ours.safetensors")
    again = read_weights(tmp_path / "ours.safetensors")
    assert again.config == weights.config
    official = official_state_dict(again)
    buffers = {key for key in official if is_position_index(key)}
    assert len(buffers) == (1 if name in ENLARGING else len(weights.build().layers))
    assert official.keys() - buffers == parameters.keys()
    assert all(torch.equal(official[key], parameters[key]) for key in parameters)


@pytest.mark.parametrize("name", ALL)
def test_kernels_layer_by_layer(name: str, tmp_path: Path) -> None:
    """Each layer gets the same tokens, so that no category flips before it.

    A layer with a token between two categories, which float32 may send to either, tells nothing.
    """
    _, image, _, _ = vector(name)
    model, exact = (weights_of(name, tmp_path).build() for _ in range(2))
    exact.double()
    compared = 0
    entered: list[tuple[Tensor, Tensor]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: entered.append(args[:2]))
        for layer in exact.layers
    ]
    with torch.inference_mode(), kernels.plain():
        exact(image)
    for hook in hooks:
        hook.remove()
    with torch.inference_mode():
        for layer, reference, (x, dictionary) in zip(
            model.layers, exact.layers, entered, strict=True
        ):
            shares = reference.dictionary(reference.norm_attention(x), dictionary)[1].topk(2).values
            if (1 - shares[..., 1] / shares[..., 0]).min() < 1e-6:
                continue
            compared += 1
            out, same = layer(x.float(), dictionary.float(), CPUBackend())
            expected, _ = reference(x, dictionary)
            assert (out - expected).abs().max() <= 1e-5 * expected.abs().max()
            assert torch.equal(same, dictionary.float())
    assert compared >= len(entered) - 1
