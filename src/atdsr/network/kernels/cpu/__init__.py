"""The kernels in C: this module finds the libraries, loads them and calls them on all threads.

There is one library for each instruction set. They are made when atdsr is built
(`hatch_build.py`), so no compiler is needed where atdsr runs. Where none can run, plain PyTorch
computes the same; `status` says why. The results have the same bits whatever the number of threads.
"""

import ctypes
import math
import os
import platform
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network import kernels

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_ADVICE = "in a clone, `python hatch_build.py` builds them."


# -------------------------------------------------------------------------------- where they run


@dataclass(frozen=True)
class CPUStatus:
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
def status() -> CPUStatus:
    """Find out, once a process, whether the kernels run and on which threads."""
    threads = "Python" if _openmp() is None else "OpenMP"
    requested = kernels.switch()
    if requested == kernels.UNCHECKED:  # which is about GPUs
        requested = ""
    if requested == "off":
        return CPUStatus(None, f"the kernels are turned off by {kernels.SWITCH}=off.", threads)
    variants = _variants()
    if not variants:
        why_not = f"this processor ({platform.machine()}) has none of AVX2, AVX-512 and NEON."
        return CPUStatus(None, why_not, threads)
    if requested and requested not in variants:
        names = ", ".join(variants)
        why_not = f"{kernels.SWITCH} is {requested!r}, and this processor runs {names}."
        return CPUStatus(None, why_not, threads)
    for variant in (requested,) if requested else variants:
        if _path(variant).exists():
            why_not = _why_not_loaded(variant)
            return CPUStatus(None if why_not else variant, why_not, threads)
    return CPUStatus(
        None, f"the kernels were not built when atdsr was installed; {_ADVICE}", threads
    )


def _why_not_loaded(variant: str) -> str | None:
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


def supports(x: Tensor) -> bool:
    """Tell whether kernels compute attention of these queries, keys and values."""
    return x.dtype in (torch.float32, torch.bfloat16) and supports_device(x.device)


def supports_device(device: torch.device) -> bool:
    """Tell whether kernels run on this device. A trace must not depend on them."""
    return (
        device.type == "cpu"
        and kernels.enabled()
        and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        and _available()
    )


def multiplies_bf16() -> bool:
    """Tell whether kernels run, and the processor multiplies bfloat16 faster than float32."""
    if not _available():
        return False
    entry = function("multiplies_pairs")
    entry.restype = ctypes.c_int
    return bool(entry())


def _available() -> bool:
    return status().variant is not None


# `torch.compiler.assume_constant_result`, without the compiler, which takes seconds to import
_available._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


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


# --------------------------------------------------------------------------------------- calling


class KernelArguments(ctypes.Structure):
    """The struct that a function of C takes; it ends with the two fields that its threads share.

    A subclass lists the fields in the order of the C header, and ends with `SHARED`.
    """

    SHARED = (("next", ctypes.c_int64), ("failed", ctypes.c_int32))

    # the dtypes that pointers to floating-point numbers may have
    FLOATS: ClassVar[tuple[torch.dtype, ...]] = (torch.float32,)

    failed: int

    @classmethod
    def of(cls, **fields: Any) -> "KernelArguments":
        """Fill in the addresses of tensors and of tuples of them, and other fields as they are.

        The tensors live as long as the arguments: a thread that still works after an interrupt of
        the one that waits for it has its memory.

        Raises:
            RuntimeError: The kernel would misread a tensor's memory.
        """
        arguments = cls()
        arguments.keep_alive = fields
        for name, value in fields.items():
            if isinstance(value, Tensor):
                value = cls._address(name, value)
            elif isinstance(value, tuple):
                value = tuple(
                    cls._address(name, each) if isinstance(each, Tensor) else each for each in value
                )
            setattr(arguments, name, value)
        return arguments

    @classmethod
    def _address(cls, name: str, value: Tensor) -> int:
        is_readable = value.dtype in cls.FLOATS or not value.is_floating_point()
        if is_readable and value.is_cpu and value.is_contiguous():
            return value.data_ptr()
        raise RuntimeError(
            f"a kernel cannot read {name}, {value.dtype} on {value.device} with strides "
            f"{value.stride()}; all parts of a network must have one dtype and device."
        )


def pointers(*names: str) -> tuple[tuple[str, type], ...]:
    """Return fields that are addresses."""
    return tuple((name, ctypes.c_void_p) for name in names)


def integers(*names: str) -> tuple[tuple[str, type], ...]:
    """Return fields that are 64-bit integers."""
    return tuple((name, ctypes.c_int64) for name in names)


def function(name: str) -> Any:
    """Return a function of the library that runs here."""
    variant = status().variant
    assert variant is not None, "the caller asks `supports_device` first"
    entry = getattr(_library(variant), name)
    entry.restype = None
    return entry


def run(name: str, arguments: KernelArguments, max_threads: int) -> None:
    """Let all threads call the function; each takes pieces of the work until none is left.

    Args:
        name: Name of the function in C.
        arguments: Its only argument.
        max_threads: At most so many threads are woken; no fewer than there are pieces of work.

    Raises:
        MemoryError: A thread had no memory to work with.
    """
    work, pointer = function(name), ctypes.byref(arguments)
    threads = min(torch.get_num_threads(), max_threads)
    openmp = _openmp()
    if threads <= 1:
        work(pointer)
    elif openmp is not None:
        openmp.GOMP_parallel(ctypes.cast(work, ctypes.c_void_p), pointer, threads, 0)
    else:
        list(_python_threads(torch.get_num_threads()).map(work, [pointer] * threads))
    if arguments.failed:
        raise MemoryError("out of memory in a kernel")


_MAX_CHUNKS = 32  # sums over chunks are small, and do not depend on the number of threads
_MIN_CHUNK = 512  # tokens


def chunks(tokens: int) -> tuple[int, int]:
    """Return the tokens in a piece of work that sums over tokens, and the number of pieces."""
    chunk = max(_MIN_CHUNK, math.ceil(tokens / _MAX_CHUNKS))
    return chunk, math.ceil(tokens / chunk)


WIDTH_MULTIPLE = 16
"""Numbers in the longest vector of all variants; rows of matrices are padded to a multiple."""


def padded(rows: Tensor) -> Tensor:
    """Return contiguous rows with zeros up to a whole number of vectors."""
    padding = -rows.shape[-1] % WIDTH_MULTIPLE
    return F.pad(rows, (0, padding)) if padding else rows.contiguous()


class _SumsArguments(KernelArguments):
    """`struct sums` of `sums.h`."""

    _fields_ = (
        *pointers("parts", "out"),
        *integers("groups", "count", "length"),
        *KernelArguments.SHARED,
    )


def add_parts(parts: Tensor) -> Tensor:
    """Sum over the second axis, in its order: contiguous float32 `b parts ...` -> `b ...`."""
    if parts.shape[1] == 1:
        return parts[:, 0]
    out = parts.new_empty(parts.shape[0], *parts.shape[2:])
    arguments = _SumsArguments.of(
        parts=parts,
        out=out,
        groups=parts.shape[0],
        count=parts.shape[1],
        length=parts[0, 0].numel(),
    )
    run("add_parts", arguments, parts.shape[0])
    return out
