"""What settings mean for a step."""

from functools import partial

import torch

from atdsr.network.model import ATD
from atdsr.training.losses import objective
from atdsr.training.settings import Settings
from atdsr.training.stepper import How, optimizers


def step_of(settings: Settings) -> How:
    """How a step of the run is taken."""
    return How(
        partial(objective, loss=settings.loss),
        ema=settings.ema,
        clip=settings.optim.clip,
        precision=settings.precision,
        micro_batch=settings.data.micro_batch,
        compile=settings.compile,
        cuda_graph=settings.cuda_graph,
    )


def optimizers_of(settings: Settings, model: ATD) -> list[torch.optim.Optimizer]:
    """The optimizers of the run, for the parameters of a network."""
    optim = settings.optim
    return optimizers(
        model, optim.name, lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay
    )
