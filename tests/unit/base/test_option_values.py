import pytest

from atdsr.base import option_values
from atdsr.base.option_values import OptionError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (option_values.parse_scale, "3", 3),
        (option_values.parse_quality, "100", 100),
        (option_values.at_least_0, "0", 0),
        (option_values.at_least_1, "1", 1),
        (option_values.parse_tile, "auto", "auto"),
        (option_values.parse_tile, "128", 128),
        (option_values.parse_factor, "3.5", 3.5),
        (option_values.parse_size, "1920x1080", (1920, 1080, False)),
        (option_values.parse_size, "x1080", (None, 1080, False)),
        (option_values.parse_size, "640x480!", (640, 480, True)),
    ],
)
def test_values(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (option_values.parse_scale, "5", "is not 2, 3 or 4."),
        (option_values.parse_quality, "101", "is not a whole number from 1 to 100."),
        (option_values.at_least_0, "-1", "is not a whole number from 0 on."),
        (option_values.at_least_1, "0", "is not a whole number from 1 on."),
        (option_values.at_least_1, "9" * 5000, "is not a whole number from 1 on."),
        (option_values.at_least_1, "\u0663", "is not a whole number from 1 on."),
        (option_values.parse_tile, "big", "is neither auto nor off nor a number of pixels."),
        (option_values.parse_factor, "nan", "is not a number above 1 and up to 64."),
        (option_values.parse_factor, "1", "is not a number above 1 and up to 64."),
        (option_values.parse_size, "x", "is not like 1920x1080, 1920x, x1080 or 1920x1080!."),
        (option_values.parse_size, "5x!", "is not like 1920x1080, 1920x, x1080 or 1920x1080!."),
    ],
)
def test_what_is_no_value_is_quoted(parse, text, reason):
    with pytest.raises(OptionError) as caught:
        parse(text)
    assert str(caught.value) == f"{text!r} {reason}"
