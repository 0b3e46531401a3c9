"""Files in and out, bad files, atomic writes, and the rounding."""

import contextlib
import errno
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from PIL import Image, ImageCms

from atdsr import files, pixels
from atdsr.errors import AtdsrError
from atdsr.files import FileError
from atdsr.pixels import Picture, PictureError, read, write

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = ["png", "tiff", "webp", "bmp"]
ALL = sorted(pixels.FORMATS)


def gray_profile() -> bytes:
    """A minimal ICC v2 profile for gray of gamma 2.2: white point and tone curve."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(2.2 * 256))
    tags = struct.pack(">I", 2)
    tags += b"wtpt" + struct.pack(">II", 156, len(white))
    tags += b"kTRC" + struct.pack(">II", 156 + len(white), len(curve))
    body = tags + white + curve
    header = struct.pack(">I4sI", 128 + len(body), b"\0\0\0\0", 0x02100000) + b"mntrGRAYXYZ "
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + body


def noise(channels: int, dtype: type = np.uint8, h: int = 23, w: int = 37) -> np.ndarray:
    high = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, high, (h, w, channels), dtype, endpoint=True)


def smooth(channels: int, h: int = 40, w: int = 56) -> np.ndarray:
    y, x = np.mgrid[0:h, 0:w]
    planes = [128 + 100 * np.sin(x / 17 + k) * np.cos(y / 13 - k) for k in range(channels)]
    return np.stack(planes, 2).round().astype(np.uint8)


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


# Round trips


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


# What other programs write


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
        assert np.abs(pixels.from_pil(image).samples - upright).max() <= 8


# Colour profiles


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


def test_gray_profile_is_applied_where_the_file_is_rgb(tmp_path):
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    write(Picture(gray, gray_profile()), tmp_path / "x.webp")
    back = read(tmp_path / "x.webp")
    assert back.icc is None
    linear = (gray / 255) ** 2.2
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(back.samples - 255 * srgb).max() < 3


@pytest.mark.parametrize("name", ["png", "tif", "jpg"])
def test_profile_of_another_class_is_not_carried(tmp_path, name):
    path = saved(Image.fromarray(noise(1)[..., 0]), tmp_path / f"x.{name}", icc_profile=SRGB)
    picture = read(path)
    assert picture.icc is None
    assert picture.is_gray


# Bad input


def encoded(name: str) -> bytes:
    file = io.BytesIO()
    form = {"jpg": "JPEG", "tiff": "TIFF"}.get(name, name.upper())
    Image.fromarray(noise(3, h=64, w=64)).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("part", [0.9, 0.5, 0.01])
@pytest.mark.parametrize("name", ALL)
def test_truncated_file_is_an_error(tmp_path, name, part):
    data = encoded(name)
    path = tmp_path / f"x.{name}"
    path.write_bytes(data[: max(16, int(len(data) * part))])
    with pytest.raises(PictureError, match=rf"x\.{name}: ") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"0"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"hello\n" * 100, "not a picture in one of the formats"),
        (b"BMhello\n" * 100, "cannot be read"),
        (b"GIF89a" + bytes(100), "not a picture in one of the formats"),
        (bomb(), "100000x100000 is 10,000,000,000 pixels"),
    ],
)
def test_foreign_content_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=rf"x\.png: .*{sentence}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(PictureError, match=r"gone\.png: .*No such file"):
        read(tmp_path / "gone.png")
    with pytest.raises(PictureError, match=r"Is a directory"):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path):
    path = saved(Image.fromarray(noise(3)), tmp_path / "x.png")
    path.chmod(0)
    with pytest.raises(PictureError, match=r"x\.png: .*Permission denied"):
        read(path)


def test_limit_of_pixels_is_the_callers(tmp_path):
    for name in ("png", "bmp"):
        path = saved(Image.fromarray(noise(3)), tmp_path / f"x.{name}")
        assert read(path, max_pixels=23 * 37).height == 23
        with pytest.raises(PictureError, match="more than the limit of 850"):
            read(path, max_pixels=850)


@pytest.mark.parametrize("name", ["png", "tif", "webp", "avif"])
def test_several_frames_are_refused(tmp_path, name):
    first, *rest = [Image.fromarray(np.roll(noise(3), k, 0)) for k in range(3)]
    path = saved(first, tmp_path / f"x.{name}", save_all=True, append_images=rest)
    with pytest.raises(PictureError, match="several pages or frames"):
        read(path)


def test_unusual_samples_are_refused(tmp_path):
    path = saved(Image.fromarray(noise(1)[..., 0].astype(np.float32)), tmp_path / "x.tif")
    with pytest.raises(PictureError, match=r"samples are of the type float; save it"):
        read(path)
    pyvips.Image.new_from_array(noise(3)).colourspace("lab").tiffsave(str(tmp_path / "lab.tif"))
    with pytest.raises(PictureError, match=r"3 channels of the kind lab are not supported"):
        read(tmp_path / "lab.tif")
    five = np.concatenate([noise(4), noise(1)], 2)
    pyvips.Image.new_from_array(five).copy(interpretation="srgb").tiffsave(str(tmp_path / "5.tif"))
    with pytest.raises(PictureError, match=r"5 channels of the kind srgb are not supported"):
        read(tmp_path / "5.tif")


def test_names_are_never_options(tmp_path):
    path = tmp_path / "x[page=1,Q=5].png"
    write(Picture(noise(3)), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert np.array_equal(read(path).samples, noise(3))


def test_content_counts_not_the_suffix(tmp_path):
    write(Picture(noise(3)), tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert np.array_equal(read(tmp_path / "x.jpg").samples, noise(3))


def test_nothing_is_printed(tmp_path, capfd):
    data = bytearray(encoded("jpg"))
    data[len(data) // 2] ^= 0xFF
    for content in (bytes(data), encoded("tiff")[:100], encoded("avif")[:300]):
        (tmp_path / "x").write_bytes(content)
        with contextlib.suppress(PictureError):
            read(tmp_path / "x")
    assert capfd.readouterr() == ("", "")


# Writing


@pytest.mark.parametrize("name", ALL)
def test_existing_file_is_kept(tmp_path, name):
    path = tmp_path / f"x.{name}"
    path.write_bytes(b"mine")
    with pytest.raises(FileError, match="exists and is kept"):
        write(Picture(noise(3)), path)
    assert path.read_bytes() == b"mine"
    write(Picture(noise(3)), path, overwrite=True)
    assert read(path).width == 37
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("links", [True, False])
def test_file_that_appears_during_the_work_is_kept(tmp_path, monkeypatch, links):
    monkeypatch.setattr(files, "check_target", lambda *a, **k: None)
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    (tmp_path / "x.png").write_bytes(b"mine")
    with pytest.raises(FileError, match=r"x\.png: .*(is kept|File exists)"):
        write(Picture(noise(3)), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


def no_links(self, target):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_file_system_without_links(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    write(Picture(noise(3)), tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png").samples, noise(3))
    assert len(list(tmp_path.iterdir())) == 1


def test_failed_rename_without_links_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    monkeypatch.setattr(Path, "replace", no_links)
    with pytest.raises(FileError, match="not permitted"):
        write(Picture(noise(3)), tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_failure_in_mid_write_leaves_everything_as_it_was(
    tmp_path, monkeypatch, failure, overwrite
):
    path = tmp_path / "x.png"
    if overwrite:
        path.write_bytes(b"mine")

    def full(descriptor):
        assert os.fstat(descriptor).st_size > 0  # the temporary file is there by now
        raise failure

    monkeypatch.setattr(os, "fsync", full)
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else FileError
    with pytest.raises(expected) as caught:
        write(Picture(noise(3)), path, overwrite=overwrite)
    if expected is FileError:
        assert "x.png: the file cannot be written: No space left" in str(caught.value)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([b"mine"] if overwrite else [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match=r"x\.png: .*Permission denied"):
        write(Picture(noise(3)), tmp_path / "x.png")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_folder_that_takes_no_files():
    with pytest.raises(FileError, match=r"/proc/self/x\.png: the folder /proc/self may not be"):
        write(Picture(noise(3)), "/proc/self/x.png")


def test_refused_targets(tmp_path):
    clear = Picture(noise(4))
    for path, picture, sentence in [
        (tmp_path / "x.jpg", clear, "no transparency in jpg; write PNG"),
        (tmp_path / "x.bmp", clear, "no transparency in bmp; write PNG"),
        (tmp_path / "x.gif", clear, "no format has the suffix '.gif'"),
        (tmp_path / ("x" * 300 + ".png"), clear, "File name too long"),
    ]:
        with pytest.raises(AtdsrError, match=sentence):
            write(picture, path)
    with pytest.raises(AtdsrError, match="quality is from 1 to 100, not 0"):
        write(clear, tmp_path / "x.webp", quality=0)
    with pytest.raises(AtdsrError, match=r"wide\.webp: the picture cannot be written: webp"):
        write(Picture(np.zeros((1, 20_000, 3), np.uint8)), tmp_path / "wide.webp")
    (tmp_path / "f.png").mkdir()
    with pytest.raises(AtdsrError, match="this is a folder"):
        write(clear, tmp_path / "f.png", overwrite=True)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("name", ["jpg", "bmp"])
def test_full_alpha_is_dropped_where_there_is_none(tmp_path, name, channels):
    samples = smooth(channels)
    samples[..., -1] = 255
    write(Picture(samples), tmp_path / f"x.{name}")
    assert read(tmp_path / f"x.{name}").samples.shape[2] == channels - 1


def test_new_file_obeys_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write(Picture(noise(3)), tmp_path / "x.png")
    finally:
        os.umask(old)
    assert (tmp_path / "x.png").stat().st_mode & 0o777 == 0o640


def test_picture_refuses_what_is_none():
    for samples in (noise(3)[0], noise(3).astype(float), np.zeros((4, 4, 5), np.uint8)):
        with pytest.raises(PictureError, match="A picture"):
            Picture(samples)


# Samples and tensors


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("work", [torch.float32, torch.float64])
def test_every_level_comes_back(dtype, work):
    high = np.iinfo(dtype).max
    samples = np.arange(high + 1, dtype=dtype).reshape(-1, 16, 1)
    samples.setflags(write=False)
    tensor = pixels.to_tensor(samples, dtype=work)
    assert tensor.shape == (1, 1, *samples.shape[:2])
    assert tensor.min() == 0
    assert tensor.max() == 1
    assert np.array_equal(pixels.to_array(tensor, dtype), samples)


def test_bfloat16_and_channels():
    samples = smooth(3)
    tensor = pixels.to_tensor(samples, dtype=torch.bfloat16)
    assert tensor.dtype == torch.bfloat16
    back = pixels.to_array(tensor, np.uint8)
    assert back.shape == samples.shape
    assert np.abs(back.astype(int) - samples).max() <= 1


def test_rounding_is_half_up_and_clamped():
    values = torch.tensor([-1.0, 0.49, 0.5, 1.5, 2.5, 254.5, 255.0, 300.0], dtype=torch.float64)
    array = pixels.to_array((values / 255).reshape(1, 1, 1, -1))
    assert array.ravel().tolist() == [0, 0, 1, 2, 3, 255, 255, 255]


def test_tensor_is_a_copy_and_result_its_own():
    samples = noise(1)
    tensor = pixels.to_tensor(samples)
    before = tensor.clone()
    pixels.to_array(tensor.mul_(2).sub_(0.5))
    assert np.array_equal(samples, noise(1))
    assert torch.equal(tensor, before * 2 - 0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_an_error(value):
    with pytest.raises(PictureError, match="not finite"):
        pixels.to_array(torch.full((1, 3, 2, 2), value))
    with pytest.raises(PictureError, match="1 c h w"):
        pixels.to_array(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_through_the_network_and_back(dtype):
    gray = noise(1, dtype)
    colour = pixels.gray_to_rgb(pixels.to_tensor(gray))
    assert colour.shape[1] == 3
    assert pixels.gray_to_rgb(colour) is not None
    assert np.array_equal(pixels.to_array(pixels.luma(colour), dtype), gray)


def test_luma_is_bt601():
    primaries = torch.eye(3, dtype=torch.float64).reshape(3, 3, 1, 1)
    assert pixels.luma(primaries).ravel().tolist() == [0.299, 0.587, 0.114]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_alpha_is_split_and_joined(channels):
    colour, alpha = pixels.split_alpha(noise(channels))
    assert colour.shape[2] == (1 if channels < 3 else 3)
    assert (alpha is None) == (channels % 2 == 1)
    assert np.array_equal(pixels.join_alpha(colour, alpha), noise(channels))


# Pillow


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pillow_round_trip(channels):
    profile = SRGB if channels > 2 else gray_profile()
    image = pixels.to_pil(Picture(noise(channels), profile))
    assert image.mode == ["L", "LA", "RGB", "RGBA"][channels - 1]
    back = pixels.from_pil(image)
    assert np.array_equal(back.samples, noise(channels))
    assert back.icc == profile


def test_pillow_16_bits():
    gray = noise(1, np.uint16)
    image = pixels.to_pil(Picture(gray))
    assert image.mode == "I;16"
    assert np.array_equal(pixels.from_pil(image).samples, gray)
    ramp = np.array([[[0, 128, 129], [385, 386, 65535]]], np.uint16)
    assert pixels.from_pil(pixels.to_pil(Picture(ramp))).samples.tolist() == [
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
    picture = pixels.from_pil(Image.new(mode, (5, 3)))
    assert picture.samples.shape == (3, 5, channels)
    assert picture.samples.dtype == np.uint8


def test_pillow_transparent_colours():
    for mode, channels in (("L", 2), ("P", 4), ("RGB", 4)):
        image = Image.new(mode, (5, 3))
        image.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
        picture = pixels.from_pil(image)
        assert picture.samples.shape[2] == channels
        assert picture.is_transparent


def test_pillow_refusals(tmp_path):
    for mode in ("I", "F", "LAB"):
        with pytest.raises(PictureError, match=f"the mode {mode} is not supported"):
            pixels.from_pil(Image.new(mode, (5, 3)))
    with (
        Image.open(io.BytesIO(encoded("png")[:2000])) as image,
        pytest.raises(PictureError, match="truncated"),
    ):
        pixels.from_pil(image)


def test_pillow_and_file_agree_on_cmyk(tmp_path):
    ink = np.kron(noise(4, h=3, w=3), np.ones((8, 8, 1), np.uint8))
    path = saved(Image.fromarray(ink, "CMYK"), tmp_path / "x.tif")
    with Image.open(path) as image:
        assert np.array_equal(pixels.from_pil(image).samples, read(path).samples)


def test_missing_libvips_is_a_sentence(tmp_path, monkeypatch):
    write(Picture(noise(3)), tmp_path / "x.png")
    monkeypatch.setitem(__import__("sys").modules, "pyvips", None)
    with pytest.raises(PictureError, match=r"x\.png: pyvips cannot be loaded .*pip install"):
        read(tmp_path / "x.png")
