"""Compiles all GPU kernels for GPUs that need not be present, and prints their resources.

    python benchmarks/gpu_targets.py
    python benchmarks/gpu_targets.py --target sm_90 --only depthwise

Needs Triton and no GPU. For NVIDIA's the table has registers a thread, bytes of stack (what did not
fit in registers) and shared memory of a program. Nothing is run and no time is told.
"""

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from atdsr.network.config import atd, atd_light, atd_light_v2, atd_v2
from atdsr.network.kernels import gpu
from atdsr.reports.doctor.kernel_cases import Size, cases

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_89": GPUTarget("cuda", 89, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
"""A100, RTX 4090, H100 and H200, MI300."""

SIZES = {
    size.name: size
    for size in (
        Size("light", atd_light(2), 32, 64, 64),
        Size("classical", atd(2), 4, 64, 64),
        Size("light-v2", atd_light_v2(2), 32, 64, 64),
        Size("classical-v2", atd_v2(2), 4, 64, 64),
    )
}
"""Training steps."""

_TYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.uint8: "u8",
    torch.bool: "i1",
}


@dataclass(frozen=True)
class Taken:
    """What a kernel takes of a GPU.

    Attributes:
        kernel: its name.
        shared: bytes of shared memory of a program.
        registers: of a thread; None where only the driver knows.
        stack: bytes of memory of a thread for what did not fit in registers; likewise.
    """

    kernel: str
    shared: int
    registers: int | None = None
    stack: int | None = None


@contextmanager
def compiling(target: GPUTarget) -> Iterator[list[Taken]]:
    """Compile for a target what is launched inside the block, instead of running it.

    Tensors may be on the CPU; what kernels would write stays as it was.
    """
    taken: list[Taken] = []

    def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **how: Any) -> None:
        options = {"num_warps": how.pop("warps"), "num_stages": how.pop("stages", 2)}
        source = _source(kernel, arguments, how)
        taken.append(_taken(triton.compile(source, target=target, options=options), kernel))

    with mock.patch.object(gpu, "launch", launch), gpu.interpreted():
        yield taken


def _source(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any]) -> ASTSource:
    """The kernel with the types of these arguments, specialised as a launch would."""
    values = {**dict(zip(kernel.arg_names, arguments, strict=False)), **constants}
    signature: dict[str, str] = {}
    constexprs: dict[str, Any] = {}
    attributes: dict[tuple[int, ...], Any] = {}
    for i, name in enumerate(kernel.arg_names):
        value = values[name]
        if name in constants or value is None or (isinstance(value, int) and value == 1):
            signature[name], constexprs[name] = "constexpr", value
            continue
        if isinstance(value, Tensor):
            signature[name] = "*" + _TYPES[value.dtype]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if abs(value) < 2**31 else "i64"
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(i,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constexprs, attributes)


def _taken(compiled: Any, kernel: Any) -> Taken:
    name, shared = kernel.__name__, compiled.metadata.shared
    if "cubin" not in compiled.asm:
        return Taken(name, shared)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack = (int(re.findall(rf"{what}:(\d+)", usage)[-1]) for what in ("REG", "STACK"))
    return Taken(name, shared, registers, stack)


def table(names: list[str], sizes: list[Size], dtype: torch.dtype, only: str) -> str:
    """What every kernel takes on some targets, in Markdown."""
    lines = ["| network | kernel | target | registers | spilled, bytes | shared, KiB |"]
    lines.append("|---|---|---|---|---|---|")
    for size in sizes:
        for name in names:
            for each in compiled(size, dtype, TARGETS[name], only):
                numbers = ("", "") if each.stack is None else (each.registers, each.stack)
                shared = f"{each.shared / 1024:.0f}"
                row = (size.name, each.kernel, name, *numbers, shared)
                lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def compiled(size: Size, dtype: torch.dtype, target: GPUTarget, only: str = "") -> list[Taken]:
    """Every kernel of a training step at the size of a network; largest first of equal names."""
    found: list[Taken] = []
    for case in cases(size, dtype, torch.device("cpu")):
        with compiling(target) as taken:
            made = case.fast(*case.inputs)
            outputs = (made,) if isinstance(made, Tensor) else made
            torch.autograd.grad(outputs, case.inputs, [torch.empty_like(x) for x in outputs])
        found += [each for each in taken if only in each.kernel]
    return sorted(set(found), key=lambda each: (each.kernel, -each.shared))


def main() -> None:
    """Compile, and print the table."""
    parser = argparse.ArgumentParser(description="Compile the GPU kernels for GPUs elsewhere.")
    parser.add_argument("--target", action="append", choices=TARGETS, help="several times")
    parser.add_argument("--network", choices=SIZES, action="append")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--only", default="", help="kernels whose name has this in it")
    asked = parser.parse_args()
    chosen = [SIZES[name] for name in asked.network or SIZES]
    dtype = torch.bfloat16 if asked.precision == "bf16" else torch.float32
    print(f"Triton {triton.__version__}, {asked.precision}\n")
    print(table(asked.target or list(TARGETS), chosen, dtype, asked.only))


if __name__ == "__main__":
    main()
