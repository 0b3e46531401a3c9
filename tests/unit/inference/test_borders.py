"""Flat borders stay flat, whatever the weights; everything else is the network's."""

import numpy as np
import pytest
import torch

import atdsr
from atdsr.inference.borders import Edges, keep_flat
from atdsr.inference.upscaler import Upscaler
from atdsr.weights import models
from helpers.networks import TINY, lively

COLOURS = [(0, 0, 0), (255, 255, 255), (0, 255, 0), (255, 0, 255), (204, 153, 128)]


def frame(depth: int, shape: tuple[int, int]) -> np.ndarray:
    """True so many pixels deep."""
    inner = np.ones(shape, bool)
    inner[depth:-depth, depth:-depth] = False
    return inner


@pytest.mark.slow
@pytest.mark.parametrize("model", models.BUNDLED, ids=lambda model: model.name)
def test_tiny_flat_pictures_do_not_drift(model: models.BundledModel) -> None:
    upscaler = atdsr.load(model.name, device="cpu")
    for colour in COLOURS:
        for side in (1, 5, 16):
            out = upscaler(np.full((side, side, 3), colour, np.uint8))
            assert np.abs(out.astype(int) - colour).max() <= 2, (colour, side)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"tile": 32}, {"precision": "bf16"}, {"ensemble": True}], ids=str
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_flat_border_is_kept_on_every_side(channels: int, options: dict) -> None:
    """These weights are random, and make of a flat picture whatever they like."""
    upscaler = Upscaler(lively(TINY), device="cpu", **options)
    samples = np.full((48, 70, channels), 200, np.uint8)
    samples[12:-12, 12:-12] = np.random.default_rng(0).integers(0, 256, (24, 46, channels))
    out = upscaler(samples)
    assert (out[frame(6, out.shape[:2])] == 200).all()
    assert (out[20:-20, 20:-20] != 200).mean() > 0.9  # where it is the network's


def test_a_batch_and_a_border_that_is_not_flat() -> None:
    upscaler = Upscaler(lively(TINY), device="cpu")
    noise = torch.rand(1, 3, 20, 20)
    with torch.inference_mode():
        expected = upscaler.model(noise).clamp(0, 1)
    assert torch.equal(upscaler(noise), expected)
    made = upscaler(torch.cat([noise, torch.full_like(noise, 0.3)]))
    assert torch.allclose(made[:1], expected, atol=1e-5)
    assert (made[1, :, :4] - 0.3).abs().max() < 1e-6


def test_only_edges_of_the_picture_count_and_the_network_takes_over_gradually() -> None:
    image = torch.full((1, 1, 20, 20), 0.5)
    enlarged = torch.zeros(1, 1, 40, 40)
    keep_flat(image, enlarged, 2, Edges(top=False, bottom=False, left=False, right=False))
    assert enlarged.eq(0).all()
    keep_flat(image, enlarged, 2, Edges(top=True, bottom=False, left=False, right=False))
    column = enlarged[0, 0, :, 20]
    assert column[:6].eq(0.5).all()
    assert (column[6:12].diff() < 0).all()
    assert column[14:].eq(0).all()
    image[..., 10] += 4 / 255  # as much as is half flat
    enlarged.zero_()
    keep_flat(image, enlarged, 2, Edges(top=True, bottom=False, left=False, right=False))
    assert enlarged[0, 0, 0, 0] == 0.5
    assert enlarged[0, 0, 0, 20] == pytest.approx(0.25, abs=0.01)
