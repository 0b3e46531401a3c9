"""The first steps of a run against spandrel's network in a loop written by hand."""

from pathlib import Path
from types import ModuleType

import pytest
import torch

from atdsr.datasets import Crops, PackedSet
from atdsr.network.config import atd_light
from atdsr.training import LogEntry, fit
from atdsr.weights import Weights, official_state_dict, write_weights
from helpers.networks import lively, oracle
from helpers.training_runs import packed, tiny_config

pytestmark = pytest.mark.slow

STEPS = 5


@pytest.mark.usefixtures("stable_sort")
def test_the_losses_of_the_first_steps(spandrel: ModuleType, tmp_path: Path) -> None:
    start = Weights(atd_light(2), lively(atd_light(2)).state_dict())
    write_weights(start, tmp_path / "start.safetensors")
    settings = tiny_config(
        packed(tmp_path),
        tmp_path / "run",
        network=start.config.__dict__,
        iterations=STEPS,
        data={"patch": 16, "batch": 1},
        precision="fp64",
        init_from=tmp_path / "start.safetensors",
        init_strict=True,
    )
    ours: list[float] = []
    fit(
        settings,
        callback=lambda event: ours.append(event.loss) if isinstance(event, LogEntry) else None,
    )

    network = oracle(spandrel, official_state_dict(start)).double()
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.9), weight_decay=0)
    crops = Crops(PackedSet(settings.data.train, 2), settings.seed)
    expected = []
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 2)
        lr, hr = (x.double() / 255 for x in crops.batch(range(step - 1, step), 16))
        loss = (network(lr) - hr).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert ours == pytest.approx(expected, rel=1e-6)
    assert ours[-1] < 0.9 * ours[0]
