"""The exportable backend computes what the layers do as they are written."""

from dataclasses import replace

import pytest
import torch

from atdsr.network import attention, kernels
from atdsr.network.exportable import (
    ExportBackend,
    attend_in_windows,
    make_windows,
    place_by_category,
)
from atdsr.network.model import ATD
from atdsr.network.windows import partition, shift
from helpers.networks import TINY, TINY_V2, lively


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, category_size=96, depths=(3,), heads=(3,)),  # which does not divide 256
        replace(TINY, window=8, category_size=64, scale=3, head="pixelshuffle"),
        replace(TINY, category_block=20),
        TINY_V2,
    ],
    ids=["tiny", "short-run", "window-8", "blocks", "v2"],
)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 40), (2, 33, 17), (1, 64, 48)])
def test_it_computes_what_the_plain_layers_do(config, shape: tuple[int, int, int]) -> None:
    model, (b, h, w) = lively(config).double(), shape
    image = torch.rand(b, 3, h, w, dtype=torch.float64)
    with torch.inference_mode():
        with kernels.plain():
            expected = model(image)
        result = model(image, ExportBackend())
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-9)


def test_gradients_are_those_of_the_plain_layers() -> None:
    image = torch.rand(1, 3, 20, 33, dtype=torch.float64)
    gradients = []
    for backend in (None, ExportBackend()):
        model = lively(TINY).double()
        with kernels.plain():
            model(image, backend).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for plain, exportable in zip(*gradients, strict=True):
        torch.testing.assert_close(exportable, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("block", [None, 1, 7, 10, 16, 25, 1000])
def test_places_are_those_of_a_stable_sort(block: int | None) -> None:
    similarity = torch.rand(3, 500, 7)
    similarity[0, 100:200] = 0.5  # all equal: the first category
    similarity[1, :, 3] = 2.0  # all in one category
    similarity[2, :, 5] = -1.0  # nobody in one
    keys, _ = attention.sort_keys(similarity.argmax(-1), 7, 20, 25, block)
    order = keys.sort(dim=1, stable=True).indices
    place = place_by_category(similarity, 20, 25, block)
    assert torch.equal(order.gather(1, place), torch.arange(500).expand(3, 500))


@pytest.mark.parametrize("shifted", [False, True])
def test_windows_are_an_order_of_the_tokens(shifted: bool) -> None:
    h, w, side = 24, 40, 8
    windows = make_windows(h, w, side, shifted, torch.device("cpu"))
    tokens = torch.arange(h * w).view(1, h, w, 1)
    expected = partition(shift(tokens, side) if shifted else tokens, side).flatten()
    assert torch.equal(windows.order.flatten(), expected)
    assert torch.equal(expected[windows.place.flatten()], torch.arange(h * w))


def test_the_channels_of_a_shift_add_up_to_its_penalties() -> None:
    h, w, side, heads = 24, 40, 8, 1
    windows = make_windows(h, w, side, True, torch.device("cpu"))
    assert windows.regions is not None
    assert torch.equal(windows.regions.sum(-1), torch.ones(1, 15, 1, 64))
    qkv = torch.randn(1, h, w, 3 * heads * 4, dtype=torch.float64)
    table = torch.randn((2 * side - 1) ** 2, heads, dtype=torch.float64)
    result = attend_in_windows(qkv.flatten(1, 2), table, windows, side).view(1, h, w, -1)
    expected = attention.window_attention_reference(qkv, table, side, True)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_half_precision_stays_inside_the_products(tiny: ATD) -> None:
    image = torch.rand(1, 3, 24, 40)
    with torch.inference_mode():
        expected = tiny(image, ExportBackend())
        for layer in tiny.layers:
            for module in (layer.qkv, layer.window, layer.category, layer.ffn):
                module.half()
        seen = []
        for layer in tiny.layers:
            layer.norm_ffn.register_forward_hook(lambda *call: seen.append(call[2].dtype))
            layer.ffn.register_forward_hook(lambda *call: seen.append(call[2].dtype))
        result = tiny(image, ExportBackend())
    assert seen == [torch.float32, torch.float16] * 4
    assert result.dtype == torch.float32
    error = (result - expected).square().mean()
    assert 0 < error < 1e-5
