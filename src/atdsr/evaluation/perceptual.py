"""LPIPS and DISTS, computed by pyiqa (extra `metrics`) if its weights are present."""

import contextlib
import importlib
import io
from pathlib import Path

import numpy as np
import torch

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.base.extras import install_command
from atdsr.evaluation.other_networks import without_torchvision_operators
from atdsr.evaluation.results import Metric

# files that pyiqa and torchvision would download, by their path in PyTorch's cache, and where from
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
"""The metrics that are known; for both, lower is better."""


class PerceptualError(AtdsrError):
    """A metric that does not exist, or whose package or weights are missing."""


def load(name: str, device: torch.device) -> Metric:
    """Return a metric of whole RGB pictures: no border is shaved, as its authors compute it.

    Nothing is downloaded.

    Args:
        name: One of `NAMES`.
        device: Device to compute on.

    Raises:
        PerceptualError: There is no such metric, pyiqa is not installed, or its weights are
            missing; the sentence says which file to put where.
    """
    if name not in _WEIGHTS:
        raise PerceptualError(f"there is no metric {name!r}; use {' or '.join(NAMES)}.")
    try:
        with without_torchvision_operators(), contextlib.redirect_stdout(io.StringIO()):
            pyiqa = importlib.import_module("pyiqa")
    except ImportError as error:
        raise PerceptualError(
            f"{name} is measured by pyiqa, which is not installed ({error}); install it with "
            f"{install_command('metrics')}."
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
    except Exception as error:  # damaged weights or another version can raise anything
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise PerceptualError(f"pyiqa cannot make {name}: {reason}.") from None

    def measure(hr: np.ndarray, sr: np.ndarray) -> float:
        with torch.inference_mode():
            return float(metric(imaging.to_tensor(sr), imaging.to_tensor(hr)))

    return measure
