"""What training minimises, as functions of the enlarged crops and HR."""

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.training.settings import Loss


def objective(sr: Tensor, hr: Tensor, loss: Loss) -> Tensor:
    """The loss of a batch, a mean over everything in it.

    Args:
        sr: the network's output, `b 3 h w`, not clamped.
        hr: likewise, in [0, 1].
        loss: what to take.
    """
    total = F.l1_loss(sr, hr) if loss.kind == "l1" else charbonnier(sr, hr, loss.eps)
    return total + loss.fft * spectral_l1(sr, hr) if loss.fft else total


def charbonnier(sr: Tensor, hr: Tensor, eps: float) -> Tensor:
    """Mean of sqrt(d^2 + eps^2), an L1 that is smooth at 0.

    Source:
        Lai et al., "Deep Laplacian Pyramid Networks", equation 2, https://arxiv.org/abs/1704.03915
    """
    return ((sr - hr).square() + eps**2).sqrt().mean()


def spectral_l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference of the real and imaginary parts of the 2-D Fourier transforms.

    Without normalisation, as in public training code of SAFMN and MIMO-UNet, so that their weight
    of 0.05 or 0.1 means the same here.

    Source:
        Cho et al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", equation 6,
        https://arxiv.org/abs/2108.05054
    """
    difference = torch.fft.fft2(sr) - torch.fft.fft2(hr)
    return torch.view_as_real(difference).abs().mean()
