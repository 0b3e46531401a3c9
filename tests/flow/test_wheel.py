"""The wheel, installed alone, has all that a person needs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from networks import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


def test_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "atdsr/py.typed" in names
    assert "atdsr/weights/atd-light-x2.safetensors" in names
    assert "atdsr/sample/coffee.png" in names
    assert "atdsr/evaluation/published.json" in names
    assert "atdsr/recipes/101_ATD_light_SRx2_scratch.yaml" in names
    assert "atdsr/recipes/parts/published.yaml" in names
    for page in ("report", "explain"):
        assert {f"atdsr/{page}/{page}.css", f"atdsr/{page}/{page}.js"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    assert wheel.stat().st_size < 12 * 2**20


def test_installed_alone_it_enlarges_a_picture(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "a.png")
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    where = python("-c", "import atdsr; print(atdsr.__file__)")
    assert where.stdout.startswith(str(site))  # not the source tree beside it
    done = python("-m", "atdsr", "upscale", "a.png")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "a_x2.png") as enlarged:
        assert enlarged.size == (20, 16)
