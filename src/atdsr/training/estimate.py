"""What a run will cost here, from one block of its network timed on one crop."""

import itertools
import time
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from atdsr.base import memory, units
from atdsr.network.model import ATD, Block
from atdsr.training.ranks import describe
from atdsr.training.settings import Settings, Stage
from atdsr.training.steps import optimizers_of, step_of

_BUDGET = 8.0  # seconds for timing; the first run, which warms up, is one of them
_RUNS = 5
_TIMED = 64  # LR pixels, the largest side that is timed
_WORKING = 10  # times what a layer keeps; fitted to what the process takes on a CPU (docs/log.md)
_FRAMEWORK = 350 * 2**20  # bytes that PyTorch takes before any tensor (measured on Linux)


@dataclass(frozen=True)
class Estimate:
    """What a run will cost on this machine.

    Attributes:
        parameters: of the network.
        bytes: the most memory of a process at a time.
        step_seconds: of a step of the first stage.
        seconds: of the whole run, without validation.
        crops: that a device takes at once.
        patch: their side in LR pixels, at first.
        timed: side of the crop that was timed.
        blocks: of the network, of which one was timed.
        iterations: steps in all.
        ranks: processes that share a batch.
        device: what was timed.
        free: bytes of memory that are free there.
    """

    parameters: int
    bytes: int
    step_seconds: float
    seconds: float
    crops: int
    patch: int
    timed: int
    blocks: int
    iterations: int
    ranks: int
    device: str
    free: int

    def lines(self) -> list[str]:
        """Sentences for the user."""
        side, timed = (f"{pixels}x{pixels}" for pixels in (self.patch, self.timed))
        shared = f" by each of {self.ranks} processes" if self.ranks > 1 else ""
        said = [
            f"network: {self.parameters:,} parameters.",
            f"memory: about {units.byte_size(self.bytes)} for {self.crops} crops of {side} at once"
            f"{shared}; {units.byte_size(self.free)} are free.",
            f"time: about {units.duration(self.seconds)} here, {self.iterations:,} steps of "
            f"{self.step_seconds:.3g} s, without validation.",
            f"Both are extrapolated: one block of {self.blocks} was timed on one crop of {timed} "
            f"({self.device}).",
        ]
        if self.bytes > self.free:
            said.append(
                "That is more memory than is free: set data.micro_batch or "
                "activation_checkpointing."
            )
        return said


def estimate(settings: Settings, device: torch.device, ranks: int = 1) -> Estimate:
    """Estimate memory and time of a run; needs neither data nor weights.

    Every part of a block takes time and memory in proportion to its tokens, so one block on one
    crop tells the rest but for the two ends of the network, which are small.

    Args:
        settings: the run.
        device: where it is to be.
        ranks: processes that will share a batch.
    """
    free = _free(device)  # before what is made here takes some of it
    model = ATD(settings.network).to(device, step_of(settings).dtype)
    timed = min(settings.data.patch, _TIMED)
    tokens = _tokens(settings, timed)
    activations = _activation_bytes(model, settings, tokens)
    seconds = _timed(model, settings, tokens)
    costs = []
    begins = [0, *(stage.after for stage in settings.stages), settings.iterations]
    for begin, end in itertools.pairwise(begins):
        stage = settings.stage(begin + 1)
        share = _largest_share(stage, ranks) * _tokens(settings, stage.patch) / tokens
        costs.append((max(0, min(end, settings.iterations) - begin), share * seconds))
    largest = max(
        _at_once(settings, stage, ranks) * _tokens(settings, stage.patch)
        for stage in (settings.stage(1), *settings.stages)
    )
    return Estimate(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=_state_bytes(model, settings) + round(activations * largest / tokens) + _FRAMEWORK,
        step_seconds=costs[0][1],
        seconds=sum(steps * cost for steps, cost in costs),
        crops=_at_once(settings, settings.stage(1), ranks),
        patch=settings.data.patch,
        timed=timed,
        blocks=len(model.blocks),
        iterations=settings.iterations,
        ranks=ranks,
        device=describe(device),
        free=free,
    )


def _largest_share(stage: Stage, ranks: int) -> int:
    """Crops of a batch that a process takes, where some take one more than others."""
    return -(-stage.batch // ranks)


def _at_once(settings: Settings, stage: Stage, ranks: int) -> int:
    """Crops that a device takes at a time."""
    share = _largest_share(stage, ranks)
    return min(settings.data.micro_batch or share, share)


def _tokens(settings: Settings, patch: int) -> int:
    """Of a crop, padded to whole windows."""
    window = settings.network.window
    return (-(-patch // window) * window) ** 2


def _crop(model: ATD, tokens: int) -> Tensor:
    """What a block gets of one crop: `1 h w c`."""
    side, weight = round(tokens**0.5), model.conv_first.weight
    shape = (1, side, side, model.config.width)
    return torch.randn(shape, dtype=weight.dtype, device=weight.device).requires_grad_()


def _timed(model: ATD, settings: Settings, tokens: int) -> float:
    """Seconds of all blocks, forward and backward, on one crop."""
    x, device = _crop(model, tokens), model.conv_first.weight.device
    times: list[float] = []
    since = time.perf_counter()
    while not times or (len(times) < _RUNS and time.perf_counter() - since < _BUDGET):
        start = time.perf_counter()
        with step_of(settings).autocast(device):
            out = model.blocks[0](x, model.position_index, model.penalties)
        out.float().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return len(model.blocks) * min(times)  # what else runs here only adds to it


def _activation_bytes(model: ATD, settings: Settings, tokens: int) -> int:
    """What autograd keeps of the network for one crop, and what its backward pass works with."""
    block, x = cast(Block, model.blocks[0]), _crop(model, tokens)
    block.activation_checkpointing = False
    kept = {_storage(parameter): 0 for parameter in block.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(_storage(tensor), tensor.untyped_storage().nbytes())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), step_of(settings).autocast(x.device):
        out = block(x, model.position_index, model.penalties)  # noqa: F841  # keeps what is counted
    block.activation_checkpointing = settings.activation_checkpointing
    whole, depth = sum(kept.values()), settings.network.depths[0]
    working = _WORKING * whole // depth
    if settings.activation_checkpointing:
        return len(model.layers) * x.nbytes + working
    return len(model.blocks) * whole + working


def _storage(tensor: Tensor) -> int:
    """What views of one piece of memory have in common."""
    return tensor.untyped_storage().data_ptr()


def _state_bytes(model: ATD, settings: Settings) -> int:
    """Weights, average, gradients and what the optimizers keep; and a state while it is saved."""
    sizes = [parameter.nbytes for parameter in model.parameters()]
    matrices = (
        group["params"]
        for optimizer in optimizers_of(settings, model)
        if isinstance(optimizer, torch.optim.Muon)
        for group in optimizer.param_groups
    )
    kept = 2 * sum(sizes) - sum(p.nbytes for group in matrices for p in group)
    saved = (2 * sum(sizes) + kept) if model.conv_first.weight.device.type == "cpu" else 0
    return 3 * sum(sizes) + kept + saved


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory.available_bytes()
