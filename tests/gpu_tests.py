"""What the tests of the GPU kernels share: on a GPU where there is one, else in the interpreter."""

import pytest
from torch import Tensor

pytest.importorskip("triton")

from interpreting import ON_GPU

DEVICE = "cuda" if ON_GPU else "cpu"


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest one, relative to the largest number expected."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.abs().max()).item()
