"""`atdsr models`, `atdsr info` and `atdsr convert`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from atdsr.cli.console import out, say
from atdsr.cli.options import CategorySizeOption, OverwriteOption, argument

if TYPE_CHECKING:
    from atdsr.zoo import ZooModel


def models() -> None:
    """List the models that come with atdsr."""
    from rich.table import Table

    from atdsr import zoo

    table = Table("name", "scale", "parameters", "PSNR-Y", "trained on", "licence")
    for model in zoo.MODELS:
        table.add_row(
            model.name,
            f"x{model.config.scale}",
            f"{model.parameters:,}",
            _figures(model),
            model.data,
            model.licence,
        )
    out.print(table)
    say(out, "`atdsr info NAME` says more.")


def info(
    name: Annotated[str, argument("NAME|FILE")],
    category_size: CategorySizeOption = None,
) -> None:
    """Describe a model or a file of weights.

    NAME is one that `atdsr models` lists, FILE a .safetensors or .pth file. No code in it is
    ever run.
    """
    from dataclasses import asdict

    from atdsr import zoo

    weights = zoo.load(name, category_size=category_size)
    rows: dict[str, object] = {"file": name}
    if not zoo.means_file(name):
        model = zoo.find(name)
        rows = {
            "model": name,
            "PSNR-Y": _figures(model),
            "trained on": model.data,
            "trained for": f"{model.hours:g} hours on {model.hardware}",
            "licence": model.licence,
            "SHA-256": model.sha256,
        }
    rows |= {"parameters": f"{weights.parameters:,}", **asdict(weights.config)}
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        say(out, f"{name:{width}}{value}")


def convert(
    source: Annotated[str, argument("IN")],
    target: Annotated[Path, argument("OUT")],
    category_size: CategorySizeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert weights between .pth and .safetensors.

    IN is a file or a name that `atdsr models` lists; the suffix of OUT decides. A .pth is written
    with `params_ema`, for the official code; a .safetensors carries the configuration. Both load
    in spandrel, chaiNNer and ComfyUI.
    """
    from atdsr import checkpoint, zoo

    checkpoint.save(zoo.load(source, category_size=category_size), target, overwrite=overwrite)
    say(out, f"{source} -> {target}")


def _figures(model: "ZooModel") -> str:
    """What it reaches on the test sets, in dB."""
    return ", ".join(f"{name} {value:.2f}" for name, value in model.psnr_y.items())
