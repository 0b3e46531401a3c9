"""Fused kernels, in C for CPUs and in Triton for GPUs.

`operators.py` and `backend.py` choose between them and plain PyTorch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

SWITCH = "ATDSR_KERNELS"
"""Environment variable: `off`, `unchecked`, or the name of the variant to run on CPUs."""

UNCHECKED = "unchecked"
"""Value of `SWITCH` for developers: run the GPU kernels even if no check has passed here."""

_enabled = True


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
