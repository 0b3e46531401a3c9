"""The processes that train together, as torchrun starts them; one alone is the simplest case."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from atdsr.base.errors import AtdsrError

_T = TypeVar("_T")

# a process that packs pictures or validates lets the others wait for longer than NCCL would
_PATIENCE = timedelta(days=7)


class RanksError(AtdsrError):
    """Processes that cannot train together."""


@dataclass(frozen=True)
class Ranks:
    """What a process knows of the others.

    Attributes:
        rank: number of this process, from 0 on.
        count: how many there are.
        device: where this one computes.
    """

    rank: int
    count: int
    device: torch.device
    _words: "dist.ProcessGroup | None" = None  # for plain objects, beside the gradients' own way

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and talks to the user."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """Which crops of a batch this process takes; all shares together are the batch."""
        return range(batch * self.rank // self.count, batch * (self.rank + 1) // self.count)

    def any(self, here: bool) -> bool:
        """Whether it is so in one process at least."""
        if self.count == 1:
            return here
        flag = torch.tensor(float(here))
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._words)
        return bool(flag)

    def mean(self, value: float) -> float:
        """Mean of a number over the processes."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total, group=self._words)
        return float(total) / self.count

    def lead(self, act: Callable[[], _T]) -> _T | None:
        """Do something in the leading process while the others wait, and get None.

        Raises:
            SystemExit: in the others, where it fails.
        """
        made: list[_T] = []
        self.from_lead(lambda: made.append(act()))
        return made[0] if made else None

    def from_lead(self, make: Callable[[], _T]) -> _T:
        """What the leading process makes, in all of them.

        Raises:
            SystemExit: in the others, where it fails; its error goes on in the leading process.
        """
        if self.count == 1:
            return make()
        box: list[object] = [None, False]
        try:
            if self.leads:
                box = [make(), True]
        finally:
            dist.broadcast_object_list(box, src=0, group=self._words)
        if not box[1]:
            raise SystemExit(1)
        return box[0]  # pyright: ignore[reportReturnType]  # made by the same function


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started, or be alone.

    Args:
        device: where to compute; of several GPUs a process takes the one of its local rank.

    Raises:
        RanksError: there are more processes on this machine than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(0, 1, device)
        return
    if device.type == "cuda":
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1))
        if processes > gpus:
            raise RanksError(
                f"{processes} processes were started on a machine with {gpus} GPUs; give torchrun "
                f"--nproc-per-node {gpus}."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        words = dist.new_group(backend="gloo", timeout=_PATIENCE)
        assert isinstance(words, dist.ProcessGroup), "all processes are in it"
        with warnings.catch_warnings():
            # of a depthwise kernel, whose one channel may have any stride
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            yield Ranks(dist.get_rank(), count, device, words)
    finally:
        dist.destroy_process_group()


def describe(device: torch.device) -> str:
    """What a device is, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
