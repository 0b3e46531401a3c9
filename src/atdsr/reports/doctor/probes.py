"""Each probe asks the machine one thing, and fails on its own.

Nothing heavy is imported before a probe needs it, so that a PyTorch that does not even import is
something to report.
"""

import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from atdsr.base import interrupts, memory
from atdsr.reports.doctor.machine import (
    PHOTO,
    Allocator,
    Gpus,
    Library,
    Machine,
    Memory,
    Processor,
    Threads,
)

if TYPE_CHECKING:
    from atdsr.inference.upscaler import Upscaler
    from atdsr.network.kernels.cpu import CPUStatus

T = TypeVar("T")

MODEL = "atd-light-x2"
"""What is measured, of `zoo.MODELS`."""

_INSTRUCTIONS = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "AVX-512 BF16": {"avx512bf16"},
    "AMX": {"amxtile"},
    "NEON": {"asimd", "neon"},
    "NEON BF16": {"bf16"},
}
_LIBRARIES = ("torch", "numpy", "pillow", "pyvips", "safetensors")
_MODULES = {"pillow": "PIL.Image"}  # where a library's module has another name
_ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")
_CPU_INFO = Path("/proc/cpuinfo")
_MAPS = Path("/proc/self/maps")


def examine() -> Machine:
    """Look at the machine; takes seconds, most of them to import PyTorch."""
    libraries = tuple(map(_library, _LIBRARIES))
    return Machine(
        system=platform.platform(),
        processor=_known(_processor),
        memory=_known(_memory),
        gpus=_known(_gpus),
        python=platform.python_version(),
        libraries=libraries,
        libvips=_known(_libvips),
        allocator=_known(_allocator),
        threads=_known(_threads),
        busy=_known(_busy),
        kernels=_known(_kernels),
        forced=os.environ.get("ATDSR_KERNELS") or None,
        device=_known(_device),
        damaged=_known(_damaged),
        failure=_known(_failure),
        photo_bytes=_known(lambda: bundled().estimate(*PHOTO)),
    )


def _known(probe: Callable[[], T]) -> T | None:
    """What a probe finds; None where it fails, whatever the reason: the others have their say."""
    try:
        return probe()
    except Exception:
        return None


def _library(name: str) -> Library:
    try:
        with interrupts.deferred():  # in the middle of such an import it is lost
            import_module(_MODULES.get(name, name))
    except Exception as error:
        return Library(name, None, first_line(error))
    return Library(name, _known(lambda: metadata.version(name)))


def first_line(error: Exception) -> str:
    """What an error says first, to stand in brackets."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _processor() -> Processor:
    import psutil

    return Processor(
        name=_known(_processor_name) or platform.processor() or platform.machine(),
        cores=psutil.cpu_count(logical=False),
        logical=psutil.cpu_count(),
        instructions=_known(lambda: instructions(_flags())),
    )


def _processor_name() -> str | None:
    if sys.platform == "darwin":
        import subprocess

        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.check_output(command, text=True).strip()
    return _cpu_info("model name")


def _cpu_info(*names: str) -> str | None:
    """The first line of `/proc/cpuinfo` (Linux) of one of these names."""
    for line in _CPU_INFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return None


def _flags() -> set[str]:
    """What the processor can, as Linux or PyTorch calls it."""
    listed = _known(lambda: _cpu_info("flags", "Features"))
    if listed is not None:
        return set(listed.split())
    import torch

    return {name for name, can in torch.cpu.get_capabilities().items() if can is True}


def instructions(flags: set[str]) -> tuple[str, ...]:
    """Those instruction sets among a processor's that matter here, by their usual names."""
    plain = {flag.replace("_", "") for flag in flags}
    return tuple(name for name, marks in _INSTRUCTIONS.items() if marks & plain)


def _memory() -> Memory:
    import psutil

    total, limit = psutil.virtual_memory().total, memory.limit_bytes()
    return Memory(total, memory.available_bytes(), None if (limit or total) >= total else limit)


def _gpus() -> Gpus:
    import torch

    from atdsr.network.kernels import gpu

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    names += ["Apple GPU"] if torch.backends.mps.is_available() else []
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return Gpus(tuple(names), driver, gpu.status().why_not if names else None)


def _libvips() -> str:
    import pyvips

    return ".".join(str(pyvips.version(part)) for part in range(3))


def _allocator() -> Allocator:
    maps = _known(_MAPS.read_text) or ""
    other = next((name for name in _ALLOCATORS if name in maps), None)
    if other is not None:
        return Allocator(other, keeps=True)
    return Allocator(platform.libc_ver()[0] or "the system's", memory.keep_freed_memory())


def _threads() -> Threads:
    import torch

    return Threads(
        running=torch.get_num_threads(),
        processors=_processors(),
        quota=_quota(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
        omp_wait_policy=os.environ.get("OMP_WAIT_POLICY"),
    )


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> float | None:
    """Processors' worth of time that the control groups allow."""
    quotas = (_quota_of(*group) for group in memory.control_groups("cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(version: int, folder: Path) -> float | None:
    try:
        if version == 2:
            allowed, period = (folder / "cpu.max").read_text().split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            allowed, period = ((folder / name).read_text() for name in names)
    except (OSError, ValueError):
        return None
    return float(allowed) / float(period) if allowed.strip() not in ("max", "-1") else None


def _busy() -> float:
    import psutil

    return psutil.cpu_percent(interval=0.5) / 100  # this process sleeps meanwhile


def _kernels() -> "CPUStatus":
    from atdsr.network.kernels import cpu

    return cpu.status()


def _device() -> str:
    from atdsr.inference import config

    return config.choose_device("auto").type


def _damaged() -> tuple[str, ...]:
    from atdsr.weights import WeightsError, models

    sentences = []
    for model in models.BUNDLED:
        try:
            model.load()
        except WeightsError as error:
            sentences.append(str(error))
    return tuple(sentences)


def _failure() -> str | None:
    """What goes wrong where PyTorch computes a small product and a convolution."""
    try:
        import torch

        ones = torch.ones(1, 8, 16, 16)
        right = torch.equal(ones @ ones, 16 * ones)
        sums = torch.nn.functional.conv2d(ones, torch.ones(1, 8, 3, 3))
        right = right and torch.equal(sums, torch.full_like(sums, 72.0))
    except Exception as error:
        return first_line(error)
    return None if right else "a product of small numbers comes out wrong"


def bundled() -> "Upscaler":
    """The network that comes with atdsr, on the fastest device.

    Raises:
        AtdsrError: its weights are damaged.
    """
    from atdsr.inference import upscaler

    return upscaler.load(MODEL)
