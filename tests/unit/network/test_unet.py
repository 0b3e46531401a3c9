"""ATD-U: parameter counts, sizes, gradients, configurations."""

import dataclasses

import numpy as np
import pytest
import torch

from atdsr.network.config import ATDUConfig, ConfigError, atd_u
from atdsr.network.unet import ATDU
from helpers.networks import TINY_U, lively


@pytest.mark.parametrize(("channels", "parameters"), [(3, 24_905_120), (1, 24_903_392)])
def test_parameter_counts_are_the_published_ones(channels: int, parameters: int) -> None:
    with torch.device("meta"):
        model = ATDU(atd_u(channels))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    biases = [name for name, _ in model.named_parameters() if name.endswith("bias")]
    assert biases
    assert all(".norm_" in name for name in biases)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 70), (1, 64, 64)])
def test_any_size_and_batch(channels: int, shape: tuple[int, int, int]) -> None:
    model, (b, h, w) = lively(dataclasses.replace(TINY_U, channels=channels)), shape
    image = torch.rand(b, channels, h, w)
    with torch.inference_mode():
        out = model(image)
    assert out.shape == image.shape
    assert out.isfinite().all()
    assert not torch.allclose(out, image, atol=0.01)


def test_a_padded_picture_is_the_picture_mirrored_as_numpy_does() -> None:
    model = lively(TINY_U).double()
    image = torch.rand(1, 3, 5, 70, dtype=torch.float64)
    pads = [(0, 0), (0, 0), (0, 59), (0, 58)]
    whole = torch.from_numpy(np.pad(image.numpy(), pads, mode="symmetric"))
    with torch.inference_mode():
        assert torch.equal(model(image), model(whole)[..., :5, :70])


def test_gradients_reach_every_parameter() -> None:
    model = lively(TINY_U)
    model(torch.rand(1, 3, 40, 64)).square().mean().backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


@pytest.mark.slow
def test_activation_checkpointing_changes_no_gradient() -> None:
    plain = lively(TINY_U).double()
    frugal = ATDU(TINY_U, activation_checkpointing=True).double()
    frugal.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    for model in (plain, frugal):
        model(image).abs().mean().backward()
    for a, b in zip(plain.parameters(), frugal.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"channels": 4}, r"channels is 4; it must be 3 \(RGB\) or 1"),
        ({"width": 0}, "width is 0"),
        ({"width": 7}, "width is 7; it must be even and a multiple"),
        ({"depths": (1, 1, 1)}, r"depths is .*; it must be a list of 4"),
        ({"depths": (1, 1, 1, 0)}, "a number of depths is 0"),
        ({"heads": (3, 2, 2, 2)}, "a multiple of each level's heads"),
        ({"windows": (16, 8, 8, 7)}, "windows is .* they must be even"),
        ({"windows": (32, 16, 8, 2)}, "a window of a finer level must fit"),
        ({"ffn_kernel": 4}, "ffn_kernel is 4; it must be odd"),
        ({"ffn_ratio": 0.0}, "ffn_ratio is 0.0"),
    ],
)
def test_what_cannot_be_built_is_named(change: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        dataclasses.replace(TINY_U, **change)


def test_names() -> None:
    assert atd_u(3).name == "ATD-U color"
    assert atd_u(1).name == "ATD-U gray"
    assert TINY_U.name == "ATD-U color of width 8"
    assert isinstance(TINY_U, ATDUConfig)
