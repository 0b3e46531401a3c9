"""JPEG files of which libjpeg would fill in a part."""

import io
import itertools
import re

import numpy as np
import pytest
import pyvips
from PIL import Image

from atdsr.imaging import PictureError, jpeg_quality, read
from helpers.pictures import noise


def jpeg(**options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(3, h=64, w=64)).save(file, "JPEG", **options)
    return file.getvalue()


def refused(tmp_path, content: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=r"x\.jpg: ") as caught:
        read(tmp_path / "x.jpg")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_data_that_end_early_behind_a_proper_end(tmp_path, options, part):
    data = jpeg(**options)
    refused(tmp_path, data[: int(len(data) * part)] + b"\xff\xd9")


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 50, "progressive": True}])
def test_missing_scans(tmp_path, options):
    data = jpeg(**options)
    scans = [match.start() for match in re.finditer(rb"\xff\xda", data)]
    assert len(scans) > 5
    for scan in scans:
        refused(tmp_path, data[:scan] + b"\xff\xd9")
    for begin, end in itertools.pairwise(scans):
        refused(tmp_path, data[:begin] + data[end:])


def test_lost_restart_interval(tmp_path):
    data = jpeg(restart_marker_blocks=2)
    begin, end = data.index(b"\xff\xd2"), data.index(b"\xff\xd3")
    refused(tmp_path, data[:begin] + data[end:])


def test_oddities_that_cost_no_pixel_are_read(tmp_path):
    data = jpeg()
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    want = read(path).samples
    revision = data.index(b"JFIF\0") + 5
    tables = data.index(b"\xff\xdb")
    for odd in (
        data[:revision] + b"\x03" + data[revision + 1 :],
        data[:tables] + bytes(3) + data[tables:],
        data[:tables] + b"\xff\xff" + data[tables:],
        data[:-2] + bytes(2) + data[-2:],
        data + b"what follows the end",
    ):
        path.write_bytes(odd)
        assert np.array_equal(read(path).samples, want)


def test_gray_and_separate_scans_are_whole(tmp_path):
    for image in (noise(1)[..., 0], noise(3)):
        Image.fromarray(image).save(tmp_path / "x.jpg", progressive=True, quality=95)
        with Image.open(tmp_path / "x.jpg") as other:
            want = np.array(other)
        assert np.array_equal(read(tmp_path / "x.jpg").samples.squeeze(), want)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_damage_behind_an_oddity_counts(tmp_path, options):
    """libjpeg keeps the first of its warnings only."""
    data = jpeg(**options)
    revision, half = data.index(b"JFIF\0") + 5, len(data) // 2
    odd = data[:revision] + b"\x03" + data[revision + 1 :]
    (tmp_path / "x.jpg").write_bytes(odd)
    read(tmp_path / "x.jpg")
    refused(tmp_path, odd[:half] + b"\xff\xd9")


@pytest.mark.parametrize("name", [b"\xff\xd9", b"\xff\xda"])
def test_data_that_no_scan_takes_are_damage(tmp_path, name):
    data = jpeg(progressive=True)
    at = data.rindex(name)
    refused(tmp_path, data[:at] + bytes(40) + data[at:])


@pytest.mark.parametrize(("mode", "transform"), [("RGB", 7), ("CMYK", 1)])
def test_an_unknown_transform_of_colour_is_the_usual_one(tmp_path, mode, transform):
    file = io.BytesIO()
    Image.fromarray(noise(3, h=64, w=64)).convert(mode).save(file, "JPEG", keep_rgb=False)
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
    usual = {"RGB": 1, "CMYK": 2}[mode]
    plain = file.getvalue()
    if (at := plain.find(b"\xff\xee")) > 0:
        plain = plain[:at] + plain[at + 16 :]
    made = []
    for number in (usual, transform):
        content = plain[:2] + adobe + bytes([number]) + plain[2:]
        (tmp_path / "x.jpg").write_bytes(content)
        made.append(read(tmp_path / "x.jpg").samples)
    assert np.array_equal(*made)


def test_warnings_of_libvips_run_no_python(tmp_path):
    """Where they do, one inside another ends the process."""
    (tmp_path / "x.jpg").write_bytes(jpeg())
    read(tmp_path / "x.jpg")
    assert pyvips._log_handler_id is None


@pytest.mark.parametrize("progressive", [True, False])
def test_the_quality_is_read_off_the_tables(tmp_path, progressive):
    for quality in range(10, 101, 5):
        options = {"quality": quality, "progressive": progressive}
        (tmp_path / "x.jpg").write_bytes(jpeg(**options))
        assert jpeg_quality(tmp_path / "x.jpg") == pytest.approx(quality, abs=1)


def test_what_has_no_quality(tmp_path):
    assert jpeg_quality(tmp_path / "missing.jpg") is None
    assert jpeg_quality(tmp_path) is None
    for content in (b"", b"\xff\xd8", jpeg()[:30], b"\x89PNG\r\n"):
        (tmp_path / "x.jpg").write_bytes(content)
        assert jpeg_quality(tmp_path / "x.jpg") is None
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000  # before the tables
    (tmp_path / "x.jpg").write_bytes(jpeg(quality=70, exif=exif))
    assert jpeg_quality(tmp_path / "x.jpg") == 70
