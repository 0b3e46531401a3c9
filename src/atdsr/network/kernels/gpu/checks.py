"""What a self-check on this machine has found about the GPU kernels.

`atdsr doctor --gpu` makes the checks and saves them in the user's cache folder. They hold for one
GPU with one driver, PyTorch and Triton, and for the kernels' source as it was.
"""

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from atdsr.base import files

CUDA_GRAPH = "CUDA graph"
"""Name of the check of `graphs.Graph`."""

_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Environment:
    """Everything that the result of a check depends on.

    Attributes:
        gpu: Name of the GPU.
        capability: Compute capability of the GPU, such as "9.0".
        driver: Version of the driver.
        torch: Version of PyTorch, with the CUDA or ROCm it is built for.
        triton: Version of Triton.
        kernels: Digest of the kernels' source files.
    """

    gpu: str
    capability: str
    driver: str
    torch: str
    triton: str
    kernels: str


@dataclass(frozen=True)
class KernelCheck:
    """The comparison of one kernel with plain PyTorch, forward and backward.

    Attributes:
        kernel: Name of the kernel.
        float32_error: Largest relative error of products in float32; None where there is none.
        bfloat16_error: Largest relative error of products in bfloat16; None where there is none.
        speedup: Time of plain PyTorch divided by that of the kernel; None if it was not measured.
        failure: Why the kernel must not be used, without a final period; None if it passed.
    """

    kernel: str
    float32_error: float | None = None
    bfloat16_error: float | None = None
    speedup: float | None = None
    failure: str | None = None


def environment() -> Environment:
    """Return the environment of the current GPU, which must be there, as must Triton."""
    import triton

    return Environment(
        gpu=torch.cuda.get_device_name(),
        capability=".".join(map(str, torch.cuda.get_device_capability())),
        driver=_driver(),
        torch=f"{torch.__version__} ({torch.version.hip or torch.version.cuda})",
        triton=triton.__version__,
        kernels=_source_digest(),
    )


def _driver() -> str:
    """Return the version of the GPU's driver."""
    if torch.version.hip is not None:
        return platform.release()  # AMD's driver is part of the system's kernel
    try:
        return _NVIDIA_DRIVER.read_text().splitlines()[0]
    except (OSError, IndexError):  # on Windows, and in WSL
        return str(torch._C._cuda_getDriverVersion())  # pyright: ignore


def _source_digest() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def cache_file(environment: Environment) -> Path:
    """Return the file for the checks in an environment."""
    key = json.dumps(asdict(environment), sort_keys=True)
    return (
        files.user_cache_folder()
        / "gpu-checks"
        / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    )


def save(environment: Environment, checks: list[KernelCheck]) -> None:
    """Save the checks made in an environment, in place of earlier ones.

    Raises:
        FileError: The cache folder cannot be written.
    """
    content = {
        "environment": asdict(environment),
        "checks": [asdict(check) for check in checks],
    }
    with files.atomic_write(cache_file(environment), overwrite=True) as path:
        path.write_text(json.dumps(content, indent=1))


def load(environment: Environment) -> list[KernelCheck] | None:
    """Return the checks made in an environment; None if there are none, or the file is damaged."""
    try:
        content = json.loads(cache_file(environment).read_text())
        if content["environment"] != asdict(environment):
            return None
        return [KernelCheck(**check) for check in content["checks"]] or None
    except (OSError, ValueError, TypeError, KeyError):
        return None
