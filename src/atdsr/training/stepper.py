"""A step of training; the host never waits for what the device finds."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu.graphs import Graph
from atdsr.network.model import ATD
from atdsr.training.muon import Muon

Precision = Literal["fp32", "bf16", "fp64"]
Objective = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class How:
    """How a step is taken.

    Attributes:
        objective: the network's output and HR, `b 3 h w` of floats -> what is minimised, a mean
            over everything in it.
        ema: decay of the moving average of the weights.
        clip: the largest norm of all gradients together; longer ones are shortened to it.
        precision: of matrix products: "fp32", "bf16" by autocast, or "fp64" throughout.
        micro_batch: the most crops at once; gradients of several runs are added up.
        compile: run the network through `torch.compile`.
        cuda_graph: record the step where it runs on a GPU alone.
    """

    objective: Objective
    ema: float = 0.999
    clip: float | None = None
    precision: Precision = "fp32"
    micro_batch: int | None = None
    compile: bool = False
    cuda_graph: bool = True

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and crops; bf16 is a matter of `autocast`."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def autocast(self, device: torch.device) -> torch.autocast:
        """Where matrix products take the precision of the run."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


@dataclass(frozen=True)
class Tally:
    """What steps found.

    Attributes:
        loss: mean over the steps since the last tally that changed something; NaN without one.
        gradient: norm of all gradients together in the last step, before clipping.
        skipped: steps so far that changed nothing, since loss or gradient was no finite number.
    """

    loss: float
    gradient: float
    skipped: int


class Stepper:
    """Changes a network, the moving average of its weights and its optimizers by one step each.

    Args:
        model: the network.
        average: the moving average.
        optimizers: of the network's parameters, see `optimizers`.
        how: to do it.
        ranks: how many processes share a batch.
        tell: called with a sentence where a step cannot be recorded, or GPU kernels are unchecked.
    """

    def __init__(
        self,
        model: ATD,
        average: ATD,
        optimizers: list[torch.optim.Optimizer],
        how: How,
        ranks: int = 1,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._model, self._optimizers = model, optimizers
        self._how, self._ranks = how, ranks
        self._averages, self._values = list(average.parameters()), list(model.parameters())
        self._network = self._wrapped()
        self._device = self._values[0].device
        # what is counted stays on the device until somebody asks
        self._counters = torch.zeros(5, dtype=how.dtype, device=self._device)
        self._loss, self._good, self._norm, self._skipped, self._in_row = self._counters.unbind()
        self._whole = 0
        self._step: Callable[[Tensor, Tensor], object] = self._update
        if (notice := gpu.notice_once(self._device)) is not None:
            tell(notice)
        on_gpu = self._device.type == "cuda"
        if on_gpu and how.cuda_graph and ranks == 1 and gpu.status().cuda_graphs:
            self._record(tell)

    def _wrapped(self) -> nn.Module:
        """The network as it is called: over all processes, compiled."""
        network: nn.Module = self._model
        if self._ranks > 1:
            # the buffers are constants, which need not go round before every step
            constants = [name for name, _ in self._model.named_buffers()]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, constants)
            device = next(network.parameters()).device
            network = DistributedDataParallel(
                network,
                device_ids=[device] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,
            )
        return torch.compile(network) if self._how.compile else network  # pyright: ignore

    def _record(self, tell: Callable[[str], None]) -> None:
        """Let steps be one CUDA graph, which reads the learning rate from the device."""

        def failed(why: str) -> None:
            tell(
                f"a step could not be recorded as a CUDA graph ({why}); it goes on kernel by "
                "kernel, which may be slower."
            )

        self._step = Graph(self._update, failed)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = torch.zeros((), device=self._device)

    def restore(self, skipped: int) -> None:
        """Go on counting steps that changed nothing."""
        self._skipped.fill_(skipped)

    def __call__(self, lr: Tensor, hr: Tensor, whole: int, rate: float) -> None:
        """A step on this process's share of a batch.

        A step whose loss or gradient is no finite number changes nothing and is counted.

        Args:
            lr: LR crops `b 3 h w`, uint8, on the device.
            hr: HR crops, likewise.
            whole: crops of the batch over all processes.
            rate: the learning rate.
        """
        self._whole = whole
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        self._step(lr, hr)

    def skips(self) -> tuple[int, int]:
        """Steps that changed nothing: in all, and how many were the last; waits for the device."""
        skipped, in_row = self._counters[3:].tolist()
        return int(skipped), int(in_row)

    def tally(self) -> Tally:
        """What the steps since the last tally found; waits for the device."""
        loss, good, norm, skipped, _ = self._counters.tolist()
        self._counters[:2] = 0
        return Tally(loss / good if good else math.nan, norm, int(skipped))

    # -------------------------------------------------------------------------- on the device

    def _update(self, lr: Tensor, hr: Tensor) -> None:
        """The step itself, the same work whatever the numbers are."""
        self._model.zero_grad()
        with _same_bits():
            loss = self._backward(lr, hr)
        gradients = [p.grad for p in self._values if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        bad = (~norm.isfinite()).float()
        if self._how.clip is not None:
            nn.utils.clip_grads_with_norm_(self._values, self._how.clip, norm)
        for optimizer in self._optimizers:
            optimizer.found_inf = bad  # pyright: ignore  # as a GradScaler has it: 1 is no step
            optimizer.step()
        with torch.no_grad():
            self._move_average(1 - bad)
            self._loss += torch.where(bad == 0, loss, 0)
            self._good += 1 - bad
            self._norm.copy_(norm)
            self._skipped += bad
            self._in_row.add_(1).mul_(bad)

    def _backward(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Gradients of the loss, in parts that fit the device.

        Returns:
            The loss over this share, weighed so that its mean over the processes is the mean
            over the batch.
        """
        how = self._how
        size = how.micro_batch or len(lr)
        total = torch.zeros((), device=lr.device)
        for begin in range(0, len(lr), size):
            small, large = (x[begin : begin + size].to(how.dtype) / 255 for x in (lr, hr))
            weight = len(small) * self._ranks / self._whole
            with self._gradients_stay_here(unless=begin + size >= len(lr)):
                with how.autocast(lr.device):
                    sr = self._network(small)
                loss = how.objective(sr.to(large.dtype), large) * weight
                # one that is no number spoils all gradients, so that all processes skip the step
                (loss * (1 + 0 * loss.detach())).backward()
            total = total + loss.detach()
        return total

    def _gradients_stay_here(self, unless: bool) -> AbstractContextManager[None]:
        """Where parts of a batch follow, only the last one's gradients go round."""
        if unless or self._ranks == 1:
            return nullcontext()
        return self._network.no_sync()  # pyright: ignore  # of DistributedDataParallel

    def _move_average(self, moves: Tensor) -> None:
        """Towards the weights, if this is 1 and not 0."""
        ways = torch._foreach_sub(self._values, self._averages)  # pyright: ignore
        torch._foreach_mul_(ways, (1 - self._how.ema) * moves.to(self._how.dtype))  # pyright: ignore
        torch._foreach_add_(self._averages, ways)  # pyright: ignore


def _same_bits() -> AbstractContextManager[None]:
    """Where convolutions on a GPU give the same bits in every run; all else does anyway."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=True,
        allow_tf32=cudnn.allow_tf32,
    )


def optimizers(
    model: ATD,
    name: Literal["adamw", "muon"],
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.9),
    weight_decay: float = 0.0,
) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the matrices of the layers and AdamW for the rest.

    Muon's update is scaled to the size of AdamW's, so both follow one learning rate.

    Args:
        model: the network.
        name: "adamw" or "muon".
        lr: the learning rate of both.
        betas: of AdamW.
        weight_decay: of both.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices: list[Tensor] = []
    made: list[torch.optim.Optimizer] = []
    if name == "muon":
        matrices = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
        made.append(Muon(matrices, lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    known = {id(matrix) for matrix in matrices}
    rest = [p for p in trained if id(p) not in known]
    made.append(
        torch.optim.AdamW(
            rest,
            lr,
            betas=betas,
            weight_decay=weight_decay,
            fused=True,
            capturable=rest[0].is_cuda,
        )
    )
    return made
