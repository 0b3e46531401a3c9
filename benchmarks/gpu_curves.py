"""Training with the kernels, without them, and in float32, from one seed on the same crops."""

from importlib.resources import as_file, files

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atdsr.imaging.resample import downscale
from atdsr.network import kernels
from atdsr.network.config import ATDConfig
from gpu_networks import Batch, Trainer


class Photo:
    """Crops of the sample photo, on a device, drawn from a seed."""

    def __init__(self, scale: int, device: torch.device) -> None:
        with (
            as_file(files("atdsr.reports") / "sample" / "coffee.png") as path,
            Image.open(path) as photo,
        ):
            hr = np.asarray(photo.convert("RGB"))
        height, width = (side - side % scale for side in hr.shape[:2])
        hr = np.ascontiguousarray(hr[:height, :width])
        self._scale = scale
        self._hr, self._lr = (
            torch.from_numpy(np.array(side)).to(device).permute(2, 0, 1)
            for side in (hr, downscale(hr, scale))
        )

    def batch(self, step: int, crops: int, patch: int) -> Batch:
        """The crops of a step, the same every time."""
        generator = np.random.default_rng(step)
        height, width = self._lr.shape[1:]
        tops = generator.integers(0, height - patch + 1, crops).tolist()
        lefts = generator.integers(0, width - patch + 1, crops).tolist()

        def cut(side: Tensor, scale: int) -> Tensor:
            size = patch * scale
            return torch.stack(
                [
                    side[:, y * scale : y * scale + size, x * scale : x * scale + size]
                    for y, x in zip(tops, lefts, strict=True)
                ]
            )

        return cut(self._lr, 1), cut(self._hr, self._scale)


def curves(
    config: ATDConfig, steps: int, crops: int, patch: int, device: torch.device
) -> dict[str, list[float]]:
    """Mean losses of ten parts of the same training, each way.

    Returns:
        By the name of the way: bf16 with kernels, bf16 without, float32 without.
    """
    photo = Photo(config.scale, device)
    ways = {
        "bf16, kernels": Trainer(config, device),
        "bf16, plain": Trainer(config, device, cuda_graph=False),
        "fp32, plain": Trainer(config, device, "fp32", cuda_graph=False),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    part = max(1, steps // 10)
    for step in range(1, steps + 1):
        batch = photo.batch(step, crops, patch)
        ways["bf16, kernels"](batch)
        with kernels.plain():
            ways["bf16, plain"](batch)
            ways["fp32, plain"](batch)
        if step % part == 0:
            for way, trainer in ways.items():
                found[way].append(trainer.loss())
    return found


def same_bits(config: ATDConfig, steps: int, crops: int, patch: int, device: torch.device) -> bool:
    """Whether two runs with the kernels end with the same parameters."""
    photo = Photo(config.scale, device)
    ended: list[list[Tensor]] = []
    for _ in range(2):
        trainer = Trainer(config, device)
        for step in range(1, steps + 1):
            trainer(photo.batch(step, crops, patch))
        ended.append([p.detach().cpu() for p in trainer.model.parameters()])
    return all(torch.equal(a, b) for a, b in zip(*ended, strict=True))
