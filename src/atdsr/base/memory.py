"""How the process deals with memory; what is done is for programs to choose, never on import."""

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
    """Make glibc keep large blocks it was given back, for the next tensor to use.

    By default glibc returns every large block to the system at once, and the page faults of
    getting it again take about half of a large network's time on a CPU. The process keeps its
    peak size afterwards, which suits a command that ends, not every library's host.

    Returns:
        Whether it was done; elsewhere than on Linux with glibc there is nothing to do.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    results = [mallopt(_M_MMAP_THRESHOLD, 2**30), mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)]
    return all(result == 1 for result in results)


def release() -> None:
    """Give back what is free but kept, after memory ran out and before less is asked for."""
    gc.collect()
    trim()


def trim() -> None:
    """Give back what glibc keeps of freed memory, so that a measured peak is of what follows."""
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _of_glibc(name: str) -> "ctypes._NamedFuncPointer | None":
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):  # another C library, such as musl
        return None


def available_bytes() -> int:
    """Main memory that this process can still have without swapping.

    The least of what the system has left, what the control group of a container leaves (Linux),
    and what `ulimit -v` or `-d` leaves of this process's address space.
    """
    import psutil  # takes a moment, and the command line begins with this module

    left = [rest for _, rest in _of_cgroups()]
    return max(0, min([psutil.virtual_memory().available, *left, *_left_by_ulimit()]))


def limit_bytes() -> int | None:
    """The most main memory that the control groups let this process have; None without a limit."""
    return min((limit for limit, _ in _of_cgroups()), default=None)


def control_groups(controller: str) -> list[tuple[int, Path]]:
    """The process's control groups, which limit what a container may use (Linux).

    Args:
        controller: "memory" or "cpu".

    Returns:
        Their versions, 2 or 1, and folders, innermost first; none where there is no such thing.
    """
    try:
        lines = _PROCESS_CGROUPS.read_text().splitlines()
    except OSError:
        return []
    found: list[tuple[int, Path]] = []
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
        found += [(version, folder) for folder in folders]
    return found


def _of_cgroups() -> list[tuple[int, int]]:
    """Limits of the process's control groups and what they leave, innermost first."""
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        2: ("memory.max", "memory.current"),
    }
    found = (_of_cgroup(folder, *names[version]) for version, folder in control_groups("memory"))
    return [group for group in found if group is not None]


def _of_cgroup(folder: Path, limit_name: str, usage_name: str) -> tuple[int, int] | None:
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
    # pages of files that nobody needs right now are counted as used, but go when asked for
    return int(text), int(text) - usage + int(statistics.get("inactive_file", 0))


def _left_by_ulimit() -> list[int]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    import psutil

    left: list[int] = []
    used = psutil.Process().memory_info()
    for kind, taken in (("RLIMIT_AS", used.vms), ("RLIMIT_DATA", getattr(used, "data", 0))):
        limit = resource.getrlimit(getattr(resource, kind))[0]
        if limit != resource.RLIM_INFINITY:
            left.append(limit - taken)
    return left


@dataclass
class Peak:
    """What `peak` found.

    Attributes:
        bytes: the most main memory that the process had during the block; None where the system
            cannot tell.
    """

    bytes: int | None = None


@contextmanager
def peak() -> Iterator[Peak]:
    """Measure the most main memory that this process has while the block runs (Linux only).

    The measure is of the whole process, so blocks that run beside each other in threads, or one
    inside the other, disturb each other.
    """
    found = Peak()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is now
    except OSError:
        yield found
        return
    yield found
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            found.bytes = int(line.split()[1]) * 1024
