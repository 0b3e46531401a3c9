"""The wheel, installed alone, has all that a person needs."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import hatch_build
import numpy as np
import pytest
from PIL import Image

from atdsr.network.kernels import cpu
from helpers.networks import ROOT

pytestmark = pytest.mark.slow

KERNELS = "atdsr/network/kernels/cpu/"  # in a wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture
def kernels() -> list[str]:
    """The libraries that a wheel for this machine has."""
    target = hatch_build.Target.here()
    if not target.libraries or hatch_build.find_compiler(target) is None:
        pytest.skip("there is no compiler for kernels of this machine")
    return sorted(target.libraries.values())


def test_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "atdsr/py.typed" in names
    assert {f"atdsr/weights/atd-light-x{scale}.safetensors" for scale in (2, 3, 4)} <= set(names)
    assert "atdsr/reports/sample/coffee.png" in names
    assert "atdsr/evaluation/published.json" in names
    assert "atdsr/training/recipes/101_ATD_light_SRx2_scratch.yaml" in names
    assert "atdsr/training/recipes/parts/published.yaml" in names
    for name in ("base.html", "base.css", "evaluation.js", "explain.js"):
        assert f"atdsr/reports/templates/{name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    assert wheel.stat().st_size < 15 * 10**6


def test_it_has_the_kernels_of_one_kind_of_machine(wheel: Path, kernels: list[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {Path(n).name for n in archive.namelist() if n.startswith(KERNELS)}
    assert sorted(name for name in inside if not name.endswith(".py")) == kernels
    assert wheel.name.endswith(f"-{hatch_build.Target.here().tag(released=False)}.whl")


@pytest.fixture(scope="module")
def installed(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Python where the wheel is installed, and no program of the system is in sight."""
    folder = tmp_path_factory.mktemp("alone")
    site = folder / "site"
    environment = {**os.environ, "PATH": str(folder), "PYTHONPATH": str(site)}
    environment.pop("CC", None)

    def python(*arguments: str, cwd: Path = folder) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    done = python("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel))
    assert done.returncode == 0, done.stderr
    where = python("-c", "import atdsr; print(atdsr.__file__)")
    assert where.stdout.startswith(str(site))  # not the source tree beside it
    return python


def test_installed_alone_it_enlarges_a_picture(
    installed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "a.png")
    done = installed("-m", "atdsr", "upscale", "a.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "a_x2.png") as enlarged:
        assert enlarged.size == (20, 16)


@pytest.mark.usefixtures("kernels")
def test_installed_alone_it_runs_its_kernels(
    installed: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = installed("-c", "from atdsr.network.kernels import cpu; print(cpu.status().variant)")
    assert done.stdout.strip() == str(cpu.status().variant), done.stderr
