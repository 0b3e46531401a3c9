from collections.abc import Iterator
from pathlib import Path

import pytest

from atdsr.weights.models import OfficialModel
from helpers.servers import Server, network_file, prepare, running


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return network_file(tmp_path_factory.mktemp("served") / "900_tiny.pth")


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def model(
    server: Server, right: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> OfficialModel:
    server.serve("900_tiny.pth", right)
    return prepare(monkeypatch, tmp_path, server.url)
