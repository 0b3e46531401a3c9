"""The options that several commands share, and what they stand for."""

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from atdsr.base.errors import AtdsrError
from atdsr.base.scales import SCALES, list_scales

if TYPE_CHECKING:
    from atdsr.inference.upscaler import Upscaler


MOST_TIMES = 64
"""The largest factor that --outscale takes."""


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


SCALE_METAVAR = "|".join(map(str, SCALES))


def parse_scale(text: str) -> int:
    """The scale in what a person typed."""
    if text not in map(str, SCALES):
        raise typer.BadParameter(f"{text!r} is not {list_scales()}.")
    return int(text)


def at_least_1(text: str) -> int:
    """The whole number, from 1 on, in what a person typed."""
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is not a whole number from 1 on.")
    return int(text)


def at_least_0(text: str) -> int:
    """The whole number, from 0 on, in what a person typed."""
    return 0 if text == "0" else at_least_1(text)


def parse_quality(text: str) -> int:
    """The quality, from 1 to 100, in what a person typed."""
    if at_least_1(text) > 100:
        raise typer.BadParameter(f"{text!r} is not a whole number from 1 to 100.")
    return int(text)


def parse_format(text: str) -> str:
    """The name of a format, of `imaging.FORMATS`, in what a person typed: a name or a suffix."""
    from atdsr import imaging

    try:
        return imaging.format_of(Path(f"a.{text.removeprefix('.')}"))
    except imaging.PictureError as error:
        raise typer.BadParameter(str(error)) from error


def parse_tile(text: str) -> int | Literal["auto", "off"]:
    """The side of a tile, or when to use tiles, in what a person typed."""
    if text == "auto" or text == "off":
        return text
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither auto nor off nor a number of pixels.")
    return at_least_1(text)


def parse_factor(text: str) -> float:
    """How many times the sides grow, in what a person typed."""
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 < factor <= MOST_TIMES:
        raise typer.BadParameter(f"{text!r} is not a number above 1 and up to {MOST_TIMES}.")
    return factor


def parse_size(text: str) -> tuple[int | None, int | None, bool]:
    """Width, height and whether they are exact, in what a person typed, such as 1920x1080."""
    match = re.fullmatch(r"(\d{0,6})x(\d{0,6})(!?)", text, re.ASCII)
    width, height = (
        (int(side) if side else None for side in match.groups()[:2]) if match else (0, 0)
    )
    exact = text.endswith("!")
    if 0 in (width, height) or (width or height) is None or (exact and None in (width, height)):
        raise typer.BadParameter(f"{text!r} is not like 1920x1080, 1920x, x1080 or 1920x1080!.")
    return width, height, exact


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
        metavar=SCALE_METAVAR,
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
YesOption = Annotated[bool, flag("-y", "--yes", help="Download an official model without asking.")]
QuietOption = Annotated[bool, flag("-q", "--quiet", help="Print nothing but errors.")]
TileOption = Annotated[
    Any,
    typer.Option(
        metavar="auto|off|N",
        parser=parse_tile,
        help="Work in tiles of N pixels of the input; auto: only where memory is too small for "
        "the whole picture.",
    ),
]
OverlapOption = Annotated[
    int | None,
    typer.Option(metavar="N", parser=at_least_0, help="Pixels that neighbouring tiles share."),
]
EnsembleOption = Annotated[
    bool,
    flag("--ensemble", help="Mean over 8 flips and turns: slightly better, 8 times as long."),
]


def load_upscaler(
    model: str | None = None,
    *,
    scale: int | None = None,
    category_size: int | None = None,
    device: Device,
    **config: Any,
) -> "Upscaler":
    """Load the named model, or the bundled one for the scale.

    Args:
        model: A name or a file.
        scale: The scale that the model must have.
        category_size: As in `atdsr.load`.
        device: Where to compute.
        **config: Other fields of `inference.InferenceConfig`.

    Raises:
        AtdsrError: The model has another scale, or `atdsr.load` fails.
    """
    from atdsr import inference

    upscaler = inference.load(
        model or default_name(scale), device.value, category_size=category_size, **config
    )
    if scale is not None and scale != upscaler.scale:
        raise AtdsrError(f"{model} enlarges by {upscaler.scale}, not by {scale}; drop --scale.")
    return upscaler


def default_name(scale: int | None) -> str:
    """The bundled model for a scale, x2 where none is asked for."""
    from atdsr.weights import models

    return models.for_scale(scale or 2).name
