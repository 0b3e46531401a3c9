"""Damaged LR pictures: by bytes of the library, and by moments of the noise."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atdsr.evaluation import testsets
from atdsr.evaluation.damage import Damage, DamageError, parse
from atdsr.imaging import resample
from helpers.training_runs import learnable


@pytest.mark.parametrize(
    "text",
    [
        *("jpeg75", "noise5", "noise5+jpeg75", "jpeg100", "noise12+jpeg1"),
        *("gray+noise25", "gray+jpeg10", "gray+noise5+jpeg75"),
    ],
)
def test_a_text_is_read_and_written(text: str) -> None:
    assert str(parse(text)) == text


def test_clean_is_no_damage() -> None:
    assert parse("clean") is None
    assert parse("noise5+jpeg75") == Damage(5, 75)
    assert parse("gray+jpeg10") == Damage(quality=10, gray=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jpg75",
        "jpeg",
        "jpeg0",
        "jpeg101",
        "noise",
        "noise0",
        "noise5jpeg75",
        "noise5+",
        "gray",
        "gray+",
        "gray+noise5jpeg75",
        "noise5+gray",
    ],
)
def test_what_is_no_damage_is_refused(text: str) -> None:
    with pytest.raises(DamageError):
        parse(text)


@pytest.mark.parametrize("quality", [90, 50])
def test_jpeg_is_that_of_the_library(quality: int) -> None:
    lr = learnable(0, 40, 60)
    file = io.BytesIO()
    Image.fromarray(lr).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    assert (Damage(quality=quality).apply(lr, "a") == np.asarray(Image.open(file))).all()


def test_noise_has_its_moments_and_is_a_function_of_the_name() -> None:
    gray = np.full((200, 200, 3), 128, np.uint8)
    noisy = Damage(5).apply(gray, "baby")
    added = noisy.astype(np.float64) - 128
    assert abs(added.mean()) < 0.06
    assert added.std() == pytest.approx((25 + 1 / 12) ** 0.5, rel=0.01)
    assert np.abs(np.corrcoef(added.reshape(-1, 3).T) - np.eye(3)).max() < 0.03
    assert (Damage(5).apply(gray, "baby") == noisy).all()
    assert (Damage(5).apply(gray, "bird") != noisy).any()
    both = Damage(5, 75).apply(gray, "baby")
    assert (both == Damage(quality=75).apply(noisy, "")).all()


def test_a_set_is_damaged_under_a_name_of_its_own(tmp_path: Path) -> None:
    hr = learnable(1, 60, 72)
    (tmp_path / "Set5").mkdir()
    Image.fromarray(hr).save(tmp_path / "Set5" / "a.png")
    clean = testsets.read(tmp_path / "Set5", 2)
    assert clean.damaged(None) is clean
    damaged = clean.damaged(Damage(5, 75))
    assert damaged.name == "Set5 noise5+jpeg75"
    same_hr, lr = damaged.pairs[0].load(2)
    assert (same_hr == hr).all()
    assert (lr == Damage(5, 75).apply(resample.downscale(hr, 2), "a")).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [15, 50])
def test_noise_to_be_removed_is_that_of_the_papers(channels: int, sigma: int) -> None:
    """Legacy numpy, seeded for each picture, by rows, columns and RGB; not clipped or rounded."""
    original = learnable(0, 40, 60)[..., :channels]
    np.random.seed(0)  # noqa: NPY002 the code of the papers has these two lines
    drawn = np.random.normal(0, sigma / 255, original.shape)  # noqa: NPY002
    given = Damage(sigma).to_restore(original, "a")
    assert given.dtype == np.float32
    assert np.allclose(given, original / 255 + drawn, atol=1e-7)
    assert np.array_equal(given, Damage(sigma).to_restore(original, "b"))
    assert len(np.unique(given)) > 0.9 * given.size
    assert Damage(sigma).to_restore(original * 0, "a").min() < -2 * sigma / 255


@pytest.mark.parametrize("quality", [10, 40])
def test_jpeg_to_be_removed_is_that_of_a_file(quality: int) -> None:
    original = learnable(0, 40, 60)
    for samples, options in ((original, {"subsampling": "4:2:0"}), (original[..., :1], {})):
        file = io.BytesIO()
        Image.fromarray(samples.squeeze()).save(file, "JPEG", quality=quality, **options)
        decoded = np.asarray(Image.open(file)).reshape(samples.shape)
        given = Damage(quality=quality).to_restore(samples, "a")
        assert np.array_equal(given, decoded / np.float32(255))
    both = Damage(5, quality).to_restore(original, "a")
    assert np.array_equal(both, Damage(5, quality).apply(original, "a") / np.float32(255))


def test_a_picture_that_suffers_from_nothing_stays() -> None:
    original = learnable(0, 12, 20)
    assert np.array_equal(Damage().to_restore(original, "a"), original / np.float32(255))
