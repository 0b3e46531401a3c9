"""Helpers for tests of GPU kernels, which run on a GPU or else in Triton's interpreter."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import pytest
import torch
from torch import Tensor

from atdsr.network.kernels import gpu

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


@contextmanager
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fixed numbers, the kernels, and NaN in all memory that nobody has written."""
    torch.manual_seed(0)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    with gpu.interpreted():
        yield
    torch.use_deterministic_algorithms(before)
