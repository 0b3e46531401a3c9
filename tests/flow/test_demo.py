"""`atdsr demo`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from atdsr import cli, imaging

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scale", [2, 4])
def test_the_sample_photo_beats_bicubic(tmp_path: Path, scale: int) -> None:
    arguments = ["demo", "-o", str(tmp_path), "--device", "cpu"]
    if scale != 2:  # what it is without being asked
        arguments += ["--scale", str(scale)]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    figures = [float(line.split()[1]) for line in result.stdout.splitlines()[:2]]
    assert figures[1] > figures[0] + 1
    small, large = (
        imaging.read(tmp_path / name) for name in ("coffee.png", f"coffee_x{scale}.png")
    )
    assert (large.width, large.height) == (scale * small.width, scale * small.height)
    assert (tmp_path / "comparison.png").is_file()
