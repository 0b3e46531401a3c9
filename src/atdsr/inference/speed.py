"""How fast a network runs on this machine, by a short measurement."""

import time

import numpy as np

from atdsr.inference.upscaler import Upscaler

_SIDES = (64, 96, 128, 192, 256)
_PATIENCE = 3.0  # seconds that the last and largest run may take


def seconds_per_pixel(upscaler: Upscaler) -> float:
    """Measure how long the network takes for a pixel of its input, in seconds.

    A restorer is left out; it is measured by itself.

    Noise is enlarged: first a small square, so that what is set up once does not count, then larger
    ones up to 256x256 as long as one takes at most about 3 seconds. The largest one counts, since
    small pictures leave part of the machine idle. Reading and writing files is not included.
    """
    if upscaler.restorer is not None:
        upscaler = Upscaler(upscaler.model, upscaler.config)
    noise = np.random.default_rng(0).integers(0, 256, (_SIDES[-1], _SIDES[-1], 3), np.uint8)

    def seconds(side: int) -> float:
        start = time.perf_counter()
        upscaler(noise[:side, :side])
        return time.perf_counter() - start

    seconds(32)
    measured = 0.0
    for side in _SIDES:
        if measured * side**2 > _PATIENCE:
            break
        measured = seconds(side) / side**2
    return measured
