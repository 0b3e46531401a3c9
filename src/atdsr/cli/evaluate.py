"""`atdsr eval`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from atdsr.cli.console import out, progress_bar, tracked
from atdsr.cli.options import (
    CategorySizeOption,
    Device,
    DeviceOption,
    ModelOption,
    Precision,
    PrecisionOption,
    QuietOption,
    ScaleOption,
    default_name,
    load_upscaler,
)


def evaluate(
    data: Annotated[
        str,
        typer.Option(
            metavar="DIR[,DIR...]",
            help="Test sets: folders with HR pictures, or with a folder HR that has them.",
        ),
    ],
    scale: ScaleOption = None,
    model: ModelOption = None,
    category_size: CategorySizeOption = None,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.fp32,
    quiet: QuietOption = False,
) -> None:
    """Measure PSNR and SSIM on test sets, beside bicubic.

    LR pictures are MATLAB-bicubic reductions of the HR ones; the figures are taken on Y, as the
    field takes them.
    """
    from atdsr import evaluation

    upscaler = load_upscaler(model, scale, category_size, device, precision)
    name = Path(model).name if model else default_name(scale)
    methods = {
        "bicubic": evaluation.bicubic(upscaler.scale),
        name: evaluation.network(upscaler),
    }
    table = Table("set", "scale", "pictures", "method", "PSNR-Y", "SSIM-Y")
    for folder in data.split(","):
        with progress_bar(quiet) as progress:
            results = evaluation.evaluate(
                methods, Path(folder), upscaler.scale, tracked(progress, folder)
            )
        for result in results:
            table.add_row(
                result.dataset,
                f"x{result.scale}",
                str(len(result.pictures)),
                result.method,
                f"{result.psnr_y:.2f}",
                f"{result.ssim_y:.4f}",
            )
    out.print(table)
