"""What a picture costs: how often the network runs, and what it takes of main memory."""

import errno
import math
from dataclasses import dataclass

import torch

from atdsr.network.config import ATDConfig, NetworkConfig
from atdsr.network.fused_cpu import is_large

USABLE = 0.85
"""Fraction of the free memory to plan with; the rest is for what the estimate does not know."""

NOTEWORTHY = 2**30
"""An estimate above this number of bytes is worth a notice."""


@dataclass(frozen=True)
class Workload:
    """What enlarging one picture to one size asks of the network.

    Attributes:
        passes: How often the network is applied, each time to the result of the last.
        tile: Side in pixels of the tiles of the last pass. None where that is done as a whole.
        tiles: Number of tiles over all passes; a pass over a whole picture has one.
        pixels: Pixels that the network is given over all tiles.
        memory: Main memory in bytes at its peak. None on another device than a CPU.
    """

    passes: int = 0
    tile: int | None = None
    tiles: int = 0
    pixels: int = 0
    memory: int | None = None


def pass_sizes(
    scale: int, width: int, height: int, to_width: int, to_height: int
) -> list[tuple[int, int]]:
    """Return width and height of what the network is given, each time until a size is reached.

    A network of scale 1, which restores, is given the picture once, whatever the size.
    """
    if scale == 1:
        return [(width, height)]
    sizes = []
    while width < to_width or height < to_height:
        sizes.append((width, height))
        width, height = scale * width, scale * height
    return sizes


def estimate(
    config: NetworkConfig, parameters: int, height: int, width: int, *, has_kernels: bool
) -> int:
    """Return the main memory in bytes that the network takes at its peak for one picture.

    Fitted to what `benchmarks/memory.py` measured on a CPU in float32: per pixel 2.8 kB for the
    light network and 11 kB for the classical one with the kernels, 6.7 and 24 kB in plain
    PyTorch; at x4 the end of the classical one takes most, 16 kB. Of large pictures the kernels
    take 1.5 kB for the light network. With the kernels it is 5 to 15% above the measured peaks of
    the process, and 21% where an ATD-U pads much.

    Args:
        config: Configuration of the network.
        parameters: Number of its parameters.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        has_kernels: Whether the CPU kernels run.
    """
    height, width = (side + -side % config.window for side in (height, width))
    features, maps = (12, 2) if has_kernels else (24, 8)
    head, widest = 0, config.width
    if not isinstance(config, ATDConfig):
        widest *= 2  # the finest level of an ATD-U ends at twice its width
    elif has_kernels and is_large(height, width):
        features, maps = 6, 1.5
    if isinstance(config, ATDConfig) and config.head != "pixelshuffledirect":
        head = 4 * 64 * config.scale**2
    body = features * widest + maps * config.dictionary_size
    per_pixel = math.ceil(4 * max(body, head))
    return 20 * 2**20 + 2 * parameters + per_pixel * height * width


def is_out_of_memory(error: Exception) -> bool:
    """Return whether PyTorch raises this error, on any device, when there is no memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):  # from a file that is mapped into memory
        return error.errno == errno.ENOMEM
    text = str(error)
    # oneDNN says this when it has no memory for the code it generates. Only the whole text counts:
    # a longer sentence that begins like it is about an operation that oneDNN cannot do.
    if text in ("could not create a primitive", "could not execute a primitive"):
        return True
    sentences = (
        "can't allocate memory",
        "out of memory",
        "bad_alloc",
        "could not create a memory",
        "can't start new thread",  # there is no memory for its stack
        "failed to map segment",  # of a library that is loaded late
        "error return without exception set",  # what an import says
        "Failed to allocate memory",  # of onnxruntime
    )
    return any(sentence in text for sentence in sentences)
