"""Small networks for tests, and the root folder of the project."""

import dataclasses
import warnings
from pathlib import Path
from types import ModuleType
from typing import overload

import torch
from torch import Tensor, nn

from atdsr.network.config import ATDConfig, ATDUConfig, NetworkConfig
from atdsr.network.model import ATD
from atdsr.network.unet import ATDU, Network, build
from tiny_network import TINY

__all__ = ["ROOT", "TINY", "TINY_U", "TINY_V2", "lively", "oracle"]

ROOT = Path(__file__).parents[2]

TINY_V2 = dataclasses.replace(TINY, dictionary_size=20, ffn_ratio=1.5, code_width=3)
"""A tiny network of the second generation, with a static dictionary."""


TINY_U = ATDUConfig(
    channels=3,
    width=8,
    depths=(2, 1, 1, 1),
    heads=(1, 2, 2, 2),
    windows=(16, 8, 8, 8),
    code_widths=(2, 3, 3, 3),
    reduced_widths=(2, 4, 4, 4),
    category_size=128,
    dictionary_size=10,
    ffn_kernel=3,
    ffn_ratio=1.5,
)
"""A tiny ATD-U, which restores."""


@overload
def lively(config: ATDConfig, seed: int = 0) -> ATD: ...
@overload
def lively(config: ATDUConfig, seed: int = 0) -> ATDU: ...
@overload
def lively(config: NetworkConfig, seed: int = 0) -> Network: ...
def lively(config: NetworkConfig, seed: int = 0) -> Network:
    """Return a network in which every parameter matters, unlike in a fresh one."""
    torch.manual_seed(seed)
    model = build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def oracle(spandrel: ModuleType, tensors: dict[str, Tensor]) -> nn.Module:
    """Spandrel's network with these parameters, under their official names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls meshgrid without indexing
        return spandrel.ModelLoader().load_from_state_dict(dict(tensors)).model.eval()
