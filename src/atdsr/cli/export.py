"""`atdsr export`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atdsr.base import units
from atdsr.base.reporter import Reporter
from atdsr.cli.console import out, printable, progress_bar, say
from atdsr.cli.models import ensure_here
from atdsr.cli.options import (
    CategorySizeOption,
    OverwriteOption,
    QuietOption,
    UsageError,
    YesOption,
    argument,
    at_least_1,
)

if TYPE_CHECKING:
    from atdsr.export import Description

EXAMPLES = """\b
Examples:
  atdsr export atd-light-x2 -o atd-light-x2.onnx
  atdsr export my.safetensors -o my.onnx --precision fp16
  atdsr export atd-light-x4 -o atd-light-x4.xml    for OpenVINO
"""


class ExportPrecision(StrEnum):
    """Of the products in the layers."""

    fp32 = "fp32"
    fp16 = "fp16"


def export(
    model: Annotated[str, argument("MODEL")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="An .onnx, .pt2 or .xml file."),
    ],
    precision: Annotated[
        ExportPrecision,
        typer.Option(
            metavar="fp32|fp16",
            help="fp16: products of the layers in half precision; half as large, for GPUs.",
        ),
    ] = ExportPrecision.fp32,
    opset: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=at_least_1, help="Version of the ONNX operators.  [default: 18]"
        ),
    ] = None,
    category_size: CategorySizeOption = None,
    overwrite: OverwriteOption = False,
    yes: YesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a network to a file for other programs.

    MODEL is a name that `atdsr models` lists, or a .safetensors or .pth file. FILE.onnx takes
    pictures of any size, RGB in [0, 1]; onnxruntime, OpenVINO, TensorRT, vs-mlrt, chaiNNer and
    browsers run it, and so does `atdsr upscale -m FILE.onnx`. FILE.pt2 is a program for
    `torch.export.load`, FILE.xml is for OpenVINO. The file is compared with the network at three
    sizes before it is written. Needs atdsr[export], and openvino for .xml.
    """
    from atdsr import export as exporting
    from atdsr.weights import models

    try:
        config = exporting.ExportConfig(precision.value, opset or exporting.OPSETS[0])
    except exporting.ExportError as error:
        raise UsageError(str(error)) from error
    ensure_here([model], yes=yes, quiet=quiet)
    network = models.load_weights(model, category_size=category_size).build_enlarging("an export")
    with progress_bar(quiet) as progress:
        task = progress.add_task(printable(output.name), total=1)
        checks = exporting.export(
            network,
            output,
            _description(model),
            config,
            overwrite=overwrite,
            reporter=Reporter(lambda done: progress.update(task, completed=done)),
        )
    if quiet:
        return
    say(out, f"{model} -> {output}, {units.byte_size(output.stat().st_size)}")
    for check in checks:
        say(out, f"{check.width}x{check.height}: {check.psnr:.1f} dB from the network")


def _description(model: str) -> "Description":
    """Return what the file says about a named model or a file of weights."""
    from atdsr.base import files
    from atdsr.export import Description
    from atdsr.weights import models

    if models.is_file(model):
        path = Path(model)
        return Description(path.stem, None, f"{path.name}, SHA-256 {files.sha256(path)}")
    named = models.find(model)
    return Description(named.name, named.licence, f"{named.file}, SHA-256 {named.sha256}")
