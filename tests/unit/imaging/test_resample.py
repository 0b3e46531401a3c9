import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from atdsr.imaging.resample import ResampleError, crop_to_multiple, downscale, resize, upscale

Samples = NDArray[Any]

SIZES = [(1, 1, 1, 1), (1, 1, 7, 5), (9, 7, 1, 1), (2, 3, 11, 13), (16, 12, 5, 7), (3, 1, 2, 40)]


def picture(height: int, width: int, dtype: Any = np.uint8, seed: int = 0) -> Samples:
    noise = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return noise.normal(size=(height, width, 3)).astype(dtype)
    return noise.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def kernel(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def reflect(position: int, length: int) -> int:
    while not 0 <= position < length:
        position = -1 - position if position < 0 else 2 * length - 1 - position
    return position


def naive_rows(samples: Samples, new_length: int) -> Samples:
    """The definition, one output row at a time: all source rows within reach, weighed."""
    length = len(samples)
    shrink = max(length / new_length, 1.0)
    resized = []
    for row in range(new_length):
        centre = (row + 0.5) * length / new_length - 0.5
        reach = range(math.floor(centre - 2 * shrink), math.ceil(centre + 2 * shrink) + 1)
        weights = [kernel((centre - position) / shrink) for position in reach]
        near = [samples[reflect(position, length)].astype(np.float64) for position in reach]
        total = sum(weight * row for weight, row in zip(weights, near, strict=True))
        resized.append(total / sum(weights))
    result = np.array(resized)
    if samples.dtype.kind == "f":
        return result
    highest = np.iinfo(samples.dtype).max
    return np.clip(np.floor(result + 0.5), 0, highest).astype(samples.dtype)


def naive(samples: Samples, height: int, width: int) -> Samples:
    rows = naive_rows(samples, height)
    return naive_rows(rows.swapaxes(0, 1), width).swapaxes(0, 1)


@pytest.mark.parametrize("sizes", SIZES)
def test_any_size_follows_the_definition(sizes: tuple[int, int, int, int]) -> None:
    height, width, new_height, new_width = sizes
    samples = picture(height, width, np.float64)
    resized = resize(samples, new_height, new_width)
    np.testing.assert_allclose(resized, naive(samples, new_height, new_width), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [2, 4])
def test_integers_are_rounded_and_clamped_after_each_pass(dtype: Any, scale: int) -> None:
    # At these scales the weights are sums of few powers of two, so the naive sum is exact as well.
    samples = np.where(picture(24, 20) > 127, np.iinfo(dtype).max, 0).astype(dtype)
    down = downscale(samples, scale)
    assert down.dtype == dtype
    np.testing.assert_array_equal(down, naive(samples, 24 // scale, 20 // scale))
    np.testing.assert_array_equal(upscale(samples, scale), naive(samples, 24 * scale, 20 * scale))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_blocks_of_rows_leave_no_seam(scale: int) -> None:
    column = picture(70 * scale, 1)  # one block; repeated sideways it takes several
    wide = downscale(column.repeat(1500 * scale, axis=1), scale)
    np.testing.assert_array_equal(wide, resize(column, 70, 1).repeat(1500, axis=1))


def test_float32_is_neither_rounded_nor_clamped() -> None:
    samples = picture(8, 8, np.float32) * 1000
    down = downscale(samples, 2)
    assert down.dtype == np.float32
    np.testing.assert_allclose(down, naive(samples, 4, 4), rtol=1e-5)


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.integers(1, 30),
    st.sampled_from([np.uint8, np.uint16]), st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_a_constant_stays_constant(
    height: int, width: int, new_height: int, new_width: int, dtype: Any, level: float
) -> None:
    value = round(level * np.iinfo(dtype).max)
    resized = resize(np.full((height, width, 3), value, dtype), new_height, new_width)
    np.testing.assert_array_equal(resized, np.full((new_height, new_width, 3), value, dtype))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_same_size_is_the_identity(height: int, width: int, seed: int) -> None:
    samples = picture(height, width, seed=seed)
    np.testing.assert_array_equal(resize(samples, height, width), samples)


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.integers(1, 30),
    st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_mirroring_before_or_after_is_the_same(
    height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    samples = picture(height, width, np.float64, seed)
    mirrored = resize(samples[::-1, ::-1], new_height, new_width)[::-1, ::-1]
    np.testing.assert_allclose(mirrored, resize(samples, new_height, new_width), atol=1e-12)


def test_a_ramp_comes_back_from_up_then_down() -> None:
    ramp = np.arange(32.0)[:, None, None] * np.ones((1, 32, 1))
    inside = slice(8, 24)  # cubic convolution reproduces straight lines, except beside the mirror
    back = downscale(upscale(ramp, 3), 3)
    np.testing.assert_allclose(back[inside, inside], ramp[inside, inside], atol=1e-9)


def test_cropping_keeps_the_top_left() -> None:
    samples = picture(7, 11)
    np.testing.assert_array_equal(crop_to_multiple(samples, 4), samples[:4, :8])
    np.testing.assert_array_equal(downscale(samples, 4), resize(samples[:4, :8], 1, 2))


@pytest.mark.parametrize(
    ("samples", "size"),
    [
        (picture(4, 4), (0, 4)),
        (picture(4, 4)[:, :, 0], (2, 2)),
        (picture(4, 4)[:0], (2, 2)),
        (picture(4, 4).astype(np.int32), (2, 2)),
    ],
)
def test_what_cannot_be_resized_is_refused(samples: Samples, size: tuple[int, int]) -> None:
    with pytest.raises(ResampleError, match="must be"):
        resize(samples, *size)


@pytest.mark.parametrize("scale", [0, 5])
def test_a_picture_smaller_than_the_scale_is_refused(scale: int) -> None:
    with pytest.raises(ResampleError, match="9x4"):
        downscale(picture(4, 9), scale)
