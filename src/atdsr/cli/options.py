"""The options that several commands share, and what they stand for."""

import os
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from atdsr.base import option_values
from atdsr.base.errors import AtdsrError
from atdsr.base.scales import RESTORING, SCALES
from atdsr.cli.console import details_shown

if TYPE_CHECKING:
    from atdsr.batch import Shard
    from atdsr.inference.upscaler import Upscaler

T = TypeVar("T")

# of the Click that Typer brings along, which it does not export
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""A wrong command line, about which the sentence says all; it ends with 2."""


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
    auto = "auto"


class ParameterSet(StrEnum):
    """The sets of parameters that a file may hold: those of `inference.upscaler`."""

    params_ema = "params_ema"
    params = "params"


class Provider(StrEnum):
    """What computes an ONNX file: those of `inference.config.PROVIDERS`."""

    cpu = "cpu"
    cuda = "cuda"
    directml = "directml"
    coreml = "coreml"
    tensorrt = "tensorrt"
    openvino = "openvino"


SCALE_METAVAR = "|".join(map(str, SCALES))


def typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Let a function that parses a text raise what Typer shows beside the name of the option."""

    @wraps(parse)
    def parse_option(text: str) -> T:
        try:
            return parse(text)
        except AtdsrError as error:
            raise typer.BadParameter(str(error)) from error

    return parse_option


def _format_of(text: str) -> str:
    """Return the name of a format of pictures or clips; the text is a name or a suffix."""
    from atdsr import imaging
    from atdsr.video import CONTAINERS

    name = text.removeprefix(".")
    return name.lower() if name.lower() in CONTAINERS else imaging.format_of(Path(f"a.{name}"))


def _device_of(text: str) -> Device:
    return Device(option_values.parse_device(text))


def _shard_of(text: str) -> "Shard":
    from atdsr.batch import Shard

    return Shard.parse(text, os.environ)


parse_scale = typed(option_values.parse_scale)
_parse_upscale = typed(option_values.parse_upscale)
at_least_1 = typed(option_values.at_least_1)
at_least_0 = typed(option_values.at_least_0)
parse_quality = typed(option_values.parse_quality)
parse_tile = typed(option_values.parse_tile)
parse_factor = typed(option_values.parse_factor)
parse_size = typed(option_values.parse_size)
parse_format = typed(_format_of)
parse_shard = typed(_shard_of)
_parse_device = typed(_device_of)


def flag(*names: str, **settings: Any) -> Any:
    """An option without a value."""
    return typer.Option(*names, metavar="", **settings)  # else the help names its type


def is_typed(context: typer.Context, name: str) -> bool:
    """Tell whether a parameter is on the command line, and not from the user's defaults."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def argument(name: str) -> Any:
    """An argument by the name that the usage line gives it."""
    return typer.Argument(metavar=name, hidden=True)  # the help text says what it is


ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME|FILE",
        help="A name that `atdsr models` lists, or a .safetensors, .pth or .onnx file.  "
        "[default: the bundled model for the scale]",
    ),
]
_SCALE: dict[str, Any] = {
    "metavar": SCALE_METAVAR,
    "help": "Factor by which width and height grow.  [default: 2, or the scale of the model]",
}
ScaleOption = Annotated[int | None, typer.Option("-s", "--scale", parser=parse_scale, **_SCALE)]
UpscaleScaleOption = Annotated[
    int | None, typer.Option("-s", "--scale", parser=_parse_upscale, **_SCALE)
]
"""The same beside --outscale and --size, which a refused factor may be for."""
CategorySizeOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=at_least_1,
        help="Category size of the network, for a FILE that does not say.",
    ),
]
ParametersOption = Annotated[
    ParameterSet,
    typer.Option(
        metavar="params_ema|params",
        help="Which set to take of a file with two: the moving average, or the raw parameters "
        "that the authors' test of ATD-U reads. A file with one set has no choice.",
    ),
]
DeviceOption = Annotated[
    Device,
    typer.Option(
        metavar="auto|cpu|cuda|mps",
        parser=_parse_device,
        autocompletion=lambda: list(Device),
        help="Device to compute on.",
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        metavar="fp32|bf16|auto",
        help="Precision of matrix products; auto takes bf16 on CPUs that multiply it, where it is "
        "faster and as good.",
    ),
]
ProviderOption = Annotated[
    Provider | None,
    typer.Option(
        metavar="NAME",
        help="What computes an .onnx file: cpu, cuda, directml, coreml, tensorrt or openvino, as "
        "onnxruntime has been installed.  [default: cpu]",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEMPLATE",
        help="Template of output names: {stem} {name} {parent} {scale} {width} {height} "
        "{model} {ext}.  [default: {stem}_x{scale}{ext}]",
    ),
]
RecursiveOption = Annotated[
    bool, flag("-r", "--recursive", help="Enter folders in INPUT; OUT gets the same tree.")
]


def output_option(made: str) -> Any:
    """Return the option that says where the results of a command go.

    Args:
        made: What they are called beside each input, such as "NAME_x2".
    """
    return typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="A file; or a folder if it is one, ends in /, or INPUT is a folder, a glob or "
        f"several files; or - for standard output.  [default: {made} beside each input]",
    )


def _format_option(of_clips: str = "") -> Any:
    return typer.Option(
        "-f",
        "--format",
        metavar="FORMAT",
        parser=parse_format,
        help="Format of the outputs: png, tiff, jpg, webp, avif, bmp, gif, jxl, jp2 or "
        f"ppm{of_clips}.  [default: as OUT or INPUT]",
    )


FormatOption = Annotated[str | None, _format_option()]
UpscaleFormatOption = Annotated[str | None, _format_option("; mkv, mp4 or mov for clips")]
"""The same for `atdsr upscale`, the only command that takes clips."""
QualityOption = Annotated[
    int | None,
    typer.Option(
        metavar="1..100",
        parser=parse_quality,
        help="Quality of JPEG, WebP, AVIF and JPEG XL.  [default: 95, lossless, 90, lossless]",
    ),
]
StripMetadataOption = Annotated[
    bool, flag("--strip-metadata", help="Leave out camera, place, date and author.")
]
OutscaleOption = Annotated[
    Any,
    typer.Option(
        metavar="FACTOR",
        parser=parse_factor,
        help="Factor by which width and height grow, such as 3.5; the network runs as often "
        "as needed.",
    ),
]
SizeOption = Annotated[
    Any,
    typer.Option(
        metavar="WxH",
        parser=parse_size,
        help="Largest size that fits into WxH pixels; Wx or xH sets one side, WxH! stretches.",
    ),
]
JsonOption = Annotated[
    bool, flag("--json", help="Print a line of JSON for each picture, for programs.")
]
ManifestOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Enlarge the pictures that FILE lists, one path on a line, with a tab and a name "
        "of the output after it if you like; or a Parquet file with columns path and output.",
    ),
]
FailuresOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write a line of JSON to FILE for each picture that fails; a list of an earlier "
        "run is replaced.",
    ),
]
OverwriteOption = Annotated[bool, flag("--overwrite", help="Replace existing outputs.")]
YesOption = Annotated[bool, flag("-y", "--yes", help="Download an official model without asking.")]
QuietOption = Annotated[bool, flag("-q", "--quiet", help="Print nothing but errors.")]


def _show_details(context: typer.Context, wanted: bool) -> bool:
    """Print the details until the command ends, if that is wanted."""
    if wanted:
        context.with_resource(details_shown())
    return wanted


VerboseOption = Annotated[
    bool,
    flag(
        "-v",
        "--verbose",
        callback=_show_details,
        help="Print the device, what computes the network, the tiles, and the time for each step.",
    ),
]
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
    flag(
        "--ensemble", help="Average over 8 flips and rotations: slightly better, 8 times as slow."
    ),
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
        **config: Other arguments of `atdsr.load`.

    Raises:
        AtdsrError: The model has another scale, or `atdsr.load` fails.
    """
    from atdsr import inference

    upscaler = inference.load(
        model or default_name(scale), device.value, category_size=category_size, **config
    )
    if upscaler.scale == RESTORING:
        raise AtdsrError(
            f"{model} restores pictures and does not enlarge them; run it with `atdsr restore`, or "
            "before another one with `atdsr upscale --restore`."
        )
    if scale is not None and scale != upscaler.scale:
        raise AtdsrError(f"{model} enlarges by {upscaler.scale}, not by {scale}; drop --scale.")
    return upscaler


def load_restorer(model: str, *, device: Device, **how_to_load: Any) -> "Upscaler":
    """Load a network that restores.

    Args:
        model: A name or a file.
        device: Where to compute.
        **how_to_load: Other arguments of `atdsr.load`.

    Raises:
        UsageError: The model enlarges.
        AtdsrError: `atdsr.load` fails.
    """
    from atdsr import inference

    upscaler = inference.load(model, device.value, **how_to_load)
    if upscaler.scale != RESTORING:
        raise UsageError(
            f"{model} enlarges by {upscaler.scale} and does not restore; `atdsr models` lists the "
            "models that do."
        )
    return upscaler


def default_name(scale: int | None) -> str:
    """The bundled model for a scale, x2 where none is asked for."""
    from atdsr.weights import models

    return models.for_scale(scale or 2).name
