import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atdsr import cli
from atdsr.weights import Weights, write_weights
from helpers.networks import TINY, lively
from helpers.upscaling import Run, temporaries


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_weights(Weights(TINY, lively(TINY).state_dict()), path)
    return path


@pytest.fixture
def run(tiny_file: Path) -> Run:
    """Call `atdsr upscale` with a tiny network; the lines on stderr come back, without times."""

    times = re.compile(r", in [\d.]+ s$|  ([\d,]+ frames of )?\d+x\d+, [\d.]+ s$")

    def call(*args: str, code: int = 0, model: Path | str | None = tiny_file) -> list[str]:
        named = [] if model is None else ["--model", str(model)]
        result = CliRunner().invoke(cli.app, ["upscale", *named, *args])
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert not result.stdout
        assert not temporaries()
        return [times.sub("", line) for line in result.stderr.splitlines()]

    return call
