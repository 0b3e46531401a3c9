"""What is written is what is read, and what other programs write is understood."""

import struct

import numpy as np
import pytest
import pyvips
from PIL import Image

from atdsr import imaging
from atdsr.imaging import Picture, read, write
from helpers.pictures import SRGB, gray_profile, noise, saved, smooth

ALL = sorted(imaging.FORMATS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["png", "tiff"])
def test_png_and_tiff_keep_every_sample(tmp_path, name, channels, dtype):
    samples = noise(channels, dtype)
    path = tmp_path / f"x.{name}"
    write(Picture(samples), path)
    back = read(path)
    assert back.samples.dtype == dtype
    assert np.array_equal(back.samples, samples)
    assert back.icc is None


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_webp_is_lossless_by_default_and_gray_becomes_rgb(tmp_path, channels):
    samples = noise(channels)
    write(Picture(samples), tmp_path / "x.webp")
    back = read(tmp_path / "x.webp").samples
    assert back.shape[2] == {1: 3, 2: 4}.get(channels, channels)
    expected = samples if channels > 2 else np.concatenate([samples[..., :1]] * 3, 2)
    assert np.array_equal(back[..., :3], expected[..., :3])
    if channels in (2, 4):
        assert np.array_equal(back[..., -1], samples[..., -1])


@pytest.mark.parametrize("channels", [1, 3])
def test_bmp_keeps_every_sample(tmp_path, channels):
    write(Picture(noise(channels)), tmp_path / "x.bmp")
    assert np.array_equal(read(tmp_path / "x.bmp").samples, noise(channels))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["jpg", "avif", "webp"])
def test_lossy_formats_stay_close_and_obey_quality(tmp_path, name, channels):
    samples = smooth(channels)
    write(Picture(samples), tmp_path / f"high.{name}", quality=95)
    write(Picture(samples), tmp_path / f"low.{name}", quality=20)
    back = read(tmp_path / f"high.{name}").samples
    assert back.shape[2] == (1 if (name, channels) == ("jpg", 1) else 3)
    assert np.abs(back.astype(int) - samples).mean() < 3
    assert (tmp_path / f"low.{name}").stat().st_size < (tmp_path / f"high.{name}").stat().st_size


@pytest.mark.parametrize("name", ["jpg", "avif"])
def test_colour_is_not_subsampled(tmp_path, name):
    stripes = np.zeros((16, 32, 3), np.uint8)
    stripes[:, ::2, 0] = 255  # red and blue columns, which 4:2:0 would blend to purple
    stripes[:, 1::2, 2] = 255
    write(Picture(stripes), tmp_path / f"x.{name}", quality=80)  # encoders' own choice is 4:2:0
    assert np.abs(read(tmp_path / f"x.{name}").samples.astype(int) - stripes).mean() < 12


def test_soft_alpha_survives_avif(tmp_path):
    samples = smooth(4)
    write(Picture(samples), tmp_path / "x.avif")
    back = read(tmp_path / "x.avif").samples
    assert np.abs(back[..., 3].astype(int) - samples[..., 3]).max() < 12


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_of_more_bits_fills_the_range_of_16(tmp_path, bits):
    levels = np.arange(2**bits, dtype=np.uint16) << (16 - bits)
    samples = np.repeat(levels.reshape(2 ** (bits // 2), -1, 1), 3, 2)
    image = pyvips.Image.new_from_array(samples).copy(interpretation="rgb16")
    image.heifsave(str(tmp_path / "x.avif"), compression="av1", bitdepth=bits, lossless=True)
    back = read(tmp_path / "x.avif").samples
    assert back.dtype == np.uint16
    assert len(np.unique(back)) == 2**bits
    assert back.min() == 0
    assert back.max() == 65535


def test_16_bit_avif_is_written_with_10_bits(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64, 1)
    write(Picture(np.repeat(ramp, 3, 2)), tmp_path / "x.avif", quality=100)
    back = read(tmp_path / "x.avif").samples
    assert back.dtype == np.uint16
    assert len(np.unique(back)) > 256
    assert np.abs(back.astype(int) - ramp).max() < 1000


def test_16_bits_round_half_up_where_the_format_has_8(tmp_path):
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    write(Picture(levels), tmp_path / "x.bmp")
    expected = np.floor(levels.astype(float) * 255 / 65535 + 0.5)
    assert np.array_equal(read(tmp_path / "x.bmp").samples, expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("name", ALL)
def test_tiny_pictures(tmp_path, name, size):
    write(Picture(noise(3, np.uint8, *size)), tmp_path / f"x.{name}")
    assert read(tmp_path / f"x.{name}").samples.shape == (*size, 3)


@pytest.mark.parametrize("name", ["png", "tif", "bmp"])
def test_one_bit_becomes_gray(tmp_path, name):
    bits = noise(1)[..., 0] > 127
    path = saved(Image.fromarray(bits), tmp_path / f"x.{name}")
    assert np.array_equal(read(path).samples, bits[..., None] * np.uint8(255))


@pytest.mark.parametrize("name", ["png", "tif", "bmp"])
def test_palette_is_expanded(tmp_path, name):
    image = Image.fromarray(noise(3)).quantize(16)
    path = saved(image, tmp_path / f"x.{name}")
    assert np.array_equal(read(path).samples, np.array(image.convert("RGB")))


def test_transparent_palette_entry_becomes_alpha(tmp_path):
    image = Image.fromarray(noise(3)).quantize(16)
    path = saved(image, tmp_path / "x.png", transparency=3)
    back = read(path).samples
    assert back.shape[2] == 4
    assert np.array_equal(back[..., 3], np.where(np.array(image) == 3, 0, 255))


def test_transparent_gray_level_becomes_alpha(tmp_path):
    gray = noise(1)[..., 0]
    back = read(saved(Image.fromarray(gray), tmp_path / "x.png", transparency=int(gray[0, 0])))
    assert back.samples.shape[2] == 2
    assert back.samples[0, 0, 1] == 0


def test_associated_alpha_of_tiff_is_made_straight(tmp_path):
    samples = np.full((8, 8, 4), (60, 30, 10, 128), np.uint8)
    path = saved(Image.fromarray(samples), tmp_path / "x.tif")
    data = path.read_bytes()
    at = data.index(struct.pack("<HHI", 338, 3, 1)) + 8  # the tag ExtraSamples
    path.write_bytes(data[:at] + b"\1\0" + data[at + 2 :])
    assert np.abs(read(path).samples[0, 0].astype(int) - (120, 60, 20, 128)).max() <= 1


def test_bmp_with_alpha(tmp_path):
    samples = noise(4, h=2, w=3)
    masks = struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, 3, -2, 1, 32, 3, samples.nbytes, 0, 0, 0, 0)
    head = info + masks + b"BGRs" + bytes(48)
    data = struct.pack("<2sIHHI", b"BM", 122 + samples.nbytes, 0, 0, 122) + head
    (tmp_path / "x.bmp").write_bytes(data + samples.tobytes())
    assert np.array_equal(read(tmp_path / "x.bmp").samples, samples)


@pytest.mark.parametrize("name", ["jpg", "tif"])
def test_cmyk_becomes_srgb(tmp_path, name):
    ink = np.zeros((16, 32, 4), np.uint8)
    ink[:, 16:] = (0, 255, 255, 0)  # white paper beside magenta and yellow, which is red
    path = saved(Image.fromarray(ink, "CMYK"), tmp_path / f"x.{name}")
    back = read(path)
    assert back.samples.shape == (16, 32, 3)
    assert back.icc is None
    assert back.samples[8, 4].min() > 245
    red, green, blue = back.samples[8, 28].astype(int)
    assert red > 200
    assert max(green, blue) < 60


ORIENT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("name", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path, orientation, name):
    stored = np.kron(noise(3, h=2, w=3), np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}
    path = tmp_path / f"in.{name}"
    saved(Image.fromarray(stored), path, exif=exif, **options.get(name, {}))
    picture = read(path)
    upright = ORIENT[orientation](stored).astype(int)
    assert picture.samples.shape == upright.shape
    assert np.abs(picture.samples - upright).max() <= 8
    write(picture, tmp_path / f"out.{name}")
    again = read(tmp_path / f"out.{name}").samples
    assert np.abs(again - upright).max() <= 20
    with Image.open(tmp_path / f"out.{name}") as image:
        assert image.getexif().get(0x0112, 1) == 1
    with Image.open(path) as image:
        assert np.abs(imaging.from_pil(image).samples - upright).max() <= 8


@pytest.mark.parametrize("name", ["png", "jpg", "tiff", "webp", "avif"])
def test_profile_survives_byte_for_byte(tmp_path, name):
    write(Picture(smooth(3), SRGB), tmp_path / f"x.{name}")
    assert read(tmp_path / f"x.{name}").icc == SRGB
    with Image.open(tmp_path / f"x.{name}") as image:
        assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", ["png", "tiff"])
def test_gray_profile_survives(tmp_path, name, channels, dtype):
    write(Picture(noise(channels, dtype), gray_profile()), tmp_path / f"x.{name}")
    back = read(tmp_path / f"x.{name}")
    assert back.icc == gray_profile()
    assert np.array_equal(back.samples, noise(channels, dtype))


@pytest.mark.parametrize("name", ["png", "tif", "jpg"])
def test_profile_of_another_class_is_not_carried(tmp_path, name):
    path = saved(Image.fromarray(noise(1)[..., 0]), tmp_path / f"x.{name}", icc_profile=SRGB)
    picture = read(path)
    assert picture.icc is None
    assert picture.is_gray
