"""A network of scale 1: pictures of the same size in and out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr import imaging
from atdsr.inference.config import UpscaleError
from atdsr.inference.upscaler import Upscaler
from atdsr.network.config import NetworkConfig
from helpers.networks import TINY, TINY_U, lively

GRAY = replace(TINY_U, channels=1)


def restorer(config: NetworkConfig = TINY_U, **options: Any) -> Upscaler:
    return Upscaler(lively(config), device="cpu", **options)


def noisy(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def direct(upscaler: Upscaler, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return upscaler.model(image).clamp(0, 1)


@pytest.mark.parametrize("size", [(1, 1), (5, 70), (64, 64)])
def test_the_result_is_that_of_the_network(size: tuple[int, int]) -> None:
    upscaler = restorer()
    picture = noisy(*size, 3)
    out = upscaler(picture)
    expected = direct(upscaler, imaging.to_tensor(picture))
    assert upscaler.scale == 1
    assert out.shape == picture.shape
    assert np.array_equal(out, imaging.to_array(expected, np.uint8))


def test_flat_borders_are_the_networks_too() -> None:
    """Bicubic takes its place at flat borders only where it enlarges."""
    upscaler, flat = restorer(), np.full((20, 20, 3), 200, np.uint8)
    expected = imaging.to_array(direct(upscaler, imaging.to_tensor(flat)), np.uint8)
    assert not np.array_equal(expected, flat)
    assert np.array_equal(upscaler(flat), expected)


def test_sixteen_bits_floats_and_pillow() -> None:
    upscaler = restorer()
    deep = noisy(9, 7, 3, dtype=np.uint16)
    assert upscaler(deep).dtype == np.uint16
    assert len(np.unique(upscaler(deep) % 257)) > 1  # more than 8 bits of them
    floats = torch.rand(1, 3, 9, 7)
    assert torch.allclose(upscaler(floats), direct(upscaler, floats), atol=1e-6)
    assert upscaler(Image.new("P", (7, 9))).size == (7, 9)


def test_alpha_stays_as_it_is() -> None:
    picture = noisy(20, 30, 4)
    out = restorer()(picture)
    assert np.array_equal(out[..., 3], picture[..., 3])
    assert not np.array_equal(out[..., :3], picture[..., :3])


def test_a_gray_picture_in_a_network_for_colour() -> None:
    upscaler, picture = restorer(), noisy(20, 30)
    expected = direct(upscaler, imaging.to_tensor(picture[..., None]).expand(-1, 3, -1, -1))
    luma = imaging.to_array(imaging.gray_from_rgb(expected), np.uint8)[..., 0]
    assert np.array_equal(upscaler(picture), luma)


def test_a_network_for_gray_restores_the_luma_and_leaves_the_colours() -> None:
    upscaler = restorer(GRAY)
    gray = torch.rand(1, 1, 20, 30)
    assert torch.allclose(upscaler(gray), direct(upscaler, gray), atol=1e-6)
    colours = 0.4 + 0.2 * torch.rand(1, 3, 20, 30)  # far enough from the ends of the range
    luma = imaging.gray_from_rgb(colours)
    with torch.inference_mode():
        change = upscaler.model(luma) - luma
    out = upscaler(colours)
    assert torch.allclose(out, (colours + change).clamp(0, 1), atol=1e-6)
    assert change.abs().max() > 1e-3


def test_a_size_is_reached_after_one_pass() -> None:
    upscaler, picture = restorer(), noisy(20, 30, 3)
    restored = upscaler(picture)
    for size in ((30, 20), (60, 40), (15, 10)):
        assert upscaler(picture, size=size).shape == (size[1], size[0], 3)
        assert upscaler.workload(30, 20, size).passes == 1
    assert np.array_equal(upscaler(picture, size=(30, 20)), restored)


def test_tiles_ensemble_and_batches() -> None:
    picture = noisy(200, 300, 3)
    tiled = restorer(tile=128)(picture)
    assert tiled.shape == picture.shape
    # the interior of the first tile is the tile's own result
    alone = restorer()(picture[:128, :128])
    assert np.array_equal(tiled[:64, :64], alone[:64, :64])
    assert restorer(ensemble=True)(picture[:20, :30]).shape == (20, 30, 3)
    pair = restorer().batch([picture[:20, :30], picture[20:40, :30]])
    assert np.array_equal(pair[1], restorer()(picture[20:40, :30]))


# ------------------------------------------------------------------------------ before enlarging


def enlarging(restorer_config: NetworkConfig | None = TINY_U, **options: Any) -> Upscaler:
    """A tiny network, with a restorer before it unless that is None."""
    before = None if restorer_config is None else restorer(restorer_config)
    return Upscaler(lively(TINY), device="cpu", restorer=before, **options)


@pytest.mark.parametrize("config", [TINY_U, GRAY])
@pytest.mark.parametrize("size", [None, (90, 50), (20, 10)])
def test_floats_are_restored_and_then_enlarged(
    config: NetworkConfig, size: tuple[int, int] | None
) -> None:
    picture = torch.rand(1, 3, 20, 30)
    expected = enlarging(None)(restorer(config)(picture), size=size)
    assert torch.equal(enlarging(config)(picture, size=size), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_samples_are_restored_with_16_bits_in_between(channels: int, dtype: type) -> None:
    picture = noisy(20, 30, channels, dtype=dtype)
    if channels in (2, 4):
        picture[..., -1] = np.iinfo(dtype).max  # opaque: no colour is hidden
    deep = picture if dtype == np.uint16 else picture.astype(np.uint16) * 257
    expected = enlarging(None)(restorer()(deep))
    made = enlarging()(picture)
    assert made.dtype == dtype
    if dtype == np.uint16:
        assert np.array_equal(made, expected)
    else:
        assert np.abs(made.astype(int) - np.round(expected / 257)).max() <= 1
    assert not np.array_equal(made, enlarging(None)(picture))


def test_noise_beyond_the_range_is_for_what_restores() -> None:
    noise = torch.rand(1, 3, 20, 30) * 3 - 1
    restored = restorer()(noise)
    assert torch.equal(restored, direct(restorer(), noise))
    assert torch.equal(enlarging()(noise), enlarging(None)(restored))
    with pytest.raises(imaging.PictureError, match=r"in \[0, 1\], and these are from"):
        enlarging(None)(noise)
    for upscaler in (restorer(), enlarging()):
        with pytest.raises(imaging.PictureError, match="divide them by their white"):
            upscaler(noise.abs() * 255)


def test_batches_and_files_mapped_into_memory(tmp_path: Path) -> None:
    upscaler, picture = enlarging(), noisy(20, 30, 3)
    alone = upscaler(picture)
    pair = [picture, picture[::-1]]
    restored = restorer().batch([each.astype(np.uint16) * 257 for each in pair])
    for made, expected in zip(upscaler.batch(pair), enlarging(None).batch(restored), strict=True):
        assert np.abs(made.astype(int) - np.round(expected / 257)).max() <= 1
    out = np.memmap(tmp_path / "out", np.uint8, "w+", shape=alone.shape)
    upscaler(picture, out=out)
    assert np.array_equal(out, alone)


def test_progress_and_memory_are_of_both() -> None:
    seen: list[float] = []
    upscaler = enlarging()
    upscaler(noisy(20, 30, 3), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert 0 < seen[0] < 0.5  # the restorer's layers count, too
    assert upscaler.restorer is not None
    memory = (each.workload(300, 200).memory or 0 for each in (enlarging(None), upscaler.restorer))
    assert upscaler.workload(300, 200).memory == max(memory)


def test_a_restorer_restores() -> None:
    with pytest.raises(UpscaleError, match="the restorer enlarges by 2"):
        Upscaler(lively(TINY), device="cpu", restorer=enlarging(None))
