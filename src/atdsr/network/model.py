"""ATD, the Adaptive Token Dictionary transformer (Zhang et al., CVPR 2024, arXiv 2401.08209).

From the whole to its parts: the network, a block of layers around one token dictionary, a layer
with its three attentions, the feed-forward part, the two heads that enlarge. Equation numbers are
those of `docs/model.md`.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atdsr.base.errors import AtdsrError, short
from atdsr.network import attention, rows
from atdsr.network.attention import LookUp
from atdsr.network.kernels.cpu import same_rooms
from atdsr.network.windows import position_index, shift_penalties

RGB_MEAN = tuple(float(np.float32(value)) for value in (0.4488, 0.4371, 0.4040))
"""Mean colour of the training pictures, in float32's precision whatever the model's dtype."""

Head = Literal["pixelshuffle", "pixelshuffledirect"]


_LARGEST = {
    "width": 2048,
    "window": 32,
    "category_size": 65_536,
    "dictionary_size": 16_384,
    "reduced_width": 2048,
    "ffn_kernel": 63,
}
"""The largest sizes that are built, far beyond those of any published network."""
_MOST_LAYERS = 256  # of all blocks together: one takes about 5 ms to build
_WIDEST_FFN = 64.0
_IMG_RANGES = (1e-3, 65_535.0)


class ConfigError(AtdsrError):
    """A configuration that is no ATD."""


@dataclass(frozen=True)
class ATDConfig:
    """What makes an ATD, and travels with its weights.

    Attributes:
        scale: how many times the picture's sides grow: 2, 3 or 4.
        width: channels of a token, c.
        depths: layers in each block.
        heads: attention heads in each block; each divides `width`.
        window: side of an attention window in tokens.
        category_size: tokens that attend to each other in the category attention, g.
        dictionary_size: tokens in the dictionary, m.
        reduced_width: channels of a query to the dictionary, d.
        ffn_kernel: side of the feed-forward part's depthwise convolution, odd.
        ffn_ratio: width of the feed-forward part over `width`.
        head: "pixelshuffle" (classical) or "pixelshuffledirect" (light).
        img_range: factor of the picture inside the network.
    """

    scale: int
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    category_size: int
    dictionary_size: int
    reduced_width: int
    ffn_kernel: int
    ffn_ratio: float
    head: Head
    window: int = 16
    img_range: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be built, or only at a cost beyond that of any real network.

        Every configuration is checked here, whether it comes from a file's metadata, from shapes,
        from a recipe or from an option file.

        Raises:
            ConfigError: with the name of the field that is wrong.
        """
        if type(self.scale) is not int or self.scale not in (2, 3, 4):
            raise ConfigError(f"scale is {short(self.scale)}; ATD enlarges by 2, 3 or 4.")
        if self.head not in ("pixelshuffle", "pixelshuffledirect"):
            raise ConfigError(
                f"head is {short(self.head)}; this version builds 'pixelshuffle' and "
                "'pixelshuffledirect'."
            )
        for name, most in _LARGEST.items():
            _check_whole(name, getattr(self, name), most)
        if self.window % 2:
            raise ConfigError(f"window is {self.window}; it must be even to be shifted by half.")
        if self.ffn_kernel % 2 == 0:
            raise ConfigError(f"ffn_kernel is {self.ffn_kernel}; it must be odd.")
        self._check_blocks()
        _check_number("ffn_ratio", self.ffn_ratio, 0.0, _WIDEST_FFN)
        _check_number("img_range", self.img_range, *_IMG_RANGES)
        if not 1 <= self.hidden <= _LARGEST["width"] * 8:
            raise ConfigError(
                f"ffn_ratio {self.ffn_ratio} makes {self.hidden} channels of width {self.width}; "
                f"1 to {_LARGEST['width'] * 8} are built."
            )

    def _check_blocks(self) -> None:
        """Check `depths` and `heads`.

        Raises:
            ConfigError: with the name of the field that is wrong.
        """
        for name in ("depths", "heads"):
            value = getattr(self, name)
            if not isinstance(value, tuple):
                raise ConfigError(f"{name} is {short(value)}; it must be a list of numbers.")
            if not 1 <= len(value) <= _MOST_LAYERS:
                raise ConfigError(
                    f"{name} has {len(value)} numbers; 1 to {_MOST_LAYERS} blocks are built."
                )
            for number in value:
                _check_whole(f"a number of {name}", number, _MOST_LAYERS)
        if len(self.depths) != len(self.heads):
            raise ConfigError(
                f"depths has {len(self.depths)} numbers and heads {len(self.heads)}; both must "
                "name the same blocks."
            )
        if sum(self.depths) > _MOST_LAYERS:
            raise ConfigError(
                f"depths make {sum(self.depths)} layers; at most {_MOST_LAYERS} are built."
            )
        for heads in self.heads:
            if self.width % heads:
                raise ConfigError(f"heads {heads} does not divide width {self.width}.")

    @property
    def hidden(self) -> int:
        """Channels of the feed-forward part."""
        return int(self.width * self.ffn_ratio)


def _check_whole(name: str, value: object, most: int) -> None:
    """Refuse what is no whole number from 1 to `most`.

    Raises:
        ConfigError: with the name.
    """
    if type(value) is not int or not 1 <= value <= most:
        raise ConfigError(f"{name} is {short(value)}; it must be a whole number from 1 to {most}.")


def _check_number(name: str, value: object, least: float, most: float) -> None:
    """Refuse what is no number from `least` to `most`; NaN lies nowhere.

    Raises:
        ConfigError: with the name.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(
            f"{name} is {short(value)}; it must be a number from {least:g} to {most:g}."
        )


def atd(scale: int) -> ATDConfig:
    """The classical ATD of the paper: about 20 million parameters."""
    return ATDConfig(
        scale=scale,
        width=210,
        depths=(6,) * 6,
        heads=(6,) * 6,
        category_size=256,
        dictionary_size=128,
        reduced_width=20,
        ffn_kernel=5,
        ffn_ratio=2.0,
        head="pixelshuffle",
    )


def atd_light(scale: int) -> ATDConfig:
    """ATD-light of the paper: about 0.75 million parameters."""
    return ATDConfig(
        scale=scale,
        width=48,
        depths=(6,) * 4,
        heads=(4,) * 4,
        category_size=128,
        dictionary_size=64,
        reduced_width=8,
        ffn_kernel=7,
        ffn_ratio=1.0,
        head="pixelshuffledirect",
    )


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
            Block(config, depth, heads, activation_checkpointing)
            for depth, heads in zip(config.depths, config.heads, strict=True)
        )
        self.norm_out = nn.LayerNorm(config.width)
        self.conv_after_body = nn.Conv2d(config.width, config.width, 3, padding=1)
        self.head = ClassicalHead(config) if config.head == "pixelshuffle" else LightHead(config)
        self.mean: Tensor
        self.position_index: Tensor
        self.penalties: Tensor
        self.reset_buffers()
        self.apply(_initialise)

    @property
    def layers(self) -> list["Layer"]:
        """All layers in the order in which they run."""
        return [module for module in self.modules() if isinstance(module, Layer)]

    def reset_buffers(self) -> None:
        """Compute what is constant and in no file."""
        side, device = self.config.window, self.conv_first.weight.device
        with torch.device("cpu"):  # on "meta", arithmetic imports torch._dynamo: two seconds
            index, penalties = position_index(side), shift_penalties(side)
            mean = torch.tensor(RGB_MEAN)[:, None, None]
        self.register_buffer("mean", mean.to(device), persistent=False)
        self.register_buffer("position_index", index.to(device), persistent=False)
        self.register_buffer("penalties", penalties.to(device), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge a batch of pictures (equations 1, 2)."""
        scale, (height, width) = self.config.scale, image.shape[-2:]
        mean = self.mean.to(image.dtype)
        x = (_pad_symmetric(image, self.config.window) - mean) * self.config.img_range
        # channels last from the first convolution on, so that no layer has to copy
        shallow = self.conv_first(x.contiguous(memory_format=torch.channels_last))
        deep = shallow + self.conv_after_body(_nchw(self.features(_nhwc(shallow))))
        out = self.head(deep) / self.config.img_range + mean
        return out[..., : height * scale, : width * scale]

    def features(self, x: Tensor) -> Tensor:
        """The body between its two norms: `b h w c` -> `b h w c`."""
        # tokens are sums over all layers: they keep the parameters' precision under autocast
        x = self.norm_in(x.to(self.norm_in.weight.dtype))
        with same_rooms():
            for block in self.blocks:
                x = block(x, self.position_index, self.penalties)
        return self.norm_out(x)


class Block(nn.Module):
    """A run of layers that refine one token dictionary, then a convolution (equation 3)."""

    def __init__(
        self, config: ATDConfig, depth: int, heads: int, activation_checkpointing: bool
    ) -> None:
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        # not `randn`: on the device "meta" that imports sympy, which takes half a second
        self.dictionary = nn.Parameter(
            torch.normal(0.0, 1.0, (config.dictionary_size, config.width))
        )
        self.layers = nn.ModuleList(
            Layer(config, heads, shifted=i % 2 == 1, refines=i < depth - 1) for i in range(depth)
        )
        self.conv = nn.Conv2d(config.width, config.width, 3, padding=1)

    def forward(self, x: Tensor, position_index: Tensor, penalties: Tensor) -> Tensor:
        """`b h w c` -> `b h w c`, the block's input added."""
        dictionary = self.dictionary.expand(x.shape[0], -1, -1)
        y = x
        for layer in self.layers:
            if self.activation_checkpointing and torch.is_grad_enabled():
                y, dictionary = checkpoint(
                    layer,
                    y,
                    dictionary,
                    position_index,
                    penalties,
                    use_reentrant=False,
                    preserve_rng_state=False,  # nothing is random, and a GPU's would be waited for
                )
            else:
                y, dictionary = layer(y, dictionary, position_index, penalties)
        out = _nhwc(self.conv(_nchw(y)))
        # in place where autocast leaves one dtype: large blocks of memory are hard to place
        return out.add_(x) if out.dtype == x.dtype else x + out


class Layer(nn.Module):
    """Window, dictionary and category attention side by side, then the feed-forward part."""

    def __init__(self, config: ATDConfig, heads: int, *, shifted: bool, refines: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm_attention = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.window = WindowAttention(config.width, heads, config.window)
        self.dictionary = DictionaryAttention(config)
        self.category = CategoryAttention(config, heads)
        self.norm_ffn = nn.LayerNorm(config.width)
        self.ffn = ConvFFN(config)
        self.refinement = Refinement(config.dictionary_size) if refines else None

    def forward(
        self, x: Tensor, dictionary: Tensor, position_index: Tensor, penalties: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One layer (equations 4, 5).

        Args:
            x: tokens, `b h w c`.
            dictionary: token dictionary, `b m c`.
            position_index: of `windows.position_index`.
            penalties: of `windows.shift_penalties`.

        Returns:
            Tokens and dictionary for the next layer.
        """
        x, found = self._attend(x, dictionary, position_index, penalties)
        x = self.ffn(x, self.norm_ffn)
        if self.refinement is not None:
            dictionary = self.refinement(dictionary, found, x.flatten(1, 2))
        return x, dictionary

    def _attend(
        self, x: Tensor, dictionary: Tensor, position_index: Tensor, penalties: Tensor
    ) -> tuple[Tensor, LookUp]:
        """The three attentions, added to the tokens (equation 4), and what was looked up."""
        x, (qkv, q) = rows.normed_maps(x, self.norm_attention, self.qkv, self.dictionary.query)
        found = self.dictionary(q.flatten(1, 2), dictionary)
        window = self.window(qkv, position_index, penalties if self.shifted else None)
        category = self.category(qkv.flatten(1, 2), found.categories).view_as(window)
        attended = [(window, self.window.proj), (category, self.category.proj)]
        return rows.add_maps(x, attended, found.mixed), found


class WindowAttention(nn.Module):
    """Shifted window attention with a learned relative position bias."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.bias_table = nn.Parameter(_truncated_normal((2 * window - 1) ** 2, heads))
        self.proj = nn.Linear(width, width)

    def forward(self, qkv: Tensor, position_index: Tensor, penalties: Tensor | None) -> Tensor:
        """`b h w 3c` -> `b h w c`, before `proj`; penalties where the windows are shifted."""
        return attention.window_attention(
            qkv, self.bias_table, position_index, penalties, self.window
        )


class DictionaryAttention(nn.Module):
    """Attention of the tokens to the token dictionary."""

    def __init__(self, config: ATDConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.width, config.reduced_width)
        self.key = nn.Linear(config.width, config.reduced_width)
        self.value = nn.Linear(config.width, config.width)
        self.scale = nn.Parameter(torch.full((config.dictionary_size,), 0.5))

    def forward(self, q: Tensor, dictionary: Tensor) -> LookUp:
        """What queries `b n d` find in the dictionary `b m c`."""
        return attention.look_up(q, self.key(dictionary), self.value(dictionary), self.scale)


class CategoryAttention(nn.Module):
    """Attention among tokens that look up the same entry of the dictionary."""

    def __init__(self, config: ATDConfig, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.group = config.category_size
        self.categories = config.dictionary_size
        self.logit_scale = nn.Parameter(torch.full((1, 1), math.log(10.0)))
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, qkv: Tensor, categories: Tensor) -> Tensor:
        """`b n 3c` and integer `b n` -> `b n c`, before `proj`."""
        return attention.category_attention(
            qkv, categories, self.logit_scale, self.heads, self.group, self.categories
        )


class Refinement(nn.Module):
    """Moves the dictionary towards the picture after a layer."""

    def __init__(self, dictionary_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dictionary_size))
        # kept for the files' sake: the softmax that follows does not see it (`attention.py`)
        self.bias = nn.Parameter(torch.zeros(dictionary_size), requires_grad=False)
        self.sigma = nn.Parameter(torch.zeros(dictionary_size, 1))

    def forward(self, dictionary: Tensor, found: LookUp, x: Tensor) -> Tensor:
        """Dictionary `b m c`, what was found in it and tokens `b n c` -> dictionary `b m c`."""
        return attention.refine_dictionary(dictionary, found, x, self.weight, self.sigma)


class ConvFFN(nn.Module):
    """Feed-forward part with a depthwise convolution between its two linear maps."""

    def __init__(self, config: ATDConfig) -> None:
        super().__init__()
        hidden, k = config.hidden, config.ffn_kernel
        self.fc1 = nn.Linear(config.width, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, k, padding=(k - 1) // 2, groups=hidden)
        self.fc2 = nn.Linear(hidden, config.width)

    def forward(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """`b h w c` -> `b h w c`, of the normed tokens and added to the tokens themselves."""
        return rows.feed_forward(x, norm, self.fc1, self.depthwise, self.fc2)


class LightHead(nn.Sequential):
    """One convolution and a pixel shuffle."""

    def __init__(self, config: ATDConfig) -> None:
        super().__init__(
            nn.Conv2d(config.width, 3 * config.scale**2, 3, padding=1),
            nn.PixelShuffle(config.scale),
        )


class ClassicalHead(nn.Module):
    """Convolution to 64 channels, pixel shuffles by 2 or 3, convolution to RGB."""

    def __init__(self, config: ATDConfig) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(config.width, 64, 3, padding=1), nn.LeakyReLU(0.01))
        factors = (2, 2) if config.scale == 4 else (config.scale,)
        self.enlarge = nn.Sequential()
        for factor in factors:
            self.enlarge.append(nn.Conv2d(64, 64 * factor**2, 3, padding=1))
            self.enlarge.append(nn.PixelShuffle(factor))
        self.to_rgb = nn.Conv2d(64, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`b c h w` -> `b 3 h*scale w*scale`."""
        return self.to_rgb(self.enlarge(self.reduce(x)))


def _nchw(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _pad_symmetric(image: Tensor, multiple: int) -> Tensor:
    """Pad `b c h w` at the bottom and the right to a multiple, mirrored with the edge repeated."""
    for dim in (-2, -1):
        size = image.shape[dim]
        if size % multiple:
            image = image.index_select(dim, _mirrored(size, multiple, image.device))
    return image


def _mirrored(size: int, multiple: int, device: torch.device) -> Tensor:
    """Indices 0..size-1, size-1..0, 0.. and so on, up to the next multiple."""
    index = torch.arange(size + -size % multiple, device=device) % (2 * size)
    return torch.minimum(index, 2 * size - 1 - index)


def _truncated_normal(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(*shape), std=0.02, a=-2.0, b=2.0)


def _initialise(module: nn.Module) -> None:
    """Linear weights from a truncated normal, biases 0; the rest as PyTorch leaves it."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-2.0, b=2.0)
        nn.init.zeros_(module.bias)
