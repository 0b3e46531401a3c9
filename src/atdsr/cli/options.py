"""The options that several commands share, and what they stand for."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atdsr.errors import AtdsrError

if TYPE_CHECKING:
    from atdsr.upscale import Upscaler


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(StrEnum):
    """Of matrix products."""

    fp32 = "fp32"
    bf16 = "bf16"


class Format(StrEnum):
    """Of picture files; the names of `pixels.FORMATS`."""

    png = "png"
    tiff = "tiff"
    jpg = "jpg"
    webp = "webp"
    avif = "avif"
    bmp = "bmp"


def parse_scale(text: str) -> int:
    """The scale in what a person typed."""
    if text not in ("2", "3", "4"):
        raise typer.BadParameter(f"{text!r} is not 2, 3 or 4.")
    return int(text)


def at_least_1(text: str) -> int:
    """The whole number, from 1 on, in what a person typed."""
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is not a whole number from 1 on.")
    return int(text)


def flag(*names: str, **settings: Any) -> Any:
    """An option without a value."""
    return typer.Option(*names, metavar="", **settings)  # else the help names its type


def argument(name: str) -> Any:
    """An argument by the name that the usage line gives it."""
    return typer.Argument(metavar=name, hidden=True)  # the help text says what it is


ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME|FILE",
        help="A name that `atdsr models` lists, or a .safetensors or .pth file.  "
        "[default: the one that comes with atdsr for the scale]",
    ),
]
ScaleOption = Annotated[
    int | None,
    typer.Option(
        "-s",
        "--scale",
        metavar="2|3|4",
        parser=parse_scale,
        help="How many times the sides grow.  [default: 2, or what the model does]",
    ),
]
CategorySizeOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=at_least_1,
        help="Tokens in a group of category attention, for a FILE that cannot tell.",
    ),
]
DeviceOption = Annotated[
    Device, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        metavar="fp32|bf16", help="Of matrix products; bf16 is faster on hardware made for it."
    ),
]
OverwriteOption = Annotated[bool, flag("--overwrite", help="Replace existing outputs.")]
QuietOption = Annotated[bool, flag("-q", "--quiet", help="Print nothing but errors.")]


def load_upscaler(
    model: str | None,
    scale: int | None,
    category_size: int | None,
    device: Device,
    precision: Precision,
) -> "Upscaler":
    """The named model, or the one for the scale.

    Raises:
        AtdsrError: a model of another scale than asked for, and what `upscale.load` raises.
    """
    from atdsr import upscale

    upscaler = upscale.load(
        model or default_name(scale), device.value, precision.value, category_size=category_size
    )
    if scale is not None and scale != upscaler.scale:
        raise AtdsrError(f"{model} enlarges by {upscaler.scale}, not by {scale}; drop --scale.")
    return upscaler


def default_name(scale: int | None) -> str:
    """The bundled model for a scale, x2 where none is asked for."""
    from atdsr import zoo

    return zoo.for_scale(scale or 2).name
