"""The loss functions of training, which compare the enlarged crops with HR."""

import importlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.base.errors import AtdsrError
from atdsr.training.config import LossConfig

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes the output of the network, `b 3 h w`, not clamped, and HR crops of the same shape in
[0, 1]; returns the loss, a mean over all samples."""


class LossError(AtdsrError):
    """A loss function of the user's that cannot be used."""


def loss_function(config: LossConfig) -> Loss:
    """Return the loss that a configuration stands for.

    If `config.kind` is `package.module:function`, that module is imported, which runs its code;
    `recipes.load` lets no recipe name one unless `allow_code` is set.

    Args:
        config: The terms of the loss.

    Raises:
        LossError: The function cannot be imported.
    """
    own = _import(config.kind) if config.is_code else None

    def loss(sr: Tensor, hr: Tensor) -> Tensor:
        if own is not None:
            value = _checked(own(sr, hr), config.kind)
        elif config.kind == "l1":
            value = F.l1_loss(sr, hr)
        else:
            value = charbonnier(sr, hr, config.eps)
        return value + config.fft * spectral_l1(sr, hr) if config.fft else value

    return loss


def _import(path: str) -> Callable[[Tensor, Tensor], object]:
    """Import a function from where `package.module:function` says.

    Raises:
        LossError: It cannot be imported, or is no function.
    """
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise LossError(
            f"loss.kind is {path}, which cannot be imported: {type(error).__name__}: {error}. "
            "The module must be installed, or be in the current folder or in PYTHONPATH."
        ) from error
    if not callable(function):
        raise LossError(f"loss.kind is {path}, which is not a function; name one.")
    return function


def _checked(loss: object, path: str) -> Tensor:
    """Return what a function of the user's has returned, if it is a loss.

    Raises:
        LossError: It is none.
    """
    if isinstance(loss, Tensor) and loss.ndim == 0 and loss.is_floating_point():
        return loss
    kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss)
    raise LossError(
        f"loss.kind is {path}, which returned {kind}; it must return one number as a tensor of "
        "floats, such as difference.mean()."
    )


def charbonnier(sr: Tensor, hr: Tensor, eps: float) -> Tensor:
    """Return the mean of sqrt(d^2 + eps^2), an L1 that is smooth at 0.

    Source:
        Lai et al., "Deep Laplacian Pyramid Networks", equation 2, https://arxiv.org/abs/1704.03915
    """
    return ((sr - hr).square() + eps**2).sqrt().mean()


def spectral_l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute difference of real and imaginary parts of the 2-D Fourier transform.

    The transform is not normalised, as in the public training code of SAFMN and MIMO-UNet, so that
    their weight of 0.05 or 0.1 means the same here.

    Source:
        Cho et al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", equation 6,
        https://arxiv.org/abs/2108.05054
    """
    difference = torch.fft.fft2(sr) - torch.fft.fft2(hr)
    return torch.view_as_real(difference).abs().mean()
