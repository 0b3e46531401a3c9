"""What is known about a machine. `None` stands for what could not be found out."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atdsr.network.kernels.cpu import CPUStatus

PHOTO = (1000, 1000)
"""Height and width of the picture that time and memory are reported for: a megapixel."""

_BFLOAT16 = {"AVX-512 BF16", "AMX", "NEON BF16"}


@dataclass(frozen=True)
class Processor:
    """The CPU.

    Attributes:
        name: The maker's name of the processor.
        cores: Number of physical cores.
        logical: Number of logical cores, which is what the system shows.
        instructions: The instruction sets it has, of those that matter to a network.
    """

    name: str
    cores: int | None
    logical: int | None
    instructions: tuple[str, ...] | None

    @property
    def bfloat16(self) -> bool | None:
        """Whether the processor multiplies bfloat16 natively."""
        return None if self.instructions is None else bool(_BFLOAT16 & set(self.instructions))


@dataclass(frozen=True)
class Memory:
    """Main memory in bytes: in total, free for this process, and the lowest limit on it."""

    total: int
    free: int
    limit: int | None


@dataclass(frozen=True)
class Gpus:
    """The devices besides the CPU that PyTorch can use.

    Attributes:
        names: Names of the devices.
        nvidia_driver: Whether an NVIDIA driver is installed.
        plain: One sentence that says why the slower plain path runs; None where kernels run.
    """

    names: tuple[str, ...]
    nvidia_driver: bool
    plain: str | None = None


@dataclass(frozen=True)
class Library:
    """A library that atdsr needs: its version, and what went wrong when it was imported."""

    name: str
    version: str | None
    failure: str | None = None


@dataclass(frozen=True)
class Allocator:
    """The memory allocator, and whether it keeps memory that has been freed."""

    name: str
    keeps: bool


@dataclass(frozen=True)
class Threads:
    """The threads that compute, and how many can be useful.

    Attributes:
        running: Number of threads that PyTorch uses for one operation.
        processors: Number of processors that the process may run on.
        quota: Processor time that the control groups allow, in processors; None without a limit.
        omp_num_threads: The environment variable OMP_NUM_THREADS; None where it is not set.
        omp_wait_policy: The environment variable OMP_WAIT_POLICY, which says what threads do while
            they wait for the next operation; None where it is not set.
    """

    running: int
    processors: int
    quota: float | None
    omp_num_threads: str | None
    omp_wait_policy: str | None

    @property
    def useful(self) -> int:
        """Return how many threads can run at the same time."""
        return min(self.processors, math.ceil(self.quota or self.processors))


@dataclass(frozen=True)
class Measurement:
    """The time that the bundled network took for one picture.

    Attributes:
        device: Device on which the network ran.
        side: Side of the square input picture in pixels.
        seconds: Median wall-clock time in seconds.
        plain_seconds: The same without the kernels; None where they do not run.
        system_share: Fraction of the processor time that went to the system, mostly page faults.
    """

    device: str
    side: int
    seconds: float
    plain_seconds: float | None
    system_share: float

    @property
    def pixels_per_second(self) -> float:
        """Return the speed in pixels of the input per second."""
        return self.side**2 / self.seconds

    @property
    def photo_seconds(self) -> float:
        """Return the time for a megapixel of input; the cost of a pixel is the same at any size."""
        return PHOTO[0] * PHOTO[1] / self.pixels_per_second


@dataclass(frozen=True)
class Machine:
    """Everything that was found out; None stands for unknown.

    Attributes:
        system: The operating system.
        processor: The CPU.
        memory: The main memory.
        gpus: The devices besides the CPU.
        python: Version of Python.
        libraries: The libraries that atdsr needs.
        libvips: Version of libvips, the library behind pyvips.
        allocator: The memory allocator.
        threads: The threads that compute.
        busy: Fraction of all processors that other processes use.
        kernels: Which path runs on the CPU.
        forced: Value of the environment variable ATDSR_KERNELS; None where it is not set.
        device: The device that `--device auto` chooses.
        damaged: One sentence for each bundled weights file that cannot be used.
        failure: What went wrong when PyTorch computed something; None if nothing did.
        photo_bytes: Memory in bytes that a picture of a megapixel takes without tiles.
        measurement: The measured time; None also where no measurement was requested.
        unmeasured: What went wrong in a requested measurement; None if nothing did.
    """

    system: str
    processor: Processor | None
    memory: Memory | None
    gpus: Gpus | None
    python: str
    libraries: tuple[Library, ...]
    libvips: str | None
    allocator: Allocator | None
    threads: Threads | None
    busy: float | None
    kernels: "CPUStatus | None"
    forced: str | None
    device: str | None
    damaged: tuple[str, ...] | None
    failure: str | None
    photo_bytes: int | None
    measurement: Measurement | None = None
    unmeasured: str | None = None
