"""LPIPS and DISTS through pyiqa (extra `metrics`), where its weights are at hand."""

import contextlib
import importlib
import io
from pathlib import Path

import numpy as np
import torch

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.evaluation import peers
from atdsr.evaluation.protocol import Metric

# what pyiqa and torchvision fetch from the network, by the folder in PyTorch's cache
_WEIGHTS = {
    "lpips": (
        (
            "pyiqa/LPIPS_v0.1_alex-df73285e.pth",
            "https://huggingface.co/chaofengc/IQA-PyTorch-Weights",
        ),
        ("checkpoints/alexnet-owt-7be5be79.pth", "https://download.pytorch.org/models"),
    ),
    "dists": (
        (
            "pyiqa/DISTS_weights-f5e65c96.pth",
            "https://huggingface.co/chaofengc/IQA-PyTorch-Weights",
        ),
        ("checkpoints/vgg16-397923af.pth", "https://download.pytorch.org/models"),
    ),
}

NAMES = tuple(_WEIGHTS)
"""The metrics that there are; of both, less is better."""


class PerceptualError(AtdsrError):
    """A metric that does not exist, or whose package or weights are not here."""


def load(name: str, device: torch.device) -> Metric:
    """A metric over whole RGB pictures: no border is shaved, as its authors have it.

    Nothing is fetched from the network.

    Args:
        name: one of `NAMES`.
        device: where to compute.

    Raises:
        PerceptualError: no such metric, pyiqa is not installed, or its weights are missing; the
            sentence says which file is to be put where.
    """
    if name not in _WEIGHTS:
        raise PerceptualError(f"there is no metric {name!r}; use {' or '.join(NAMES)}.")
    try:
        with peers.without_torchvision_operators(), contextlib.redirect_stdout(io.StringIO()):
            pyiqa = importlib.import_module("pyiqa")
    except ImportError as error:
        raise PerceptualError(
            f"{name} is measured by pyiqa, which is not installed ({error}); install it with "
            "pip install 'atdsr[metrics]'."
        ) from None
    cache = Path(torch.hub.get_dir())
    for file, source in _WEIGHTS[name]:
        if not (cache / file).is_file():
            raise PerceptualError(
                f"{name} needs weights that are not here, and atdsr fetches nothing by itself; "
                f"put {Path(file).name} from {source} into {(cache / file).parent}."
            )
    try:  # it prints which file it reads
        with contextlib.redirect_stdout(io.StringIO()):
            metric = pyiqa.create_metric(name, device=device)
    except Exception as error:  # damaged weights, another version: whatever it may be
        said = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise PerceptualError(f"pyiqa cannot make {name}: {said}.") from None

    def measure(hr: np.ndarray, sr: np.ndarray) -> float:
        with torch.inference_mode():
            return float(metric(imaging.to_tensor(sr), imaging.to_tensor(hr)))

    return measure
