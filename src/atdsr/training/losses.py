"""The loss functions of training, which compare the enlarged crops with HR."""

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.training.config import LossConfig


def training_loss(sr: Tensor, hr: Tensor, config: LossConfig) -> Tensor:
    """Return the loss of a batch, a mean over all its samples.

    Args:
        sr: Output of the network, `b 3 h w`, not clamped.
        hr: HR crops of the same shape, in [0, 1].
        config: The terms of the loss.
    """
    loss = F.l1_loss(sr, hr) if config.kind == "l1" else charbonnier(sr, hr, config.eps)
    return loss + config.fft * spectral_l1(sr, hr) if config.fft else loss


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
