"""Draws what is done to one crop: concrete tasks from a degradation's ranges."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atdsr.datasets.degradations.config import (
    Blur,
    Choice,
    Degradation,
    InOrder,
    Jpeg,
    Noise,
    Operation,
    Resize,
    ResizeKernel,
    Shuffle,
    Webp,
    contains_resize,
)
from atdsr.datasets.degradations.kernels import blur_kernel, correlation
from atdsr.datasets.degradations.random_words import CropRandom

_MOST_ENLARGED = 2  # times the size of HR, whatever the factors multiply to


@dataclass(frozen=True)
class BlurTask:
    """A blur.

    Attributes:
        kernel: The kernel `k k`, float64.
        text: What is done, for people.
    """

    kernel: NDArray[np.float64]
    text: str


@dataclass(frozen=True)
class ResizeTask:
    """A resize.

    Attributes:
        height: New height.
        width: New width.
        kernel: How it is done.
        text: What is done, for people.
    """

    height: int
    width: int
    kernel: ResizeKernel
    text: str


@dataclass(frozen=True)
class GaussianTask:
    """Gaussian noise.

    Attributes:
        mixing: Matrix `3 3` that three independent normal numbers of a pixel are multiplied by, in
            units of the range 0..1.
        random: Where the words of the noise come from.
        text: What is done, for people.
    """

    mixing: NDArray[np.float64]
    random: CropRandom
    text: str


@dataclass(frozen=True)
class PoissonTask:
    """Poisson noise.

    Attributes:
        strength: Its strength.
        is_gray: Whether it is the same in all channels.
        random: Where the words of the noise come from.
        text: What is done, for people.
    """

    strength: float
    is_gray: bool
    random: CropRandom
    text: str


@dataclass(frozen=True)
class CompressionTask:
    """Compression.

    Attributes:
        format: "JPEG" or "WEBP".
        quality: The quality.
        is_subsampled: Whether colour has half the resolution (of JPEG; WebP always does so).
        top: Rows of a block that lie above the crop.
        left: Columns of a block that lie left of it.
        text: What is done, for people.
    """

    format: str
    quality: int
    is_subsampled: bool
    top: int
    left: int
    text: str


Task = BlurTask | ResizeTask | GaussianTask | PoissonTask | CompressionTask
"""What is done to one crop, with nothing left to draw but the noise itself."""


@dataclass(frozen=True)
class PlannedTask:
    """A task and its place.

    Attributes:
        place: Number of its operation in the degradation, counted through all lists. Tasks of
            several crops with one place are likely to be alike.
        task: The task.
    """

    place: int
    task: Task


class Planner:
    """Draws the tasks of crops.

    Args:
        degradation: What to draw from.
        height: Height of HR in pixels.
        width: Width of HR in pixels.
        scale: Scale of LR.
    """

    def __init__(self, degradation: Degradation, height: int, width: int, scale: int) -> None:
        self._degradation = degradation
        self._hr_size = height, width
        self._lr_size = height // scale, width // scale

    def plan(self, random: CropRandom) -> list[PlannedTask]:
        """Return the tasks of one crop, the last of which leaves the size of LR."""
        tasks: list[PlannedTask] = []
        size = self._hr_size
        place = 0
        is_clean = random.happens(self._degradation.clean)
        for operation in () if is_clean else self._degradation.operations:
            for planned in self._expand(operation, place, random, size):
                tasks.append(planned)
                if isinstance(planned.task, ResizeTask):
                    size = planned.task.height, planned.task.width
            place += _places(operation)
        if size != self._lr_size:
            height, width = self._lr_size
            tasks.append(PlannedTask(place, _resize_task(height, width, "antialiased_bicubic")))
        return tasks

    def _expand(
        self, operation: Operation, place: int, random: CropRandom, size: tuple[int, int]
    ) -> Iterator[PlannedTask]:
        """Yield the tasks of an operation, if it is done at all."""
        if not random.happens(operation.probability):
            return
        if isinstance(operation, InOrder | Choice | Shuffle):
            places = [place]
            for inner in operation.operations:
                places.append(places[-1] + _places(inner))
            for index in _order(operation, random):
                inner = operation.operations[index]
                for planned in self._expand(inner, places[index], random, size):
                    yield planned
                    if isinstance(planned.task, ResizeTask):
                        size = planned.task.height, planned.task.width
        else:
            yield PlannedTask(place, self._task(operation, random, size))

    def _task(
        self,
        operation: Blur | Resize | Noise | Jpeg | Webp,
        random: CropRandom,
        size: tuple[int, int],
    ) -> Task:
        match operation:
            case Blur():
                return BlurTask(*blur_kernel(operation, random))
            case Resize():
                return self._resize(operation, random, size)
            case Noise():
                return _noise(operation, random)
            case _:
                return _compression(operation, random)

    def _resize(self, resize: Resize, random: CropRandom, size: tuple[int, int]) -> ResizeTask:
        low, high = _factors(resize, random)
        if resize.uniform == "inverse":
            factor = 1 / random.uniform((1 / high, 1 / low))
        else:
            factor = random.uniform((low, high))
        names = list(resize.kernels)
        kernel = names[random.index([resize.kernels[name] for name in names])]
        base = self._lr_size if resize.relative_to == "lr" else size
        height, width = (
            min(max(1, round(side * factor)), _MOST_ENLARGED * most)
            for side, most in zip(base, self._hr_size, strict=True)
        )
        return _resize_task(height, width, kernel)


def _places(operation: Operation) -> int:
    """Return how many places an operation takes."""
    if isinstance(operation, InOrder | Choice | Shuffle):
        return sum(_places(inner) for inner in operation.operations)
    return 1


def _order(operation: InOrder | Choice | Shuffle, random: CropRandom) -> list[int]:
    """Return the numbers of the inner operations that are done, in order."""
    count = len(operation.operations)
    if isinstance(operation, Choice):
        return [random.index(operation.weights or [1.0] * count)]
    if isinstance(operation, InOrder):
        return list(range(count))
    order = random.shuffled(count)
    has_resize = [contains_resize(inner) for inner in operation.operations]
    resizes = iter([index for index in range(count) if has_resize[index]])
    return [next(resizes) if has_resize[index] else index for index in order]


def _factors(resize: Resize, random: CropRandom) -> tuple[float, float]:
    """Return the bounds that the factor of a resize is drawn from."""
    low, high = resize.factor
    if resize.up == resize.down == 0:
        return low, high
    share = random.unit()
    if share < resize.up:
        return 1.0, high
    return (low, 1.0) if share < resize.up + resize.down else (1.0, 1.0)


def _resize_task(height: int, width: int, kernel: ResizeKernel) -> ResizeTask:
    return ResizeTask(height, width, kernel, f"{kernel.replace('_', ' ')} {width}x{height}")


def _noise(noise: Noise, random: CropRandom) -> GaussianTask | PoissonTask:
    share = random.unit()
    is_gray = share < noise.gray
    words = "gray " if is_gray else ""
    if random.happens(noise.poisson):
        strength = random.uniform(noise.strength)
        return PoissonTask(strength, is_gray, random, f"{words}Poisson noise {strength:.2f}")
    if not is_gray and share < noise.gray + noise.correlated:
        mixing, words = correlation(random) * noise.sigma[1], "correlated "
        sigma = math.sqrt(float((mixing**2).sum()) / 3)
    else:
        sigma = random.uniform(noise.sigma)
        mixing = np.zeros((3, 3))
        mixing[:, 0] = sigma  # one number for all channels
        if not is_gray:
            mixing = sigma * np.eye(3)
    return GaussianTask(mixing / 255, random, f"{words}noise {sigma:.1f}")


def _compression(operation: Jpeg | Webp, random: CropRandom) -> CompressionTask:
    quality = random.integer(*operation.quality)
    name, is_subsampled, block = "WEBP", True, 16
    text = f"WebP {quality}"
    if isinstance(operation, Jpeg):
        name, is_subsampled = "JPEG", random.happens(operation.subsampled)
        block = 16 if is_subsampled else 8
        text = f"JPEG {quality}, 4:{'2:0' if is_subsampled else '4:4'}"
    top = left = 0
    if operation.offset:
        top, left = random.integer(0, block - 1), random.integer(0, block - 1)
    return CompressionTask(name, quality, is_subsampled, top, left, text)
