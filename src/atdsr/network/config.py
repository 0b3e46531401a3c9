"""The configuration of an ATD network, and those of the published models."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from atdsr.base.errors import AtdsrError, short
from atdsr.base.scales import SCALES, list_scales

Head = Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv"]
"""How a network enlarges, by the official names."""

_LARGEST = {
    "width": 2048,
    "window": 32,
    "category_size": 65_536,
    "dictionary_size": 16_384,
    "reduced_width": 2048,
    "code_width": 2048,
    "ffn_kernel": 63,
}
"""The largest sizes that are built, far beyond those of any published network."""
_OF_LEVELS = {
    "depths": 64,
    "heads": 64,
    "windows": 32,
    "code_widths": 2048,
    "reduced_widths": 2048,
}
"""The fields of `ATDUConfig` with a number for each level, and the largest that are built."""
U_LEVELS = 4
"""Levels of an ATD-U."""
U_NETWORK = "ATD-U"
"""What the metadata of an ATD-U's weights says under `network`."""
_MOST_LAYERS = 256  # of all blocks together: one takes about 5 ms to build
_WIDEST_FFN = 64.0
_IMG_RANGES = (1e-3, 65_535.0)


class ConfigError(AtdsrError):
    """A configuration that is no ATD."""


@dataclass(frozen=True)
class LayerConfig:
    """What makes a layer; its fields are those of `ATDConfig`, for one block.

    Attributes:
        hidden: channels of the feed-forward part, without those of the code.
        bias: whether maps and convolutions have biases.
    """

    width: int
    heads: int
    window: int
    category_size: int
    category_block: int | None
    dictionary_size: int
    reduced_width: int
    ffn_kernel: int
    hidden: int
    code_width: int | None
    bias: bool = True

    @property
    def is_static(self) -> bool:
        """Whether the dictionary stays as it was learned (ATD v2), or each layer refines it."""
        return self.code_width is not None


@dataclass(frozen=True)
class ATDConfig:
    """What makes an ATD, and travels with its weights.

    Attributes:
        scale: how many times the picture's sides grow, one of `base.scales`.
        width: channels of a token, c.
        depths: layers in each block.
        heads: attention heads in each block; each divides `width`.
        window: side of an attention window in tokens.
        category_size: tokens that attend to each other in the category attention, g.
        dictionary_size: tokens in the dictionary, m.
        reduced_width: channels of a query to the dictionary, d.
        ffn_kernel: side of the feed-forward part's depthwise convolution, odd.
        ffn_ratio: width of the feed-forward part over `width`.
        head: "pixelshuffle" (classical), "pixelshuffledirect" (light), or "nearest+conv" for x4 (of
            networks for photographs from the web).
        img_range: factor of the picture inside the network.
        category_block: side in tokens of the squares within which tokens are sorted by category;
            the runs of the category attention then stay in one part of a large picture, as in the
            crops of training. None sorts the whole picture, as published.
        code_width: channels of a category's code in the feed-forward part, e. They make an ATD v2,
            whose dictionary is static. None makes an ATD, whose layers refine it.
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
    category_block: int | None = None
    code_width: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be built, or only at a cost beyond that of any real network.

        Every configuration is checked here, whether it comes from a file's metadata, from shapes,
        from a recipe or from an option file.

        Raises:
            ConfigError: with the name of the field that is wrong.
        """
        check_scale(self.scale)
        if self.head not in get_args(Head):
            names = ", ".join(map(repr, get_args(Head)))
            raise ConfigError(f"head is {short(self.head)}; this version builds {names}.")
        if self.head == "nearest+conv" and self.scale != 4:
            raise ConfigError(f"the head 'nearest+conv' enlarges by 4, and scale is {self.scale}.")
        for name, most in _LARGEST.items():
            if name != "code_width" or self.code_width is not None:
                _check_whole(name, getattr(self, name), most)
        if self.category_block is not None:
            _check_whole("category_block", self.category_block, _LARGEST["category_size"])
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
                raise ConfigError(
                    f"heads {heads} does not divide width {self.width}; each head takes an equal "
                    "part of it."
                )

    @property
    def name(self) -> str:
        """What the paper calls a network of this configuration, or else its width and depth."""
        published = {
            "ATD": atd,
            "ATD-light": atd_light,
            "ATD v2": atd_v2,
            "ATD-light v2": atd_light_v2,
        }
        version = " v2" if self.is_static else ""
        own = f"ATD{version} of width {self.width} with {sum(self.depths)} layers"
        return next((name for name, of in published.items() if of(self.scale) == self), own)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by their names, without those that are None."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    @property
    def hidden(self) -> int:
        """Channels of the feed-forward part, without those of the code."""
        return int(self.width * self.ffn_ratio)

    @property
    def is_static(self) -> bool:
        """Whether the dictionary stays as it was learned (ATD v2), or each layer refines it."""
        return self.code_width is not None

    def layer(self, block: int) -> LayerConfig:
        """Return what makes the layers of a block."""
        return LayerConfig(
            width=self.width,
            heads=self.heads[block],
            window=self.window,
            category_size=self.category_size,
            category_block=self.category_block,
            dictionary_size=self.dictionary_size,
            reduced_width=self.reduced_width,
            ffn_kernel=self.ffn_kernel,
            hidden=self.hidden,
            code_width=self.code_width,
        )


@dataclass(frozen=True)
class ATDUConfig:
    """What makes an ATD-U, and travels with its weights.

    Tuples have a number for each of the four levels, from the finest to the coarsest.

    Attributes:
        channels: channels of a picture, 3 for RGB and 1 for gray.
        width: channels of a token at the finest level; they double from level to level.
        depths: layers of a block.
        heads: attention heads of a block.
        windows: side of an attention window in tokens.
        code_widths: channels of a category's code in the feed-forward part.
        reduced_widths: channels of a query to the dictionary.
        category_size: tokens that attend to each other in the category attention, g.
        dictionary_size: tokens in the dictionary, m.
        ffn_kernel: side of the feed-forward part's depthwise convolution, odd.
        ffn_ratio: width of the feed-forward part over that of a token.
    """

    channels: int
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    windows: tuple[int, ...]
    code_widths: tuple[int, ...]
    reduced_widths: tuple[int, ...]
    category_size: int
    dictionary_size: int
    ffn_kernel: int
    ffn_ratio: float

    def __post_init__(self) -> None:
        """Refuse what cannot be built, or only at a cost beyond that of any real network.

        Raises:
            ConfigError: with the name of the field that is wrong.
        """
        if self.channels not in (1, 3):
            raise ConfigError(f"channels is {short(self.channels)}; it must be 3 (RGB) or 1.")
        for name in ("width", "category_size", "dictionary_size", "ffn_kernel"):
            _check_whole(name, getattr(self, name), _LARGEST[name])
        for name, largest in _OF_LEVELS.items():
            value = getattr(self, name)
            if not isinstance(value, tuple) or len(value) != U_LEVELS:
                raise ConfigError(f"{name} is {short(value)}; it must be a list of {U_LEVELS}.")
            for number in value:
                _check_whole(f"a number of {name}", number, largest)
        if any(window % 2 for window in self.windows):
            raise ConfigError(
                f"windows is {self.windows}; they must be even to be shifted by half."
            )
        if any(self.padding % (window << level) for level, window in enumerate(self.windows)):
            raise ConfigError(
                f"windows is {self.windows}; a window of a finer level must fit into the coarsest."
            )
        if self.width % 2 or any(
            (self.width << level) % heads for level, heads in enumerate(self.heads)
        ):
            raise ConfigError(
                f"width is {self.width}; it must be even and a multiple of each level's heads."
            )
        if self.ffn_kernel % 2 == 0:
            raise ConfigError(f"ffn_kernel is {self.ffn_kernel}; it must be odd.")
        _check_number("ffn_ratio", self.ffn_ratio, 1 / self.width, _WIDEST_FFN)

    @property
    def scale(self) -> int:
        """How many times the picture's sides grow: the network restores and does not enlarge."""
        return 1

    @property
    def padding(self) -> int:
        """What sides are padded to a multiple of: a window of the coarsest level."""
        return self.windows[-1] << (U_LEVELS - 1)

    @property
    def window(self) -> int:
        """The same, by the name that it has in other networks."""
        return self.padding

    @property
    def name(self) -> str:
        """What the paper calls a network of this configuration, or else its width and depth."""
        kind = {1: "gray", 3: "color"}[self.channels]
        if self == atd_u(self.channels):
            return f"ATD-U {kind}"
        return f"ATD-U {kind} of width {self.width}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by their names, and the network's kind."""
        return {"network": U_NETWORK, **dataclasses.asdict(self)}

    def layer(
        self, level: int, *, width: int | None = None, heads: int | None = None
    ) -> LayerConfig:
        """Return what makes the layers of a level; the finest one has some of another width."""
        width = width or self.width << level
        return LayerConfig(
            width=width,
            heads=heads or self.heads[level],
            window=self.windows[level],
            category_size=self.category_size,
            category_block=None,
            dictionary_size=self.dictionary_size,
            reduced_width=self.reduced_widths[level],
            ffn_kernel=self.ffn_kernel,
            hidden=int(width * self.ffn_ratio),
            code_width=self.code_widths[level],
            bias=False,
        )


NetworkConfig = ATDConfig | ATDUConfig
"""What makes any network here."""


def check_scale(scale: object) -> None:
    """Refuse a scale that no network has.

    Raises:
        ConfigError: The sentence names the scale and those that there are.
    """
    if type(scale) is not int or scale not in SCALES:
        raise ConfigError(f"scale is {short(scale)}; ATD enlarges by {list_scales()}.")


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


def atd_v2(scale: int) -> ATDConfig:
    """The classical ATD of the second paper (arXiv 2603.02581): about 22 million parameters."""
    return ATDConfig(
        scale=scale,
        width=216,
        depths=(6,) * 6,
        heads=(4,) * 6,
        category_size=256,
        dictionary_size=512,
        reduced_width=16,
        ffn_kernel=5,
        ffn_ratio=2.0,
        head="pixelshuffle",
        code_width=16,
    )


def atd_light_v2(scale: int) -> ATDConfig:
    """ATD-light of the second paper: about 0.77 million parameters."""
    return ATDConfig(
        scale=scale,
        width=48,
        depths=(6,) * 4,
        heads=(3,) * 4,
        category_size=128,
        dictionary_size=128,
        reduced_width=12,
        ffn_kernel=7,
        ffn_ratio=1.0,
        head="pixelshuffledirect",
        code_width=4,
    )


def atd_u(channels: int) -> ATDUConfig:
    """ATD-U of the second paper, for RGB (3) or gray (1): about 25 million parameters."""
    return ATDUConfig(
        channels=channels,
        width=48,
        depths=(6, 8, 8, 6),
        heads=(1, 2, 4, 8),
        windows=(16, 8, 8, 8),
        code_widths=(6, 12, 12, 12),
        reduced_widths=(6, 12, 24, 24),
        category_size=128,
        dictionary_size=128,
        ffn_kernel=5,
        ffn_ratio=2.66,
    )
