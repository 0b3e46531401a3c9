"""How a network runs: on which device, in which precision, in tiles, as a self-ensemble."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from atdsr.base.errors import AtdsrError, short
from atdsr.network.backend import multiplies_bfloat16

Precision = Literal["fp32", "bf16", "auto"]
Tile = Literal["auto", "off"] | int
Provider = Literal["cpu", "cuda", "directml", "coreml", "tensorrt", "openvino"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

PROVIDERS: tuple[Provider, ...] = get_args(Provider)
"""What onnxruntime may compute with, depending on how it was built."""

DEFAULT_OVERLAP = 32
"""Pixels that neighbouring tiles share by default; `docs/tiles.md` has the measurements."""


class UpscaleError(AtdsrError):
    """A picture cannot be enlarged on this machine, or an option does not exist on it."""


@dataclass(frozen=True)
class InferenceConfig:
    """How a network runs.

    Attributes:
        device: "auto" takes CUDA, then MPS, then the CPU. Anything else names a device.
        precision: "fp32", or "bf16" for matrix products in bfloat16 (sums stay in float32). "auto"
            takes bf16 where it is known to be faster and not worse: with the kernels on CPUs that
            multiply bfloat16.
        tile: Side of a tile in pixels of the input. "auto" uses tiles only where the whole
            picture does not fit into memory, "off" never does.
        overlap: Pixels of the input that neighbouring tiles share. None means 32, or half a tile
            if that is less.
        ensemble: Take the mean over the eight flips and transposes of the picture
            (self-ensemble, "+" in the field's tables). The result is slightly better and takes
            eight times as long.
        provider: What computes a network in an ONNX file, one of `PROVIDERS`; None is the CPU.

    Raises:
        UpscaleError: There is no such precision, tile, overlap or provider.
    """

    device: str | torch.device = "auto"
    precision: Precision = "fp32"
    tile: Tile = "auto"
    overlap: int | None = None
    ensemble: bool = False
    provider: Provider | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UpscaleError(f"precision is {self.precision!r}; it is 'fp32', 'bf16' or 'auto'.")
        if self.tile not in ("auto", "off") and not isinstance(self.tile, int):
            raise UpscaleError(f"tile is {self.tile!r}; it is 'auto', 'off' or a number of pixels.")
        if self.provider not in (None, *PROVIDERS):
            raise UpscaleError(
                f"provider is {short(self.provider)}; it is one of {', '.join(PROVIDERS)}."
            )
        if self.overlap is None:
            return
        if not isinstance(self.overlap, int):
            raise UpscaleError(f"overlap is {self.overlap!r}; it is a number of pixels.")
        largest = self.tile // 2 if isinstance(self.tile, int) else None
        if self.overlap < 0 or (largest is not None and self.overlap > largest):
            limit = "on" if largest is None else f"to {largest}, half a tile"
            raise UpscaleError(f"overlap is {self.overlap}; it is from 0 {limit}.")

    def for_window(self, window: int) -> "InferenceConfig":
        """Return this configuration for a network with attention windows of that side.

        The device is one of this machine, the precision the one that it computes in, the tile a
        multiple of the window, and the overlap a number.

        Raises:
            UpscaleError: The device is unknown or not here, the tile is too small, or the overlap
                is more than half of the rounded tile.
        """
        tile, overlap = self.tile, self.overlap
        if isinstance(tile, int):
            if tile < 2 * window:  # a shifted layer needs a neighbour
                raise UpscaleError(
                    f"tile is {tile!r}; it is 'auto', 'off' or a number of pixels from "
                    f"{2 * window} on."
                )
            tile -= tile % window
        if overlap is None:
            overlap = min(DEFAULT_OVERLAP, tile // 2) if isinstance(tile, int) else DEFAULT_OVERLAP
        device, precision = choose_device(self.device), self.precision
        if precision == "auto":
            precision = "bf16" if multiplies_bfloat16(device) else "fp32"
        return replace(self, device=device, precision=precision, tile=tile, overlap=overlap)


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device of that name; "auto" is the fastest one of this machine.

    Raises:
        UpscaleError: The device is unknown, or not on this machine.
    """
    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device == "auto":
        return torch.device(next((name for name, is_here in available.items() if is_here()), "cpu"))
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise UpscaleError(f"there is no device {device!r}; use auto, cpu, cuda or mps.") from None
    if chosen.type != "cpu" and not available.get(chosen.type, lambda: False)():
        raise UpscaleError(f"this PyTorch has no {chosen.type} device here; use auto or cpu.")
    return chosen
