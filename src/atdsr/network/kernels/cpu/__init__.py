"""Where the C kernels run: the libraries are found, loaded and called on all threads here.

They come in one library for each instruction set, made when atdsr is built (`hatch_build.py`),
and need no compiler where atdsr runs. Where none can run, plain PyTorch computes the same;
`status` says why. Results are the same bits whatever the number of threads.
"""

import ctypes
import math
import os
import platform
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from atdsr.network import kernels

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_ADVICE = "in a clone, `python hatch_build.py` builds them."


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
    wanted = os.environ.get(kernels.SWITCH, "").lower()
    if wanted == kernels.UNCHECKED:  # which is about GPUs
        wanted = ""
    if wanted == "off":
        return Status(None, f"the kernels are turned off by {kernels.SWITCH}=off.", threads)
    able = _variants()
    if not able:
        what = f"this processor ({platform.machine()}) has none of AVX2, AVX-512 and NEON."
        return Status(None, what, threads)
    if wanted and wanted not in able:
        what = f"{kernels.SWITCH} is {wanted!r}, and this processor runs {', '.join(able)}."
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


def run_on(x: Tensor) -> bool:
    """Whether kernels take this tensor: on a CPU that runs them, with numbers to be read now."""
    return (
        kernels.enabled()
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
    folder = str(Path(torch.__file__).parent)
    try:
        if sys.platform.startswith("linux"):
            lines = Path("/proc/self/maps").read_text().splitlines()
            loaded = {line.split(maxsplit=5)[5] for line in lines if line.count("/")}
        else:
            loaded = {str(path) for path in Path(folder, "lib").iterdir()}
        # PyTorch's own before those of other packages
        for path in sorted(loaded, key=lambda path: (not path.startswith(folder), path)):
            if Path(path).name.startswith(("libgomp", "libomp", "libiomp")):
                library = ctypes.CDLL(path)
                if hasattr(library, "GOMP_parallel"):
                    return library
    except OSError:
        pass
    return None


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep PyTorch from starting its threads in the block, where they are OpenMP's.

    A process that is forked later has this thread but not those, and would wait for them for ever.
    """
    openmp = _openmp()
    if openmp is None:
        yield
        return
    before = torch.get_num_threads()  # PyTorch sets the number when it is first asked for it
    openmp.omp_set_num_threads(1)  # of this thread alone, unlike `torch.set_num_threads`
    try:
        yield
    finally:
        openmp.omp_set_num_threads(before)


@lru_cache(maxsize=1)
def _python_threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="atdsr-kernels")


if hasattr(os, "register_at_fork"):  # a forked process has the pool, but not its threads
    os.register_at_fork(after_in_child=_python_threads.cache_clear)


# ----------------------------------------------------------------------------------------- memory

_rooms = threading.local()


@contextmanager
def same_rooms() -> Iterator[None]:
    """Let all layers of a network in use put their intermediate results in the same memory.

    Freed and taken again layer by layer, blocks of many sizes leave gaps that nothing fits into:
    the process grew to twice what was ever in use.
    """
    if torch.is_grad_enabled():  # the backward pass needs what each layer made
        yield
        return
    outer, _rooms.pool = getattr(_rooms, "pool", None), {}
    try:
        yield
    finally:
        _rooms.pool = outer


def room(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """An uninitialised tensor; inside `same_rooms`, in the memory that had this name before."""
    pool = getattr(_rooms, "pool", None)
    if pool is None:
        return torch.empty(shape, dtype=dtype, device="cpu")
    size = math.prod(shape)
    held = pool.get((name, dtype))
    if held is None or held.numel() < size:
        held = pool[name, dtype] = torch.empty(size, dtype=dtype, device="cpu")
    return held[:size].view(shape)


# ------------------------------------------------------------------------------------------- jobs


class Job(ctypes.Structure):
    """What a kernel is told; the fields of a struct of C that ends with the two of its threads."""

    # every struct ends with these
    THREADS = (("next", ctypes.c_int64), ("failed", ctypes.c_int32))

    # of tensors that hold no integers
    FLOATS: ClassVar[tuple[torch.dtype, ...]] = (torch.float32,)

    failed: int

    @classmethod
    def of(cls, **fields: Any) -> "Job":
        """With the addresses of tensors and of tuples of them; other fields as they are.

        The tensors live as long as the job, so that a thread which still works after an interrupt
        of the one that waits has its memory.

        Raises:
            RuntimeError: the kernel would take a tensor's memory for something else.
        """
        job = cls()
        job.given = fields
        for name, value in fields.items():
            if isinstance(value, tuple):
                value = tuple(cls._plain(name, part) for part in value)
            setattr(job, name, cls._plain(name, value))
        return job

    @classmethod
    def _plain(cls, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        floats_fit = value.dtype in cls.FLOATS or not value.is_floating_point()
        if floats_fit and value.is_cpu and value.is_contiguous():
            return value.data_ptr()
        raise RuntimeError(
            f"a kernel cannot read {name}, {value.dtype} on {value.device} with strides "
            f"{value.stride()}; all parts of a network must have one dtype and device."
        )


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
        most: no fewer than the pieces of work; no more threads than that are woken.

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
