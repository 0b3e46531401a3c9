"""Processes that train together; that they train as one does is in `tests/flow/test_train.py`."""

import pytest
import torch

from atdsr.training.distributed import Distributed, DistributedError, process_group

CPU = torch.device("cpu")


@pytest.mark.parametrize(("batch", "count"), [(32, 8), (5, 3), (3, 3), (7, 1)])
def test_all_shares_together_are_the_batch(batch: int, count: int) -> None:
    shares = [Distributed(rank, count, CPU).shard(batch) for rank in range(count)]
    assert [crop for share in shares for crop in share] == list(range(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("local", ["0", "2"])
def test_more_processes_than_gpus_are_refused_before_they_wait(
    monkeypatch: pytest.MonkeyPatch, local: str
) -> None:
    for name, value in (("WORLD_SIZE", "3"), ("LOCAL_WORLD_SIZE", "3"), ("LOCAL_RANK", local)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(
            DistributedError, match=r"3 processes .* 2 GPUs; give torchrun --nproc-per-node 2"
        ),
        process_group(torch.device("cuda")),
    ):
        pass
