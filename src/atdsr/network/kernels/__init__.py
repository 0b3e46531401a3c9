"""Fused kernels, in C for CPUs and in Triton for GPUs.

`operators.py` and `backend.py` choose between them and plain PyTorch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from atdsr.base.errors import AtdsrError, short

SWITCH = "ATDSR_KERNELS"
"""Environment variable: `off`, `unchecked`, or one of `CPU_VARIANTS` to run on CPUs."""

UNCHECKED = "unchecked"
"""Value of `SWITCH` for developers: run the GPU kernels even if no check has passed here."""

CPU_VARIANTS = ("avx512", "avx2", "neon")
"""The instruction sets that there are kernels in C for, fastest first."""

DIFFERENTIATED_ONCE = (
    "can be differentiated once, not twice; inside `atdsr.network.kernels.plain()` the network "
    "runs without them."
)
"""What is wrong where somebody differentiates the gradients of kernels, after their name."""

_enabled = True


def switch() -> str:
    """Return what `SWITCH` is set to, in lower case; "" if it is not set.

    Raises:
        AtdsrError: It is none of the values that mean something.
    """
    value = os.environ.get(SWITCH, "")
    known = ("off", UNCHECKED, *CPU_VARIANTS)
    if value and value.lower() not in known:
        raise AtdsrError(
            f"{SWITCH} is {short(value)}; unset it, or set it to one of {', '.join(known)}."
        )
    return value.lower()


def enabled() -> bool:
    """Tell whether kernels may run at all; false inside `plain`."""
    return _enabled


@contextmanager
def plain() -> Iterator[None]:
    """Run no kernels inside the block, for measurements and tests."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def needs_gradients(*inputs: Tensor) -> bool:
    """Tell whether a backward pass can follow work on these tensors."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
