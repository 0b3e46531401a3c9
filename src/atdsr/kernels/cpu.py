"""Where the C kernels run: the libraries are found, loaded and called on all threads here.

They come in one library for each instruction set, made when atdsr is built (`hatch_build.py`),
and need no compiler where atdsr runs. Where none can run, plain PyTorch computes the same;
`status` says why. Results are the same bits whatever the number of threads.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SWITCH = "ATDSR_KERNELS"
"""Environment variable: `off`, or the name of the variant to run."""

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_ADVICE = "in a clone, `python hatch_build.py` builds them."
_enabled = True


# -------------------------------------------------------------------------------- where they run


@dataclass(frozen=True)
class Status:
    """Whether the kernels run here.

    Attributes:
        variant: the instruction set, "avx512", "avx2" or "neon"; None where the plain path runs.
        why_not: one sentence where the plain path runs, None otherwise.
        threads: "OpenMP" where they share PyTorch's threads, "Python" otherwise.
    """

    variant: str | None
    why_not: str | None
    threads: str


@cache
def status() -> Status:
    """Find out, once a process, whether the kernels run and on which threads."""
    threads = "Python" if _openmp() is None else "OpenMP"
    wanted = os.environ.get(SWITCH, "").lower()
    if wanted == "off":
        return Status(None, f"the kernels are turned off by {SWITCH}=off.", threads)
    able = _variants()
    if not able:
        what = f"this processor ({platform.machine()}) has none of AVX2, AVX-512 and NEON."
        return Status(None, what, threads)
    if wanted and wanted not in able:
        what = f"{SWITCH} is {wanted!r}, and this processor runs {', '.join(able)}."
        return Status(None, what, threads)
    for variant in (wanted,) if wanted else able:
        if _path(variant).exists():
            why_not = _trouble(variant)
            return Status(None if why_not else variant, why_not, threads)
    return Status(None, f"the kernels were not built when atdsr was installed; {_ADVICE}", threads)


def _trouble(variant: str) -> str | None:
    path = _path(variant)
    built = path.stat().st_mtime_ns
    # a function that gets a struct of another shape reads and writes anywhere
    if any(source.stat().st_mtime_ns > built for source in path.parent.glob("*.[ch]")):
        return f"the kernels are older than their C code; {_ADVICE}"
    try:
        _library(variant)
    except OSError as error:
        return f"the kernels could not be loaded: {error}."
    return None


@contextmanager
def plain() -> Iterator[None]:
    """Take the plain path inside the block, for measurements and tests."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def run_on(x: Tensor) -> bool:
    """Whether kernels take this tensor: on a CPU that runs them, with numbers to be read now."""
    return (
        _enabled
        and x.device.type == "cpu"
        and type(x) is Tensor  # and nothing that only pretends to hold numbers
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        and status().variant is not None
    )


def _variants() -> tuple[str, ...]:
    """The instruction sets of this processor that there are kernels for, fastest first."""
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        return ("neon",)
    if machine not in ("x86_64", "amd64"):
        return ()
    # what PyTorch found; a processor with AVX-512 has all of x86-64-v4 here
    return {"AVX512": ("avx512", "avx2"), "AVX2": ("avx2",)}.get(
        torch.backends.cpu.get_cpu_capability(), ()
    )


def _path(variant: str) -> Path:
    return Path(__file__).with_name(variant + _SUFFIX)


@cache
def _library(variant: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(_path(variant)))


# ---------------------------------------------------------------------------------------- threads


@cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP that PyTorch has loaded, with the entry that GCC's code calls.

    A second pool of threads would share the cores with PyTorch's, which spin for a while after
    each of its operations.
    """
    try:
        if sys.platform.startswith("linux"):
            lines = Path("/proc/self/maps").read_text().splitlines()
            loaded = {line.split(maxsplit=5)[5] for line in lines if line.count("/")}
        else:
            loaded = {str(path) for path in (Path(torch.__file__).parent / "lib").iterdir()}
        for path in sorted(loaded):
            if Path(path).name.startswith(("libgomp", "libomp", "libiomp")):
                library = ctypes.CDLL(path)
                if hasattr(library, "GOMP_parallel"):
                    return library
    except OSError:
        pass
    return None


@lru_cache(maxsize=1)
def _python_threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="atdsr-kernels")


class Job(ctypes.Structure):
    """What a kernel is told; the fields of a struct of C that ends with the two of its threads."""

    # every struct ends with these
    THREADS = (("next", ctypes.c_int64), ("failed", ctypes.c_int32))

    failed: int

    @classmethod
    def of(cls, **fields: Any) -> "Job":
        """With the addresses of tensors, which the caller keeps alive; other fields as they are."""
        values = {k: v.data_ptr() if isinstance(v, Tensor) else v for k, v in fields.items()}
        return cls(**values)


def pointers(*names: str) -> tuple[tuple[str, type], ...]:
    """Fields that are addresses."""
    return tuple((name, ctypes.c_void_p) for name in names)


def integers(*names: str) -> tuple[tuple[str, type], ...]:
    """Fields that are 64-bit integers."""
    return tuple((name, ctypes.c_int64) for name in names)


def function(name: str) -> Any:
    """A function of the library that runs here."""
    variant = status().variant
    assert variant is not None, "the caller asks `run_on` first"
    found = getattr(_library(variant), name)
    found.restype = None
    return found


def run(name: str, job: Job, most: int) -> None:
    """Let all threads call the function; each takes pieces of the work until none is left.

    Args:
        name: of the function in C.
        job: its only argument.
        most: pieces of work, so that no more threads are woken.

    Raises:
        MemoryError: a thread had no memory to work with.
    """
    work, pointer = function(name), ctypes.byref(job)
    threads = min(torch.get_num_threads(), most)
    openmp = _openmp()
    if threads <= 1:
        work(pointer)
    elif openmp is not None:
        openmp.GOMP_parallel(ctypes.cast(work, ctypes.c_void_p), pointer, threads, 0)
    else:
        list(_python_threads(torch.get_num_threads()).map(work, [pointer] * threads))
    if job.failed:
        raise MemoryError("out of memory in a kernel")
