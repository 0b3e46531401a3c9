"""How the process deals with memory; for programs to choose, never done on import."""

import ctypes
import sys
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Make glibc keep large blocks it was given back, for the next tensor to use.

    By default glibc returns every large block to the system at once, and the page faults of
    getting it again take about half of a large network's time on a CPU. The process keeps its
    peak size afterwards, which suits a command that ends, not every library's host.

    Returns:
        Whether it was done; elsewhere than on Linux with glibc there is nothing to do.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    results = [mallopt(_M_MMAP_THRESHOLD, 2**30), mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)]
    return all(result == 1 for result in results)


def available_bytes() -> int | None:
    """Main memory that can be had without swapping, where the system tells; else None."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
