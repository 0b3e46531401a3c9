"""The Muon optimizer, for all tensors of one shape at once.

A network like ATD has a few hundred small matrices of a few shapes. PyTorch's own Muon updates them
one by one, which takes longer than a step's arithmetic where launching an operation is what
costs. Here the matrices of one shape are stacked.
"""

import math
from collections import defaultdict
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

_copy = torch._foreach_copy_  # pyright: ignore[reportPrivateImportUsage]


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` with the same arguments, state and results up to bfloat16's rounding.

    It takes tensors of more than two axes, too, as matrices of the first axis and all others, as in
    Jordan's implementation (https://github.com/KellerJordan/Muon). Float64 is computed in float64
    throughout, and float32 in float32 on a CPU without instructions for products of bfloat16.

    It never waits for the device, so a CUDA graph can hold it. The learning rate of a group may be
    a number or a tensor of one element on the parameters' device.

    Attributes:
        found_inf: A float tensor of one element on the parameters' device, or None. If it is 1
            when `step` is called, the step changes neither parameters nor momentum, whatever the
            gradients are.
    """

    found_inf: Tensor | None = None

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
