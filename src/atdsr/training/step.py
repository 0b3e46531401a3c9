"""A training step. The host never waits for what the device computes."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from atdsr.base.reporter import SILENT, Reporter
from atdsr.datasets import as_floats
from atdsr.network.backend import products_in_bfloat16
from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu.graphs import Graph
from atdsr.network.unet import Network
from atdsr.training.adamw import FlatAdamW
from atdsr.training.config import OptimizerConfig, Precision, TrainConfig, dtype_of
from atdsr.training.flat import FlatOptimizer, as_vector
from atdsr.training.losses import Loss, loss_function
from atdsr.training.muon import Muon

_NORM_BLOCK = 1 << 14
"""Numbers of a gradient whose norm is taken by one thread, so that its bits are always the same."""

RATE = "rate"
"""What a group of parameters has of the learning rate of a step, under this key."""


@dataclass(frozen=True)
class StepConfig:
    """How a step is computed.

    Attributes:
        loss: The loss function.
        ema: Decay of the exponential moving average of the weights.
        clip: Maximum norm of all gradients together; larger ones are scaled down to it.
        precision: Precision of matrix products: "fp32", "bf16" with sums in float32, or "fp64"
            throughout.
        micro_batch: The most crops at once; their gradients are accumulated.
        compile: Run the network through `torch.compile`.
        cuda_graph: Record the step as a CUDA graph where it runs on one GPU alone.
    """

    loss: Loss
    ema: float = 0.999
    clip: float | None = None
    precision: Precision = "fp32"
    micro_batch: int | None = None
    compile: bool = False
    cuda_graph: bool = True

    @classmethod
    def from_train_config(cls, config: TrainConfig) -> Self:
        """Return the configuration of the steps of a run.

        Raises:
            LossError: See `losses.loss_function`.
        """
        return cls(
            loss_function(config.loss),
            ema=config.ema,
            clip=config.optim.clip,
            precision=config.precision,
            micro_batch=config.data.micro_batch,
            compile=config.compile,
            cuda_graph=config.cuda_graph,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Data type of parameters and crops; bf16 is that of products alone."""
        return dtype_of(self.precision)

    def in_precision(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context in which matrix products have the precision of the run."""
        return products_in_bfloat16(device, enabled=self.precision == "bf16")


@dataclass(frozen=True)
class StepStats:
    """Statistics of the steps since the last call of `TrainStep.stats`.

    Attributes:
        loss: Mean loss over the steps that were not skipped; NaN without one.
        gradient: Norm of all gradients together in the last step, before clipping.
        skipped: Steps skipped since the run began because loss or gradient was not finite.
    """

    loss: float
    gradient: float
    skipped: int


class TrainStep:
    """Updates a network, its moving average and its optimizers by one step per call.

    Args:
        model: The network.
        average: The exponential moving average of its weights.
        optimizers: The optimizers of its parameters, see `build_optimizers`.
        config: How to compute the step.
        world_size: Number of processes that share a batch.
        reporter: Receives a notice if a step cannot be recorded as a CUDA graph.
    """

    def __init__(
        self,
        model: Network,
        average: Network,
        optimizers: list[torch.optim.Optimizer],
        config: StepConfig,
        world_size: int = 1,
        reporter: Reporter = SILENT,
    ) -> None:
        self._model, self._optimizers = model, optimizers
        self._config, self._world_size = config, world_size
        self._device = next(model.parameters()).device
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._averages, self._parameters = self._flattened(average)
        self._network = self._wrap_network()
        # the counters stay on the device until they are asked for
        self._counters = torch.zeros(5, dtype=config.dtype, device=self._device)
        self._loss, self._counted, self._norm, self._skipped, self._skipped_in_row = (
            self._counters.unbind()
        )
        self._batch_size = 0
        self._update_step: Callable[[Tensor, Tensor], object] = self._update
        is_alone_on_gpu = self._device.type == "cuda" and world_size == 1
        if is_alone_on_gpu and config.cuda_graph and gpu.status().cuda_graphs:
            self._record_graph(reporter)

    def _flattened(self, average: Network) -> tuple[list[Tensor], list[Tensor]]:
        """Return all parameters of the average and of the network, as few tensors as possible."""
        average_of: dict[Tensor, Tensor] = dict(
            zip(self._model.parameters(), average.parameters(), strict=True)
        )
        averages: list[Tensor] = []
        parameters: list[Tensor] = []
        for optimizer in self._optimizers:
            if isinstance(optimizer, FlatOptimizer):
                for vector in optimizer.flatten():
                    parameters.append(vector.values)
                    averages.append(as_vector([average_of.pop(p) for p in vector.parameters]))
        return [*averages, *average_of.values()], [*parameters, *average_of]

    def _wrap_network(self) -> nn.Module:
        """Return the network as it is called: distributed and compiled."""
        network: nn.Module = self._model
        if self._world_size > 1:
            # the buffers are constants, which need not be broadcast before every step
            constants = [name for name, _ in self._model.named_buffers()]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, constants)
            device = next(network.parameters()).device
            network = DistributedDataParallel(
                network,
                device_ids=[device] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,
            )
        return torch.compile(network) if self._config.compile else network  # pyright: ignore

    def _record_graph(self, reporter: Reporter) -> None:
        """Run steps as one CUDA graph, which reads the learning rate from the device."""

        def on_failure(reason: str) -> None:
            reporter.notice(
                f"a step could not be recorded as a CUDA graph ({reason}); it goes on kernel by "
                "kernel, which may be slower."
            )

        self._update_step = Graph(self._update, on_failure)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = torch.zeros((), device=self._device)

    def restore(self, skipped: int) -> None:
        """Set the number of skipped steps to that of a checkpoint."""
        self._skipped.fill_(skipped)

    def __call__(self, lr: Tensor, hr: Tensor, batch_size: int, learning_rate: float) -> None:
        """Take a step on this process's share of a batch.

        A step whose loss or gradient is not finite changes nothing and is counted as skipped.

        Args:
            lr: LR crops `b c h w`, uint8 or floats in the range 0..1, on the device.
            hr: HR crops, likewise.
            batch_size: Crops of the batch over all processes.
            learning_rate: The learning rate; some parameters may have a fixed part of it.
        """
        self._batch_size = batch_size
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                rate = learning_rate * group[RATE]
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        self._update_step(lr, hr)

    def skipped(self) -> tuple[int, int]:
        """Return how many steps were skipped in all and how many in a row; waits for the device."""
        skipped, in_row = self._counters[3:].tolist()
        return int(skipped), int(in_row)

    def stats(self) -> StepStats:
        """Return the statistics since the last call and reset them; waits for the device."""
        loss, counted, norm, skipped, _ = self._counters.tolist()
        self._counters[:2] = 0
        return StepStats(loss / counted if counted else math.nan, norm, int(skipped))

    # -------------------------------------------------------------------------- on the device

    def _update(self, lr: Tensor, hr: Tensor) -> None:
        """Compute the step. The work is the same whatever the numbers are, as a graph needs."""
        for parameter in self._trained:
            parameter.grad = None
        with _deterministic_convolutions():
            loss = self._backward(lr, hr)
        gradients = self._gradients()
        norm = nn.utils.get_total_norm(gradients)
        is_skipped = (~norm.isfinite()).float()
        if self._config.clip is not None:
            shrink = (self._config.clip / (norm + 1e-6)).clamp(max=1)
            torch._foreach_mul_(gradients, shrink)  # pyright: ignore
        for optimizer in self._optimizers:
            # GradScaler's protocol: an optimizer that finds 1 here does not step
            optimizer.found_inf = is_skipped  # pyright: ignore
            optimizer.step()
        with torch.no_grad():
            self._update_average(1 - is_skipped)
            self._loss += torch.where(is_skipped == 0, loss, 0)
            self._counted += 1 - is_skipped
            self._norm.copy_(norm)
            self._skipped += is_skipped
            self._skipped_in_row.add_(1).mul_(is_skipped)

    def _gradients(self) -> list[Tensor]:
        """Return the gradients that the optimizers will take, which may be changed in place."""
        gradients: list[Tensor] = []
        for optimizer in self._optimizers:
            if isinstance(optimizer, FlatOptimizer):
                for gradient in optimizer.gather_gradients():
                    gradients += gradient.flatten().split(_NORM_BLOCK)
            else:
                parameters = (p for group in optimizer.param_groups for p in group["params"])
                gradients += [p.grad for p in parameters if p.grad is not None]
        return gradients

    def _backward(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Compute the gradients of the loss in micro-batches.

        Returns:
            The loss of this share, weighted so that its mean over the processes is the mean over
            the batch.
        """
        config = self._config
        size = config.micro_batch or len(lr)
        total = torch.zeros((), device=lr.device)
        for begin in range(0, len(lr), size):
            lr_part, hr_part = (as_floats(x[begin : begin + size], config.dtype) for x in (lr, hr))
            weight = len(lr_part) * self._world_size / self._batch_size
            with self._no_sync(is_last=begin + size >= len(lr)):
                with config.in_precision(lr.device):
                    sr = self._network(lr_part)
                loss = config.loss(sr.to(hr_part.dtype), hr_part) * weight
                # a loss that is not finite spoils all gradients, so that all processes skip
                (loss * (1 + 0 * loss.detach())).backward()
            total = total + loss.detach()
        return total

    def _no_sync(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Exchange gradients between processes only after the last micro-batch."""
        if is_last or self._world_size == 1:
            return nullcontext()
        return self._network.no_sync()  # pyright: ignore  # of DistributedDataParallel

    def _update_average(self, factor: Tensor) -> None:
        """Move the average towards the weights if the factor is 1, not if it is 0."""
        if not self._config.ema:  # the weights themselves, not what is left of them by rounding
            torch._foreach_copy_(self._averages, self._parameters)  # pyright: ignore
            return
        steps = torch._foreach_sub(self._parameters, self._averages)  # pyright: ignore
        torch._foreach_mul_(steps, (1 - self._config.ema) * factor.to(self._config.dtype))  # pyright: ignore
        torch._foreach_add_(self._averages, steps)  # pyright: ignore


def _deterministic_convolutions() -> AbstractContextManager[None]:
    """Make convolutions on a GPU give the same bits in every run; all else does anyway."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=True,
        allow_tf32=cudnn.allow_tf32,
    )


def build_optimizers(model: Network, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Return AdamW for all parameters, or Muon for some of them and AdamW for the rest.

    For the matrices of layers alone, Muon's update is scaled to the size of AdamW's, so that both
    follow one learning rate. For all tensors of two or more axes, it has the factor and the rates
    of Jordan's `MuonWithAuxAdam` (https://github.com/KellerJordan/Muon).

    Args:
        model: The network.
        config: The optimizer section of a configuration.
    """
    matrices: list[Tensor] = []
    optimizers: list[torch.optim.Optimizer] = []
    decay, rule = config.weight_decay, "match_rms_adamw"
    if config.name == "muon":
        matrices = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    elif config.name == "muon-aux-adam":
        rule = "original"
        named = model.named_parameters()
        matrices = [p for name, p in named if p.ndim >= 2 and "first" not in name]
    if matrices:
        optimizers.append(Muon(matrices, config.lr, weight_decay=decay, adjust_lr_fn=rule))
    with_muon = {id(matrix) for matrix in matrices}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in with_muon]
    with_adam = (others, config.lr, config.betas, config.eps, decay)
    if others[0].device.type == "cpu":
        optimizers.append(FlatAdamW(*with_adam))
    else:
        is_cuda = others[0].is_cuda
        optimizers.append(torch.optim.AdamW(*with_adam, fused=True, capturable=is_cuda))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group[RATE] = 1.0
    if config.adam_lr is not None:
        optimizers[-1].param_groups[0][RATE] = config.adam_lr / config.lr
    return optimizers
