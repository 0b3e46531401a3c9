"""ATD, the Adaptive Token Dictionary transformer (Zhang et al., CVPR 2024, arXiv 2401.08209).

ATD v2 (arXiv 2603.02581) is the same network with a static dictionary: no layer refines it, and the
feed-forward part gets a code of each token's category instead.

From the whole to its parts: the network, a block of layers around one token dictionary, a layer
with its three attentions, the feed-forward part, the heads that enlarge. Equation numbers are
those of `docs/model.md`.

Every module returns what its equation says, in memory of its own, so a hook may keep it. A backend
may compute whole layers faster from their parameters (`backend.py`).
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atdsr.network import attention, operators
from atdsr.network.backend import Backend, is_computed_twice, select_backend
from atdsr.network.config import ATDConfig, Head, LayerConfig

RGB_MEAN = tuple(float(np.float32(value)) for value in (0.4488, 0.4371, 0.4040))
"""Mean colour of the training pictures, in float32's precision whatever the model's dtype."""


class ATD(nn.Module):
    """The whole network: RGB pictures in [0, 1], `b 3 h w` -> `b 3 h*scale w*scale`.

    Any size from 1x1 and any batch, in float32, float64 or bfloat16. The result is not clamped.

    Args:
        config: what to build.
        activation_checkpointing: recompute each layer in the backward pass instead of keeping
            its activations: about a third more time for a fraction of the memory.
    """

    def __init__(self, config: ATDConfig, *, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = config
        self.conv_first = nn.Conv2d(3, config.width, 3, padding=1)
        self.norm_in = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(
            Block(config.layer(block), depth, activation_checkpointing)
            for block, depth in enumerate(config.depths)
        )
        self.norm_out = nn.LayerNorm(config.width)
        self.conv_after_body = nn.Conv2d(config.width, config.width, 3, padding=1)
        self.head = HEADS[config.head](config)
        self.mean: Tensor
        self.reset_buffers()
        self.apply(initialise)

    @property
    def layers(self) -> list["Layer"]:
        """All layers in the order in which they run."""
        return [module for module in self.modules() if isinstance(module, Layer)]

    def reset_buffers(self) -> None:
        """Compute the mean colour, which is in no file."""
        with torch.device("cpu"):  # on "meta", arithmetic imports torch._dynamo: two seconds
            mean = torch.tensor(RGB_MEAN)[:, None, None]
        self.register_buffer("mean", mean.to(self.conv_first.weight.device), persistent=False)

    def forward(self, image: Tensor, backend: Backend | None = None) -> Tensor:
        """Enlarge a batch of pictures (equations 1, 2).

        Args:
            image: The pictures, `b 3 h w`.
            backend: What computes the layers; by default it is chosen (`backend.py`).
        """
        scale, (height, width) = self.config.scale, image.shape[-2:]
        mean = self.mean.to(image.dtype)
        x = (pad_symmetric(image, self.config.window) - mean) * self.config.img_range
        # channels last from the first convolution on, so that no layer has to copy
        first = partial(self.conv_first, x.contiguous(memory_format=torch.channels_last))
        kept = None if is_computed_twice(self.conv_first, x) else first()
        # as an argument it is freed as soon as the body has begun
        body = self.features(nhwc(first() if kept is None else kept), backend)
        deep = self.conv_after_body(nchw(body))
        deep = (first() if kept is None else kept) + deep
        out = self.head(deep) / self.config.img_range + mean
        return out[..., : height * scale, : width * scale]

    def features(self, x: Tensor, backend: Backend | None = None) -> Tensor:
        """The body between its two norms: `b h w c` -> `b h w c`."""
        # tokens are sums over all layers: they keep the parameters' precision under autocast
        x = self.norm_in(x.to(self.norm_in.weight.dtype))
        backend = backend or select_backend(x, self.layers)
        for block in self.blocks:
            x = block(x, backend)
        return self.norm_out(x)


class LayerStack(nn.Module):
    """A run of layers around one token dictionary."""

    def __init__(self, config: LayerConfig, depth: int, activation_checkpointing: bool) -> None:
        super().__init__()
        self.is_static = config.is_static
        self.activation_checkpointing = activation_checkpointing
        # not `randn`: on the device "meta" that imports sympy, which takes half a second
        self.dictionary = nn.Parameter(
            torch.normal(0.0, 1.0, (config.dictionary_size, config.width))
        )
        self.layers = nn.ModuleList(
            Layer(config, shifted=i % 2 == 1, refines=i < depth - 1 and not config.is_static)
            for i in range(depth)
        )

    def forward(self, x: Tensor, backend: Backend | None = None) -> Tensor:
        """Run the layers: `b h w c` -> `b h w c`."""
        # one for all pictures where none changes it: what follows from it is computed once
        dictionary = self.dictionary.expand(1 if self.is_static else x.shape[0], -1, -1)
        for layer in self.layers:
            if self.activation_checkpointing and torch.is_grad_enabled():
                x, dictionary = checkpoint(
                    layer,
                    x,
                    dictionary,
                    backend,
                    use_reentrant=False,
                    preserve_rng_state=False,  # nothing is random, and a GPU's would be waited for
                )
            else:
                x, dictionary = layer(x, dictionary, backend)
        if backend is not None:
            backend.end_stack()
        return x


class Block(LayerStack):
    """A run of layers, then a convolution (equation 3, or 19)."""

    def __init__(self, config: LayerConfig, depth: int, activation_checkpointing: bool) -> None:
        super().__init__(config, depth, activation_checkpointing)
        self.conv = nn.Conv2d(config.width, config.width, 3, padding=1)
        self.norm = nn.LayerNorm(config.width) if config.is_static else None

    def forward(self, x: Tensor, backend: Backend | None = None) -> Tensor:
        """Run the layers on `b h w c`, then the convolution, and add the block's input."""
        y = super().forward(x, backend)
        y = nhwc(self.conv(nchw(y)))  # by the same name, so that what enters it is freed
        return x + y if self.norm is None else self.norm(x + y)


class Layer(nn.Module):
    """Window, dictionary and category attention side by side, then the feed-forward part."""

    def __init__(self, config: LayerConfig, *, shifted: bool, refines: bool) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.bias)
        self.window = WindowAttention(config, shifted=shifted)
        self.dictionary = DictionaryAttention(config)
        self.category = CategoryAttention(config)
        self.norm_ffn = nn.LayerNorm(config.width)
        code_width = config.code_width
        self.code = (
            None if code_width is None else nn.Linear(config.width, code_width, bias=config.bias)
        )
        self.ffn = ConvFFN(config)
        self.refinement = Refinement(config.dictionary_size) if refines else None

    def forward(
        self, x: Tensor, dictionary: Tensor, backend: Backend | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run one layer (equations 4, 5, or 4, 18).

        Args:
            x: Tokens, `b h w c`.
            dictionary: Token dictionary, `b m c`, or `1 m c` for all pictures.
            backend: What computes the layer; None runs its modules.

        Returns:
            Tokens and dictionary for the next layer.
        """
        if backend is not None:
            return backend.run_layer(self, x, dictionary)
        u = self.norm_attention(x)
        qkv = self.qkv(u)
        looked_up, similarity = self.dictionary(u, dictionary)
        categories = similarity.argmax(-1)  # the first entry where several are the largest
        x = x + looked_up + self.window(qkv) + self.category(qkv, categories)
        x = x + self.ffn(self.norm_ffn(x), self.codes(dictionary, categories, x))
        if self.refinement is not None:
            dictionary = self.refinement(dictionary, similarity, x)
        return x, dictionary

    def codes(self, dictionary: Tensor, categories: Tensor, x: Tensor) -> Tensor | None:
        """Return the code of each token's category (equation 18), if the layer has codes.

        Args:
            dictionary: The static one, `1 m c`.
            categories: Integer `b n`.
            x: Tokens, `b h w c`.

        Returns:
            `b h w e`.
        """
        if self.code is None:
            return None
        return F.embedding(categories.view(x.shape[:3]), self.code(dictionary[0]))


class WindowAttention(nn.Module):
    """Shifted window attention with a learned relative position bias (equation 6)."""

    def __init__(self, config: LayerConfig, *, shifted: bool) -> None:
        super().__init__()
        self.side = config.window
        self.shifted = shifted
        self.bias_table = nn.Parameter(_truncated_normal((2 * self.side - 1) ** 2, config.heads))
        self.proj = nn.Linear(config.width, config.width, bias=config.bias)

    def forward(self, qkv: Tensor) -> Tensor:
        """`b h w 3c` -> `b h w c`."""
        out = operators.window_attention(qkv, self.bias_table, self.side, self.shifted)
        return self.proj(out)


class DictionaryAttention(nn.Module):
    """Attention of the tokens to the token dictionary (equations 7, 8).

    Each entry of a dictionary that is refined has a scale of its own; a static one has one scale.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.width, config.reduced_width, bias=config.bias)
        self.key = nn.Linear(config.width, config.reduced_width, bias=config.bias)
        self.value = nn.Linear(config.width, config.width, bias=config.bias)
        is_static = config.is_static
        self.largest_scale = 3.0 if is_static else 1.0
        self.scale = nn.Parameter(
            torch.ones(1) if is_static else torch.full((config.dictionary_size,), 0.5)
        )

    def forward(self, u: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        """Look tokens `b h w c` up in the dictionary, `b m c` or `1 m c`.

        Returns:
            What each token finds, `b h w c`, and the attention map A, `b n m`, n = h * w.
        """
        q, k = self.query(u).flatten(1, 2), self.key(dictionary)
        similarity = attention.attention_map(q, k, self.scale, self.largest_scale)
        return (similarity @ self.value(dictionary)).view(u.shape), similarity

    def scaled_keys(self, dictionary: Tensor) -> Tensor:
        """Return the keys of a dictionary, each a unit vector times its temperature: `b m d`."""
        return attention.scaled_keys(self.key(dictionary), self.scale, self.largest_scale)


class CategoryAttention(nn.Module):
    """Attention among tokens that look up the same entry of the dictionary (equations 11 to 13).

    The scale of the scores is learned, or with a static dictionary that of window attention.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.group = config.category_size
        self.block = config.category_block
        self.entries = config.dictionary_size
        self.logit_scale = (
            None if config.is_static else nn.Parameter(torch.full((1, 1), math.log(10.0)))
        )
        self.proj = nn.Linear(config.width, config.width, bias=config.bias)

    def forward(self, qkv: Tensor, categories: Tensor) -> Tensor:
        """`b h w 3c` and the tokens' categories, integer `b n` -> `b h w c`."""
        keys, count = self.sort_keys(categories, qkv)
        out = operators.category_attention(
            qkv.flatten(1, 2), keys, self.log_scale(), self.heads, self.group, count
        )
        return self.proj(out.view(*qkv.shape[:3], -1))

    def log_scale(self) -> Tensor:
        """Return the logarithm of the scores' factor, one number, at most ln 100."""
        if self.logit_scale is not None:
            return self.logit_scale.clamp(max=attention.MAX_LOGIT_SCALE)
        weight = self.proj.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return weight.new_full((), -0.5 * math.log(len(weight) // self.heads), dtype=dtype)

    def sort_keys(self, categories: Tensor, x: Tensor) -> tuple[Tensor, int]:
        """Return what tokens `b h w c` of these categories `b n` are sorted by."""
        return attention.sort_keys(categories, self.entries, x.shape[1], x.shape[2], self.block)


class Refinement(nn.Module):
    """Moves the dictionary towards the picture after a layer (equations 9, 10)."""

    def __init__(self, dictionary_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dictionary_size))
        # kept for the files' sake: the softmax that follows does not see it (`attention.py`)
        self.bias = nn.Parameter(torch.zeros(dictionary_size), requires_grad=False)
        self.sigma = nn.Parameter(torch.zeros(dictionary_size, 1))

    def forward(self, dictionary: Tensor, similarity: Tensor, x: Tensor) -> Tensor:
        """Dictionary `b m c`, attention map `b n m` and tokens `b h w c` -> dictionary `b m c`."""
        gathered = attention.gather_tokens(similarity, x.flatten(1, 2), self.weight)
        return attention.refine_dictionary(dictionary, gathered, self.sigma)


class ConvFFN(nn.Module):
    """Feed-forward part with a depthwise convolution between its two linear maps (equation 14).

    Codes come beside what the first map returns, not activated.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        hidden, k = config.hidden + (config.code_width or 0), config.ffn_kernel
        self.fc1 = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.depthwise = nn.Conv2d(
            hidden, hidden, k, padding=(k - 1) // 2, groups=hidden, bias=config.bias
        )
        self.fc2 = nn.Linear(hidden, config.width, bias=config.bias)

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        """Normed tokens `b h w c`, and their codes `b h w e` if there are any -> `b h w c`."""
        hidden = F.gelu(self.fc1(x))
        if codes is not None:
            hidden = torch.cat([hidden, codes.to(hidden.dtype)], dim=-1)
        mixed = nhwc(self.depthwise(nchw(hidden)))
        return self.fc2(hidden + F.gelu(mixed))


class LightHead(nn.Sequential):
    """One convolution and a pixel shuffle."""

    def __init__(self, config: ATDConfig) -> None:
        super().__init__(
            nn.Conv2d(config.width, 3 * config.scale**2, 3, padding=1),
            nn.PixelShuffle(config.scale),
        )


class ClassicalHead(nn.Module):
    """Convolution to 64 channels, pixel shuffles, convolution to RGB.

    There is one shuffle by the scale, or several by 2 if the scale is a power of 2.
    """

    def __init__(self, config: ATDConfig) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(config.width, 64, 3, padding=1), nn.LeakyReLU(0.01))
        scale = config.scale
        is_power_of_2 = scale.bit_count() == 1
        factors = (2,) * (scale.bit_length() - 1) if is_power_of_2 else (scale,)
        self.enlarge = nn.Sequential()
        for factor in factors:
            self.enlarge.append(nn.Conv2d(64, 64 * factor**2, 3, padding=1))
            self.enlarge.append(nn.PixelShuffle(factor))
        self.to_rgb = nn.Conv2d(64, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`b c h w` -> `b 3 h*scale w*scale`."""
        return self.to_rgb(self.enlarge(self.reduce(x)))


class NearestHead(nn.Module):
    """Convolution to 64 channels, twice to the nearest of twice the size, convolutions to RGB."""

    def __init__(self, config: ATDConfig) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(config.width, 64, 3, padding=1), nn.LeakyReLU(0.01))
        self.up1 = nn.Conv2d(64, 64, 3, padding=1)
        self.up2 = nn.Conv2d(64, 64, 3, padding=1)
        self.refine = nn.Conv2d(64, 64, 3, padding=1)
        self.to_rgb = nn.Conv2d(64, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`b c h w` -> `b 3 4h 4w`."""
        x = self.reduce(x)
        for conv in (self.up1, self.up2):
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2.0, mode="nearest")), 0.2)
        return self.to_rgb(F.leaky_relu(self.refine(x), 0.2))


HEADS: Mapping[Head, Callable[[ATDConfig], nn.Module]] = {
    "pixelshuffle": ClassicalHead,
    "pixelshuffledirect": LightHead,
    "nearest+conv": NearestHead,
}


def nchw(x: Tensor) -> Tensor:
    """`b h w c` -> `b c h w`, the same memory."""
    return x.permute(0, 3, 1, 2)


def nhwc(x: Tensor) -> Tensor:
    """`b c h w` -> `b h w c`, the same memory."""
    return x.permute(0, 2, 3, 1)


def pad_symmetric(image: Tensor, multiple: int) -> Tensor:
    """Pad `b c h w` at the bottom and the right to a multiple, mirrored with the edge repeated."""
    for dim in (-2, -1):
        size = image.shape[dim]
        # a program that is exported for any size must not depend on this one
        if torch.compiler.is_exporting() or size % multiple:
            image = image.index_select(dim, _mirrored(size, multiple, image.device))
    return image


def _mirrored(size: int, multiple: int, device: torch.device) -> Tensor:
    """Indices 0..size-1, size-1..0, 0.. and so on, up to the next multiple."""
    index = torch.arange((size + multiple - 1) // multiple * multiple, device=device)
    index = index % torch.full_like(index, 2 * size)  # not a number, which exporters would need
    return torch.minimum(index, 2 * size - 1 - index)


def _truncated_normal(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(*shape), std=0.02, a=-2.0, b=2.0)


def initialise(module: nn.Module) -> None:
    """Fill Linear weights from a truncated normal, and biases with 0; leave the rest."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-2.0, b=2.0)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
