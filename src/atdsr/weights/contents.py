"""Weights in memory: a configuration, and parameters under our names."""

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from atdsr.base.errors import AtdsrError
from atdsr.network.config import ATDConfig
from atdsr.network.model import ATD

StateDict = dict[str, Tensor]

_LONGEST_NAME = 120  # of a tensor, in a sentence


class CheckpointError(AtdsrError):
    """A file with weights that cannot be read, or holds something else."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file holds: an ATD's configuration and its parameters under our names."""

    config: ATDConfig
    state: StateDict

    @property
    def parameters(self) -> int:
        """How many numbers the network has learned or keeps for the files' sake."""
        return sum(tensor.numel() for tensor in self.state.values())

    def build(self) -> ATD:
        """The network with these parameters, in float32, ready for inference."""
        with torch.device("meta"):
            model = ATD(self.config)
        form = {"copy": True, "memory_format": torch.contiguous_format}
        copies = {
            name: tensor.detach().to("cpu", torch.float32, **form)
            for name, tensor in self.state.items()
        }
        model.load_state_dict(copies, assign=True)  # `to_empty` would import sympy
        model.reset_buffers()
        return model.eval()


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a value that is no finite float32 number, if any has one.

    Args:
        tensors: of floating-point numbers, on one device.
    """
    singles = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    if not singles or get_total_norm(list(singles.values()), math.inf).isfinite():
        return None
    return next(name for name, tensor in singles.items() if not tensor.isfinite().all())


def shown(name: str) -> str:
    """The name of a tensor for a sentence, whatever a file calls it."""
    return name if name.isprintable() and len(name) <= _LONGEST_NAME else repr(name[:_LONGEST_NAME])
