"""A scale of the heads that there are needs one more number in `base.scales`, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from atdsr.base import scales
from atdsr.datasets import packed_set
from atdsr.network import ATD, config
from atdsr.network.config import Head
from atdsr.weights import Weights, read_weights, write_weights
from helpers.networks import TINY


@pytest.fixture(autouse=True)
def with_8(monkeypatch: pytest.MonkeyPatch) -> None:
    more = (*scales.SCALES, 8)
    monkeypatch.setattr(scales, "SCALES", more)
    monkeypatch.setattr(config, "SCALES", more)
    monkeypatch.setattr(packed_set, "SCALES", more)


@pytest.mark.parametrize("head", ["pixelshuffle", "pixelshuffledirect"])
def test_a_network_for_scale_8(tmp_path: Path, head: Head) -> None:
    network = replace(TINY, scale=8, head=head)
    model = ATD(network).eval()
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 5, 7)).shape == (1, 3, 40, 56)
    path = tmp_path / "x8.pth"  # without metadata: the scale is read off the shapes
    write_weights(Weights(network, model.state_dict()), path)
    assert read_weights(path, category_size=network.category_size).config == network


def test_a_message_lists_all_scales() -> None:
    assert scales.list_scales() == "2, 3, 4 or 8"
    with pytest.raises(config.ConfigError, match="scale is 5; ATD enlarges by 2, 3, 4 or 8"):
        replace(TINY, scale=5)


def test_a_picture_that_was_packed_for_fewer_scales_stays_valid() -> None:
    record = {
        "name": "a.png",
        "height": 12,
        "width": 36,
        "offset": 0,
        "blake2b": dict.fromkeys(("hr", "x2", "x4"), "0" * 32),
        "sources": {},
    }
    packed_set.ImageRecord.model_validate(record)
    record["blake2b"]["x8"] = "0" * 32
    with pytest.raises(ValidationError, match="sides that 8 does not divide"):
        packed_set.ImageRecord.model_validate(record)
