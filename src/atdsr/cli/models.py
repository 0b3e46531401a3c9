"""`atdsr models`, `atdsr info` and `atdsr convert`."""

from pathlib import Path
from typing import Annotated

from atdsr.cli.console import out, say
from atdsr.cli.options import CategorySizeOption, OverwriteOption, argument


def models() -> None:
    """List the models that come with atdsr."""
    from rich.table import Table

    from atdsr import zoo

    table = Table("name", "scale", "parameters", "PSNR-Y", "where from", "licence")
    for model in zoo.MODELS:
        psnr = ", ".join(f"{name} {value:.2f}" for name, value in model.psnr_y.items())
        table.add_row(
            model.name,
            f"x{model.config.scale}",
            f"{model.parameters:,}",
            psnr,
            model.origin,
            model.licence,
        )
    out.print(table)


def info(
    file: Annotated[Path, argument("FILE")],
    category_size: CategorySizeOption = None,
) -> None:
    """Describe a file of weights.

    FILE is a .safetensors or .pth file. No code in it is ever run.
    """
    from dataclasses import asdict

    from atdsr import checkpoint

    weights = checkpoint.load(file, category_size=category_size)
    rows = {"file": file, "parameters": f"{weights.parameters:,}", **asdict(weights.config)}
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        say(out, f"{name:{width}}{value}")


def convert(
    source: Annotated[Path, argument("IN")],
    target: Annotated[Path, argument("OUT")],
    category_size: CategorySizeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert weights between .pth and .safetensors.

    The suffix of OUT decides. A .pth is written with `params_ema`, for the official code; a
    .safetensors carries the configuration. Both load in spandrel, chaiNNer and ComfyUI.
    """
    from atdsr import checkpoint

    checkpoint.save(
        checkpoint.load(source, category_size=category_size), target, overwrite=overwrite
    )
    say(out, f"{source} -> {target}")
