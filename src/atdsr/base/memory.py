"""Free memory, memory limits, and glibc's allocator; nothing happens on import."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_INT = 2**31 - 1
_CGROUPS = Path("/sys/fs/cgroup")
_PROCESS_CGROUPS = Path("/proc/self/cgroup")


def keep_freed_memory() -> bool:
    """Make glibc keep large freed blocks for the next tensor.

    By default glibc returns every large block to the system at once, and the page faults of
    allocating it again take about half of a large network's time on a CPU. Afterwards the process
    keeps its peak size, which suits a command that ends, but not every host of a library.

    Returns:
        Whether it was done. On systems other than Linux with glibc there is nothing to do.
    """
    mallopt = _glibc_function("mallopt")
    if mallopt is None:
        return False
    results = [mallopt(_M_MMAP_THRESHOLD, 2**30), mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)]
    return all(result == 1 for result in results)


def release() -> None:
    """Return all free memory to the system, after memory ran out and before less is allocated."""
    gc.collect()
    trim()


def trim() -> None:
    """Return glibc's freed memory to the system, so that a peak measured next does not count it."""
    malloc_trim = _glibc_function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _glibc_function(name: str) -> "ctypes._NamedFuncPointer | None":
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):  # another C library, such as musl
        return None


def available_bytes() -> int:
    """Return how much more main memory this process can use without swapping.

    This is the least of what the system has left, what the control group of a container leaves
    (Linux), and what `ulimit -v` or `-d` leaves of the address space of this process.
    """
    import psutil  # slow to import, and the command line imports this module first

    remaining = [rest for _, rest in _cgroup_limits()]
    return max(0, min([psutil.virtual_memory().available, *remaining, *_remaining_of_ulimit()]))


def limit_bytes() -> int | None:
    """Return the memory limit of the control groups of this process; None without a limit."""
    return min((limit for limit, _ in _cgroup_limits()), default=None)


def control_groups(controller: str) -> list[tuple[int, Path]]:
    """Return the control groups of the process, which limit what a container may use (Linux).

    Args:
        controller: "memory" or "cpu".

    Returns:
        Version, 2 or 1, and folder of each group, innermost first; empty on other systems.
    """
    try:
        lines = _PROCESS_CGROUPS.read_text().splitlines()
    except OSError:
        return []
    groups: list[tuple[int, Path]] = []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "":
            version, root = 2, _CGROUPS
        elif controller in controllers.split(","):
            version, root = 1, _CGROUPS / controller
        else:
            continue
        inner = root / path.lstrip("/")
        # a container sees its own group as the root, whatever the path says
        folders = (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))
        groups += [(version, folder) for folder in folders]
    return groups


def _cgroup_limits() -> list[tuple[int, int]]:
    """Return limit and remaining memory of each control group, innermost first."""
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        2: ("memory.max", "memory.current"),
    }
    limits = (
        _cgroup_limit(folder, *names[version]) for version, folder in control_groups("memory")
    )
    return [limit for limit in limits if limit is not None]


def _cgroup_limit(folder: Path, limit_name: str, usage_name: str) -> tuple[int, int] | None:
    try:
        text = (folder / limit_name).read_text().strip()
        usage = int((folder / usage_name).read_text())
        statistics = dict(
            line.split() for line in (folder / "memory.stat").read_text().splitlines()
        )
    except (OSError, ValueError):
        return None
    if text == "max":
        return None
    # cached pages of files count as used, but are freed when memory is needed
    return int(text), int(text) - usage + int(statistics.get("inactive_file", 0))


def _remaining_of_ulimit() -> list[int]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    import psutil

    remaining: list[int] = []
    memory = psutil.Process().memory_info()
    for kind, used in (("RLIMIT_AS", memory.vms), ("RLIMIT_DATA", getattr(memory, "data", 0))):
        limit = resource.getrlimit(getattr(resource, kind))[0]
        if limit != resource.RLIM_INFINITY:
            remaining.append(limit - used)
    return remaining


@dataclass
class PeakMemory:
    """The result of `peak`.

    Attributes:
        bytes: The most main memory that the process used during the block; None if the system
            cannot tell.
    """

    bytes: int | None = None


@contextmanager
def peak() -> Iterator[PeakMemory]:
    """Measure the most main memory that this process uses during the block (Linux only).

    The whole process is measured, so concurrent or nested blocks disturb each other.
    """
    result = PeakMemory()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    except OSError:
        yield result
        return
    yield result
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            result.bytes = int(line.split()[1]) * 1024
