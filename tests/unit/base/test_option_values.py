import pytest

from atdsr.base import option_values
from atdsr.base.option_values import OptionError

DEVICE = "is not auto, cpu, cuda or mps"
FACTOR = "is not a number above 1 and up to 64"
SIZE = "is not like 1920x1080, 1920x, x1080 or 1920x1080!"


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (option_values.parse_scale, "3", 3),
        (option_values.parse_upscale, "X4", 4),
        (option_values.parse_scale, "4x", 4),
        (option_values.parse_scale, "200%", 2),
        (option_values.parse_quality, "100", 100),
        (option_values.at_least_0, "0", 0),
        (option_values.at_least_1, "1", 1),
        (option_values.parse_device, "CPU", "cpu"),
        (option_values.parse_tile, "auto", "auto"),
        (option_values.parse_tile, "128", 128),
        (option_values.parse_tile, "1", 1),
        (option_values.parse_factor, "3.5", 3.5),
        (option_values.parse_factor, "2,5", 2.5),
        (option_values.parse_factor, "x2.5", 2.5),
        (option_values.parse_factor, "4x", 4),
        (option_values.parse_factor, "250%", 2.5),
        (option_values.parse_factor, "2 x", 2),
        (option_values.parse_size, "1920x1080", (1920, 1080, False)),
        (option_values.parse_size, "x1080", (None, 1080, False)),
        (option_values.parse_size, "640x480!", (640, 480, True)),
        (option_values.parse_size, "300X200", (300, 200, False)),
        (option_values.parse_size, "300\u00d7200", (300, 200, False)),
        (option_values.parse_size, " 300 x 200 ! ", (300, 200, True)),
        (option_values.parse_size, "2480x3508px", (2480, 3508, False)),
        (option_values.parse_size, "2480 PX x", (2480, None, False)),
        (option_values.parse_size, "0" * 5000 + "7x", (7, None, False)),
    ],
)
def test_values(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (option_values.parse_scale, "5", "is not 2, 3 or 4."),
        (option_values.parse_upscale, "5", "is not 2, 3 or 4; use --outscale 5."),
        (option_values.parse_upscale, "250%", "is not 2, 3 or 4; use --outscale 2.5."),
        (option_values.parse_upscale, "1/2", "is not 2, 3 or 4."),
        (option_values.parse_upscale, "1", "is not 2, 3 or 4."),
        (option_values.parse_upscale, "99", "is not 2, 3 or 4."),
        (
            option_values.parse_upscale,
            "0.5",
            "is not 2, 3 or 4; to make a picture smaller, use --size.",
        ),
        (option_values.parse_device, "GPU", f"{DEVICE}; it is called cuda."),
        (option_values.parse_device, "metal", f"{DEVICE}; it is called mps."),
        (
            option_values.parse_device,
            "cuda:1",
            f"{DEVICE}; choose one of several GPUs with CUDA_VISIBLE_DEVICES.",
        ),
        (option_values.parse_device, "tpu", f"{DEVICE}."),
        (option_values.parse_quality, "101", "is not a whole number from 1 to 100."),
        (option_values.parse_quality, "0", "is not a whole number from 1 to 100."),
        (option_values.parse_quality, "high", "is not a whole number from 1 to 100."),
        (option_values.at_least_0, "-1", "is not a whole number from 0 on."),
        (option_values.at_least_1, "0", "is not a whole number from 1 on."),
        (option_values.at_least_1, "9" * 5000, "is not a whole number from 1 on."),
        (option_values.at_least_1, "\u0663", "is not a whole number from 1 on."),
        (option_values.parse_tile, "big", "is neither auto nor off nor a number of pixels."),
        (option_values.parse_tile, "-1", "is neither auto nor off nor a number of pixels."),
        (option_values.parse_factor, "nan", f"{FACTOR}."),
        (option_values.parse_factor, "1", f"{FACTOR}."),
        (option_values.parse_factor, "1e999", f"{FACTOR}."),
        (option_values.parse_factor, "x4x", f"{FACTOR}."),
        (option_values.parse_factor, "1.000,5", f"{FACTOR}."),
        (option_values.parse_factor, "0,5", f"{FACTOR}; to make a picture smaller, use --size."),
        (option_values.parse_factor, "50%", f"{FACTOR}; to make a picture smaller, use --size."),
        (option_values.parse_size, "x", f"{SIZE}."),
        (option_values.parse_size, "5x!", f"{SIZE}."),
        (option_values.parse_size, "9*9", f"{SIZE}."),
        (
            option_values.parse_size,
            "300 px",
            f"{SIZE}; write 300x for the width, or x300 for the height.",
        ),
        (option_values.parse_size, "200%", f"{SIZE}; use --outscale 2."),
        (option_values.parse_size, "x2.5", f"{SIZE}; use --outscale 2.5."),
        (option_values.parse_size, "50%", f"{SIZE}; give it in pixels."),
        (option_values.parse_size, "99999999x", "has a side of more than 999,999 pixels."),
        (option_values.parse_size, "9" * 5000 + "x5", "has a side of more than 999,999 pixels."),
        (
            option_values.parse_size,
            "0x0",
            "has a side of 0 pixels; leave out a side to have it in proportion, as in 1920x.",
        ),
    ],
)
def test_what_is_no_value_is_quoted(parse, text, reason):
    with pytest.raises(OptionError) as caught:
        parse(text)
    assert str(caught.value) == f"{text!r} {reason}"


@pytest.mark.parametrize("text", ["0", "00"])
def test_no_tiles_have_a_name(text):
    with pytest.raises(OptionError, match=f"^{text} is no tile; write --tile off.$"):
        option_values.parse_tile(text)
