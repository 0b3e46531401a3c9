"""What the tests of the GPU kernels share: on a GPU where there is one, else in the interpreter."""

from importlib import import_module

import pytest
import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

_triton = pytest.importorskip("triton")
if DEVICE == "cpu":
    if not _triton.__version__.startswith("3.6."):
        pytest.skip("Triton 3.6 can interpret these kernels, no other", allow_module_level=True)
    import_module("interpreting")


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest one, relative to the largest number expected."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.abs().max()).item()
