"""The batches of a run, on the device, each ready before it is asked for."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from atdsr.datasets import Crops, PackedSet
from atdsr.training.ranks import Ranks
from atdsr.training.settings import Settings

_SHARE = 0.4  # of a device's free memory that the training set may take

Batch = tuple[Tensor, Tensor]


class Feed:
    """This process's share of every batch.

    Where the pictures live on the device, a batch is made there when it is asked for; else the
    next one is drawn from the mapped files beside the step.

    Args:
        settings: of the run.
        pictures: the training set.
        ranks: the processes that share a batch.

    Attributes:
        waited: seconds that callers waited for batches so far.

    Raises:
        DataError: a picture is smaller than a crop.
    """

    def __init__(self, settings: Settings, pictures: PackedSet, ranks: Ranks) -> None:
        self._settings = settings
        self._ranks = ranks
        data = settings.data
        make = partial(
            Crops,
            pictures,
            settings.seed,
            hflip=data.hflip,
            rot=data.rot,
            candidates=data.candidates,
        )
        crops = make()
        for patch in {data.patch, *(stage.patch for stage in settings.stages)}:
            crops.check(patch)
        self._ahead: ThreadPoolExecutor | None = None
        if _lives_on_device(crops, data.residence, ranks.device):
            crops = make(device=ranks.device)
        else:
            self._ahead = ThreadPoolExecutor(1, thread_name_prefix="crops")
        self._crops = crops
        self._next: tuple[int, Future[Batch]] | None = None
        self.waited = 0.0

    def close(self) -> None:
        """Let go of the batch that was drawn ahead."""
        if self._ahead is not None:
            self._ahead.shutdown(cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """LR `b 3 p p` and HR `b 3 p*scale p*scale` of a step, uint8, on the device."""
        start = time.perf_counter()
        if self._ahead is None:
            batch = self._draw(step)
        else:
            ready = self._next
            future = (
                ready[1] if ready and ready[0] == step else self._ahead.submit(self._draw, step)
            )
            batch = future.result()
            if step < self._settings.iterations:
                self._next = (step + 1, self._ahead.submit(self._draw, step + 1))
        self.waited += time.perf_counter() - start
        lr, hr = (side.to(self._ranks.device, non_blocking=True) for side in batch)
        return lr, hr

    def _draw(self, step: int) -> Batch:
        stage, first = self._settings.stage(step), self._settings.first_crop(step)
        share = self._ranks.share(stage.batch)
        lr, hr = self._crops.batch(range(first + share.start, first + share.stop), stage.patch)
        if self._ahead is not None and self._ranks.device.type == "cuda":
            return lr.pin_memory(), hr.pin_memory()
        return lr, hr


def _lives_on_device(crops: Crops, residence: str, device: torch.device) -> bool:
    if residence != "auto":
        return residence == "device"
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return crops.nbytes < _SHARE * free
