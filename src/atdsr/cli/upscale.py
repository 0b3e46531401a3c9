"""`atdsr upscale`."""

from typing import TYPE_CHECKING, Annotated

import typer

from atdsr.cli.console import err, printable, progress_bar, say
from atdsr.cli.options import (
    CategorySizeOption,
    Device,
    DeviceOption,
    Format,
    ModelOption,
    OverwriteOption,
    Precision,
    PrecisionOption,
    QuietOption,
    ScaleOption,
    argument,
    load_upscaler,
)

if TYPE_CHECKING:
    from atdsr.jobs import Plan, Result
    from atdsr.upscale import Upscaler

EXAMPLES = """\b
Examples:
  atdsr upscale photo.jpg                    makes photo_x2.jpg beside it
  atdsr upscale photo.jpg -o large.png       a name and a format of your own
  atdsr upscale photos -o large              a whole folder, into another
  atdsr upscale "photos/*.png" -f webp       a glob; all become WebP
  atdsr upscale art.png -m my.safetensors    weights of your own
"""


def upscale(
    inputs: Annotated[list[str], argument("INPUT...")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="A file; or a folder if it is one, ends in /, or INPUT is a folder, a glob or "
            "several files.  [default: NAME_x2 beside each input]",
        ),
    ] = None,
    format_name: Annotated[
        Format | None,
        typer.Option(
            "-f",
            "--format",
            metavar="FORMAT",
            help="Of the outputs: png, tiff, jpg, webp, avif or bmp.  [default: as OUT or INPUT]",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    scale: ScaleOption = None,
    model: ModelOption = None,
    category_size: CategorySizeOption = None,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.fp32,
    quiet: QuietOption = False,
) -> None:
    """Enlarge picture files.

    INPUT is a picture, several, a folder (the pictures right in it) or a glob in quotes. PNG,
    TIFF, JPEG, WebP, AVIF and BMP are read and written; transparency, 16 bits and the colour
    profile are kept where the format can, and a photo comes out upright.

    An input is never overwritten. An existing output is kept unless --overwrite is given: for a
    single picture that is an error, among several it is passed over, so that the same command
    goes on where it was stopped. Where both a.png and a_x2.png are among several inputs, a_x2.png
    is taken for an earlier output and left out; name it alone to enlarge it.
    """
    from atdsr import jobs

    upscaler = load_upscaler(model, scale, category_size, device, precision)
    plan = jobs.plan(inputs, output, upscaler.scale, format_name)
    results, interrupted = _enlarge(plan, upscaler, overwrite, quiet)
    failures = [result.line for result in results if result.outcome == jobs.Outcome.FAILED]
    for failure in failures:
        say(err, f"error: {failure}")
    summary = jobs.summary(results, len(plan.jobs))
    if interrupted:
        say(err, f"interrupted: {summary}")
        raise typer.Exit(130)
    if plan.several and not quiet:
        say(err, summary)
    if failures:
        raise typer.Exit(1)


def _enlarge(
    plan: "Plan", upscaler: "Upscaler", overwrite: bool, quiet: bool
) -> tuple[list["Result"], bool]:
    """Do what is planned and show how it goes.

    Returns:
        What became of the jobs, and whether Ctrl-C came before the end. Failures are not shown
        yet: at the end nobody misses them.
    """
    from atdsr import jobs

    results: list[Result] = []
    with progress_bar(quiet) as progress:
        task = progress.add_task("", total=len(plan.jobs))

        def show(job: jobs.Job, done: float) -> None:
            progress.update(task, description=printable(job.source.name), completed=done)

        def tell(line: str) -> None:
            if not quiet:
                say(progress.console, line)

        for path in plan.left_out:
            tell(f"{path}: left out as an earlier output; name it alone to enlarge it")
        try:
            for result in jobs.run(plan, upscaler, overwrite=overwrite, progress=show):
                results.append(result)
                if result.outcome != jobs.Outcome.FAILED:
                    tell(result.line)
        except KeyboardInterrupt:
            return results, True
    return results, False
