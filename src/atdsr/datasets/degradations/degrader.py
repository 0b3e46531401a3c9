"""Applies a degradation to batches of crops."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from atdsr.datasets.degradations import pixels
from atdsr.datasets.degradations.compression import compressed
from atdsr.datasets.degradations.config import Degradation
from atdsr.datasets.degradations.planning import (
    BlurTask,
    CompressionTask,
    GaussianTask,
    PlannedTask,
    Planner,
    PoissonTask,
    ResizeTask,
    Task,
)
from atdsr.datasets.degradations.random_words import CropRandom, key_of


class Degrader:
    """Makes LR from HR, each crop a pure function of the seed, its number and its pixels.

    All pixel work is done on the device of the crops but compression, which is done on the CPU.
    Crops whose next tasks are alike are worked on together.

    Args:
        degradation: What is done.
        scale: Scale of LR.
        seed: Seed of everything random here.

    Attributes:
        scale: Scale of LR.
    """

    def __init__(self, degradation: Degradation, scale: int, seed: int) -> None:
        self._degradation = degradation
        self.scale = scale
        self._key = key_of(seed)

    def __call__(self, hr: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return LR `b c h/scale w/scale` of HR `b c h w`, uint8, on the same device.

        Without `Degradation.eight_bits`, LR is float32, about 0..1.

        Args:
            hr: The crops, RGB or gray; their sides are multiples of the scale.
            numbers: Their numbers, counted over the whole run.
        """
        height, width = hr.shape[2] // self.scale, hr.shape[3] // self.scale
        eight_bits = self._degradation.eight_bits
        if not len(hr):
            dtype = torch.uint8 if eight_bits else torch.float32
            return hr.new_empty((0, hr.shape[1], height, width), dtype=dtype)
        planner = Planner(self._degradation, hr.shape[2], hr.shape[3], self.scale)
        crops = [
            _Crop(x[None], planner.plan(CropRandom(self._key, int(number))))
            for x, number in zip(hr.float() / 255, numbers, strict=True)
        ]
        while pending := [crop for crop in crops if crop.tasks]:
            place = min(crop.tasks[0].place for crop in pending)
            groups: dict[Hashable, list[_Crop]] = {}
            for crop in pending:
                if crop.tasks[0].place == place:
                    groups.setdefault(_likeness(crop), []).append(crop)
            for group in groups.values():
                tasks = [crop.tasks.pop(0).task for crop in group]
                done = _done(torch.cat([crop.pixels for crop in group]), tasks)
                done = done.clamp(0, 1) if eight_bits else done
                for crop, result in zip(group, done, strict=True):
                    crop.pixels = result[None]
        lr = torch.cat([crop.pixels for crop in crops])
        return as_uint8(lr) if eight_bits else lr

    def describe(self, height: int, width: int, number: int) -> list[str]:
        """Return what is done to a crop, for people.

        Args:
            height: Height of HR.
            width: Width of HR.
            number: Number of the crop.
        """
        planner = Planner(self._degradation, height, width, self.scale)
        return [planned.task.text for planned in planner.plan(CropRandom(self._key, number))]


@dataclass
class _Crop:
    """A crop on its way from HR to LR: `1 c h w`, 0..1, and what is still to be done."""

    pixels: Tensor
    tasks: list[PlannedTask] = field(default_factory=list)


def _likeness(crop: _Crop) -> Hashable:
    """Return what the next tasks of crops must have in common to be done together."""
    match crop.tasks[0].task:
        case BlurTask(kernel):
            detail: Hashable = kernel.shape
        case ResizeTask(height, width, kernel):
            detail = height, width, kernel
        case PoissonTask(is_gray=is_gray):
            detail = is_gray
        case _:
            detail = None
    return type(crop.tasks[0].task), crop.pixels.shape, detail


def _done(x: Tensor, tasks: Sequence[Task]) -> Tensor:
    """Do a task of one kind to each crop of a batch."""
    match tasks[0]:
        case BlurTask():
            return pixels.blurred(x, [task for task in tasks if isinstance(task, BlurTask)])
        case ResizeTask():
            return pixels.resized(x, tasks[0])
        case GaussianTask():
            return pixels.with_gaussian_noise(
                x, [task for task in tasks if isinstance(task, GaussianTask)]
            )
        case PoissonTask():
            return pixels.with_poisson_noise(
                x, [task for task in tasks if isinstance(task, PoissonTask)]
            )
        case CompressionTask():
            samples = as_uint8(x).permute(0, 2, 3, 1).cpu().numpy()
            results = [
                compressed(crop, task)
                for crop, task in zip(samples, tasks, strict=True)
                if isinstance(task, CompressionTask)
            ]
            decoded = torch.from_numpy(np.stack(results)).to(x.device)
            return decoded.permute(0, 3, 1, 2).to(x.dtype) / 255


def as_uint8(x: Tensor) -> Tensor:
    """Return values, clamped to 0..1, rounded to 8 bits."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)
