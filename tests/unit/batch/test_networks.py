"""The network that each picture of a batch gets."""

from dataclasses import replace

import pytest

from atdsr.batch import Networks
from atdsr.inference import InferenceConfig, UpscaleError, Upscaler
from helpers.networks import TINY, lively


def test_a_network_is_loaded_when_it_is_needed_and_only_once():
    loaded: list[str] = []

    def load(name: str) -> Upscaler:
        loaded.append(name)
        return Upscaler(lively(replace(TINY, scale=int(name[-1]))))

    networks = Networks({2: "x2", 4: "x4"}, load)
    assert not loaded
    assert networks.for_factor(3.2).scale == 4
    assert networks.for_factor(1.5).scale == 2
    assert networks.for_factor(4) is networks.for_factor(3.5)
    assert loaded == ["x4", "x2"]


def test_a_single_network_serves_every_factor(tiny):
    upscaler = Upscaler(tiny)
    networks = Networks.single(upscaler, "mine")
    assert networks.models == {upscaler.scale: "mine"}
    assert networks.for_factor(17) is upscaler


def test_the_bundled_networks_run_as_they_are_told():
    networks = Networks.bundled(InferenceConfig("cpu", tile=64))
    assert networks.models == {2: "atd-light-x2", 3: "atd-light-x3", 4: "atd-light-x4"}
    assert networks.for_factor(2).config.tile == 64
    with pytest.raises(UpscaleError, match="tile is 17"):
        Networks.bundled(InferenceConfig("cpu", tile=17))
