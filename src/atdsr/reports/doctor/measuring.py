"""Measure how fast the bundled network is on this machine, on each path that it can take."""

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

from atdsr.reports.doctor.advising import advice
from atdsr.reports.doctor.machine import Machine, Measurement
from atdsr.reports.doctor.probes import bundled, first_line

if TYPE_CHECKING:
    from atdsr.inference.upscaler import Upscaler

Progress = Callable[[float], None]

_SECONDS, _ROUNDS = 7.0, 3  # that the measurement may take, and the most repetitions
_SIDES = (64, 96, 128, 192, 256)  # of the picture that is measured


def measured(machine: Machine, progress: Progress = lambda _: None) -> Machine:
    """Return the machine with a measurement, which takes about ten seconds.

    Nothing is measured where something is broken. Where measuring fails, `unmeasured` says why.

    Args:
        machine: The result of `examine`.
        progress: Called with the fraction that is done, from 0 to 1.
    """
    if any(each.broken for each in advice(machine)):
        return machine
    try:
        return replace(machine, measurement=_measure(bundled(), progress))
    except Exception as error:
        return replace(machine, unmeasured=first_line(error))


def _measure(upscaler: "Upscaler", progress: Progress) -> Measurement:
    """Upscale a picture a few times on each path, in turns."""
    import numpy as np

    from atdsr.network import kernels
    from atdsr.network.kernels import cpu, gpu

    able = {"cpu": lambda: cpu.status().variant, "cuda": lambda: gpu.status().gpu}
    fused = able.get(upscaler.device.type, lambda: None)() is not None
    paths = [nullcontext, kernels.plain] if fused else [nullcontext]
    noise = np.random.default_rng(0).integers(0, 256, (_SIDES[-1], _SIDES[-1], 3), np.uint8)

    def seconds(path: Callable[[], Any], side: int) -> float:
        begin = time.perf_counter()
        with path():
            upscaler(noise[:side, :side])
        return time.perf_counter() - begin

    start = time.perf_counter()
    for path in paths:
        seconds(path, _SIDES[0] // 2)  # the first time, much is set up
    once = sum(seconds(path, _SIDES[0]) for path in paths)
    progress(0.1)
    side = largest_side(once)
    before = os.times()
    rounds: list[list[float]] = []
    while not rounds or (len(rounds) < _ROUNDS and time.perf_counter() - start < _SECONDS):
        rounds.append([seconds(path, side) for path in paths])
        progress(0.1 + 0.9 * len(rounds) / _ROUNDS)
    after = os.times()
    user, system = after.user - before.user, after.system - before.system
    medians = [median(each) for each in zip(*rounds, strict=True)]
    return Measurement(
        device=upscaler.device.type,
        side=side,
        seconds=medians[0],
        plain_seconds=medians[1] if fused else None,
        system_share=system / max(user + system, 1e-9),
    )


def largest_side(seconds: float) -> int:
    """Return the side of the picture to measure.

    Args:
        seconds: Time of one round with the smallest picture.
    """
    per_pixel = _ROUNDS * seconds / _SIDES[0] ** 2
    return max((side for side in _SIDES if per_pixel * side**2 <= _SECONDS), default=_SIDES[0])
