"""What is known of a machine; `None` stands for what could not be found out."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atdsr.network.kernels.cpu import Status

PHOTO = (1000, 1000)
"""Height and width of the picture that time and memory are told for: a megapixel."""

_BFLOAT16 = {"AVX-512 BF16", "AMX", "NEON BF16"}


@dataclass(frozen=True)
class Processor:
    """The CPU.

    Attributes:
        name: as its maker calls it.
        cores: physical ones.
        logical: what the system shows.
        instructions: of those that matter to a network, empty where it has none of them.
    """

    name: str
    cores: int | None
    logical: int | None
    instructions: tuple[str, ...] | None

    @property
    def bfloat16(self) -> bool | None:
        """Whether it multiplies bfloat16 natively."""
        return None if self.instructions is None else bool(_BFLOAT16 & set(self.instructions))


@dataclass(frozen=True)
class Memory:
    """Main memory in bytes: what is there, free for this process, and the least limit on it."""

    total: int
    free: int
    limit: int | None


@dataclass(frozen=True)
class Gpus:
    """Devices that PyTorch can use beside the CPU.

    Attributes:
        names: of the devices.
        nvidia_driver: whether a driver of NVIDIA is there.
        plain: why the slower plain path runs on them, a sentence; None where kernels run.
    """

    names: tuple[str, ...]
    nvidia_driver: bool
    plain: str | None = None


@dataclass(frozen=True)
class Library:
    """A library that atdsr needs: its version, and what went wrong in importing it."""

    name: str
    version: str | None
    failure: str | None = None


@dataclass(frozen=True)
class Allocator:
    """What gives out memory, and whether it keeps what it is given back."""

    name: str
    keeps: bool


@dataclass(frozen=True)
class Threads:
    """Threads that compute, and how many may.

    Attributes:
        running: of PyTorch, for one operation.
        processors: that the process may run on.
        quota: processors' worth of time that its control groups allow; None without a limit.
        omp_num_threads: the environment variable, None where it is not set; like the next.
        omp_wait_policy: of threads that wait for the next operation.
    """

    running: int
    processors: int
    quota: float | None
    omp_num_threads: str | None
    omp_wait_policy: str | None

    @property
    def useful(self) -> int:
        """How many can run at the same time."""
        return min(self.processors, math.ceil(self.quota or self.processors))


@dataclass(frozen=True)
class Measurement:
    """What the bundled network took for one picture of its input's size.

    Attributes:
        device: where it ran.
        side: of the square picture, in pixels.
        seconds: of a person's time, the median.
        plain_seconds: the same without the kernels; None where they do not run.
        system_share: of the processor time that went to the system, which is page faults mostly.
    """

    device: str
    side: int
    seconds: float
    plain_seconds: float | None
    system_share: float

    @property
    def pixels_per_second(self) -> float:
        """Of the input."""
        return self.side**2 / self.seconds

    @property
    def photo_seconds(self) -> float:
        """For a megapixel of input; the cost of a pixel does not depend on the picture's size."""
        return PHOTO[0] * PHOTO[1] / self.pixels_per_second


@dataclass(frozen=True)
class Machine:
    """All that was found; what is None is unknown.

    Attributes:
        system: the operating system.
        processor: the CPU.
        memory: main memory.
        gpus: what else can compute.
        python: its version.
        libraries: what atdsr needs.
        libvips: the version of the library behind pyvips.
        allocator: what gives out memory.
        threads: that compute.
        busy: share of all processors that other processes use.
        kernels: which path runs on the CPU.
        forced: the variant that `ATDSR_KERNELS` names, if it does.
        device: what `--device auto` takes.
        damaged: a sentence for each file of bundled weights that cannot be used.
        failure: what went wrong where PyTorch computed something, None if nothing did.
        photo_bytes: memory that a picture of a megapixel takes as a whole.
        measurement: None also where it was not wanted.
        unmeasured: what went wrong where it was wanted, None if nothing did.
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
    kernels: "Status | None"
    forced: str | None
    device: str | None
    damaged: tuple[str, ...] | None
    failure: str | None
    photo_bytes: int | None
    measurement: Measurement | None = None
    unmeasured: str | None = None
