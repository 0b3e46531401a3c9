"""Estimates the cost of a run on this machine, from a part of the network timed on one crop."""

import itertools
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from atdsr.base import memory, units
from atdsr.network.backend import select_backend
from atdsr.network.model import ATD, Block, Layer
from atdsr.network.unet import Network, build
from atdsr.training.config import StageConfig, TrainConfig
from atdsr.training.distributed import describe
from atdsr.training.step import StepConfig, build_optimizers

_TIME_BUDGET = 8.0  # seconds for timing; the first run, which warms up, is one of them
_RUNS = 5
_MAX_TIMED_PATCH = 64  # LR pixels
# memory that the backward pass works with, in units of what a layer saves for it; fitted to what
# the process takes on a CPU (docs/log.md)
_WORKING = 10
_FRAMEWORK_BYTES = 350 * 2**20  # that PyTorch takes before any tensor (measured on Linux)


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a run on this machine.

    Attributes:
        parameters: Number of the network's parameters.
        bytes: Peak memory of a process.
        step_seconds: Seconds of a step of the first stage.
        seconds: Seconds of the whole run, without validation.
        crops: Crops that a device takes at once.
        patch: Side of these crops in LR pixels, at the start.
        timed: Side of the crop that was timed.
        blocks: Blocks of the network, one of which was timed; 1 if the whole network was.
        iterations: Steps in all.
        ranks: Processes that share a batch.
        device: Description of the device that was timed.
        free: Free memory of that device in bytes.
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
        """Return sentences for the user."""
        patch, timed = (f"{side}x{side}" for side in (self.patch, self.timed))
        part = f"one block of {self.blocks}" if self.blocks > 1 else "the network"
        shared = f" by each of {self.ranks} processes" if self.ranks > 1 else ""
        lines = [
            f"network: {self.parameters:,} parameters.",
            f"memory: about {units.byte_size(self.bytes)} for "
            f"{units.counted(self.crops, 'crop')} of {patch} at once{shared}; "
            f"{units.byte_size(self.free)} are free.",
            f"time: about {units.duration(self.seconds)} here, {self.iterations:,} steps of "
            f"{self.step_seconds:.3g} s, without validation.",
            f"Both are extrapolated: {part} was timed on one crop of {timed} ({self.device}).",
        ]
        if self.bytes > self.free:
            lines.append(
                "That is more memory than is free: set data.micro_batch or "
                "activation_checkpointing."
            )
        return lines


def estimate(config: TrainConfig, device: torch.device, ranks: int = 1) -> Estimate:
    """Estimate memory and time of a run; needs neither data nor weights.

    Every part of a block takes time and memory in proportion to its tokens, so one block on one
    crop tells the rest but for the two ends of the network, which are small. The blocks of an ATD-U
    differ, and all of them are timed.

    Args:
        config: Configuration of the run.
        device: Device of the run.
        ranks: Number of processes that will share a batch.
    """
    free = _free_bytes(device)  # before the model below takes some of it
    model = build(config.network).to(device, StepConfig.from_train_config(config).dtype)
    timed = min(config.data.patch, _MAX_TIMED_PATCH)
    tokens = _tokens(config, timed)
    part = _part(model, tokens)
    activations = _activation_bytes(part, config)
    seconds = _seconds(part, config)
    costs: list[tuple[int, float]] = []  # number of steps, seconds of each
    starts = [0, *(stage.after for stage in config.stages), config.iterations]
    for start, end in itertools.pairwise(starts):
        stage = config.stage(start + 1)
        crops = _largest_shard(stage, ranks) * _tokens(config, stage.patch) / tokens
        costs.append((max(0, min(end, config.iterations) - start), crops * seconds))
    most_tokens = max(
        _crops_at_once(config, stage, ranks) * _tokens(config, stage.patch)
        for stage in (config.stage(1), *config.stages)
    )
    return Estimate(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=_state_bytes(model, config)
        + round(activations * most_tokens / tokens)
        + _FRAMEWORK_BYTES,
        step_seconds=costs[0][1],
        seconds=sum(steps * cost for steps, cost in costs),
        crops=_crops_at_once(config, config.stage(1), ranks),
        patch=config.data.patch,
        timed=timed,
        blocks=part.count,
        iterations=config.iterations,
        ranks=ranks,
        device=describe(device),
        free=free,
    )


def _largest_shard(stage: StageConfig, ranks: int) -> int:
    """Return how many crops of a batch a process takes, if some take one more than others."""
    return -(-stage.batch // ranks)


def _crops_at_once(config: TrainConfig, stage: StageConfig, ranks: int) -> int:
    """Return how many crops a device takes at a time."""
    shard = _largest_shard(stage, ranks)
    return min(config.data.micro_batch or shard, shard)


def _tokens(config: TrainConfig, patch: int) -> int:
    """Return the number of tokens of a crop, padded to whole windows."""
    window = config.network.window
    return (-(-patch // window) * window) ** 2


@dataclass(frozen=True)
class _Part:
    """A part of a network that is run on one crop, and tells the rest.

    Attributes:
        module: The part.
        input: What it takes.
        count: How many parts like it make the network.
    """

    module: nn.Module
    input: Tensor
    count: int

    @property
    def layers(self) -> list[Layer]:
        """All layers of the part."""
        return [module for module in self.module.modules() if isinstance(module, Layer)]

    def __call__(self, step_config: StepConfig) -> Tensor:
        """Run the part in the precision of a step."""
        with step_config.in_precision(self.input.device):
            if isinstance(self.module, Block):  # in a network, it is given what computes its layers
                return self.module(self.input, select_backend(self.input, self.layers))
            return self.module(self.input)


def _part(model: Network, tokens: int) -> _Part:
    side, weight = round(tokens**0.5), model.conv_first.weight
    if isinstance(model, ATD):
        module, shape, count = (
            model.blocks[0],
            (1, side, side, model.config.width),
            len(model.blocks),
        )
    else:
        module, shape, count = model, (1, model.config.channels, side, side), 1
    crop = torch.randn(shape, dtype=weight.dtype, device=weight.device).requires_grad_()
    return _Part(module, crop, count)


def _seconds(part: _Part, config: TrainConfig) -> float:
    """Return the seconds of the whole network, forward and backward, on one crop."""
    device = part.input.device
    step_config = StepConfig.from_train_config(config)
    times: list[float] = []
    begin = time.perf_counter()
    while not times or (len(times) < _RUNS and time.perf_counter() - begin < _TIME_BUDGET):
        start = time.perf_counter()
        part(step_config).float().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return part.count * min(times)  # other processes only add to it


def _activation_bytes(part: _Part, config: TrainConfig) -> int:
    """Return the bytes that autograd saves of the network for one crop, and works with."""
    sizes = {_storage(parameter): 0 for parameter in part.module.parameters()}
    entering: list[int] = []  # bytes of the tokens of each layer

    def count(tensor: Tensor) -> Tensor:
        sizes.setdefault(_storage(tensor), tensor.untyped_storage().nbytes())
        return tensor

    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        entering.append(given[0].nbytes)

    hooks = [layer.register_forward_pre_hook(note) for layer in part.layers]
    with saved_tensors_hooks(count, lambda tensor: tensor):
        out = part(StepConfig.from_train_config(config))  # noqa: F841  # keeps what is counted
    for hook in hooks:
        hook.remove()
    saved = sum(sizes.values())
    # that of the largest layer, what all of them save being in proportion to their tokens
    working = _WORKING * saved * max(entering) // sum(entering)
    if config.activation_checkpointing:
        return part.count * sum(entering) + working
    return part.count * saved + working


def _storage(tensor: Tensor) -> int:
    """Return what all views of one piece of memory have in common."""
    return tensor.untyped_storage().data_ptr()


def _state_bytes(model: Network, config: TrainConfig) -> int:
    """Return the bytes of weights, average, gradients, optimizers, and a checkpoint on its way."""
    weights = sum(parameter.nbytes for parameter in model.parameters())
    with_muon = sum(
        parameter.nbytes
        for optimizer in build_optimizers(model, config.optim)
        if isinstance(optimizer, torch.optim.Muon)
        for group in optimizer.param_groups
        for parameter in group["params"]
    )
    optimizers = 2 * weights - with_muon  # Muon keeps one tensor per parameter, AdamW two
    is_on_cpu = model.conv_first.weight.device.type == "cpu"
    checkpoint = 2 * weights + optimizers if is_on_cpu else 0
    return 3 * weights + optimizers + checkpoint


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory.available_bytes()
