import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from atdsr.imaging.metrics import (
    MetricError,
    psnr,
    psnr_b,
    psnr_y,
    shave,
    ssim,
    ssim_y,
    window_sums,
    y_channel,
)


def planes(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.float64], ...]:
    a, b = np.random.default_rng(seed).uniform(0, 255, (2, height, width))
    return a, 0.7 * a + 0.3 * b


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def naive_ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """One window after the other, with moments about the weighted mean."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = (plane[top : top + 11, left : left + 11] for plane in (a, b))
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            variances = (window * (x - mean_x) ** 2).sum() + (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
            values.append(above / ((mean_x**2 + mean_y**2 + c1) * (variances + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("rgb", "y"),
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
        ((1, 1, 1), 16 + 219 / 255),
    ],
)
def test_luma_is_studio_range_and_not_rounded(rgb: tuple[int, int, int], y: float) -> None:
    assert y_channel(np.array([[rgb]], np.uint8)).item() == pytest.approx(y, abs=1e-12)


@pytest.mark.parametrize("size", [(11, 11), (11, 20), (17, 13)])
def test_ssim_is_the_mean_of_its_windows(size: tuple[int, int]) -> None:
    a, b = planes(*size)
    assert ssim(a, b) == pytest.approx(naive_ssim(a, b), abs=1e-10)
    assert ssim(255 - a, b) == pytest.approx(naive_ssim(255 - a, b), abs=1e-10)


@given(st.integers(11, 20), st.integers(11, 20), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_both_measures_are_symmetric_and_blind_to_orientation(
    height: int, width: int, seed: int
) -> None:
    a, b = planes(height, width, seed)
    for measure in (psnr, ssim):
        assert measure(a, b) == pytest.approx(measure(b, a), rel=1e-12)
        assert measure(a, b) == pytest.approx(measure(a.T, b.T), rel=1e-12)
        assert measure(a, b) == pytest.approx(measure(a[::-1], b[::-1]), rel=1e-12)


def test_a_known_error_has_a_known_psnr() -> None:
    a = np.full((4, 6), 100.0)
    assert psnr(a, a + 1) == pytest.approx(20 * math.log10(255), abs=1e-12)
    assert psnr(a, a - 255) == pytest.approx(0, abs=1e-12)


def test_identical_pictures() -> None:
    rgb = picture(16, 16)
    assert psnr_y(rgb, rgb, 2) == math.inf
    assert ssim_y(rgb, rgb, 2) == 1.0


def test_the_border_is_not_scored() -> None:
    hr = picture(20, 24)
    sr = hr.copy()
    sr[:3], sr[-3:], sr[:, :3], sr[:, -3:] = 0, 0, 0, 0
    assert psnr_y(hr, sr, 3) == math.inf
    assert ssim_y(hr, sr, 3) == 1.0
    assert psnr_y(hr, sr, 2) < math.inf


def test_y_measures_are_the_plane_measures_of_luma() -> None:
    hr, sr = picture(20, 24), picture(20, 24, seed=1)
    a, b = shave(y_channel(hr), 2), shave(y_channel(sr), 2)
    assert psnr_y(hr, sr, 2) == pytest.approx(psnr(a, b), rel=1e-12)
    assert ssim_y(hr, sr, 2) == pytest.approx(ssim(a, b), rel=1e-12)


def test_shave_cuts_all_four_sides() -> None:
    samples = np.arange(30).reshape(5, 6)
    np.testing.assert_array_equal(shave(samples, 0), samples)
    np.testing.assert_array_equal(shave(samples, 2), [[14, 15]])


@pytest.mark.parametrize("border", [-1, 3, 50])
def test_a_border_that_leaves_nothing_is_refused(border: int) -> None:
    with pytest.raises(MetricError, match="of 8x6"):
        shave(picture(6, 8), border)


def test_other_shapes_and_types_are_refused() -> None:
    rgb = picture(20, 20)
    with pytest.raises(MetricError, match="the same shape"):
        psnr_y(rgb, rgb[:-1], 2)
    with pytest.raises(MetricError, match="at least 11x11"):
        ssim_y(rgb, rgb, 5)
    with pytest.raises(MetricError, match="uint8 RGB"):
        y_channel(rgb[:, :, :1])
    with pytest.raises(MetricError, match="uint8 RGB"):
        y_channel(rgb / np.float64(255))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2), (7, 9)])
def test_window_sums_are_the_sums_of_windows(height: int, width: int):
    values = np.random.default_rng(0).integers(-9, 9, (7, 9))
    windows = np.lib.stride_tricks.sliding_window_view(values, (height, width))
    assert np.array_equal(window_sums(values, height, width), windows.sum((2, 3)))


def naive_psnr_b(original: NDArray[np.float64], restored: NDArray[np.float64]) -> float:
    """Yim and Bovik's equations, one pair of neighbours after the other, with the field's counts.

    The number of edges is that of whole blocks less one a row and a column.
    """
    height, width = restored.shape
    across, inside = [], []
    for y in range(height):
        for x in range(width - 1):
            (across if x % 8 == 7 else inside).append((restored[y, x] - restored[y, x + 1]) ** 2)
    for x in range(width):
        for y in range(height - 1):
            (across if y % 8 == 7 else inside).append((restored[y, x] - restored[y + 1, x]) ** 2)
    edges = height * (width // 8 - 1) + width * (height // 8 - 1)
    d_b = sum(across) / edges
    d_bc = sum(inside) / (height * (width - 1) + width * (height - 1) - edges)
    eta = math.log2(8) / math.log2(min(height, width)) if d_b > d_bc else 0
    mse = ((original - restored) ** 2).mean()
    return 10 * math.log10(255**2 / (mse + eta * (d_b - d_bc)))


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (17, 29), (23, 16)])
def test_psnr_b_is_that_of_its_equations(size: tuple[int, int]) -> None:
    original, smooth = planes(*size)
    blocky = original + 20 * ((np.indices(size) // 8).sum(axis=0) % 2)
    for restored in (smooth, blocky):
        expected = naive_psnr_b(original, restored)
        assert psnr_b(original, restored) == pytest.approx(expected, abs=1e-9)
    blocks = np.kron(np.eye(2), np.full((8, 8), 40.0)).astype(np.float64)
    assert psnr_b(blocks * 0, blocks) < psnr(blocks * 0, blocks) - 1


def test_psnr_b_is_psnr_where_no_blocks_show() -> None:
    """Yim and Bovik's factor is 0 where edges of blocks differ less than other neighbours do."""
    original = np.tile([0.0, 100.0], (16, 8))
    original[:, 8::16] = original[:, 7::16]  # no step from one block to the next
    restored = original + 3
    assert psnr_b(original, restored) == psnr(original, restored)
    assert psnr_b(original, original) == math.inf


@pytest.mark.parametrize("shape", [(15, 30), (30, 15)])
def test_psnr_b_needs_two_blocks_a_side(shape: tuple[int, int]) -> None:
    with pytest.raises(MetricError, match="at least 16x16 pixels"):
        psnr_b(np.zeros(shape), np.zeros(shape))
    with pytest.raises(MetricError, match="same shape"):
        psnr_b(np.zeros((16, 16)), np.zeros((16, 17)))


def test_psnr_of_channels_is_that_of_all_samples() -> None:
    a, b = planes(12, 30)
    assert psnr(a.reshape(12, 10, 3), b.reshape(12, 10, 3)) == psnr(a, b)
