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


def test_pictures_of_the_user_are_kept(tmp_path: Path) -> None:
    own = tmp_path / "comparison.png"
    own.write_bytes(b"mine")
    result = CliRunner().invoke(cli.app, ["demo", "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert f"{own}: the file exists and is kept" in result.stderr
    assert own.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [own]
