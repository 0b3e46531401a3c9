"""`atdsr train` and `atdsr data pack`."""

from pathlib import Path
from typing import Annotated

import typer

from atdsr.cli.console import err, out, progress_bar, say, tracked
from atdsr.cli.options import Device, DeviceOption, QuietOption, argument, parse_scale


def train(
    recipe: Annotated[Path, argument("RECIPE")],
    device: DeviceOption = Device.auto,
    quiet: QuietOption = False,
) -> None:
    """Train a network by a recipe.

    RECIPE is a YAML file; docs/training.md says what it may hold. The same command goes on where
    an interrupted run stopped.
    """
    from atdsr import inference, recipes, training

    wanted = recipes.load(recipe)
    total = wanted.settings.iterations

    def report(line: training.Report) -> None:
        if not quiet:
            err.print(
                f"step {line.step}/{total}  loss {line.loss:.5f}  lr {line.lr:.2e}  "
                f"{line.seconds / wanted.settings.log_every:.2f} s/step"
            )

    try:
        weights = training.fit(
            wanted.config, wanted.settings, device=inference.choose_device(device), report=report
        )
    except training.StoppedError as stopped:
        say(err, str(stopped))
        raise typer.Exit(130) from None
    say(out, str(weights))


def pack(
    folder: Annotated[Path, argument("FOLDER")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="The packed set, a new folder.")
    ],
    scale: Annotated[
        list[int] | None,
        typer.Option(
            "-s",
            "--scale",
            metavar="2|3|4",
            parser=parse_scale,
            help="A scale to train for; may be given again.  [default: 2]",
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Pack a folder of pictures for training.

    FOLDER holds HR pictures, also in folders inside. The set keeps their pixels and their
    MATLAB-bicubic reductions.
    """
    from atdsr import data

    with progress_bar(quiet) as progress:
        packed = data.pack(folder, output, scale or (2,), tracked(progress, folder.name))
    say(out, f"{len(packed.entries)} pictures -> {output}")
