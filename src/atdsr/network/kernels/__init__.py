"""Fused kernels, in C for CPUs and in Triton for GPUs.

`attention.py` and `rows.py` choose between them and plain PyTorch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

SWITCH = "ATDSR_KERNELS"
"""Environment variable: `off`, `unchecked`, or the name of the variant to run on CPUs."""

UNCHECKED = "unchecked"
"""Value of `SWITCH` for developers: run the GPU kernels even if no check has passed here."""

_enabled = True


def enabled() -> bool:
    """Whether kernels may be taken at all; false inside `plain`."""
    return _enabled


@contextmanager
def plain() -> Iterator[None]:
    """Take the plain path inside the block, for measurements and tests."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before
