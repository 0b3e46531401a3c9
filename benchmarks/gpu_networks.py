"""The two networks to compare on a GPU: this project's, and spandrel's or a stand-in."""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module, metadata
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atdsr.base.reporter import Reporter
from atdsr.network import kernels
from atdsr.network.config import ATDConfig
from atdsr.network.model import ATD
from atdsr.training.config import OptimizerConfig, Precision
from atdsr.training.step import StepConfig, TrainStep, build_optimizers
from atdsr.weights import Weights, official_state_dict

RATE, DECAY = 2e-4, 0.999

Batch = tuple[Tensor, Tensor]
"""LR and HR crops, uint8 `b 3 h w`."""


def fresh(config: ATDConfig, device: torch.device) -> ATD:
    """A network with fresh parameters, the same ones every time."""
    torch.manual_seed(0)
    return ATD(config).to(device)


def noise(config: ATDConfig, crops: int, patch: int, device: torch.device) -> Batch:
    """Crops of noise, since a step takes as long whatever they show."""
    sides = (patch, patch * config.scale)
    lr, hr = (
        torch.randint(0, 256, (crops, 3, side, side), dtype=torch.uint8, device=device)
        for side in sides
    )
    return lr, hr


class Peer:
    """Spandrel's network with the same parameters, run as its users run it.

    Where spandrel cannot be imported, this project's network without its kernels stands in for it.

    Attributes:
        network: `b 3 h w` -> `b 3 h*scale w*scale`.
        name: what it is, for tables.
    """

    def __init__(self, network: ATD) -> None:
        spandrel = _spandrel()
        self._stands_in = spandrel is None
        self.network: nn.Module
        if spandrel is None:
            self.name = "stand-in (this network, plain)"
            self.network = copy.deepcopy(network)
            return
        self.name = f"spandrel {metadata.version('spandrel')}"
        weights = Weights(network.config, {k: v.cpu() for k, v in network.state_dict().items()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's code
            loader = spandrel.ModelLoader("cpu")
            loaded = loader.load_from_state_dict(official_state_dict(weights))
        self.network = loaded.model.float().to(next(network.parameters()).device)

    @contextmanager
    def as_it_runs(self) -> Iterator[None]:
        """Where its network is to be called."""
        with kernels.plain() if self._stands_in else nullcontext():
            yield

    def __call__(self, image: Tensor) -> Tensor:
        """Enlarge."""
        with self.as_it_runs():
            return self.network(image)

    def trainer(self) -> Callable[[Batch], None]:
        """A step in bf16 autocast as one would write it in an afternoon."""
        network = self.network.train()
        average = [p.detach().clone() for p in network.parameters()]
        optimizer = torch.optim.AdamW(network.parameters(), RATE, (0.9, 0.9), weight_decay=0)

        def step(batch: Batch) -> None:
            lr, hr = (side.float() / 255 for side in batch)
            with self.as_it_runs():
                with torch.autocast(lr.device.type, torch.bfloat16):
                    sr = network(lr)
                loss = F.l1_loss(sr.float(), hr)
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            with torch.no_grad():
                for mean, value in zip(average, network.parameters(), strict=True):
                    mean.mul_(DECAY).add_(value, alpha=1 - DECAY)

        return step


class Trainer:
    """This project's step, as `atdsr train` takes it.

    Attributes:
        model: the network.
    """

    def __init__(
        self,
        config: ATDConfig,
        device: torch.device,
        precision: Precision = "bf16",
        *,
        cuda_graph: bool = True,
    ) -> None:
        self.model = fresh(config, device)
        average = copy.deepcopy(self.model).requires_grad_(False)
        how = StepConfig(F.l1_loss, ema=DECAY, precision=precision, cuda_graph=cuda_graph)
        made = build_optimizers(self.model, OptimizerConfig(lr=RATE))
        reporter = Reporter(notice=print)
        self._stepper = TrainStep(self.model, average, made, how, reporter=reporter)

    def __call__(self, batch: Batch) -> None:
        """A step."""
        self._stepper(*batch, len(batch[0]), RATE)

    def loss(self) -> float:
        """Mean since the last call."""
        return self._stepper.stats().loss


def _spandrel() -> Any:
    try:
        try:  # which knows how to live with a torchvision for another PyTorch
            from atdsr.evaluation.other_networks import import_spandrel
        except ImportError:  # of what reads pictures
            return import_module("spandrel")
        return import_spandrel()
    except Exception as error:  # any, for another package's import may fail in any way
        print(f"spandrel cannot be imported: {error}")
        return None
