"""Many small tensors as one vector, on which an operation costs as much as on one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

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
