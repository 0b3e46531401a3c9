"""`atdsr explain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from atdsr.base.reporter import Reporter
from atdsr.cli.console import err, out, printable, progress_bar, say
from atdsr.cli.options import (
    CategorySizeOption,
    Device,
    DeviceOption,
    ModelOption,
    OverwriteOption,
    argument,
    load_upscaler,
)


@dataclass(frozen=True)
class Pixel:
    """A pixel of a picture: column and row from the top left, from 0."""

    x: int
    y: int


def _parse_pixel(text: str) -> Pixel:
    """Parse a pixel as the user types it."""
    numbers = [number.strip() for number in text.split(",")]
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise typer.BadParameter(f"{text!r} is not a pixel; give column and row, such as 120,80.")
    return Pixel(int(numbers[0]), int(numbers[1]))


def explain(
    picture: Annotated[Path, argument("PICTURE")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")
    ],
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="BLOCK.LAYER",
            help="The layer to look into, counted from 0.  [default: the one whose category map "
            "has the most structure]",
        ),
    ] = None,
    at: Annotated[
        Pixel | None,
        typer.Option(
            metavar="X,Y",
            parser=_parse_pixel,
            help="The pixel whose attention is shown, column and row from the top left.  "
            "[default: one that attends to what is alike and far away]",
        ),
    ] = None,
    max_side: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Reduce a picture whose longer side has more pixels first."
        ),
    ] = 512,
    overwrite: OverwriteOption = False,
    model: ModelOption = None,
    category_size: CategorySizeOption = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Show how the network sees a picture.

    Writes which token of its dictionary each pixel looks up (categories.png, masks.png), which
    pixels from all over the picture one pixel attends to (attention.png), how similar the tokens
    are (dictionary.png), and index.html, a page that shows all of it.
    """
    from atdsr.reports import explain as explaining

    upscaler = load_upscaler(model, category_size=category_size, device=device)
    with progress_bar(quiet=False) as progress:
        task = progress.add_task(printable(picture.name), total=1)
        explanation = explaining.run(
            upscaler,
            picture,
            output,
            layer=layer,
            at=None if at is None else (at.x, at.y),
            max_side=max_side,
            overwrite=overwrite,
            reporter=Reporter(lambda done: progress.update(task, completed=done)),
        )
    if explanation.reduced:
        say(
            err,
            f"{picture}: reduced to {explanation.size[0]}x{explanation.size[1]} first (--max-side)",
        )
    x, y = explanation.at
    out.print(f"layer {explanation.layer}, attention of the pixel at {x},{y}")
    for path in explanation.files:
        say(out, f"{path}")
