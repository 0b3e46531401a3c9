"""Check each GPU kernel against plain PyTorch, each in a process of its own.

A kernel that crashes or hangs takes its own process with it and nothing else. A process is told
what to check by its name, and prints a `KernelCheck` as one line of JSON:

    python -m atdsr.reports.doctor.gpu_checks "window attention"
"""

import copy
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median
from typing import IO

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.base.reporter import Reporter
from atdsr.network import kernels
from atdsr.network.config import atd, atd_light
from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu import checks
from atdsr.network.kernels.gpu.checks import KernelCheck
from atdsr.network.kernels.gpu.graphs import Graph
from atdsr.network.model import ATD
from atdsr.reports.doctor.kernel_cases import (
    KERNELS,
    LIMITS,
    Size,
    as_tuple,
    largest,
    largest_error,
    make_case,
    sorting_is_stable,
)
from atdsr.training.config import OptimizerConfig
from atdsr.training.step import StepConfig, TrainStep, build_optimizers

SORTING, NETWORK = "counting sort", "whole network"

SECONDS = 300
"""Time limit of a check; most of the time goes into compiling the kernels."""

_COMMAND = (sys.executable, "-P", "-m", "atdsr.reports.doctor.gpu_checks")
_NETWORK_LIMIT = 1e-2  # a token whose category is a near tie may take another one
_GRAPH_LIMIT = 1e-6  # a graph launches the same kernels again, so it should have the same bits


# ---------------------------------------------------------------- the process that starts others


def check_all(progress: Callable[[str, float], None] = lambda *_: None) -> list[KernelCheck]:
    """Check every kernel on the current GPU, and save the results for later processes.

    Args:
        progress: Called with the name of each kernel before its check, and with the share of the
            checks that are done.

    Raises:
        FileError: The cache folder cannot be written.
    """
    names = [*KERNELS, SORTING, NETWORK, checks.CUDA_GRAPH]
    results = []
    for number, name in enumerate(names):
        progress(name, number / len(names))
        results.append(check_apart(name))
    checks.save(checks.environment(), results)
    gpu.status.cache_clear()
    return results


def check_apart(
    name: str, command: Sequence[str] = _COMMAND, seconds: float = SECONDS
) -> KernelCheck:
    """Check one kernel in a process of its own.

    Args:
        name: Name of the kernel.
        command: Command to start, which gets the name as its last argument.
        seconds: Time limit; the process is killed after it.
    """
    environment = {
        **os.environ,
        kernels.SWITCH: kernels.UNCHECKED,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    # files and not pipes: a compiler that outlives its process would keep a pipe open
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return KernelCheck(name, failure=f"it did not finish within {seconds:g} seconds")
        finally:
            process.kill()  # also on an interrupt; without effect on one that has ended
            process.wait()
        if code < 0:
            return KernelCheck(name, failure=f"its process ended with {signal.Signals(-code).name}")
        if code > 0:
            reason = _last_line(errors) or f"its process ended with exit code {code}"
            return KernelCheck(name, failure=reason)
        try:
            return KernelCheck(**json.loads(_last_line(output)))
        except (ValueError, TypeError):
            return KernelCheck(name, failure="its process ended without a result")


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].rstrip(".") if lines else ""


# ----------------------------------------------------------------------- the process of one check


def check(name: str) -> KernelCheck:
    """Check one kernel in this process."""
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False  # which leaves three digits of a convolution
    kinds = {
        SORTING: _check_sorting,
        NETWORK: _check_network,
        checks.CUDA_GRAPH: _check_cuda_graphs,
    }
    return kinds[name]() if name in kinds else _check_kernel(name)


def _check_kernel(name: str) -> KernelCheck:
    device = torch.device("cuda")
    sizes = [
        Size("atd-light", atd_light(2), 2, 64, 64),
        Size("atd", atd(2), 1, 64, 64),
    ]
    errors = {
        dtype: largest(largest_error(make_case(name, size, dtype, device)) for size in sizes)
        for dtype in LIMITS
    }
    case = make_case(name, sizes[0], torch.bfloat16, device)
    plain = _milliseconds(lambda: forward_and_backward(case.plain, case.inputs))
    fused = _milliseconds(lambda: forward_and_backward(case.fast, case.inputs))
    return judged(name, errors, LIMITS, plain / fused)


def forward_and_backward(
    function: Callable[..., Tensor | tuple[Tensor, ...]], inputs: tuple[Tensor, ...]
) -> None:
    """Run a function and its backward pass under bfloat16 autocast."""
    with torch.autocast(inputs[0].device.type, torch.bfloat16):
        outputs = as_tuple(function(*inputs))
    torch.autograd.grad([x.float().sum() for x in outputs], inputs)


def judged(
    name: str,
    errors: dict[torch.dtype, float],
    limits: dict[torch.dtype, float],
    speedup: float | None,
) -> KernelCheck:
    """Return the check of a kernel, which fails where an error is over its limit, or NaN."""
    failures = [
        "it computes NaN"
        if math.isnan(error)
        else f"its {str(dtype).removeprefix('torch.')} error is {error:.1e}, over {limits[dtype]:g}"
        for dtype, error in errors.items()
        if not error <= limits[dtype]
    ]
    # JSON has neither NaN nor infinity
    finite = {dtype: error for dtype, error in errors.items() if math.isfinite(error)}
    return KernelCheck(
        name,
        float32_error=finite.get(torch.float32),
        bfloat16_error=finite.get(torch.bfloat16),
        speedup=speedup,
        failure="; ".join(failures) or None,
    )


def _check_sorting() -> KernelCheck:
    size = Size("atd", atd(2), 2, 96, 112)
    stable = sorting_is_stable(size, torch.device("cuda"))
    return KernelCheck(
        SORTING, failure=None if stable else "its order is not that of a stable sort"
    )


def _check_network() -> KernelCheck:
    """Compare the light network in float32 with itself in float64, by plain PyTorch."""
    network = ATD(atd_light(2)).cuda().eval()
    image = torch.rand(1, 3, 64, 80, device="cuda")
    with torch.inference_mode():
        error = _relative(network(image), copy.deepcopy(network).double()(image.double()))
        fused = _milliseconds(lambda: network(image))
        with kernels.plain():
            plain = _milliseconds(lambda: network(image))
    dtype = torch.float32
    return judged(NETWORK, {dtype: error}, {dtype: _NETWORK_LIMIT}, plain / fused)


def _check_cuda_graphs() -> KernelCheck:
    """Compare forward passes and training steps with the same ones launched kernel by kernel."""
    failures: list[str] = []
    forward, speedup = _error_of_forward_graph(failures)
    error = largest([forward, _error_of_step_graph(failures)])
    if failures:
        return KernelCheck(checks.CUDA_GRAPH, failure=failures[0])
    dtype = torch.float32
    return judged(checks.CUDA_GRAPH, {dtype: error}, {dtype: _GRAPH_LIMIT}, speedup)


def _error_of_forward_graph(failures: list[str]) -> tuple[float, float]:
    network = ATD(atd_light(2)).cuda().eval()
    graph = Graph(network, failures.append)
    images = torch.rand(6, 1, 3, 64, 80, device="cuda")
    image, errors = images[0], []
    with torch.inference_mode():
        for image in images:  # the first three warm up
            out = graph(image)
            assert out is not None
            errors.append(_relative(out.clone(), network(image)))
        launched, replayed = (
            _milliseconds(lambda: network(image)),
            _milliseconds(lambda: graph(image)),
        )
    return largest(errors), launched / replayed


def _error_of_step_graph(failures: list[str]) -> float:
    network = ATD(atd_light(2)).cuda()
    batches = [
        [torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8) for side in (32, 64)]
        for _ in range(6)
    ]
    parameters = []
    for cuda_graph in (True, False):
        trained, average = copy.deepcopy(network), copy.deepcopy(network).requires_grad_(False)
        config = StepConfig(F.l1_loss, precision="bf16", clip=1.0, cuda_graph=cuda_graph)
        optimizers = build_optimizers(trained, OptimizerConfig(lr=2e-4))
        reporter = Reporter(notice=failures.append)
        train_step = TrainStep(trained, average, optimizers, config, reporter=reporter)
        for lr, hr in batches:
            train_step(lr.cuda(), hr.cuda(), len(lr), 2e-4)
        parameters.append(torch.cat([p.detach().flatten() for p in trained.parameters()]))
    return _relative(*parameters)


def _relative(result: Tensor, expected: Tensor) -> float:
    return ((result.double() - expected).norm() / expected.double().norm()).item()


def _milliseconds(work: Callable[[], object]) -> float:
    """Return the median time of some work on the GPU."""
    times = []
    for run in range(12):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        if run > 3:  # the first runs compile, choose algorithms, and record a CUDA graph
            times.append(start.elapsed_time(end))
    return median(times)


if __name__ == "__main__":
    print(json.dumps(asdict(check(sys.argv[1]))))
