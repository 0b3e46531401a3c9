"""Colours under transparency: what nobody sees does not bleed into what is seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import atdsr
from atdsr import imaging
from atdsr.imaging import Picture, resample, visible_colours
from atdsr.inference.upscaler import Upscaler
from helpers.networks import TINY, lively
from helpers.pictures import noise, smooth

HIGH = {np.uint8: 255, np.uint16: 65535, np.float32: 1, np.float64: 1}


def square(dtype: type = np.uint8, channels: int = 4) -> np.ndarray:
    """White in the middle, and transparent black around it."""
    samples = np.zeros((24, 24, channels), dtype)
    samples[6:18, 6:18] = HIGH[dtype]
    return samples


def disc(channels: int, seed: int = 0) -> np.ndarray:
    """A smooth picture in an anti-aliased circle, and noise where alpha hides it."""
    samples = np.concatenate([smooth(channels - 1), smooth(1)], axis=2)
    y, x = np.mgrid[0:40, 0:56]
    samples[..., -1] = 255 * (16.5 - np.hypot(y - 20, x - 28)).clip(0, 1) + 0.5
    hidden = samples[..., -1] == 0
    samples[hidden, :-1] = np.random.default_rng(seed).integers(
        0, 256, (hidden.sum(), channels - 1)
    )
    return samples


def on(samples: np.ndarray, background: float) -> np.ndarray:
    """The picture on a background of one level, in 0 to 1 and not rounded."""
    samples = samples / HIGH.get(samples.dtype.type, 1)
    return samples[..., :-1] * samples[..., -1:] + background * (1 - samples[..., -1:])


@pytest.fixture
def bicubic(monkeypatch: pytest.MonkeyPatch) -> Upscaler:
    """An upscaler whose network is the bicubic, so that what should come out is known."""
    upscaler = Upscaler(lively(TINY), device="cpu")

    def enlarge(image: Tensor, **_: object) -> Tensor:
        large = [resample.upscale(each.permute(1, 2, 0).double().numpy(), 2) for each in image]
        return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2).to(image)

    monkeypatch.setattr(upscaler._runner, "_forward", enlarge)
    return upscaler


@pytest.mark.parametrize("dtype", HIGH)
@pytest.mark.parametrize("channels", [2, 4])
def test_hidden_pixels_get_the_colour_of_the_visible_ones(dtype: type, channels: int) -> None:
    filled = visible_colours(square(dtype, channels))[:, :]
    assert filled.dtype == dtype
    assert np.allclose(filled, HIGH[dtype], rtol=1e-6, atol=0)


def test_the_nearest_colours_count_and_the_more_visible_ones_more() -> None:
    samples = np.zeros((9, 60, 4), np.uint8)
    samples[:, :10] = (200, 0, 0, 255)
    samples[:, 9] = (0, 0, 200, 255)  # an outline
    samples[:, 50:] = (0, 200, 0, 255)
    filled = visible_colours(samples)[:, :]
    assert (filled[:, 10] == (0, 0, 200)).all()
    assert (filled[:, 49] == (0, 200, 0)).all()
    assert filled[4, 34, 1] > filled[4, 26, 1] > 0  # from one to the other
    samples = np.zeros((1, 3, 4), np.uint8)
    samples[0, 0], samples[0, 2] = (255, 0, 0, 255), (0, 255, 0, 1)
    red, green, _ = visible_colours(samples)[:, :][0, 1]
    assert red > 250
    assert green < 5


def test_alpha_that_is_nothing_in_8_bits_hides() -> None:
    samples = square(np.uint16)
    samples[..., -1] = np.maximum(samples[..., -1], 100)
    assert (visible_colours(samples)[:, :] == 65535).all()


@pytest.mark.parametrize("alpha", [1 / 255, 3 / 255, 4 / 255])
@pytest.mark.parametrize("dtype", HIGH)
def test_faint_pixels_count_as_hidden_near_clear_ones_only(dtype: type, alpha: float) -> None:
    samples = np.zeros((24, 60, 4), dtype)
    samples[..., -1] = alpha * HIGH[dtype]
    samples[6:18, 6:18] = HIGH[dtype]
    filled = visible_colours(samples)[:, :]
    assert np.allclose(filled[6:18, 18:26], HIGH[dtype] if alpha < 3.5 / 255 else 0)
    assert (filled[:, 27:] == 0).all()  # they keep what they are
    samples[6:18, 6:18, -1] = samples[0, 0, -1]
    assert np.array_equal(visible_colours(samples)[:, :], samples[..., :-1])


def test_a_faint_haze_leaves_white_edges_white(bicubic: Upscaler) -> None:
    samples = square()
    samples[..., -1] = np.maximum(samples[..., -1], 2)
    for size in (None, (41, 37), (20, 20)):
        assert on(bicubic(samples, size=size), 1).min() > 252 / 255


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_visible_colours_stay_exactly_whatever_part_is_read(dtype: type, share: float) -> None:
    samples = noise(4, dtype, 150, 131)
    hidden = np.random.default_rng(1).random(samples.shape[:2]) < share
    hidden[40:120, 30:110] = True
    samples[hidden, -1] = 0
    colours = visible_colours(samples)
    whole = colours[:, :]
    seen = samples[..., -1] > 127  # of 255, or of 65535 where it rounds up to 1 of 255
    assert np.array_equal(whole[seen], samples[seen, :-1])
    for rows in (slice(0, 32), slice(64, 101), slice(149, 150)):
        for columns in (slice(0, 16), slice(48, 131)):
            assert np.array_equal(colours[rows, columns], whole[rows, columns])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_without_edges_there_is_nothing_to_do(channels: int) -> None:
    samples = noise(channels)
    for alpha in (0, 1, 255):
        if channels in (2, 4):
            samples[..., -1] = alpha
        same = visible_colours(samples)
        assert isinstance(same, np.ndarray)
        assert np.shares_memory(same, samples)


@pytest.mark.parametrize("size", [None, (48, 48), (37, 41), (12, 9), (130, 130)])
@pytest.mark.parametrize("dtype", HIGH)
@pytest.mark.parametrize("channels", [2, 4])
def test_a_white_square_has_white_edges(
    bicubic: Upscaler, channels: int, dtype: type, size: tuple[int, int] | None
) -> None:
    out = bicubic(square(dtype, channels), size=size)
    assert on(out, 1).min() > 1 - 1e-5
    assert np.allclose(on(out, 0), out[..., -1:] / HIGH[dtype], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [None, (100, 70), (40, 25)])
@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize("channels", [2, 4])
def test_a_circle_is_enlarged_as_it_looks(
    bicubic: Upscaler, channels: int, background: int, size: tuple[int, int] | None
) -> None:
    """Enlarging what is seen on a background, and seeing what was enlarged, are nearly one."""
    samples = disc(channels)
    out = bicubic(samples, size=size)
    width, height = size or (112, 80)
    alpha = resample.resize(samples[..., -1:] / 255, height, width)
    light = resample.resize(on(samples, 0), height, width)
    # alpha that overshoots is clamped, and the light that comes with it is less by the same factor
    light *= alpha.clip(0, 1) / np.where(alpha < 1e-9, 1, alpha)
    assert np.abs(on(out, background) - light - background * (1 - alpha.clip(0, 1))).max() < 0.04
    # what is hidden changes nothing
    assert np.array_equal(out, bicubic(disc(channels, seed=1), size=size))


def test_reducing_counts_colours_as_much_as_they_are_visible(bicubic: Upscaler) -> None:
    samples = np.zeros((40, 40, 4), np.uint8)
    samples[:, ::2], samples[:, 1::2] = (255, 0, 0, 255), (0, 0, 255, 51)
    out = bicubic(samples, size=(5, 5))[2, 2]
    assert out.tolist() == [213, 0, 43, 153]  # 255 / 1.2, and a fifth of it, half up


@pytest.mark.slow
def test_tiles_and_batches_and_files_give_the_same(tmp_path: Path) -> None:
    upscaler = Upscaler(lively(TINY), device="cpu", tile=32, overlap=8)
    clean, dirty = (np.tile(disc(4, seed=seed), (2, 1, 1)) for seed in (0, 1))
    assert np.array_equal(upscaler(dirty), upscaler(clean))
    mapped = np.memmap(tmp_path / "samples", np.uint8, "w+", shape=dirty.shape)
    mapped[...] = dirty
    assert np.array_equal(upscaler(mapped), upscaler(clean))
    made = upscaler.batch([Picture(clean), Picture(dirty)])
    assert np.array_equal(made[0].samples, made[1].samples)


def test_the_bundled_network_leaves_white_edges_white() -> None:
    out = atdsr.load("atd-light-x2", device="cpu")(square())
    assert on(out, 1).min() == 1


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animations(bicubic: Upscaler, tmp_path: Path, suffix: str) -> None:
    frames = [Picture(np.roll(square(), shift, 0)) for shift in (0, 3)]
    imaging.write_frames(frames, tmp_path / f"a.{suffix}", durations=(100, 100))
    for frame in imaging.open_frames(tmp_path / f"a.{suffix}"):
        assert on(bicubic(frame).samples, 1).min() == 1
