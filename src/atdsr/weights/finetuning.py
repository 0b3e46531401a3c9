"""Fine-tuning: parameters of one network as the beginning of another."""

import itertools
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from atdsr.network.model import ATD
from atdsr.weights.key_names import official_name


def initialise(model: ATD, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Take over every parameter whose name and shape match, as fine-tuning across scales does.

    A convolution before a pixel shuffle, whose shape follows from the scale, is interpolated: the
    kernels of the new sub-pixels lie on straight lines through those of the old ones. So a network
    for x3 or x4 begins with what x2 has learned also there.

    Returns:
        The official names of the parameters that are interpolated, and of those that keep their
        fresh values.
    """
    own = model.state_dict()
    taken = {
        name: tensor
        for name, tensor in state.items()
        if name in own and own[name].shape == tensor.shape
    }
    interpolated = {
        name: tensor
        for name, factor in _before_shuffles(model)
        if name in state
        and name not in taken
        and (tensor := _at_subpixels(state[name], own[name], factor)) is not None
    }
    taken |= interpolated
    model.load_state_dict(taken, strict=False)
    fresh = [official_name(name) for name in own if name not in taken]
    return [official_name(name) for name in interpolated], fresh


def _before_shuffles(model: ATD) -> Iterator[tuple[str, int]]:
    """Parameters of convolutions that a pixel shuffle follows, and the shuffle's factor."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            for (name, before), (_, shuffle) in itertools.pairwise(module.named_children()):
                if isinstance(shuffle, nn.PixelShuffle):
                    for parameter, _ in before.named_parameters():
                        yield f"{path}.{name}.{parameter}", shuffle.upscale_factor


def _at_subpixels(old: Tensor, new: Tensor, factor: int) -> Tensor | None:
    """`c*s*s ...` for another factor than s, as `c*factor*factor ...`; None if it is no such thing.

    Along both sides of a pixel: linear between the centres of sub-pixels, and beyond them.
    """
    channels = len(new) // factor**2
    before = math.isqrt(len(old) // channels)
    if before < 2 or len(old) != channels * before**2 or old.shape[1:] != new.shape[1:]:
        return None
    places = ((torch.arange(factor) + 0.5) / factor * before - 0.5).to(old)
    left = places.floor().clamp(0, before - 2)
    at = torch.arange(before).to(old)
    share = places - left
    mix = (at == left[:, None]) * (1 - share[:, None]) + (at == left[:, None] + 1) * share[:, None]
    cells = old.reshape(channels, before, before, -1)
    return torch.einsum("ia, jb, cabk -> cijk", mix, mix, cells).reshape(new.shape)
