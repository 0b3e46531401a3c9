"""Many small tensors as one vector, on which an operation costs as much as on one of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_flatten = torch._C._nn.flatten_dense_tensors  # pyright: ignore


@dataclass(frozen=True)
class Vector:
    """Parameters that are views of one vector.

    Attributes:
        parameters: The parameters, in the order in which they lie in the vector.
        values: The vector.
    """

    parameters: Sequence[Tensor]
    values: Tensor


class FlatOptimizer(torch.optim.Optimizer, ABC):
    """An optimizer whose parameters are views of few vectors, and must stay so.

    Attributes:
        found_inf: A float tensor of one element on the parameters' device, or None. If it is 1
            when `step` is called, the step changes nothing, whatever the gradients are.
    """

    found_inf: Tensor | None = None

    @abstractmethod
    def flatten(self) -> list[Vector]:
        """Return all parameters as vectors, whose views they become."""

    @abstractmethod
    def gather_gradients(self) -> list[Tensor]:
        """Copy the gradients of all parameters for the next step, which reads no others.

        A parameter that has none counts as one whose gradient is zero.

        Returns:
            The copies, which may be changed in place.
        """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the parameters.

        Args:
            closure: Computes the loss and the gradients again; None if the gradients are there.

        Returns:
            The closure's loss; None without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._take_step()
        return loss

    @abstractmethod
    def _take_step(self) -> None:
        """Update the parameters by the gradients that were gathered, or by those that are there."""


def as_vector(tensors: Sequence[Tensor]) -> Tensor:
    """Move tensors into one new vector, whose views they become.

    Args:
        tensors: Tensors of one data type on one device.
    """
    vector: Tensor = _flatten([tensor.detach() for tensor in tensors])
    if len(tensors) == 1:  # then it is a view of the tensor
        vector = vector.clone()
    parts = vector.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.data = part.view(tensor.shape)
    return vector


def gradients_of(parameters: Sequence[Tensor]) -> Tensor:
    """Return the gradients of parameters as one new vector.

    A parameter that has none counts as one whose gradient is zero.

    Args:
        parameters: Tensors of one data type on one device.
    """
    vector: Tensor = _flatten(
        [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    )
    return vector.clone() if len(parameters) == 1 else vector
