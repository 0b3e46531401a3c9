"""Figures as people read them."""

import doctest
import math
from collections.abc import Callable

import pytest

from atdsr.base import units


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (units.duration, 0, "0 s"),
        (units.duration, 3.24, "3.2 s"),
        (units.duration, 5, "5 s"),
        (units.duration, 45.2, "45 s"),
        (units.duration, 99.4, "1 min 39 s"),
        (units.duration, 3599.7, "1 h"),
        (units.duration, 11_100, "3 h 5 min"),
        (units.duration, 86_399, "1 d"),
        (units.duration, 172_790, "2 d"),
        (units.duration, 255_600, "2 d 23 h"),
        (units.duration, 1e9, "11,574 d 2 h"),
        (units.duration, math.nan, "-"),
        (units.byte_size, 0, "0 B"),
        (units.byte_size, 999, "999 B"),
        (units.byte_size, 1000, "1.0 KiB"),
        (units.byte_size, 300 * 2**20, "300 MiB"),
        (units.byte_size, 1023 * 2**20, "1.0 GiB"),
        (units.byte_size, 3 * 2**29, "1.5 GiB"),
        (units.byte_size, 2**52, "4,096 TiB"),
        (units.byte_size, None, "-"),
        (units.byte_size, math.inf, "-"),
        (units.short_number, 999, "999"),
        (units.short_number, 753_204, "753 K"),
        (units.short_number, 999_499, "999 K"),
        (units.short_number, 999_500, "1 M"),
        (units.short_number, 20_113_217, "20.1 M"),
        (units.short_number, 115_000_000, "115 M"),
        (units.short_number, 0.05, "0.05"),
        (units.short_number, None, "-"),
        (units.iteration_rate, 0.5208, "1.92 it/s"),
        (units.iteration_rate, 0.05, "20.0 it/s"),
        (units.iteration_rate, 0.001, "1000 it/s"),
        (units.iteration_rate, 3.4, "3.40 s/it"),
        (units.iteration_rate, 0.0, "-"),
        (units.percent, 0.0031, "0.3%"),
        (units.percent, math.nan, "-"),
        (units.learning_rate, 5e-4, "5.00e-04"),
        (units.learning_rate, math.nan, "-"),
        (units.decibels, 37.938, "37.94"),
        (units.decibels, math.inf, "∞"),
        (units.decibels, math.nan, "-"),
        (units.decibels, None, "-"),
    ],
)
def test_figures_are_short_and_never_wrong_by_a_unit(
    write: Callable[[float | None], str], value: float | None, text: str
):
    assert write(value) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.018123, 4, "0.01812"),
        (12.34, 4, "12.34"),
        (0.0123, 2, "0.012"),
        (99.96, 3, "100"),
        (1536.2, 2, "1536"),
        (0.0, 2, "0.0"),
        (math.nan, 2, "-"),
    ],
)
def test_significant_digits_without_an_exponent(value: float, digits: int, text: str):
    assert units.significant(value, digits) == text


def test_the_examples_are_right():
    assert doctest.testmod(units).failed == 0
