"""Small files that ask for much end in a sentence or a right result, and cost little."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from atdsr import cli, imaging
from atdsr.base import memory
from atdsr.imaging import PictureError
from helpers.bombs import BOMBS

SECONDS = 5.0
"""Processor time that a file of about a megabyte may take."""

MEMORY = 500 * 2**20
"""Bytes above the start that it may take."""


@pytest.fixture(scope="module", autouse=True)
def _loaded(tmp_path_factory: pytest.TempPathFactory, tiny_file: Path) -> None:
    """Enlarge a picture once, so that no case pays for what is loaded and compiled only once."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "a.png").write_bytes(BOMBS["text-20000.png"]())
    arguments = ["upscale", str(folder / "a.png"), "-m", str(tiny_file)]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
MANY = [name for name in BOMBS if name.startswith(("pages-", "frames-"))]
"""Files of so many pictures that enlarging all of them is honest work; reading them is not."""


@contextmanager
def bounded() -> Iterator[None]:
    """The block takes no more than the budget."""
    with memory.peak() as peak:
        before, begin = psutil.Process().memory_info().rss, time.process_time()
        yield
        seconds = time.process_time() - begin
    assert seconds < SECONDS
    assert (peak.bytes or 0) - before < MEMORY


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("name", [name for name in BOMBS if name not in MANY])
def test_a_bomb_costs_no_more_than_its_size(name, tmp_path, tiny_file):
    source, out = tmp_path / name, tmp_path / "out"
    source.write_bytes(BOMBS[name]())
    assert source.stat().st_size < 2.5e6
    arguments = ["upscale", str(source), "-m", str(tiny_file), "-o", f"{out}/"]
    with bounded():
        result = CliRunner().invoke(cli.app, arguments)
    if result.exit_code:
        lines = result.stderr.splitlines()
        assert isinstance(result.exception, SystemExit), result.exception
        assert [line.startswith("error: ") for line in lines] == [True], lines
        assert not list(out.rglob("*"))
    else:
        assert len(list(out.iterdir())) == 1


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("name", MANY)
def test_reading_many_pictures_costs_no_more_than_the_file(name, tmp_path):
    source = tmp_path / name
    source.write_bytes(BOMBS[name]())
    with bounded(), suppress(PictureError):
        for _ in imaging.open_frames(source):
            pass
