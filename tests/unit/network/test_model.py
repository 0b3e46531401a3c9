"""The network: parameter counts, sizes, dtypes, gradients, compilation, determinism."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from atdsr.network.config import (
    ATDConfig,
    ConfigError,
    atd,
    atd_light,
    atd_light_v2,
    atd_v2,
)
from atdsr.network.model import ATD
from helpers.networks import TINY, TINY_V2, lively


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (atd_light(2), 753_204),
        (atd_light(3), 759_699),
        (atd_light(4), 768_792),
        (atd(2), 20_113_217),
        (atd(3), 20_297_857),
        (atd(4), 20_260_929),
        (atd_light_v2(2), 760_956),
        (atd_light_v2(3), 767_451),
        (atd_light_v2(4), 776_544),
        (atd_v2(2), 21_842_207),
        (atd_v2(3), 22_026_847),
        (atd_v2(4), 21_989_919),
        (dataclasses.replace(atd_v2(4), head="nearest+conv"), 21_805_279),
    ],
)
def test_parameter_counts_are_the_published_ones(config: ATDConfig, parameters: int) -> None:
    with torch.device("meta"):
        model = ATD(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("head", ["pixelshuffle", "pixelshuffledirect"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 19), (1, 16, 16), (3, 33, 5)])
def test_any_size_and_batch(scale: int, head, shape: tuple[int, int, int]) -> None:
    tiny = TINY if scale == 2 else TINY_V2
    model = lively(dataclasses.replace(tiny, scale=scale, head=head))
    b, h, w = shape
    with torch.inference_mode():
        out = model(torch.rand(b, 3, h, w))
    assert out.shape == (b, 3, h * scale, w * scale)
    assert out.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 19, 33)])
def test_the_head_of_nearest_pixels(shape: tuple[int, int, int]) -> None:
    model = lively(dataclasses.replace(TINY, scale=4, head="nearest+conv"))
    b, h, w = shape
    with torch.inference_mode():
        out = model(torch.rand(b, 3, h, w))
    assert out.shape == (b, 3, 4 * h, 4 * w)
    assert out.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (17, 31)])
def test_a_padded_picture_is_the_picture_mirrored_as_numpy_does(tiny: ATD, size) -> None:
    tiny.double()
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    pads = [(0, 0), (0, 0), *((0, -side % 16) for side in size)]
    whole = torch.from_numpy(np.pad(image.numpy(), pads, mode="symmetric"))
    with torch.inference_mode():
        expected = tiny(whole)[..., : 2 * size[0], : 2 * size[1]]
        assert torch.equal(tiny(image), expected)


@pytest.mark.parametrize("config", [TINY, TINY_V2], ids=["v1", "v2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pictures_of_a_batch_do_not_see_each_other(config: ATDConfig, dtype: torch.dtype) -> None:
    model = lively(config).to(dtype)
    batch = torch.rand(3, 3, 20, 24, dtype=dtype)
    with torch.inference_mode():
        alone = torch.cat([model(image[None]) for image in batch])
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        assert torch.allclose(model(batch), alone, atol=tolerance, rtol=0)


@pytest.mark.parametrize("config", [TINY, TINY_V2], ids=["v1", "v2"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_compute_about_the_same(config: ATDConfig, dtype: torch.dtype) -> None:
    model, image = lively(config), torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        expected = model(image)
        out = copy.deepcopy(model).to(dtype)(image.to(dtype))
    assert out.dtype == dtype
    # a flipped category moves a few pixels; the bulk stays within bfloat16's precision
    difference = (out.float() - expected).abs().quantile(0.9)
    assert difference < (0.1 if dtype == torch.bfloat16 else 1e-4)


def test_the_mean_colour_keeps_its_precision_through_other_dtypes(tiny: ATD) -> None:
    image = torch.rand(1, 3, 16, 16)
    there_and_back = copy.deepcopy(tiny).double().float()
    with torch.inference_mode():
        assert torch.equal(there_and_back(image), tiny(image))


def test_the_same_input_gives_the_same_bits(tiny: ATD) -> None:
    image = torch.full((1, 3, 24, 24), 0.5)  # flat: every category is a tie
    with torch.inference_mode():
        assert torch.equal(tiny(image), tiny(image))


@pytest.mark.parametrize("config", [TINY, TINY_V2], ids=["v1", "v2"])
def test_gradients_reach_every_trained_parameter(config: ATDConfig) -> None:
    tiny = lively(config)
    tiny(torch.rand(1, 3, 20, 20)).square().mean().backward()
    without = [
        name
        for name, parameter in tiny.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert without == []
    frozen = [name for name, p in tiny.named_parameters() if not p.requires_grad]
    assert all(name.endswith("refinement.bias") for name in frozen)


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, TINY_V2], ids=["v1", "v2"])
def test_activation_checkpointing_changes_no_gradient(config: ATDConfig) -> None:
    plain = lively(config).double()
    frugal = ATD(config, activation_checkpointing=True).double()
    frugal.load_state_dict(plain.state_dict())
    image = torch.rand(2, 3, 16, 20, dtype=torch.float64)
    for model in (plain, frugal):
        model(image).abs().mean().backward()
    for a, b in zip(plain.parameters(), frugal.parameters(), strict=True):
        if a.requires_grad:
            assert a.grad is not None
            assert b.grad is not None
            assert torch.equal(a.grad, b.grad)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("config", [TINY, TINY_V2], ids=["v1", "v2"])
def test_compiles_to_the_same_function(config: ATDConfig) -> None:
    """One graph, without a break; the eager backend keeps the test off a C++ compiler."""
    model = lively(dataclasses.replace(config, depths=(2,), heads=(2,))).double()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    image = torch.rand(1, 3, 20, 36, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(compiled(image), model(image), atol=1e-12, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_computes_the_same_and_twice_the_same(tiny: ATD) -> None:
    image = torch.rand(2, 3, 40, 56, dtype=torch.float64)
    there = copy.deepcopy(tiny).double().cuda()
    with torch.inference_mode():
        expected = tiny.double()(image)
        out, again = there(image.cuda()), there(image.cuda())
    assert (out.cpu() - expected).abs().max() <= 1e-9
    assert torch.equal(out, again)


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = ATD(atd_light(2))
    layer = model.layers[0]
    assert layer.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not layer.qkv.bias.any()
    assert layer.window.bias_table.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.category.log_scale().item() == pytest.approx(np.log(10))
    assert (layer.dictionary.scale == 0.5).all()
    assert layer.refinement is not None
    assert not layer.refinement.sigma.any()


def test_initialisation_of_the_second_generation() -> None:
    torch.manual_seed(0)
    model = ATD(atd_light_v2(2))
    for layer in model.layers:
        assert layer.refinement is None
        assert layer.code is not None
        assert layer.code.weight.std().item() == pytest.approx(0.02, rel=0.2)
        assert not layer.code.bias.any()
        assert layer.dictionary.scale.tolist() == [1.0]
        # the factor of the scores is that of window attention
        assert layer.category.logit_scale is None
        assert layer.category.log_scale().exp().item() == pytest.approx(16**-0.5)


def test_the_scale_of_a_static_dictionary_is_clamped() -> None:
    layer = lively(TINY_V2).layers[0]
    dictionary = torch.randn(1, TINY_V2.dictionary_size, TINY_V2.width)
    lengths = {}
    for scale in (-1.0, 0.0, 2.0, 3.0, 9.0):
        torch.nn.init.constant_(layer.dictionary.scale, scale)
        lengths[scale] = layer.dictionary.scaled_keys(dictionary).norm(dim=-1)
    most = 1 + 3 * np.log(TINY_V2.dictionary_size)
    assert torch.allclose(lengths[3.0], torch.full_like(lengths[3.0], most))
    assert torch.equal(lengths[-1.0], lengths[0.0])
    assert torch.equal(lengths[9.0], lengths[3.0])
    assert (lengths[2.0] < lengths[3.0]).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scale": 5}, "scale"),
        ({"head": "3conv"}, "head is '3conv'; this version builds 'pixelshuffle', "),
        ({"head": "nearest+conv"}, r"the head 'nearest\+conv' enlarges by 4, and scale is 2"),
        ({"heads": (5, 2)}, "heads"),
        ({"depths": (2,)}, "depths"),
        ({"depths": (2, 0)}, "depths"),
        ({"window": 5}, "window"),
        ({"ffn_kernel": 4}, "ffn_kernel"),
        ({"ffn_ratio": 0.01}, "ffn_ratio"),
        ({"category_size": 0}, "category_size"),
        ({"code_width": 0}, "code_width is 0; it must be a whole number from 1"),
        ({"category_block": 0}, "category_block is 0; it must be a whole number from 1"),
        ({"width": 10**9}, "width is 1000000000; it must be a whole number from 1 to 2048"),
        ({"width": 12.0}, r"width is 12\.0; it must be a whole number"),
        ({"scale": True}, "scale is True"),
        ({"depths": (200, 200)}, "depths make 400 layers; at most 256"),
        ({"depths": [2, 2]}, "depths is a list"),
        ({"ffn_ratio": float("nan")}, "ffn_ratio is nan"),
        ({"width": 2048, "ffn_ratio": 9.0}, "ffn_ratio 9.0 makes 18432 channels"),
        ({"img_range": 0}, "img_range is 0; it must be a number from 0.001"),
    ],
)
def test_what_cannot_be_built_is_named(change: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        dataclasses.replace(TINY, **change)
