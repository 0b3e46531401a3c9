"""JPEG files of which libjpeg would fill in a part."""

import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from atdsr.pixels import PictureError, read
from pictures import noise


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
