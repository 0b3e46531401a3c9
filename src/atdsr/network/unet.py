"""ATD-U: layers of ATD v2 in a U of four levels, for pictures of the same size in and out.

Zhang et al., TPAMI 2026, arXiv 2603.02581. It removes noise and traces of JPEG. Equation numbers
are those of `docs/model.md`. No map or convolution has a bias, and blocks are layers alone.
"""

import torch
from torch import Tensor, nn

from atdsr.network.backend import Backend, select_backend
from atdsr.network.config import U_LEVELS, ATDConfig, ATDUConfig, NetworkConfig
from atdsr.network.model import ATD, Layer, LayerStack, initialise, nchw, nhwc, pad_symmetric

_DEEPEST = U_LEVELS - 1


class ATDU(nn.Module):
    """The whole network: pictures in [0, 1], `b channels h w` -> the same shape (equation 20).

    Any size from 1x1 and any batch. The result is not clamped.

    Args:
        config: what to build.
        activation_checkpointing: as in `ATD`.
    """

    def __init__(self, config: ATDUConfig, *, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = config
        widths = [config.width << level for level in range(U_LEVELS)]
        depths, fine = config.depths, 2 * config.width
        frugal = activation_checkpointing

        self.conv_first = _conv(config.channels, config.width)
        self.encoders = nn.ModuleList(
            LayerStack(config.layer(level), depths[level], frugal) for level in range(_DEEPEST)
        )
        self.downs = nn.ModuleList(
            nn.Sequential(_conv(width, width // 2), nn.PixelUnshuffle(2)) for width in widths[:-1]
        )
        self.middle = LayerStack(config.layer(_DEEPEST), depths[_DEEPEST], frugal)
        self.ups = nn.ModuleList(
            nn.Sequential(_conv(width, 2 * width), nn.PixelShuffle(2)) for width in widths[:0:-1]
        )
        # the finest level keeps both halves of what is joined
        self.reduces = nn.ModuleList(
            nn.Linear(2 * width, width, bias=False) for width in widths[-2:0:-1]
        )
        self.decoders = nn.ModuleList(
            LayerStack(config.layer(level, width=None if level else fine), depths[level], frugal)
            for level in reversed(range(_DEEPEST))
        )
        refine = config.layer(0, width=fine, heads=2 * config.heads[0])
        self.refine = LayerStack(refine, depths[0], frugal)
        self.conv_after_body = _conv(fine, config.width)
        self.conv_last = _conv(config.width, config.channels)
        self.apply(initialise)

    @property
    def layers(self) -> list[Layer]:
        """All layers in the order in which they run."""
        stacks = (*self.encoders, self.middle, *self.decoders, self.refine)
        return [layer for stack in stacks for layer in stack.modules() if isinstance(layer, Layer)]

    def reset_buffers(self) -> None:
        """Do nothing: there are no buffers."""

    def forward(self, image: Tensor, backend: Backend | None = None) -> Tensor:
        """Restore a batch of pictures.

        Args:
            image: The pictures, `b channels h w`.
            backend: What computes the layers; by default it is chosen (`backend.py`).
        """
        height, width = image.shape[-2:]
        padded = pad_symmetric(image, self.config.padding)
        shallow = self.conv_first(padded.contiguous(memory_format=torch.channels_last))
        deep = self.conv_after_body(nchw(self.features(nhwc(shallow), backend)))
        out = self.conv_last(deep + shallow) + padded
        return out[..., :height, :width]

    def features(self, x: Tensor, backend: Backend | None = None) -> Tensor:
        """The U: `b h w c` -> `b h w 2c`."""
        # tokens are sums over all layers: they keep the parameters' precision under autocast
        dtype = self.conv_first.weight.dtype
        x = x.to(dtype)
        backend = backend or select_backend(x, self.layers)
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x, backend))
            x = nhwc(down(nchw(skips[-1]))).to(dtype)
        x = self.middle(x, backend)
        for level, (up, decoder) in enumerate(zip(self.ups, self.decoders, strict=True)):
            x = torch.cat([nhwc(up(nchw(x))).to(dtype), skips.pop()], dim=-1)
            if level < len(self.reduces):
                x = self.reduces[level](x).to(dtype)
            x = decoder(x, backend)
        return self.refine(x, backend)


Network = ATD | ATDU
"""Any network here."""


def build(config: NetworkConfig, *, activation_checkpointing: bool = False) -> Network:
    """Build the network of a configuration."""
    if isinstance(config, ATDConfig):
        return ATD(config, activation_checkpointing=activation_checkpointing)
    return ATDU(config, activation_checkpointing=activation_checkpointing)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
