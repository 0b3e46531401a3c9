"""Where the Triton kernels run, and how they are started.

They are compiled for the GPU when they are first needed and kept by Triton on disk. Where Triton or
a GPU it compiles for is missing, plain PyTorch computes the same; `status` says why. Sums are taken
in an order that does not change from run to run: no kernel adds atomically.
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from atdsr.network import kernels

_OLDEST = (8, 0)  # NVIDIA's first with bfloat16
_interpreted = False


@dataclass(frozen=True)
class Status:
    """Whether the kernels run here.

    Attributes:
        gpu: the GPU's name; None where the plain path runs.
        why_not: one sentence where the plain path runs, None otherwise.
    """

    gpu: str | None
    why_not: str | None


@cache
def status() -> Status:
    """Find out, once a process, whether the kernels run on the current GPU."""
    if os.environ.get(kernels.SWITCH, "").lower() == "off":
        return Status(None, f"the kernels are turned off by {kernels.SWITCH}=off.")
    if not torch.cuda.is_available():
        return Status(None, "this PyTorch sees no GPU of NVIDIA or AMD.")
    if importlib.util.find_spec("triton") is None:
        return Status(None, "Triton is not installed; it comes with PyTorch for CUDA on Linux.")
    name = torch.cuda.get_device_name()
    capability = torch.cuda.get_device_capability()
    if torch.version.hip is None and capability < _OLDEST:
        have, least = (".".join(map(str, version)) for version in (capability, _OLDEST))
        return Status(None, f"{name} has compute capability {have}; the kernels need {least}.")
    return Status(name, None)


def supports(x: Tensor) -> bool:
    """Tell whether the kernels take this tensor: on such a GPU, in float32 or bfloat16."""
    return (
        x.dtype in (torch.float32, torch.bfloat16)
        and product_dtype(x) in (torch.float32, torch.bfloat16)
        and supports_device(x.device)
    )


def supports_device(device: torch.device) -> bool:
    """Tell whether the kernels may run on this device now."""
    return kernels.enabled() and runs_on(device)


def runs_on(device: torch.device) -> bool:
    """Tell whether there are kernels for this device, even inside `kernels.plain`."""
    if device.type == "cpu":
        return _interpreted
    return device.type == "cuda" and _have_gpu()


def _have_gpu() -> bool:
    """Tell whether `status` has one; a compiler that traced it would break its graph there."""
    return status().gpu is not None


# `torch.compiler.assume_constant_result`, without the compiler, which takes seconds to import
_have_gpu._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def product_dtype(x: Tensor) -> torch.dtype:
    """The type of products of a tensor: autocast's, or its own."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def differentiates(*inputs: Tensor) -> bool:
    """Whether a backward pass can follow work on these tensors."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in inputs)


@contextmanager
def interpreted() -> Iterator[None]:
    """Take tensors on the CPU inside the block, for tests.

    Triton must have been imported with TRITON_INTERPRET=1: its interpreter runs kernels in NumPy.
    """
    global _interpreted
    before, _interpreted = _interpreted, True
    try:
        yield
    finally:
        _interpreted = before


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    *arguments: Any,
    warps: int,
    stages: int = 2,
    **constants: Any,
) -> None:
    """Start a kernel on the device and stream of its tensors.

    Args:
        kernel: a function that Triton compiles.
        grid: how many programs there are along up to three axes.
        arguments: tensors and numbers, in the order of the kernel's parameters; None for a tensor
            that it does not touch.
        warps: of a program.
        stages: how many rounds of a loop load ahead.
        constants: the kernel's compile-time parameters.
    """
    device = next(x.device for x in arguments if isinstance(x, Tensor))
    with torch.cuda.device(device if device.type == "cuda" else -1):
        kernel[grid](*arguments, num_warps=warps, num_stages=stages, **constants)


def precision(dtype: torch.dtype) -> str:
    """How products of this type are to be taken, in the words of `tl.dot`.

    float32 follows `torch.set_float32_matmul_precision`, like PyTorch's own products. On AMD's
    GPUs, few of which have less precise ones, it stays what it is.
    """
    if dtype != torch.float32 or torch.version.hip is not None:
        return "ieee"
    return {"highest": "ieee", "high": "tf32x3", "medium": "tf32"}[
        torch.get_float32_matmul_precision()
    ]
