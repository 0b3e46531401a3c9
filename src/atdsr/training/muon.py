"""The Muon optimizer, for all matrices of one shape at once.

A network like ATD has a few hundred small matrices of a few shapes. PyTorch's own Muon updates them
one by one, which takes longer than a step's arithmetic where launching an operation is what
costs. Here the matrices of one shape are stacked.
"""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

_copy = torch._foreach_copy_  # pyright: ignore[reportPrivateImportUsage]


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` with the same arguments, state and results up to bfloat16's rounding.

    It never waits for the device, so a CUDA graph can hold it. The learning rate of a group may be
    a number or a tensor of one element on the parameters' device.

    Attributes:
        found_inf: A float tensor of one element on the parameters' device, or None. If it is 1
            when `step` is called, the step changes neither parameters nor momentum, whatever the
            gradients are.
    """

    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the parameters that have a gradient.

        Args:
            closure: Computes the loss and the gradients again; None if the gradients are there.

        Returns:
            The closure's loss; None without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    key = parameter.shape, parameter.dtype, parameter.device
                    by_shape[key].append(parameter)
            for parameters in by_shape.values():
                self._update(group, parameters)
        return loss

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Take one step for parameters of one shape."""
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        momenta = [self._momentum(parameter) for parameter in parameters]
        grad, old, old_momentum = (torch.stack(x) for x in (grads, parameters, momenta))
        momentum = old_momentum.lerp(grad, 1 - group["momentum"])
        update = grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        update = _orthogonalized(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        lr = group["lr"]
        rate = lr * _relative_rate(group["adjust_lr_fn"], old.shape[-2:])
        new = old * (1 - lr * group["weight_decay"]) - update.to(old.dtype) * rate
        if self.found_inf is not None:
            skipped = self.found_inf.bool()
            new = torch.where(skipped, old, new)
            momentum = torch.where(skipped, old_momentum, momentum)
        _copy(parameters, list(new.unbind()))
        _copy(momenta, list(momentum.unbind()))

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def _orthogonalized(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """Bring the matrices' singular values near 1, by Newton-Schulz iterations in bfloat16.

    Args:
        matrices: The matrices, `n a b`.
        coefficients: Coefficients of the polynomial of degree five.
        steps: Number of iterations.
        eps: The least norm that a matrix is divided by.
    """
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16()
    x = x.mT if is_tall else x
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=eps)
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def _relative_rate(rule: str | None, shape: torch.Size) -> float:
    """Return the factor on the group's learning rate for a matrix of this shape."""
    rows, columns = shape
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))
