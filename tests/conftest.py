import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

if not torch.cuda.is_available():  # Triton reads it when it is imported
    os.environ["TRITON_INTERPRET"] = "1"
else:
    os.environ.setdefault("ATDSR_KERNELS", "unchecked")  # which these tests check themselves
    # cuBLAS asks for it where deterministic algorithms are wanted
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False  # which leaves three digits of a convolution

# as in an environment that is activated
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
os.environ["ATDSR_CONFIG"] = ""  # no defaults of whoever runs the tests

from atdsr.base import stores
from atdsr.evaluation import other_networks
from atdsr.network.model import ATD
from helpers import stores as servers
from helpers.networks import ROOT, TINY, lively


@pytest.fixture
def tiny() -> ATD:
    return lively(TINY)


@pytest.fixture(scope="session")
def benchmarks() -> Path:
    """The folder with `Set5/HR`, `Set5/LR_matlab/X2` and so on, which are not ours to ship."""
    folder = Path(os.environ.get("ATDSR_BENCHMARKS", ROOT.parent / "shared/data/benchmarks"))
    if not folder.is_dir():
        pytest.skip(f"no benchmark pictures at {folder}; set ATDSR_BENCHMARKS to their folder")
    return folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder with `trained_light_x2.pth`, an official file with trained weights."""
    folder = Path(os.environ.get("ATDSR_REFERENCE", ROOT.parent / "shared/reference"))
    if not (folder / "trained_light_x2.pth").is_file():
        pytest.skip(f"no trained_light_x2.pth in {folder}; set ATDSR_REFERENCE to its folder")
    return folder


@pytest.fixture(scope="session")
def spandrel() -> ModuleType:
    """The independent oracle."""
    return other_networks.import_spandrel()


@pytest.fixture
def stable_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle's sort with ties in the order of positions, which is what this project means."""
    sort = torch.sort
    monkeypatch.setattr(torch, "sort", lambda x, dim, stable: sort(x, dim=dim, stable=True))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[int]:
    """The port of an S3 server on this machine."""
    with servers.moto() as port:
        yield port


@pytest.fixture
def s3(s3_server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.Proxy]:
    """A proxy before the S3 server that makes no fault yet; the only store that is known."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with servers.faulty(s3_server) as proxy:
        for name, value in servers.environment(proxy).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(stores, "_RETRIES", 3)
        stores._open.cache_clear()
        yield proxy
    stores._open.cache_clear()


_numbers = itertools.count()


@pytest.fixture
def bucket(s3: servers.Proxy) -> str:
    """An empty bucket of this test."""
    name = f"photos-{next(_numbers)}"
    s3.make_bucket(name)
    return name
