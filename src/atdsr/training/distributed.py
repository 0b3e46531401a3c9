"""The processes that train together, as torchrun starts them. One process is the simplest case."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from atdsr.base import units
from atdsr.base.errors import AtdsrError

_T = TypeVar("_T")

# a process that packs pictures or validates keeps the others waiting for longer than NCCL allows
_TIMEOUT = timedelta(days=7)


class DistributedError(AtdsrError):
    """Processes that cannot train together."""


@dataclass(frozen=True)
class Distributed:
    """The place of this process among those that train together.

    Attributes:
        rank: Number of this process, from 0 on.
        world_size: Number of processes.
        device: Device of this process.
    """

    rank: int
    world_size: int
    device: torch.device
    _group: "dist.ProcessGroup | None" = None  # for Python objects; gradients have their own

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes files and talks to the user."""
        return self.rank == 0

    def shard(self, batch: int) -> range:
        """Return which crops of a batch this process takes; all shards together are the batch."""
        start, stop = (batch * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return range(start, stop)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in at least one process."""
        if self.world_size == 1:
            return flag
        total = torch.tensor(float(flag))
        dist.all_reduce(total, dist.ReduceOp.MAX, group=self._group)
        return bool(total)

    def mean(self, value: float) -> float:
        """Return the mean of a number over the processes."""
        if self.world_size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total, group=self._group)
        return float(total) / self.world_size

    def on_main(self, function: Callable[[], _T]) -> _T | None:
        """Call a function in the main process while the others wait; they get None.

        Raises:
            SystemExit: In the others, if it fails.
        """
        results: list[_T] = []
        self.from_main(lambda: results.append(function()))
        return results[0] if results else None

    def from_main(self, function: Callable[[], _T]) -> _T:
        """Call a function in the main process and return its result in all of them.

        Raises:
            SystemExit: In the others, if it fails; its error is raised in the main process.
        """
        if self.world_size == 1:
            return function()
        message: list[object] = [None, False]  # the result, and whether there is one
        try:
            if self.is_main_process:
                message = [function(), True]
        finally:
            dist.broadcast_object_list(message, src=0, group=self._group)
        if not message[1]:
            raise SystemExit(1)
        return message[0]  # pyright: ignore[reportReturnType]  # of the same function


@contextmanager
def process_group(device: torch.device) -> Iterator[Distributed]:
    """Join the processes that torchrun started, if there are several.

    Args:
        device: Device to compute on. With several GPUs, a process takes the one of its local rank.

    Raises:
        DistributedError: There are more processes on this machine than GPUs.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Distributed(0, 1, device)
        return
    if device.type == "cuda":
        local_rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", local_rank + 1))
        if processes > gpus:
            raise DistributedError(
                f"{processes} processes were started on a machine with {gpus} GPUs; give torchrun "
                f"--nproc-per-node {gpus}."
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        group = dist.new_group(backend="gloo", timeout=_TIMEOUT)
        assert isinstance(group, dist.ProcessGroup), "all processes are in it"
        with warnings.catch_warnings():
            # a depthwise kernel has one channel, whose stride may be anything
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            yield Distributed(dist.get_rank(), world_size, device, group)
    finally:
        dist.destroy_process_group()


def describe(device: torch.device) -> str:
    """Return a description of a device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu, {units.counted(torch.get_num_threads(), 'thread')}"
    return str(device)
