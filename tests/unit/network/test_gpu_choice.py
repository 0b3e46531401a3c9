"""Where the GPU kernels run, and how exact their products are."""

import importlib.util
from functools import cache

import pytest
import torch

from atdsr.network.kernels import gpu


def test_compiled_code_does_not_look_for_a_gpu_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    @cache
    def status() -> gpu.GPUStatus:  # which a compiler cannot follow
        return gpu.GPUStatus(str(importlib.util.find_spec("triton")), None)

    monkeypatch.setattr(gpu, "status", status)
    compiled = torch.compile(
        lambda x: x + 1 if gpu._have_gpu() else x, backend="eager", fullgraph=True
    )
    assert compiled(torch.zeros(1)).item() == 1


@pytest.mark.parametrize(
    ("asked", "taken"), [("highest", "ieee"), ("high", "tf32x3"), ("medium", "tf32")]
)
def test_products_of_float32_follow_pytorch_on_nvidia(
    asked: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: asked)
    monkeypatch.setattr(torch.version, "hip", None)
    assert gpu.precision(torch.float32) == taken
    assert gpu.precision(torch.bfloat16) == "ieee"
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert gpu.precision(torch.float32) == "ieee"
