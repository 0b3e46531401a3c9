"""The short measurement of how fast a network is."""

import time
from typing import Any

import pytest

from atdsr.inference import Upscaler, speed


class Paced(Upscaler):
    """Takes a fixed time for a pixel, by a clock of its own."""

    scale, restorer = 2, None

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0
        self.sides: list[int] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def __call__(self, picture: Any, **_: Any) -> Any:
        self.sides.append(len(picture))
        self.now += self.seconds * picture.shape[0] * picture.shape[1]
        return picture


@pytest.mark.parametrize(("seconds", "largest"), [(1e-6, 256), (1e-4, 128), (1, 64)])
def test_the_largest_square_within_patience_tells_the_speed(
    monkeypatch: pytest.MonkeyPatch, seconds: float, largest: int
):
    upscaler = Paced(monkeypatch, seconds)
    assert speed.seconds_per_pixel(upscaler) == pytest.approx(seconds)
    assert upscaler.sides[0] == 32
    assert upscaler.sides[-1] == largest
