"""Files that are no pictures, or not whole, or too much."""

import contextlib
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from atdsr import imaging
from atdsr.imaging import (
    Picture,
    PictureError,
    TooLargeError,
    UnsupportedError,
    read,
    write,
)
from helpers.pictures import chunk, encoded, noise, saved

ALL = sorted(imaging.FORMATS)


@pytest.mark.parametrize("part", [0.9, 0.5, 0.01])
@pytest.mark.parametrize("name", ALL)
def test_truncated_file_is_an_error(tmp_path, name, part):
    data = encoded(name)
    path = tmp_path / f"x.{name}"
    path.write_bytes(data[: max(16, int(len(data) * part))])
    with pytest.raises(PictureError, match=rf"x\.{name}: ") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"0"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"hello\n" * 100, "not a picture in one of the formats"),
        (b"BMhello\n" * 100, "cannot be read"),
        (b"GIF89a" + bytes(100), "the file is damaged or cut short"),
        (bomb(), "100000x100000 is 10,000,000,000 pixels"),
    ],
)
def test_foreign_content_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=rf"x\.png: .*{sentence}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"hello\n" * 100, UnsupportedError), (bomb(), TooLargeError), (b"", PictureError)],
)
def test_the_class_of_the_error_tells_what_kind_of_reason_it_is(tmp_path, content, kind):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(PictureError) as caught:
        read(path)
    assert type(caught.value) is kind


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(PictureError, match=r"gone\.png does not exist; check the name"):
        read(tmp_path / "gone.png")
    with pytest.raises(PictureError, match=r"is a folder; name a file"):
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


def test_the_limit_of_pixels_is_the_same_for_a_gif_with_a_wrong_head(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = saved(Image.fromarray(noise(1)[..., 0]), tmp_path / "x.gif")
    right = read(path)
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 1, 1)
    path.write_bytes(content)
    assert np.array_equal(read(path).samples, right.samples)
    with pytest.raises(PictureError, match="more than the limit of 850"):
        read(path, max_pixels=850)


@pytest.mark.parametrize("name", ["png", "tif", "webp", "avif"])
def test_several_frames_are_refused(tmp_path, name):
    first, *rest = [Image.fromarray(np.roll(noise(3), k, 0)) for k in range(3)]
    path = saved(first, tmp_path / f"x.{name}", save_all=True, append_images=rest)
    with pytest.raises(PictureError, match="several pages or frames"):
        read(path)


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


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("listed", [None, "png,jpg", " .PNG , jpeg,", "tif,jfif"])
def test_formats_that_are_not_listed_are_refused(tmp_path, monkeypatch, name, listed):
    allowed = {None: ALL, "tif,jfif": ["tiff", "jpg"]}.get(listed, ["png", "jpg"])
    monkeypatch.delenv("ATDSR_FORMATS", raising=False)
    if listed is not None:
        monkeypatch.setenv("ATDSR_FORMATS", listed)
    path = tmp_path / "x.png"  # the content counts
    path.write_bytes(encoded(name))
    if name in allowed:
        assert read(path).samples.any()
        return
    sentence = rf"x\.png: it is a file of the format {name}, which ATDSR_FORMATS="
    for reading in (read, imaging.open_frames):
        with pytest.raises(PictureError, match=sentence):
            reading(path)


@pytest.mark.parametrize(
    ("listed", "what"),
    [("", "no format"), (" ,", "no format"), ("png,psd", "the format 'psd', which is unknown")],
)
def test_a_list_of_formats_that_is_wrong_lets_nothing_in(tmp_path, monkeypatch, listed, what):
    (tmp_path / "x.png").write_bytes(encoded("png"))
    monkeypatch.setenv("ATDSR_FORMATS", listed)
    with pytest.raises(PictureError, match=f"ATDSR_FORMATS names {what}; it lists some of png"):
        read(tmp_path / "x.png")


def test_a_format_that_is_not_listed_reaches_no_decoder(tmp_path, monkeypatch):
    monkeypatch.setenv("ATDSR_FORMATS", "png")
    monkeypatch.setattr("atdsr.imaging.vips.load", lambda: pytest.fail("libvips was asked"))
    (tmp_path / "x.png").write_bytes(b"\xff\xd8\xff" + bytes(100))
    with pytest.raises(PictureError, match="the format jpg"):
        read(tmp_path / "x.png")
