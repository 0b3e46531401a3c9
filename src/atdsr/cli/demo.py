"""`atdsr demo`."""

from pathlib import Path
from typing import Annotated

import typer

from atdsr.base.reporter import Reporter
from atdsr.cli.console import out, progress_bar, say
from atdsr.cli.options import Device, DeviceOption, OverwriteOption, ScaleOption, load_upscaler


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")
    ] = Path("demo"),
    scale: ScaleOption = None,
    overwrite: OverwriteOption = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Enlarge a sample photo and compare.

    Bicubic, the network and the original are put side by side. Existing files are kept, which is
    an error, unless --overwrite is given.
    """
    from atdsr.reports import demo as sample

    upscaler = load_upscaler(scale=scale, device=device)
    with progress_bar(quiet=False) as progress:
        task = progress.add_task("coffee.png", total=1)
        made = sample.run(
            upscaler,
            output,
            overwrite=overwrite,
            reporter=Reporter(lambda done: progress.update(task, completed=done)),
        )
    for method, psnr in made.psnr_y.items():
        out.print(f"{method:10} {psnr:6.2f} dB PSNR-Y")
    say(out, f"enlarged:   {made.enlarged}")
    say(out, f"comparison: {made.comparison}")
