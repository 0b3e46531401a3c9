"""The Muon optimizer, for all tensors of one shape at once.

A network like ATD has a few hundred small matrices of a few shapes. PyTorch's own Muon updates them
one by one, which takes longer than a step's arithmetic where launching an operation is what
costs. Here the matrices of one shape are one tensor.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from atdsr.training.flat import FlatOptimizer, Vector, as_vector, gradients_of


@dataclass
class _Stack:
    """Parameters of one shape.

    Attributes:
        group: Number of their group.
        parameters: The parameters.
        values: All of them as one tensor, `n` and the shape; they are views of it.
        momentum: Their momenta, likewise; None if not in use yet.
        gradient: Their gradients, likewise, for the next step.
    """

    group: int
    parameters: list[Tensor]
    values: Tensor
    momentum: Tensor | None = None
    gradient: Tensor | None = None


class Muon(FlatOptimizer, torch.optim.Muon):
    """`torch.optim.Muon` with the same arguments, state and results up to bfloat16's rounding.

    It takes tensors of more than two axes, too, as matrices of the first axis and all others, as in
    Jordan's implementation (https://github.com/KellerJordan/Muon). Float64 is computed in float64
    throughout, and float32 in float32 on a CPU without instructions for products of bfloat16.

    Parameters become views of one tensor for each shape. A step without gathered gradients leaves
    parameters that have none as they are.

    It never waits for the device, so a CUDA graph can hold it. The learning rate of a group may be
    a number or a tensor of one element on the parameters' device.
    """

    _stacks: list[_Stack] | None = None
    _gathered: list[_Stack] | None = None

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        # past PyTorch's own, which refuses tensors of more than two axes
        torch.optim.Optimizer.__init__(self, params, defaults)

    def flatten(self) -> list[Vector]:
        """Return all parameters as a vector for each shape, whose views they become."""
        stacks = self._whole_stacks()
        return [Vector(stack.parameters, stack.values.flatten()) for stack in stacks]

    def gather_gradients(self) -> list[Tensor]:
        """See `FlatOptimizer`; there is a copy for each shape."""
        self._gathered = self._whole_stacks()
        return [_gather(stack) for stack in self._gathered]

    def _take_step(self) -> None:
        stacks, self._gathered = self._gathered, None
        if stacks is None:
            stacks = self._stacks_with_gradients()
            for stack in stacks:
                _gather(stack)
        for stack in stacks:
            self._update(stack)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this class or of `torch.optim.Muon`."""
        super().load_state_dict(state_dict)
        for stack in self._stacks or ():
            stack.momentum = None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters."""
        super().add_param_group(param_group)
        self._stacks = None

    def _whole_stacks(self) -> list[_Stack]:
        """Return the stacks of all parameters."""
        if self._stacks is None:
            groups = (group["params"] for group in self.param_groups)
            self._stacks = _stacked(groups)
        return self._stacks

    def _stacks_with_gradients(self) -> list[_Stack]:
        """Return the stacks of the parameters that have a gradient."""
        groups = [
            [parameter for parameter in group["params"] if parameter.grad is not None]
            for group in self.param_groups
        ]
        if all(len(x) == len(y["params"]) for x, y in zip(groups, self.param_groups, strict=True)):
            return self._whole_stacks()
        self._stacks = None  # some parameters become views of other tensors
        return _stacked(groups)

    def _update(self, stack: _Stack) -> None:
        """Take one step for parameters of one shape."""
        group = self.param_groups[stack.group]
        if stack.momentum is None:
            momenta = as_vector([self._momentum(parameter) for parameter in stack.parameters])
            stack.momentum = momenta.view_as(stack.values)
        grad, stack.gradient = stack.gradient, None
        assert grad is not None, "they were gathered"
        old, old_momentum = stack.values, stack.momentum
        momentum = old_momentum.lerp(grad, 1 - group["momentum"])
        update = grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        update = _orthogonalized(
            update.flatten(2), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        lr = group["lr"]
        rate = lr * _relative_rate(group["adjust_lr_fn"], old.shape[-2:])
        new = old * (1 - lr * group["weight_decay"]) - update.to(old.dtype).view_as(old) * rate
        if self.found_inf is not None:
            skipped = self.found_inf.bool()
            new = torch.where(skipped, old, new)
            momentum = torch.where(skipped, old_momentum, momentum)
        old.copy_(new)
        old_momentum.copy_(momentum)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def _stacked(groups: Iterable[list[Tensor]]) -> list[_Stack]:
    """Stack the parameters of each group by shapes."""
    by_shape: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
    for number, parameters in enumerate(groups):
        for parameter in parameters:
            key = number, parameter.shape, parameter.dtype, parameter.device
            by_shape[key].append(parameter)
    return [
        _Stack(number, parameters, as_vector(parameters).view(len(parameters), *shape))
        for (number, shape, *_), parameters in by_shape.items()
    ]


def _gather(stack: _Stack) -> Tensor:
    """Copy the gradients of a stack's parameters into one tensor."""
    stack.gradient = gradients_of(stack.parameters).view_as(stack.values)
    return stack.gradient


def _orthogonalized(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """Bring the matrices' singular values near 1, by Newton-Schulz iterations.

    Args:
        matrices: The matrices, `n a b`.
        coefficients: Coefficients of the polynomial of degree five.
        steps: Number of iterations.
        eps: The least norm that a matrix is divided by.

    Returns:
        The matrices in the data type of the products, see `_product_dtype`.
    """
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.to(_product_dtype(matrices))
    x = x.mT if is_tall else x
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=eps)
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def _product_dtype(matrices: Tensor) -> torch.dtype:
    """Return the data type in which products of matrices are computed.

    It is bfloat16, as in PyTorch's Muon, where that is faster than float32. On a CPU without
    instructions for it, its products take 2 (AVX-512) to 15 times (AVX2) as long.
    """
    if matrices.dtype == torch.float64:
        return torch.float64
    if matrices.device.type == "cpu" and not _cpu_multiplies_bf16():
        return torch.float32
    return torch.bfloat16


@cache
def _cpu_multiplies_bf16() -> bool:
    """Return whether the CPU has instructions for products of bfloat16 that oneDNN uses."""
    return torch.cpu._is_avx512_bf16_supported()


def _relative_rate(rule: str | None, shape: torch.Size) -> float:
    """Return the factor on the group's learning rate for a tensor with these last two axes."""
    rows, columns = shape
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))
