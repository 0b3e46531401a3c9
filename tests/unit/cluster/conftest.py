import pickle
from pathlib import Path

import pytest

from atdsr.cluster import NetworkSource
from atdsr.inference import InferenceConfig
from atdsr.weights import Weights, write_weights
from helpers.networks import TINY, lively


@pytest.fixture
def source(tmp_path: Path) -> NetworkSource:
    """A tiny network as an actor gets it, which does not see its file."""
    file = tmp_path / "tiny.safetensors"
    write_weights(Weights(TINY, lively(TINY).state_dict()), file)
    read = NetworkSource.read(str(file), InferenceConfig(overlap=4))
    file.unlink()
    return pickle.loads(pickle.dumps(read))
