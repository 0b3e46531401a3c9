"""Measures a network that restores: PSNR on kept-out pictures, degraded as the crops are."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from atdsr.datasets import as_floats, gray_from_rgb
from atdsr.datasets.degradations import Degrader
from atdsr.datasets.degraded_folder import hr_tensor
from atdsr.evaluation.testsets import TestSetError
from atdsr.inference.budget import is_out_of_memory
from atdsr.network.backend import products_in_bfloat16
from atdsr.network.unet import Network
from atdsr.training.config import TrainConfig
from atdsr.training.events import Validated
from atdsr.training.validation import find_sets

_SEED = 0  # of what is done to the pictures, the same in all runs
_BASELINE = "degraded"


class RestorationValidator:
    """Measures a run of an ATD-U on its test sets.

    Each picture is degraded as a whole by the `data.degradation` of the run, always alike. PSNR is
    that of all channels, of floats that are clamped to 0..1 and not rounded, without a border.

    Args:
        config: Configuration of the run.
        device: Device to restore on.

    Raises:
        ValidationError: A set is missing or cannot be used; the sentence names it and the key.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self._config = config
        self._device = device
        self._sets = find_sets(config)
        degradation = config.data.degradation_at(config.network.scale)
        assert degradation is not None, "the configuration was checked"
        self._degrader = Degrader(degradation, config.network.scale, _SEED)

    def measure(self, step: int, average: Network, best: float) -> Validated:
        """Restore all pictures by the averaged weights.

        Args:
            step: Steps done.
            average: The network with the averaged weights, on the device of the run.
            best: The highest mean PSNR over the sets so far, in dB.

        Raises:
            TestSetError, PictureError: A picture cannot be read any more, or is too large for the
                memory.
        """
        start = time.perf_counter()
        psnr: dict[str, list[float]] = {}
        degraded: dict[str, list[float]] = {}
        for name, path, lr, hr in self._pictures():
            try:
                restored = self._restored(average, lr)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                raise TestSetError(
                    f"{path} is too large for the memory as a whole; take it out of the test set."
                ) from None
            psnr.setdefault(name, []).append(_psnr(restored, hr))
            degraded.setdefault(name, []).append(_psnr(lr, hr))
        validated = Validated(
            step=step,
            psnr={name: _mean(values) for name, values in psnr.items()},
            ssim={},
            bicubic={name: _mean(values) for name, values in degraded.items()},
            seconds=time.perf_counter() - start,
            best=False,
            baseline=_BASELINE,
        )
        return replace(validated, best=validated.mean_psnr > best)

    def _pictures(self) -> Iterator[tuple[str, Path, Tensor, Tensor]]:
        """Yield each picture's set and file, and it degraded and clean: `1 c h w`, about 0..1."""
        pairs = ((each.name, pair) for each in self._sets for pair in each.pairs)
        for number, (name, pair) in enumerate(pairs):
            hr = hr_tensor(pair.load_hr(self._degrader.scale), self._degrader.scale)
            hr = gray_from_rgb(hr) if self._config.channels == 1 else hr
            lr = self._degrader(hr, [number])
            yield name, pair.hr, as_floats(lr, torch.float32), as_floats(hr, torch.float32)

    def _restored(self, average: Network, lr: Tensor) -> Tensor:
        """Restore `1 c h w`, in the precision of the run's steps."""
        dtype = average.conv_first.weight.dtype
        is_bf16 = self._config.precision == "bf16"
        with torch.inference_mode(), products_in_bfloat16(self._device, enabled=is_bf16):
            return average(lr.to(self._device, dtype)).cpu()


def _psnr(restored: Tensor, hr: Tensor) -> float:
    """Return PSNR in dB of pictures whose white is 1; infinite if they are equal."""
    error = (restored.double().clamp(0, 1) - hr.double()).square().mean()
    return -10 * error.log10().item()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
