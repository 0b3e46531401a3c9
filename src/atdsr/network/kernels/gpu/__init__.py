"""Where the Triton kernels run, and how they are started.

They are compiled for the GPU when they are first needed and kept by Triton on disk. They run only
where `atdsr doctor --gpu` has found that they are right on this very machine. Everywhere else plain
PyTorch computes the same; `status` says why. Sums are taken in an order that does not change from
run to run: no kernel adds atomically.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from atdsr.network import kernels
from atdsr.network.kernels.gpu import checks

_OLDEST = (8, 0)  # NVIDIA's first with bfloat16
_NOT_CHECKED = (
    "the GPU kernels have not been checked on this machine: run `atdsr doctor --gpu` once."
)
_interpreted = False
_notified = False


@dataclass(frozen=True)
class GPUStatus:
    """Whether the kernels run here.

    Attributes:
        gpu: Name of the GPU; None where the plain path runs.
        why_not: Where the plain path runs, one sentence that says why; None otherwise.
        cuda_graphs: Whether work on the GPU may be recorded as a CUDA graph.
        checked: Whether the kernels have been checked, if they could run here at all.
    """

    gpu: str | None
    why_not: str | None
    cuda_graphs: bool = False
    checked: bool = True


@cache
def status() -> GPUStatus:
    """Find out, once a process, whether the kernels run on the current GPU."""
    switch = kernels.switch()
    if switch == "off":
        return GPUStatus(None, f"the kernels are turned off by {kernels.SWITCH}=off.")
    if (why_not := unsupported()) is not None:
        return GPUStatus(None, why_not)
    name = torch.cuda.get_device_name()
    if switch == kernels.UNCHECKED:
        return GPUStatus(name, None, cuda_graphs=True)
    results = checks.load(checks.environment())
    if results is None:
        return GPUStatus(None, _NOT_CHECKED, checked=False)
    failed = {check.kernel: check.failure for check in results if check.failure is not None}
    cuda_graphs = checks.CUDA_GRAPH not in failed
    if wrong := [kernel for kernel in failed if kernel != checks.CUDA_GRAPH]:
        names = ", ".join(wrong)
        return GPUStatus(
            None,
            f"of the GPU kernels, these failed their check on this machine: {names}; "
            "`atdsr doctor --gpu` checks them again.",
            cuda_graphs,
        )
    return GPUStatus(name, None, cuda_graphs)


def unsupported() -> str | None:
    """Return one sentence that says why the kernels cannot run here at all, or None."""
    if not torch.cuda.is_available():
        return "this PyTorch sees no GPU of NVIDIA or AMD."
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; it comes with PyTorch for CUDA on Linux."
    capability = torch.cuda.get_device_capability()
    if torch.version.hip is None and capability < _OLDEST:
        name = torch.cuda.get_device_name()
        have, least = (".".join(map(str, version)) for version in (capability, _OLDEST))
        return f"{name} has compute capability {have}; the kernels need {least}."
    return None


def notice_once(device: torch.device) -> str | None:
    """Return a sentence for the user if the kernels of a device wait for a check.

    Every later call in the same process returns None.
    """
    global _notified
    if _notified or device.type != "cuda" or status().checked:
        return None
    _notified = True
    return _NOT_CHECKED[0].upper() + _NOT_CHECKED[1:]


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
