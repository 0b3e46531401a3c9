"""Samples, tensors and Pillow images, and the rounding."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from atdsr import imaging
from atdsr.imaging import Picture, PictureError, read, write
from helpers.pictures import SRGB, encoded, gray_profile, noise, saved, smooth


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("work", [torch.float32, torch.float64])
def test_every_level_comes_back(dtype, work):
    high = np.iinfo(dtype).max
    samples = np.arange(high + 1, dtype=dtype).reshape(-1, 16, 1)
    samples.setflags(write=False)
    tensor = imaging.to_tensor(samples, dtype=work)
    assert tensor.shape == (1, 1, *samples.shape[:2])
    assert tensor.min() == 0
    assert tensor.max() == 1
    assert np.array_equal(imaging.to_array(tensor, dtype), samples)


def test_bfloat16_and_channels():
    samples = smooth(3)
    tensor = imaging.to_tensor(samples, dtype=torch.bfloat16)
    assert tensor.dtype == torch.bfloat16
    back = imaging.to_array(tensor, np.uint8)
    assert back.shape == samples.shape
    assert np.abs(back.astype(int) - samples).max() <= 1


def test_rounding_is_half_up_and_clamped():
    values = torch.tensor([-1.0, 0.49, 0.5, 1.5, 2.5, 254.5, 255.0, 300.0], dtype=torch.float64)
    array = imaging.to_array((values / 255).reshape(1, 1, 1, -1))
    assert array.ravel().tolist() == [0, 0, 1, 2, 3, 255, 255, 255]


def test_tensor_is_a_copy_and_result_its_own():
    samples = noise(1)
    tensor = imaging.to_tensor(samples)
    before = tensor.clone()
    imaging.to_array(tensor.mul_(2).sub_(0.5))
    assert np.array_equal(samples, noise(1))
    assert torch.equal(tensor, before * 2 - 0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_an_error(value):
    with pytest.raises(PictureError, match="not finite"):
        imaging.to_array(torch.full((1, 3, 2, 2), value))
    with pytest.raises(PictureError, match="1 c h w"):
        imaging.to_array(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_through_the_network_and_back(dtype):
    gray = noise(1, dtype)
    colour = imaging.gray_to_rgb(imaging.to_tensor(gray))
    assert colour.shape[1] == 3
    assert imaging.gray_to_rgb(colour) is not None
    assert np.array_equal(imaging.to_array(imaging.gray_from_rgb(colour), dtype), gray)


def test_luma_is_bt601():
    primaries = torch.eye(3, dtype=torch.float64).reshape(3, 3, 1, 1)
    assert imaging.gray_from_rgb(primaries).ravel().tolist() == [0.299, 0.587, 0.114]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_alpha_is_split_and_joined(channels):
    colour, alpha = imaging.split_alpha(noise(channels))
    assert colour.shape[2] == (1 if channels < 3 else 3)
    assert (alpha is None) == (channels % 2 == 1)
    assert np.array_equal(imaging.join_alpha(colour, alpha), noise(channels))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pillow_round_trip(channels):
    profile = SRGB if channels > 2 else gray_profile()
    image = imaging.to_pil(Picture(noise(channels), profile))
    assert image.mode == ["L", "LA", "RGB", "RGBA"][channels - 1]
    back = imaging.from_pil(image)
    assert np.array_equal(back.samples, noise(channels))
    assert back.icc == profile


def test_pillow_16_bits():
    gray = noise(1, np.uint16)
    image = imaging.to_pil(Picture(gray))
    assert image.mode == "I;16"
    assert np.array_equal(imaging.from_pil(image).samples, gray)
    ramp = np.array([[[0, 128, 129], [385, 386, 65535]]], np.uint16)
    assert imaging.from_pil(imaging.to_pil(Picture(ramp))).samples.tolist() == [
        [[0, 0, 1], [1, 2, 255]]
    ]


@pytest.mark.parametrize(
    ("mode", "channels"),
    [
        *[("1", 1), ("L", 1), ("LA", 2), ("La", 2), ("P", 3), ("PA", 4), ("RGB", 3)],
        *[("RGBX", 3), ("RGBA", 4), ("RGBa", 4), ("CMYK", 3), ("YCbCr", 3), ("HSV", 3)],
    ],
)
def test_pillow_modes(mode, channels):
    picture = imaging.from_pil(Image.new(mode, (5, 3)))
    assert picture.samples.shape == (3, 5, channels)
    assert picture.samples.dtype == np.uint8


def test_pillow_transparent_colours():
    for mode, channels in (("L", 2), ("P", 4), ("RGB", 4)):
        image = Image.new(mode, (5, 3))
        image.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
        picture = imaging.from_pil(image)
        assert picture.samples.shape[2] == channels
        assert picture.is_transparent


def test_pillow_refusals(tmp_path):
    with pytest.raises(PictureError, match="the mode F is not supported"):
        imaging.from_pil(Image.new("F", (5, 3)))
    with (
        Image.open(io.BytesIO(encoded("png")[:2000])) as image,
        pytest.raises(PictureError, match="truncated"),
    ):
        imaging.from_pil(image)


def test_pillow_and_file_agree_on_cmyk(tmp_path):
    ink = np.kron(noise(4, h=3, w=3), np.ones((8, 8, 1), np.uint8))
    path = saved(Image.fromarray(ink, "CMYK"), tmp_path / "x.tif")
    with Image.open(path) as image:
        assert np.array_equal(imaging.from_pil(image).samples, read(path).samples)


def test_missing_libvips_is_a_sentence(tmp_path, monkeypatch):
    write(Picture(noise(3)), tmp_path / "x.png")
    monkeypatch.setitem(__import__("sys").modules, "pyvips", None)
    with pytest.raises(PictureError, match=r"x\.png: pyvips cannot be loaded .*pip install"):
        read(tmp_path / "x.png")
