"""Degradations: each operation against its definition; the same bits in any share of a batch."""

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from atdsr.datasets import Crops, PackedSet, pack
from atdsr.datasets.degradations import NAMES, Degradation, Degrader, PresetName, preset
from atdsr.datasets.degradations.compression import compressed, encoded
from atdsr.datasets.degradations.config import (
    Blur,
    Choice,
    Jpeg,
    Noise,
    Operation,
    Resize,
    Shuffle,
    Webp,
)
from atdsr.datasets.degradations.kernels import blur_kernel, correlation, sinc, taps
from atdsr.datasets.degradations.pixels import blurred, resized
from atdsr.datasets.degradations.planning import (
    BlurTask,
    CompressionTask,
    GaussianTask,
    Planner,
    PoissonTask,
    ResizeTask,
)
from atdsr.datasets.degradations.random_words import CropRandom, key_of, normal, unit
from atdsr.imaging import resample
from helpers.packing import noise_folder
from helpers.pictures import smooth
from helpers.training_runs import learnable


def crops(count: int = 6, side: int = 48) -> torch.Tensor:
    pictures = np.stack([learnable(seed, side, side) for seed in range(count)])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def random(number: int = 0, seed: int = 0) -> CropRandom:
    return CropRandom(key_of(seed), number)


def only(*operations: Operation) -> Degradation:
    return Degradation(operations=operations)


def constant(level: int, side: int = 200, count: int = 1) -> torch.Tensor:
    return torch.full((count, 3, side, side), level, dtype=torch.uint8)


def largest_gap(numbers: np.ndarray, distribution: Callable[[float], float]) -> float:
    """Kolmogorov's distance times the root of the count; one in 1000 exceeds 1.95."""
    count = len(numbers)
    expected = np.array([distribution(number) for number in np.sort(numbers)])
    observed = np.arange(count + 1) / count
    gap = max((observed[1:] - expected).max(), (expected - observed[:-1]).max())
    return gap * math.sqrt(count)


def normal_below(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def poisson_share(count: float, mean: float) -> float:
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))


def convolved(channel: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The definition of a blur in float64, its border mirrored without the edge pixel."""
    height, width = channel.shape
    reach = len(kernel) // 2
    padded = np.pad(channel, reach, mode="reflect")
    total = np.zeros_like(channel)
    for (i, j), weight in np.ndenumerate(kernel):
        total += weight * padded[i : i + height, j : j + width]
    return total


# ----------------------------------------------------------------------------------- pure functions


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_crop_has_the_same_bits_in_any_share_of_a_batch(name: PresetName, scale: int) -> None:
    hr = crops()
    degrader = Degrader(preset(name, scale), scale, 7)
    whole = degrader(hr, range(100, 106))
    assert (whole.dtype, whole.shape) == (torch.uint8, (6, 3, 48 // scale, 48 // scale))
    for share in (slice(0, 1), slice(1, 4), slice(0, 6, 2), slice(5, 5)):
        numbers = range(100, 106)[share]
        again = Degrader(preset(name, scale), scale, 7)(hr[share], numbers)
        assert torch.equal(again, whole[share])
    assert not torch.equal(degrader(hr, range(101, 107)), whole)
    assert not torch.equal(Degrader(preset(name, scale), scale, 8)(hr, range(100, 106)), whole)


def test_crops_of_a_set_are_degraded_by_their_numbers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("data")
    pack(noise_folder(folder / "pictures", 5), folder / "set")
    pictures = PackedSet(folder / "set", 2)
    degradation = preset("web", 2)
    made = Crops(pictures, 3, candidates=2, degradation=degradation)
    lr, hr = made.batch(range(20, 28), 12)
    _, clean_hr = Crops(pictures, 3, candidates=2).batch(range(20, 28), 12)
    assert torch.equal(hr, clean_hr)
    assert torch.equal(lr, Degrader(degradation, 2, 3)(hr, range(20, 28)))
    on_device = Crops(
        pictures, 3, candidates=2, degradation=degradation, device=torch.device("cpu")
    )
    for share in (range(20, 28), range(21, 28, 3)):
        inside = slice(share.start - 20, None, share.step)
        assert torch.equal(on_device.batch(share, 12)[0], lr[inside])
    assert made.nbytes == pictures.hr.nbytes


def test_random_words_do_not_change() -> None:
    drawn = random(5, seed=3)
    assert [hex(word) for word in drawn.words(2)] == ["0x2a8c40477d40b4d5", "0x150e874a09302718"]


def test_draws_are_uniform() -> None:
    drawn = random(1)
    numbers = np.array([drawn.unit() for _ in range(4000)])
    assert largest_gap(numbers, lambda x: x) < 1.95
    integers = [drawn.integer(3, 6) for _ in range(4000)]
    assert set(integers) == {3, 4, 5, 6}
    assert np.abs(np.bincount(integers)[3:] - 1000).max() < 120
    chosen = np.bincount([drawn.index([1, 0, 3]) for _ in range(4000)])
    assert chosen[1] == 0
    assert chosen[2] / 4000 == pytest.approx(0.75, abs=0.03)
    assert sorted(drawn.shuffled(5)) == [0, 1, 2, 3, 4]
    words = torch.from_numpy(random(2).words(20000).view(np.int64))[None]
    assert largest_gap(normal(words)[0].numpy(), normal_below) < 1.95
    assert largest_gap(unit(words)[0].numpy(), lambda x: x) < 1.95


# --------------------------------------------------------------------------------------------- blur


def test_a_gaussian_kernel_has_its_moments() -> None:
    blur = Blur(kernels={"iso": 1}, sigma=(1.7, 1.7), size=(21, 21))
    kernel, text = blur_kernel(blur, random())
    y, x = np.mgrid[-10:11, -10:11]
    assert kernel.shape == (21, 21)
    assert text == "blur 1.7"
    assert kernel.sum() == pytest.approx(1, abs=1e-14)
    assert (kernel * x).sum() == pytest.approx(0, abs=1e-14)
    assert (kernel * x**2).sum() == pytest.approx(1.7**2, rel=1e-5)
    assert (kernel * x * y).sum() == pytest.approx(0, abs=1e-12)


def test_an_anisotropic_kernel_has_its_covariance() -> None:
    blur = Blur(kernels={"aniso": 1}, variance=(1.5, 4), size=(31, 31))
    for number in range(5):
        drawn = random(number)
        kernel, _ = blur_kernel(blur, drawn)
        again = random(number)
        again.words(2)  # which kernel, and its size
        variances = [again.uniform((1.5, 4)) for _ in range(2)]
        angle = again.uniform((0, math.pi))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        expected = turn @ np.diag(variances) @ turn.T
        y, x = np.mgrid[-15:16, -15:16]
        moments = [[(kernel * a * b).sum() for b in (x, y)] for a in (x, y)]
        assert np.allclose(moments, expected, rtol=1e-4, atol=1e-4)


def test_other_kernels_are_as_published() -> None:
    y, x = np.mgrid[-4:5, -4:5].astype(float)
    q = (x**2 + y**2) / 1.3**2
    for name, expected in (
        ("generalized_iso", np.exp(-0.5 * q**2.5)),
        ("plateau_iso", 1 / (1 + q**1.5)),
    ):
        values = {"sigma": (1.3, 1.3), "size": (9, 9)}
        values |= {"generalized": (2.5, 2.5), "plateau": (1.5, 1.5)}
        blur = Blur.model_validate({"kernels": {name: 1}, **values})
        kernel, _ = blur_kernel(blur, random())
        assert np.allclose(kernel, expected / expected.sum(), rtol=1e-12)


def test_sinc_passes_low_frequencies_only() -> None:
    """Far from the border of a large kernel, the response is 1 below the cutoff and 0 above."""
    kernel = sinc(63, 0.5 * math.pi)
    response = np.abs(np.fft.fft2(kernel, (256, 256)))
    frequency = 2 * np.pi * np.fft.fftfreq(256)
    radius = np.hypot(*np.meshgrid(frequency, frequency))
    assert np.abs(response[radius < 0.35 * math.pi] - 1).max() < 0.08
    assert response[radius > 0.65 * math.pi].max() < 0.08


@pytest.mark.parametrize("side", [40, 5])
def test_a_blur_is_a_convolution_in_float64(side: int) -> None:
    x = torch.from_numpy(np.random.default_rng(0).random((2, 3, side, side + 3)))
    tasks = []
    for number in range(2):
        kernel, text = blur_kernel(Blur(kernels={"aniso": 1}, size=(13, 13)), random(number))
        tasks.append(BlurTask(kernel, text))
    ours = blurred(x, tasks)
    for crop, result, task in zip(x, ours, tasks, strict=True):
        for channel, blurry in zip(crop, result, strict=True):
            expected = convolved(channel.numpy(), task.kernel)
            assert np.abs(blurry.numpy() - expected).max() < 1e-12
    assert torch.allclose(blurred(x.float(), tasks).double(), ours, atol=1e-6)


# ------------------------------------------------------------------------------------------- resize


@pytest.mark.parametrize(("height", "width"), [(17, 40), (24, 24), (64, 32), (1, 2)])
@pytest.mark.parametrize("kernel", ["nearest", "area", "bilinear", "bicubic"])
def test_resizes_are_those_of_pytorch(kernel: str, height: int, width: int) -> None:
    x = torch.from_numpy(np.random.default_rng(1).random((2, 3, 36, 48))).float()
    mode = {"nearest": "nearest-exact"}.get(kernel, kernel)
    expected = F.interpolate(x.double(), (height, width), mode=mode)
    ours = resized(x, ResizeTask(height, width, kernel, ""))  # pyright: ignore
    assert (ours.double() - expected).abs().max() < 2e-6


@pytest.mark.parametrize("size", [(18, 24), (12, 16), (9, 12), (17, 31), (50, 96)])
def test_the_antialiased_bicubic_is_that_of_the_protocol(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(2).random((36, 48, 3))
    expected = resample.resize(picture, *size)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    ours = resized(x, ResizeTask(*size, "antialiased_bicubic", ""))
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - expected).max() < 2e-6


@pytest.mark.parametrize("size", [(18, 24), (13, 29), (50, 96)])
@pytest.mark.parametrize(
    ("kernel", "pillow"),
    [
        ("antialiased_bilinear", Image.Resampling.BILINEAR),
        ("lanczos", Image.Resampling.LANCZOS),
    ],
)
def test_resizes_are_those_of_pillow(
    size: tuple[int, int], kernel: str, pillow: Image.Resampling
) -> None:
    picture = np.random.default_rng(3).random((36, 48)).astype(np.float32)
    expected = np.asarray(Image.fromarray(picture).resize((size[1], size[0]), pillow))
    x = torch.from_numpy(picture)[None, None].expand(1, 3, -1, -1)
    ours = resized(x, ResizeTask(*size, kernel, ""))  # pyright: ignore
    assert np.abs(ours[0, 0].numpy() - expected).max() < 2e-6


def test_weights_of_a_resize_add_up_to_1() -> None:
    for length, new_length in ((100, 15), (15, 100), (7, 7)):
        indices, weights = taps(length, new_length, "lanczos")
        assert indices.min() >= 0
        assert indices.max() < length
        assert torch.allclose(weights.sum(1), torch.ones(new_length))


def test_factors_are_drawn_from_their_ranges() -> None:
    resize = Resize(relative_to="current", up=0.3, down=0.5, factor=(0.25, 1.5))
    planner = Planner(only(resize), 400, 400, 2)
    sizes = []
    for number in range(600):
        tasks = [planned.task for planned in planner.plan(random(number))]
        assert isinstance(tasks[0], ResizeTask)
        assert isinstance(tasks[-1], ResizeTask)
        assert (tasks[-1].height, tasks[-1].width) == (200, 200)
        sizes.append(tasks[0].height / 400)
    up, down = (np.array([share(s) for s in sizes]).mean() for share in (_is_above, _is_below))
    assert (up, down) == (pytest.approx(0.3, abs=0.07), pytest.approx(0.5, abs=0.07))
    assert 0.25 <= min(sizes) < 0.28
    assert 1.45 < max(sizes) <= 1.5


def test_the_inverse_of_a_factor_is_drawn_uniformly_where_asked() -> None:
    resize = Resize(relative_to="current", uniform="inverse", factor=(0.125, 1))
    planner = Planner(only(resize), 960, 960, 2)
    sides = []
    for number in range(400):
        first = planner.plan(random(number))[0].task
        assert isinstance(first, ResizeTask)
        sides.append(first.height)
    inverses = [960 / side for side in sides]
    assert min(inverses) >= 1
    assert max(inverses) <= 8
    assert np.mean(inverses) == pytest.approx(4.5, abs=0.3)
    assert np.median(sides) == pytest.approx(960 / 4.5, rel=0.1)


def _is_above(factor: float) -> bool:
    return factor > 1


def _is_below(factor: float) -> bool:
    return factor < 1


# -------------------------------------------------------------------------------------------- noise


def noise_of(noise: Noise, level: int, count: int = 4) -> np.ndarray:
    """What is added to a gray area, in levels of 8 bits, `count 3 n`, before any rounding."""
    from atdsr.datasets.degradations import pixels

    planner = Planner(only(noise), 160, 160, 1)
    x = constant(level, 160, count).float() / 255
    tasks = [planner.plan(random(number))[0].task for number in range(count)]
    if noise.poisson:
        noisy = pixels.with_poisson_noise(x, [t for t in tasks if isinstance(t, PoissonTask)])
    else:
        noisy = pixels.with_gaussian_noise(x, [t for t in tasks if isinstance(t, GaussianTask)])
    return ((noisy - x).double() * 255).flatten(2).numpy()


def test_gaussian_noise_has_its_moments() -> None:
    added = noise_of(Noise(sigma=(8, 8), gray=0), 128)
    assert abs(added.mean()) < 4 * 8 / math.sqrt(added.size)
    assert added.std() == pytest.approx(8, rel=0.01)
    assert largest_gap(added.ravel()[::7] / 8, normal_below) < 1.95
    for crop in added:
        assert np.abs(np.corrcoef(crop) - np.eye(3)).max() < 0.03
    flat = added.reshape(4, 3, 160, 160)
    assert abs(np.corrcoef(flat[..., 1:].ravel(), flat[..., :-1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]) < 0.02


def test_gray_noise_is_the_same_in_all_channels() -> None:
    for noise in (Noise(sigma=(8, 8), gray=1), Noise(poisson=1, strength=(1, 1), gray=1)):
        added = noise_of(noise, 128)
        assert np.abs(added - added[:, :1]).max() < 1e-4
        assert added.std() > 1


def test_correlated_noise_has_its_covariance() -> None:
    noise = Noise(sigma=(2, 20), gray=0, correlated=1)
    added = noise_of(noise, 128)
    planner = Planner(only(noise), 160, 160, 1)
    for number, crop in enumerate(added):
        task = planner.plan(random(number))[0].task
        assert isinstance(task, GaussianTask)
        mixing = task.mixing * 255
        assert np.allclose(np.cov(crop), mixing @ mixing.T, atol=8)
    for number in range(20):
        drawn = correlation(random(number))
        eigenvalues = np.linalg.eigvalsh(drawn @ drawn.T)
        assert eigenvalues.min() > -1e-12
        assert eigenvalues.max() < 1


@pytest.mark.parametrize("level", [0, 3, 100, 255])
def test_poisson_noise_has_its_distribution(level: int) -> None:
    """A crop of one level has a peak of 1: its counts are Poisson numbers of at most 1."""
    strength = 0.5
    added = noise_of(Noise(poisson=1, strength=(strength, strength), gray=0), level)
    mean = level / 255
    counts = added / 255 / strength + mean
    assert np.abs(counts - counts.round()).max() < 1e-3
    assert counts.mean() == pytest.approx(mean, abs=4 * math.sqrt(max(mean, 1e-9) / counts.size))
    assert counts.var() == pytest.approx(mean, rel=0.02, abs=1e-6)


def test_poisson_noise_of_a_crop_with_all_levels() -> None:
    """With 256 levels the peak is 256 counts, so that the variance of v is v / 256."""
    from atdsr.datasets.degradations import pixels

    ramp = torch.arange(256).repeat_interleave(400).view(1, 1, 320, 320).expand(-1, 3, -1, -1)
    x = ramp.float() / 255
    noisy = pixels.with_poisson_noise(x, [PoissonTask(1.0, False, random(), "")])
    counts = (noisy.double() * 256).flatten(2)[0].view(3, 256, 400)
    assert (counts - counts.round()).abs().max() < 1e-3
    means = torch.arange(256, dtype=torch.float64) / 255 * 256
    drawn = counts.permute(1, 0, 2).flatten(1)
    assert ((drawn.mean(1) - means) / (means / 1200 + 1e-9).sqrt()).abs().max() < 5
    ratios = drawn.var(1)[1:] / means[1:]
    assert ratios.mean() == pytest.approx(1, abs=0.02)
    for level in (1, 10, 128, 255):
        values, observed = np.unique(drawn[level].numpy().round(), return_counts=True)
        expected = np.array([poisson_share(value, float(means[level])) for value in values])
        common = expected * 1200 > 20
        assert np.abs(observed / 1200 - expected)[common].max() < 0.05


# -------------------------------------------------------------------------------------- compression


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("is_subsampled", [True, False])
def test_jpeg_is_that_of_the_library(quality: int, is_subsampled: bool) -> None:
    samples = smooth(3, 40, 56)
    task = CompressionTask("JPEG", quality, is_subsampled, 0, 0, "")
    file = io.BytesIO()
    Image.fromarray(samples).save(
        file, "JPEG", quality=quality, subsampling="4:2:0" if is_subsampled else "4:4:4"
    )
    assert encoded(samples, task) == file.getvalue()
    assert (compressed(samples, task) == np.asarray(Image.open(file))).all()


def test_jpeg_of_a_degradation_is_that_of_the_library() -> None:
    hr = crops(3)
    lr = Degrader(only(Jpeg(quality=(40, 40), offset=False)), 1, 0)(hr, range(3))
    for crop, made in zip(hr, lr, strict=True):
        file = io.BytesIO()
        Image.fromarray(crop.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=40, subsampling=2)
        assert (made.permute(1, 2, 0).numpy() == np.asarray(Image.open(file))).all()


def test_the_grid_of_blocks_begins_anywhere() -> None:
    """The jumps between blocks of 8 lie where the offset puts them."""
    ramp = np.add.outer(np.arange(80), np.arange(80))
    samples = np.stack([ramp.astype(np.uint8)] * 3, axis=2)
    for left in (0, 3):
        task = CompressionTask("JPEG", 1, False, 0, left, "")
        jumps = np.abs(np.diff(compressed(samples, task)[:, :, 0].astype(int), axis=1)).sum(0)
        assert {(column + 1 + left) % 8 for column in np.argsort(jumps)[-7:]} == {0}
    offsets = set()
    planner = Planner(only(Jpeg(subsampled=0.5)), 32, 32, 1)
    for number in range(300):
        task = planner.plan(random(number))[0].task
        assert isinstance(task, CompressionTask)
        assert max(task.top, task.left) < (16 if task.is_subsampled else 8)
        offsets |= {task.top, task.left}
    assert offsets == set(range(16))


def test_webp_is_that_of_the_library() -> None:
    samples = smooth(3, 40, 56)
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "WEBP", quality=60)
    lr = Degrader(only(Webp(quality=(60, 60), offset=False)), 1, 0)(
        torch.from_numpy(samples).permute(2, 0, 1)[None], [0]
    )
    decoded = np.asarray(Image.open(file).convert("RGB"))
    assert (lr[0].permute(1, 2, 0).numpy() == decoded).all()


# ---------------------------------------------------------------------------- what is put together


def kinds(degradation: Degradation, number: int, scale: int = 2) -> list[type]:
    planner = Planner(degradation, 48, 48, scale)
    return [type(planned.task) for planned in planner.plan(random(number))]


def share_of(degradation: Degradation, kind: type, count: int = 400) -> float:
    return sum(kind in kinds(degradation, number) for number in range(count)) / count


def test_operations_are_done_as_often_as_they_say() -> None:
    degradation = only(Blur(probability=0.3), Resize(), Jpeg(probability=0.8))
    assert share_of(degradation, BlurTask) == pytest.approx(0.3, abs=0.08)
    assert share_of(degradation, CompressionTask) == pytest.approx(0.8, abs=0.08)
    one = only(Choice(operations=(Blur(), Jpeg()), weights=(1, 3)))
    assert share_of(one, BlurTask) == pytest.approx(0.25, abs=0.08)
    assert all(kinds(one, number)[1:] == [ResizeTask] for number in range(20))


def test_clean_crops_are_reduced_and_nothing_else() -> None:
    degradation = Degradation(operations=(Jpeg(), Noise()), clean=0.3)
    assert share_of(degradation, CompressionTask) == pytest.approx(0.7, abs=0.08)
    planner = Planner(degradation, 48, 48, 2)
    plans = [[planned.task for planned in planner.plan(random(n))] for n in range(40)]
    assert {len(tasks) for tasks in plans} == {1, 3}
    assert all(isinstance(tasks[-1], ResizeTask) for tasks in plans)


def test_shuffled_operations_keep_the_order_of_resizes() -> None:
    first, second = Resize(factor=(0.7, 0.7)), Resize(factor=(1, 1))
    degradation = only(Shuffle(operations=(Blur(), first, Jpeg(), second)))
    orders = set()
    for number in range(200):
        tasks = [planned.task for planned in Planner(degradation, 48, 48, 2).plan(random(number))]
        heights = [task.height for task in tasks if isinstance(task, ResizeTask)]
        assert heights == [17, 24]
        orders.add(tuple(type(task) for task in tasks))
    assert len(orders) == 12  # of 4 operations, two of which keep their order


def test_what_is_not_of_the_size_of_lr_is_resized_to_it() -> None:
    hr = crops(2)
    made = Degrader(only(Blur(probability=0)), 2, 0)(hr, range(2))
    for crop, lr in zip(hr, made, strict=True):
        picture = crop.permute(1, 2, 0).numpy()
        expected = resample.resize(picture.astype(np.float64), 24, 24).round().clip(0, 255)
        assert np.abs(lr.permute(1, 2, 0).numpy() - expected).max() <= 1


@pytest.mark.parametrize(
    ("name", "lowest", "highest"), [("web", 28, 60), ("bsrgan", 12, 33), ("realesrgan", 10, 30)]
)
def test_presets_are_as_strong_as_their_kind(
    name: PresetName, lowest: float, highest: float
) -> None:
    """The PSNR of LR against clean LR, in dB; most of all the web preset is milder."""
    hr = crops(12, side=96)
    clean = torch.stack(
        [
            torch.from_numpy(resample.downscale(crop.permute(1, 2, 0).numpy(), 2)).permute(2, 0, 1)
            for crop in hr
        ]
    )
    lr = Degrader(preset(name, 2), 2, 0)(hr, range(12))
    errors = ((lr.double() - clean.double()) ** 2).flatten(1).mean(1)
    psnr = 10 * torch.log10(255**2 / errors)
    assert lowest < psnr.median() < highest


def test_tasks_are_described() -> None:
    degradation = only(Blur(sigma=(1, 1)), Resize(), Noise(sigma=(5, 5), gray=1), Jpeg())
    lines: Sequence[str] = Degrader(degradation, 2, 0).describe(48, 48, 0)
    assert lines[:3] == ["blur 1.0", "antialiased bicubic 24x24", "gray noise 5.0"]
    assert lines[3].startswith("JPEG ")


# ------------------------------------------------------------------------------ for restoration


def exactly(sigma: float) -> Degradation:
    noise = Noise(sigma=(sigma, sigma), gray=0)
    return Degradation(eight_bits=False, operations=(noise,))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_noise_that_is_neither_clamped_nor_rounded(channels: int, level: int) -> None:
    hr = constant(level)[:, :channels]
    noisy = Degrader(exactly(25), 1, 0)(hr, [3])
    assert (noisy.dtype, noisy.shape) == (torch.float32, hr.shape)
    drawn = (noisy.double() - level / 255) * 255 / 25
    assert largest_gap(drawn[0].numpy().ravel(), normal_below) < 1.95
    assert (noisy.min() < 0) == (level == 0)
    assert (noisy.max() > 1) == (level == 255)
    assert not torch.equal(noisy, (noisy * 255).round() / 255)
    if channels == 3:
        correlations = torch.corrcoef(drawn[0].flatten(1)) - torch.eye(3)
        assert correlations.abs().max() < 0.02


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "degradation",
    [
        exactly(25),
        Degradation(operations=(Jpeg(quality=(10, 40), offset=False),)),
        Degradation(eight_bits=False, operations=(Noise(poisson=1), Webp())),
    ],
    ids=["noise", "jpeg", "all"],
)
def test_restoration_is_the_same_in_any_share(degradation: Degradation, channels: int) -> None:
    hr = crops()[:, :channels].contiguous()
    whole = Degrader(degradation, 1, 7)(hr, range(100, 106))
    assert whole.shape == hr.shape
    for share in (slice(0, 1), slice(1, 4), slice(0, 6, 2), slice(5, 5)):
        again = Degrader(degradation, 1, 7)(hr[share], range(100, 106)[share])
        assert again.dtype == whole.dtype
        assert torch.equal(again, whole[share])
    assert not torch.equal(Degrader(degradation, 1, 8)(hr, range(100, 106)), whole)


def test_correlated_noise_of_a_gray_crop_is_that_of_the_first_channel() -> None:
    noise = Noise(gray=0, correlated=1, sigma=(25, 25))
    degrader = Degrader(Degradation(eight_bits=False, operations=(noise,)), 1, 0)
    hr = constant(128, side=64)
    assert torch.equal(degrader(hr[:, :1], [5]), degrader(hr, [5])[:, :1])


@pytest.mark.parametrize("quality", [10, 20, 30, 40])
def test_gray_jpeg_begins_in_the_corner_of_the_crop(quality: int) -> None:
    """The library's bytes, and blocks of 8x8 that follow from their own samples alone."""
    jpeg = Jpeg(quality=(quality, quality), offset=False)
    degrader = Degrader(Degradation(operations=(jpeg,)), 1, 0)
    hr = crops(3, 40)[:, :1].contiguous()
    lr = degrader(hr, range(3))
    assert lr.dtype == torch.uint8
    for crop, clean in zip(lr[:, 0].numpy(), hr[:, 0].numpy(), strict=True):
        file = io.BytesIO()
        Image.fromarray(clean).save(file, "JPEG", quality=quality)
        assert np.array_equal(crop, np.asarray(Image.open(file)))
    changed = hr.clone()
    changed[..., 8:16, 16:24] = 255 - changed[..., 8:16, 16:24]
    differs = degrader(changed, range(3)) != lr
    assert differs[..., 8:16, 16:24].any()
    differs[..., 8:16, 16:24] = False
    assert not differs.any()
