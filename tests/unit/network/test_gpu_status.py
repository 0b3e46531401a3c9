"""Which path a GPU takes, by what its check found; and where the result of a check is kept."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atdsr.base import files
from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu import checks
from atdsr.network.kernels.gpu.checks import Environment, KernelCheck

HERE = Environment("A GPU", "9.0", "driver 570", "2.13.0 (12.8)", "3.6.0", "abc")
CUDA = torch.device("cuda")
PASSED = KernelCheck("window attention", 1e-7, 5e-3, 4.2)


@pytest.fixture(autouse=True)
def _gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU that runs the kernels, and an empty cache folder."""
    monkeypatch.setattr(files, "user_cache_folder", lambda: tmp_path)
    monkeypatch.setattr(checks, "environment", lambda: HERE)
    monkeypatch.setattr(gpu, "unsupported", lambda: None)
    monkeypatch.setattr(gpu, "_notified", False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    monkeypatch.delenv("ATDSR_KERNELS", raising=False)
    gpu.status.cache_clear()
    yield
    gpu.status.cache_clear()


def test_results_are_read_as_they_were_saved():
    results = [PASSED, KernelCheck("look-up", failure="it computes NaN")]
    checks.save(HERE, results)
    assert checks.load(HERE) == results
    checks.save(HERE, results[:1])
    assert checks.load(HERE) == results[:1]


@pytest.mark.parametrize("field", ["gpu", "capability", "driver", "torch", "triton", "kernels"])
def test_results_hold_for_one_environment(field: str):
    checks.save(HERE, [PASSED])
    other = replace(HERE, **{field: "another"})
    assert checks.load(other) is None
    checks.save(other, [PASSED, PASSED])
    assert checks.load(HERE) == [PASSED]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        "\udcff",
        json.dumps({"environment": {}, "checks": []}),
        json.dumps({"environment": HERE.__dict__, "checks": []}),
        json.dumps({"environment": HERE.__dict__, "checks": [{"name": "a"}]}),
        json.dumps({"environment": HERE.__dict__, "checks": 1}),
    ],
)
def test_a_damaged_file_is_no_result(content: str):
    checks.save(HERE, [PASSED])
    checks.cache_file(HERE).write_bytes(content.encode(errors="surrogateescape"))
    assert checks.load(HERE) is None
    assert not gpu.status().checked


def test_kernels_run_once_they_have_passed():
    assert gpu.status().gpu is None
    checks.save(HERE, [PASSED])
    assert gpu.status().gpu is None  # found out once a process
    gpu.status.cache_clear()
    assert gpu.status() == gpu.GPUStatus("A GPU", None, cuda_graphs=True)


def test_a_kernel_that_failed_is_named():
    checks.save(HERE, [PASSED, KernelCheck("look-up", failure="it computes NaN")])
    status = gpu.status()
    assert (status.gpu, status.checked) == (None, True)
    assert "look-up" in str(status.why_not)
    assert "window" not in str(status.why_not)
    assert gpu.notice_once(CUDA) is None


def test_without_cuda_graphs_kernels_still_run():
    checks.save(HERE, [PASSED, KernelCheck("CUDA graph", failure="it cannot be recorded")])
    assert gpu.status() == gpu.GPUStatus("A GPU", None, cuda_graphs=False)


def test_developers_run_kernels_that_have_not_been_checked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATDSR_KERNELS", "unchecked")
    assert gpu.status() == gpu.GPUStatus("A GPU", None, cuda_graphs=True)


def test_a_notice_comes_once_a_process():
    assert gpu.notice_once(torch.device("cpu")) is None
    assert gpu.notice_once(CUDA) == (
        "The GPU kernels have not been checked on this machine: run `atdsr doctor --gpu` once."
    )
    assert gpu.notice_once(CUDA) is None


@pytest.mark.parametrize("switch", ["off", "unchecked"])
def test_who_has_chosen_a_path_gets_no_notice(switch: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATDSR_KERNELS", switch)
    assert gpu.notice_once(CUDA) is None
