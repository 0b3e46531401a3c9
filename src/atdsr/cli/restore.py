"""`atdsr restore`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from atdsr.base.option_values import STREAM
from atdsr.cli.models import ensure_here
from atdsr.cli.options import (
    CategorySizeOption,
    Device,
    DeviceOption,
    EnsembleOption,
    FormatOption,
    JsonOption,
    OverlapOption,
    OverwriteOption,
    ParameterSet,
    ParametersOption,
    Precision,
    PrecisionOption,
    QualityOption,
    QuietOption,
    RecursiveOption,
    StripMetadataOption,
    TileOption,
    UsageError,
    VerboseOption,
    YesOption,
    argument,
    flag,
    load_restorer,
    output_option,
)
from atdsr.cli.upscale import Showing, check_not_missing, run_batch
from atdsr.cli.upscaling import default_fields

EXAMPLES = """\b
Examples:
  atdsr restore a.png -m official/atd-u-color-25      makes a_restored.png
  atdsr restore in -m official/atd-u-jpeg-q20 -o out  a folder, into another
"""

_TEMPLATE = "{stem}_restored{ext}"


def restore(
    context: typer.Context,
    inputs: Annotated[list[str] | None, argument("INPUT...")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME|FILE",
            help="A name that `atdsr models` lists as official/atd-u-..., or a .safetensors or "
            ".pth file of an ATD-U.",
        ),
    ] = None,
    output: Annotated[str | None, output_option("NAME_restored")] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help=f"Template of output names, as in `atdsr upscale`.  [default: {_TEMPLATE}]",
        ),
    ] = None,
    recursive: RecursiveOption = False,
    overwrite: OverwriteOption = False,
    format_name: FormatOption = None,
    quality: QualityOption = None,
    strip_metadata: StripMetadataOption = False,
    parameters: ParametersOption = ParameterSet.params_ema,
    ensemble: EnsembleOption = False,
    tile: TileOption = "auto",
    overlap: OverlapOption = None,
    category_size: CategorySizeOption = None,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.fp32,
    dry_run: Annotated[
        bool,
        flag("--dry-run", help="Write nothing; print what would become of each picture."),
    ] = False,
    json_lines: JsonOption = False,
    yes: YesOption = False,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove noise or traces of JPEG from picture files.

    The pictures keep their size. INPUT is one or more pictures, a folder, a glob in quotes, or -
    for standard input, as in `atdsr upscale`, and formats, transparency, 16 bits and metadata are
    treated alike. Each model is for one kind of damage: noise of a standard deviation (15, 25 or
    50 of 255), in colour or gray, or JPEG of a quality. A model for gray pictures restores the
    luma of a colour picture and leaves its colours as they are.
    """
    start = time.perf_counter()
    if not inputs:
        raise UsageError("Name a picture, a folder or a glob.")
    if model is None:
        raise UsageError(
            "Say with -m what the pictures suffer from, as in -m official/atd-u-color-25; `atdsr "
            "models` lists the models."
        )
    if json_lines and output == STREAM:
        raise UsageError("--json and -o - both write to standard output; drop one of them.")
    if not json_lines:
        check_not_missing(inputs)
    from atdsr import batch
    from atdsr.weights import models

    ensure_here([model], yes=yes, quiet=quiet)
    upscaler = load_restorer(
        model,
        device=device,
        precision=precision.value,
        category_size=category_size,
        prefer=parameters.value,
        tile=tile,
        overlap=overlap,
        ensemble=ensemble,
    )
    config = batch.BatchConfig(
        batch.Factor(1),
        format_name=format_name,
        template=name or _TEMPLATE,
        models={1: Path(models.canonical(model)).stem},
        recursive=recursive,
        overwrite=overwrite,
        quality=quality,
        strip_metadata=strip_metadata,
        defaults=default_fields(context),
    )
    networks = batch.Networks.single(upscaler, config.models[1])
    showing = Showing(dry_run, json_lines=json_lines, quiet=quiet)
    run_batch(config, networks, inputs, output, showing, start, batch.ModelAdvice(()))
