"""The batches of a run on the device, each drawn before it is needed."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from atdsr.datasets import Crops, PackedSet, as_floats
from atdsr.training import mixup
from atdsr.training.config import TrainConfig, dtype_of
from atdsr.training.distributed import Distributed

_MEMORY_FRACTION = 0.4  # of a device's free memory that the training set may take

Batch = tuple[Tensor, Tensor]


class CropLoader:
    """Loads this process's share of every batch.

    If the pictures are kept on the device, a batch is cut there when it is asked for. Otherwise,
    and always if crops are degraded, a thread draws the next batch during the current step. Pixels
    that are on a GPU are then degraded there, on a stream of the thread's own.

    Args:
        config: Configuration of the run.
        pictures: The training set.
        distributed: The processes that share a batch.

    Attributes:
        waited: Seconds that callers have waited for batches so far.

    Raises:
        DataError: A picture is smaller than a crop.
    """

    def __init__(self, config: TrainConfig, pictures: PackedSet, distributed: Distributed) -> None:
        self._config = config
        self._distributed = distributed
        data = config.data
        make_crops = partial(
            Crops,
            pictures,
            config.seed,
            hflip=data.hflip,
            rot=data.rot,
            candidates=data.candidates,
            degradation=data.degradation_at(config.network.scale),
            gray=config.channels == 1,
        )
        self._crops = make_crops()
        for patch in {data.patch, *(stage.patch for stage in config.stages)}:
            self._crops.check(patch)
        self._executor: ThreadPoolExecutor | None = None
        self._stream: torch.cuda.Stream | None = None
        is_on_device = _fits_on_device(self._crops, data.residence, distributed.device)
        if is_on_device:
            self._crops = make_crops(device=distributed.device)
        if data.degradation is not None or not is_on_device:
            if is_on_device and distributed.device.type == "cuda":
                self._stream = torch.cuda.Stream(distributed.device)
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="crops")
        self._prefetched: tuple[int, Future[Batch]] | None = None
        self.waited = 0.0

    def close(self) -> None:
        """Stop the thread and drop the prefetched batch."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """Return LR `b c p p` and HR `b c p*scale p*scale` of a step, on the device.

        Both are uint8, or floats in the range 0..1: LR where a degradation makes it so, and both
        where the run has mixup.
        """
        start = time.perf_counter()
        if self._executor is None:
            batch = self._draw(step)
        else:
            if self._prefetched is not None and self._prefetched[0] == step:
                future = self._prefetched[1]
            else:
                future = self._executor.submit(self._draw, step)
            batch = future.result()
            if step < self._config.iterations:
                self._prefetched = (step + 1, self._executor.submit(self._draw, step + 1))
        self.waited += time.perf_counter() - start
        if self._stream is not None:
            for side in batch:  # which the thread's stream must not reuse before the step is done
                side.record_stream(torch.cuda.current_stream(side.device))
        lr, hr = (side.to(self._distributed.device, non_blocking=True) for side in batch)
        return lr, hr

    def _draw(self, step: int) -> Batch:
        stage, first = self._config.stage(step), self._config.first_crop(step)
        shard = self._distributed.shard(stage.batch)
        numbers = range(first + shard.start, first + shard.stop)
        if self._stream is not None:
            with torch.cuda.stream(self._stream):
                batch = self._crops_of(step, numbers)
            self._stream.synchronize()
            return batch
        lr, hr = self._crops_of(step, numbers)
        if self._executor is not None and self._distributed.device.type == "cuda":
            return lr.pin_memory(), hr.pin_memory()
        return lr, hr

    def _crops_of(self, step: int, numbers: range) -> Batch:
        """Return the crops of these numbers, mixed if those of the step are."""
        config, stage = self._config, self._config.stage(step)
        dtype = dtype_of(config.precision)
        if config.data.mixup is None:
            return self._crops.batch(numbers, stage.patch)
        mix = mixup.draw(config.data.mixup, config.seed, step, stage.batch)
        if mix is None:
            lr, hr = self._crops.batch(numbers, stage.patch)
            return as_floats(lr, dtype), as_floats(hr, dtype)
        first = config.first_crop(step)
        partners = [first + mix.partners[number - first] for number in numbers]
        # those of other processes are cut here once more
        needed = sorted({*numbers, *partners})
        places = {number: place for place, number in enumerate(needed)}

        def mixed(crops: Tensor) -> Tensor:
            floats = as_floats(crops, dtype)
            own, others = (
                floats[[places[number] for number in group]] for group in (numbers, partners)
            )
            return mix.share * own + (1 - mix.share) * others

        lr, hr = self._crops.batch(needed, stage.patch)
        return mixed(lr), mixed(hr)


def _fits_on_device(crops: Crops, residence: str, device: torch.device) -> bool:
    if residence != "auto":
        return residence == "device"
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return crops.nbytes < _MEMORY_FRACTION * free
