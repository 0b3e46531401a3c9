"""Samples of frames to RGB and back: against a pattern, a bicubic pass, and FFmpeg's own filter."""

import av
import numpy as np
import pytest
import torch

from atdsr.imaging import resample
from atdsr.video import colour
from atdsr.video.colour import Colour, PixelFormat, from_rgb, to_rgb
from atdsr.video.config import VideoError
from helpers.clips import picture

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le", "yuv411p", "yuv410p"]
MATRICES = {"601": 6, "709": 1, "2020": 9}


def pattern(pixels: PixelFormat, full_range: bool, scale: int) -> list[np.ndarray]:
    """A test pattern at a scale: soft waves of luma and chroma, all inside of RGB."""
    width, height = 64 * scale, 48 * scale
    top = 2**pixels.bits
    planes = []
    for plane in range(3):
        w, h = pixels.plane_size(plane, width, height)
        # places of samples in units of the small picture; chroma to the left, as in most codecs
        step_x, step_y = width / w / scale, height / h / scale
        left = 0.5 / scale if plane else step_x / 2
        x = left + step_x * np.arange(w)
        y = step_y * (np.arange(h) + 0.5)
        wave = np.sin(x / 9 + plane)[None] * np.cos(y / 8 - plane)[:, None]
        middle, extent = (0.45, 0.2) if plane == 0 else (0.5, 0.08)
        limits = (0, top - 1) if full_range else (top / 16, top * 219 / 256)
        values = (
            limits[0] + limits[1] * (middle + extent * wave)
            if plane == 0
            else top * (middle + extent * wave)
        )
        planes.append(np.rint(values).astype(pixels.dtype))
    return planes


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_a_bicubic_pass_keeps_the_colours(name: str, matrix: str, full_range: bool):
    pixels = PixelFormat.of(av.VideoFormat(name))
    meaning = Colour(MATRICES[matrix], full_range)
    small = to_rgb(pattern(pixels, full_range, 1), pixels, meaning)
    rgb = small[0].permute(1, 2, 0).numpy()
    deep = np.rint(rgb * 65535).astype(np.uint16)
    large = resample.resize(deep, 96, 128).astype(np.float32) / 65535
    made = from_rgb(torch.from_numpy(large).permute(2, 0, 1)[None], pixels, meaning)
    unit = 2 ** (pixels.bits - 8)
    for plane, (got, wanted) in enumerate(zip(made, pattern(pixels, full_range, 2), strict=True)):
        inside = np.s_[8:-8, 8:-8]  # bicubic repeats the edge, and a wave goes on
        off = np.abs(got[inside].astype(int) - wanted[inside].astype(int)).max()
        assert off <= (2 if plane == 0 else 4) * unit, (plane, off)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_there_and_back_is_the_same(name: str, full_range: bool):
    pixels = PixelFormat.of(av.VideoFormat(name))
    meaning = Colour(1, full_range)
    planes = pattern(pixels, full_range, 1)
    back = from_rgb(to_rgb(planes, pixels, meaning), pixels, meaning)
    assert np.abs(back[0].astype(int) - planes[0].astype(int)).max() <= 1
    for got, wanted in zip(back[1:], planes[1:], strict=True):
        assert np.abs(got.astype(int) - wanted.astype(int))[2:-2, 2:-2].max() <= 2 ** (
            pixels.bits - 7
        )


@pytest.mark.parametrize("matrix", [6, 1, 9])
def test_gray_and_corners_are_those_of_the_standard(matrix: int):
    """Black, white and the primaries in BT.601, BT.709 and BT.2020, by their equations."""
    pixels = PixelFormat("yuv")
    of_red, of_blue = {6: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}[matrix]
    corners = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    image = torch.tensor(corners.T, dtype=torch.float32)[None, :, None]
    luma, cb, cr = (plane[0] for plane in from_rgb(image, pixels, Colour(matrix)))
    y = corners @ [of_red, 1 - of_red - of_blue, of_blue]
    np.testing.assert_array_equal(luma, np.floor(16 + 219 * y + 0.5))
    blue = 0.5 * (corners[:, 2] - y) / (1 - of_blue)
    red = 0.5 * (corners[:, 0] - y) / (1 - of_red)
    np.testing.assert_array_equal(cb, np.floor(128 + 224 * blue + 0.5))
    np.testing.assert_array_equal(cr, np.floor(128 + 224 * red + 0.5))


@pytest.mark.parametrize("name", ["nv12", "yuyv422", "p010le", "rgb24", "bgr0", "gray"])
def test_other_layouts_hold_the_same_samples(name: str):
    found = av.VideoFormat(name)
    pixels = PixelFormat.of(found)
    planes = picture(0, 32, 16, pixels)
    frame = colour.frame_of(planes, pixels).reformat(format=name)
    for got, wanted in zip(colour.planes_of(frame, pixels), planes, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_odd_sizes_and_alpha():
    pixels = PixelFormat.of(av.VideoFormat("yuva420p"))
    planes = picture(0, 33, 17, pixels)
    assert [plane.shape for plane in planes] == [(17, 33), (9, 17), (9, 17), (17, 33)]
    image = to_rgb(planes, pixels, Colour(1))
    assert image.shape == (1, 4, 17, 33)
    back = from_rgb(image, pixels, Colour(1))
    assert [plane.shape for plane in back] == [plane.shape for plane in planes]
    np.testing.assert_array_equal(back[3], planes[3])


def test_what_is_not_read_is_named():
    with pytest.raises(VideoError, match="grayf32le"):
        PixelFormat.of(av.VideoFormat("grayf32le"))
    with pytest.raises(VideoError, match="matrix 14"):
        Colour(14).check()
