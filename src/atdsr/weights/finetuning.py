"""Fine-tuning: initialise a network from the parameters of another one."""

import itertools
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from atdsr.network.unet import Network
from atdsr.weights.state_dict import official_name


def initialise_from(model: Network, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copy every parameter whose name and shape match, as fine-tuning across scales does.

    The shape of a convolution before a pixel shuffle depends on the scale. It is interpolated: the
    kernels of the new sub-pixels lie on straight lines through those of the old ones, so that a
    network for x3 or x4 starts from what x2 has learned there, too.

    Args:
        model: The network to initialise, in place.
        state: Parameters of the other network, under our names.

    Returns:
        The official names of the interpolated parameters, and of those that keep their fresh
        values.
    """
    own = model.state_dict()
    copied = {
        name: tensor
        for name, tensor in state.items()
        if name in own and own[name].shape == tensor.shape
    }
    interpolated = {
        name: tensor
        for name, factor in _before_shuffles(model)
        if name in state
        and name not in copied
        and (tensor := _interpolate_subpixels(state[name], own[name], factor)) is not None
    }
    copied |= interpolated
    model.load_state_dict(copied, strict=False)
    fresh = [official_name(name) for name in own if name not in copied]
    return [official_name(name) for name in interpolated], fresh


def _before_shuffles(model: Network) -> Iterator[tuple[str, int]]:
    """Yield the parameters of convolutions before a pixel shuffle, and the shuffle's factor."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            for (name, conv), (_, shuffle) in itertools.pairwise(module.named_children()):
                if isinstance(shuffle, nn.PixelShuffle):
                    for parameter, _ in conv.named_parameters():
                        yield f"{path}.{name}.{parameter}", shuffle.upscale_factor


def _interpolate_subpixels(old: Tensor, new: Tensor, factor: int) -> Tensor | None:
    """Interpolate `c*s*s ...`, made for a shuffle by s, to `c*factor*factor ...`.

    Along both sides of a pixel, the values are linear between the centres of sub-pixels, and
    extrapolated beyond them.

    Returns:
        The interpolated tensor, or None if `old` has no such shape.
    """
    channels = len(new) // factor**2
    old_factor = math.isqrt(len(old) // channels)
    if old_factor < 2 or len(old) != channels * old_factor**2 or old.shape[1:] != new.shape[1:]:
        return None
    # new centres in units of old sub-pixels
    centres = ((torch.arange(factor) + 0.5) / factor * old_factor - 0.5).to(old)
    left = centres.floor().clamp(0, old_factor - 2)
    index = torch.arange(old_factor).to(old)
    share = (centres - left)[:, None]
    mix = (index == left[:, None]) * (1 - share) + (index == left[:, None] + 1) * share
    subpixels = old.reshape(channels, old_factor, old_factor, -1)
    return torch.einsum("ia, jb, cabk -> cijk", mix, mix, subpixels).reshape(new.shape)
