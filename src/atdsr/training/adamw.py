"""The AdamW optimizer, for all parameters as one vector.

A network like ATD has several hundred parameters of a few hundred numbers each. PyTorch's fused
AdamW goes through them one by one, which on a CPU takes ten times as long as the arithmetic.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from atdsr.training.flat import FlatOptimizer, Vector, as_vector, gradients_of

_fused_adamw = torch._fused_adamw_  # pyright: ignore[reportPrivateImportUsage]


class FlatAdamW(FlatOptimizer, torch.optim.AdamW):
    """`torch.optim.AdamW` with the same state and the same results.

    When `flatten` or `step` is first called, the parameters become views of one vector, and must
    stay so. What is saved of the optimizer is what PyTorch's has: a state for each parameter. A
    parameter without a gradient is treated as one whose gradient is zero.

    Args:
        parameters: The parameters, of one data type and on the CPU.
        lr: The learning rate.
        betas: Decay of the means of gradients and of their squares.
        eps: What is added to the root of the mean of squares.
        weight_decay: The weight decay.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, fused=True)
        self._parameters = list(parameters)
        self._values: Tensor | None = None
        self._gradient: Tensor | None = None
        self._moments: tuple[Tensor, Tensor, Tensor] | None = None

    def flatten(self) -> list[Vector]:
        """Return all parameters as one vector, whose views they become."""
        if self._values is None:
            self._values = as_vector(self._parameters)
        return [Vector(self._parameters, self._values)]

    def gather_gradients(self) -> list[Tensor]:
        """See `FlatOptimizer`; there is one copy, a vector."""
        self._gradient = gradients_of(self._parameters)
        return [self._gradient]

    def _take_step(self) -> None:
        gradient = self.gather_gradients()[0] if self._gradient is None else self._gradient
        self._gradient = None
        (vector,) = self.flatten()
        if self._moments is None:
            self._moments = self._flat_state()
        mean, square, steps = self._moments
        (group,) = self.param_groups
        steps += 1
        _fused_adamw(
            [vector.values],
            [gradient],
            [mean],
            [square],
            [],
            [steps[0]],
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
            found_inf=self.found_inf,
        )
        if self.found_inf is not None:
            steps -= self.found_inf

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this class or of `torch.optim.AdamW`."""
        super().load_state_dict(state_dict)
        self._moments = None

    def _flat_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the means, the squares and the numbers of steps of all parameters, as vectors."""
        for parameter in self._parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.zeros(()),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in self._parameters]
        mean, square, steps = (
            as_vector([state[key] for state in states]) for key in ("exp_avg", "exp_avg_sq", "step")
        )
        # PyTorch's does not count steps of a parameter while it has no gradient
        return mean, square, steps.fill_(steps.max())
