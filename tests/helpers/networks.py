"""Networks for tests, and where the project is."""

import warnings
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from atdsr.network.config import ATDConfig
from atdsr.network.model import ATD

ROOT = Path(__file__).parents[2]

TINY = ATDConfig(
    scale=2,
    width=12,
    depths=(2, 2),
    heads=(2, 2),
    category_size=256,  # what spandrel takes for every network it does not know
    dictionary_size=8,
    reduced_width=4,
    ffn_kernel=3,
    ffn_ratio=1.0,
    head="pixelshuffledirect",
)
"""A network small enough for a test, of a shape that spandrel reads as well."""


def lively(config: ATDConfig, seed: int = 0) -> ATD:
    """A network whose every parameter matters, unlike a fresh one's."""
    torch.manual_seed(seed)
    model = ATD(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def oracle(spandrel: ModuleType, tensors: dict[str, Tensor]) -> nn.Module:
    """Spandrel's network with these parameters, under their official names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls meshgrid without indexing
        return spandrel.ModelLoader().load_from_state_dict(dict(tensors)).model.eval()
