"""The check of the GPU kernels, without a GPU: processes that fail, verdicts, and real cases."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from atdsr.network.kernels import gpu
from helpers.gpu_tests import DEVICE
from helpers.networks import TINY

kernel_cases = pytest.importorskip("atdsr.reports.doctor.kernel_cases")
gpu_checks = pytest.importorskip("atdsr.reports.doctor.gpu_checks")

from atdsr.network.kernels.gpu import checks  # noqa: E402
from atdsr.network.kernels.gpu.checks import KernelCheck  # noqa: E402

SIZE = kernel_cases.Size(
    "tiny", replace(TINY, window=2, category_size=5, dictionary_size=6), 1, 2, 4
)


def run(code: str, seconds: float = 60) -> KernelCheck:
    """Check a kernel in a process that runs this code."""
    return gpu_checks.check_apart("a kernel", (sys.executable, "-c", code), seconds)


def test_a_process_hands_over_its_result():
    result = {"kernel": "a kernel", "float32_error": 1e-7, "failure": None}
    code = f"print('noise'); print({json.dumps(json.dumps(result))})"
    assert run(code) == KernelCheck("a kernel", float32_error=1e-7)


def test_a_process_runs_kernels_that_are_not_checked_yet(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATDSR_KERNELS", "off")
    code = (
        "import json, os, sys; switch = os.environ['ATDSR_KERNELS']; "
        "print(json.dumps({'kernel': sys.argv[1], 'failure': switch}))"
    )
    assert run(code) == KernelCheck("a kernel", failure="unchecked")


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import os; os.abort()", "its process ended with SIGABRT"),
        ("raise SystemExit(3)", "its process ended with exit code 3"),
        ("raise RuntimeError('misaligned address.')", "RuntimeError: misaligned address"),
        ("pass", "its process ended without a result"),
        ("print('[1]')", "its process ended without a result"),
        ("print('{\"nonsense\": 1}')", "its process ended without a result"),
    ],
)
def test_a_process_that_fails_costs_that_process_only(code: str, failure: str):
    if sys.platform == "win32" and "abort" in code:
        pytest.skip("there are no signals")
    assert run(code) == KernelCheck("a kernel", failure=failure)


def test_a_process_that_hangs_is_killed():
    code = "import time; time.sleep(600)"
    assert run(code, 0.2).failure == "it did not finish within 0.2 seconds"


def test_all_results_are_saved_whatever_a_process_does(monkeypatch: pytest.MonkeyPatch):
    saved: list[KernelCheck] = []
    monkeypatch.setattr(checks, "environment", lambda: None)
    monkeypatch.setattr(checks, "save", lambda _, results: saved.extend(results))
    monkeypatch.setattr(gpu_checks, "check_apart", lambda name: KernelCheck(name, failure="it is"))
    shares: list[float] = []
    results = gpu_checks.check_all(lambda _, share: shares.append(share))
    assert [result.kernel for result in results] == [
        *kernel_cases.KERNELS, "counting sort", "whole network", "CUDA graph"
    ]  # fmt: skip
    assert saved == results
    assert shares == sorted(shares)


@pytest.mark.parametrize(
    ("errors", "failure"),
    [
        ((1e-6, 1e-2), None),
        ((1e-4, 1e-2), "its float32 error is 1.0e-04, over 1e-05"),
        ((1e-6, float("nan")), "it computes NaN"),
        ((1e-6, float("inf")), "its bfloat16 error is inf, over 0.02"),
    ],
)
def test_the_verdict(errors: tuple[float, float], failure: str | None):
    by_type = dict(zip((torch.float32, torch.bfloat16), errors, strict=True))
    result = gpu_checks.judged("a kernel", by_type, kernel_cases.LIMITS, 2.0)
    assert result.failure == failure
    json.dumps([result.float32_error, result.bfloat16_error], allow_nan=False)


# ------------------------------------------------------------------------------------ real cases


@pytest.mark.parametrize("kernel", kernel_cases.KERNELS)
def test_a_kernel_is_what_plain_pytorch_computes(kernel: str):
    torch.manual_seed(0)
    for dtype, limit in kernel_cases.LIMITS.items():
        case = kernel_cases.make_case(kernel, SIZE, dtype, torch.device(DEVICE))
        with gpu.interpreted():
            assert kernel_cases.largest_error(case) <= limit
        # which is timed as it is, with products in bfloat16
        gpu_checks.forward_and_backward(case.plain, case.inputs)


def test_a_kernel_that_is_wrong_or_leaves_memory_unwritten_is_found_out():
    case = kernel_cases.Case("a kernel", (torch.ones(4, requires_grad=True),), double, double, 0, 0)
    assert kernel_cases.largest_error(case) == 0
    wrong = replace(case, fast=lambda x: 2.1 * x)
    assert kernel_cases.largest_error(wrong) == pytest.approx(0.05)
    unwritten = replace(case, fast=lambda x: 2 * x + torch.empty(4))
    error = kernel_cases.largest_error(unwritten)
    assert error != error


def double(x: Tensor) -> Tensor:
    return 2 * x


def test_the_counting_sort_is_stable():
    with gpu.interpreted():
        assert kernel_cases.sorting_is_stable(SIZE, torch.device(DEVICE))
