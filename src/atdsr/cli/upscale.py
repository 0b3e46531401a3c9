"""`atdsr upscale`."""

import glob
import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atdsr.base import interrupts
from atdsr.base.errors import AtdsrError, missing
from atdsr.base.option_values import STREAM
from atdsr.base.reporter import Reporter
from atdsr.base.stores import locate
from atdsr.cli.console import err, out, printable, progress_bar, say
from atdsr.cli.models import ensure_here
from atdsr.cli.options import (
    CategorySizeOption,
    Device,
    DeviceOption,
    EnsembleOption,
    ModelOption,
    OverlapOption,
    OverwriteOption,
    Precision,
    PrecisionOption,
    ProviderOption,
    QuietOption,
    TileOption,
    UpscaleScaleOption,
    UsageError,
    VerboseOption,
    YesOption,
    argument,
    default_name,
    flag,
    is_typed,
    load_upscaler,
    parse_factor,
    parse_format,
    parse_quality,
    parse_shard,
    parse_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from atdsr.batch import BatchItem, Networks, Plan, Result, Streams, Tally, TargetSize

EXAMPLES = """\b
Examples:
  atdsr upscale photo.jpg                    makes photo_x2.jpg beside it
  atdsr upscale photo.jpg -o large.png       choose the name and format
  atdsr upscale photo.jpg --size 1920x1080   as large as fits into a screen
  atdsr upscale photos -r -o large           a tree of folders, into another
  atdsr upscale "photos/*.png" -f webp       a glob; all become WebP
  atdsr upscale art.png -m my.safetensors    weights of your own
  atdsr upscale photo.jpg --preview          only its middle, beside bicubic
  atdsr upscale photos --dry-run             what would be made, and how long
  cat a.png | atdsr upscale - -o - > b.png   through standard input and output
"""


def upscale(
    context: typer.Context,
    inputs: Annotated[list[str] | None, argument("INPUT...")] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="A file; or a folder if it is one, ends in /, or INPUT is a folder, a glob or "
            "several files; or - for standard output.  [default: NAME_x2 beside each input]",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Template of output names: {stem} {name} {parent} {scale} {width} {height} "
            "{model} {ext}.  [default: {stem}_x{scale}{ext}]",
        ),
    ] = None,
    recursive: Annotated[
        bool, flag("-r", "--recursive", help="Enter folders in INPUT; OUT gets the same tree.")
    ] = False,
    overwrite: OverwriteOption = False,
    format_name: Annotated[
        str | None,
        typer.Option(
            "-f",
            "--format",
            metavar="FORMAT",
            parser=parse_format,
            help="Format of the outputs: png, tiff, jpg, webp, avif, bmp, gif, jxl, jp2 or ppm.  "
            "[default: as OUT or INPUT]",
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            metavar="1..100",
            parser=parse_quality,
            help="Quality of JPEG, WebP, AVIF and JPEG XL.  [default: 95, lossless, 90, lossless]",
        ),
    ] = None,
    strip_metadata: Annotated[
        bool, flag("--strip-metadata", help="Leave out camera, place, date and author.")
    ] = False,
    outscale: Annotated[
        Any,
        typer.Option(
            metavar="FACTOR",
            parser=parse_factor,
            help="Factor by which width and height grow, such as 3.5; the network runs as often "
            "as needed.",
        ),
    ] = None,
    size: Annotated[
        Any,
        typer.Option(
            metavar="WxH",
            parser=parse_size,
            help="Largest size that fits into WxH pixels; Wx or xH sets one side, WxH! stretches.",
        ),
    ] = None,
    scale: UpscaleScaleOption = None,
    model: ModelOption = None,
    ensemble: EnsembleOption = False,
    tile: TileOption = "auto",
    overlap: OverlapOption = None,
    category_size: CategorySizeOption = None,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.fp32,
    provider: ProviderOption = None,
    dry_run: Annotated[
        bool,
        flag(
            "--dry-run",
            help="Write nothing; print what would become of each picture, with the memory and time "
            "of the network.",
        ),
    ] = False,
    preview: Annotated[
        bool,
        flag(
            "--preview",
            help="Enlarge only the middle of each picture, and write it beside bicubic to "
            "OUT_preview.png.",
        ),
    ] = False,
    json_lines: Annotated[
        bool, flag("--json", help="Print a line of JSON for each picture, for programs.")
    ] = False,
    shard: Annotated[
        Any,
        typer.Option(
            metavar="K/N|auto[/N]",
            parser=parse_shard,
            help="Make only the K-th of N parts of the pictures, for many processes or machines; "
            "auto: K from a SLURM array or an indexed Kubernetes Job.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Enlarge the pictures that FILE lists, one path on a line, with a tab and a name "
            "of the output after it if you like; or a Parquet file with columns path and output.",
        ),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a line of JSON to FILE for each picture that fails; a list of an earlier "
            "run is replaced.",
        ),
    ] = None,
    yes: YesOption = False,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
) -> None:
    """Enlarge picture files.

    INPUT is one or more pictures, a folder (its own pictures, not those in subfolders), a glob in
    quotes, or - for standard input. PNG, TIFF, JPEG, WebP, AVIF, BMP, GIF, JPEG 2000 and PPM are
    read and written, and JPEG XL with atdsr[formats]. ICO and, with atdsr[formats], HEIC are read
    and become PNG. Transparency, 16 bits, metadata and the colour profile are kept if the output
    format can hold them, and photos are set upright. Animations stay animations, and
    multi-page files stay multi-page.

    An input is never overwritten, an existing output only with --overwrite. An existing output is
    an error for a single picture and is skipped among several, so run the same command again to
    resume. If the inputs include both a.png and a_x2.png, the second is taken for an earlier output
    and left out; name it alone to enlarge it.
    """
    start = time.perf_counter()  # what is imported and loaded is time that people wait, too
    if json_lines and output == STREAM:
        raise UsageError("--json and -o - both write to standard output; drop one of them.")
    if preview and (dry_run or output == STREAM):
        other = "--dry-run" if dry_run else "-o -"
        raise UsageError(f"--preview and {other} exclude each other; drop one of them.")
    inputs = inputs or []
    if not inputs and manifest is None:
        raise UsageError("Name a picture, a folder or a glob, or a list with --manifest.")
    if manifest is not None and STREAM in (*inputs, output):
        raise UsageError("--manifest and - exclude each other; drop one of them.")
    if failures is not None and dry_run:
        raise UsageError("--failures and --dry-run exclude each other; drop one of them.")
    if any(is_typed(context, each) for each in ("outscale", "size", "scale")):  # not a default
        outscale = outscale if is_typed(context, "outscale") else None
        size = size if is_typed(context, "size") else None
        scale = scale if is_typed(context, "scale") else None
    if is_typed(context, "model") and not is_typed(context, "scale"):
        scale = None  # a default for other models than this one
    if outscale is not None and size is not None:
        raise UsageError("--outscale and --size exclude each other; give one of them.")
    if not json_lines:
        _check_not_missing(inputs)
    from atdsr import batch  # it imports PyTorch, so what can be refused has been refused
    from atdsr.inference import InferenceConfig
    from atdsr.weights import models

    target_size = _target_size(outscale, size)
    ensure_here([model] if model else [], yes=yes, quiet=quiet)
    how_to_run: dict[str, Any] = {
        "precision": precision.value,
        "tile": tile,
        "overlap": overlap,
        "ensemble": ensemble,
        "provider": provider.value if provider else None,
    }
    if target_size is not None and (model, scale, category_size) == (None, None, None):
        networks = batch.Networks.bundled(InferenceConfig(device.value, **how_to_run))
    else:
        upscaler = load_upscaler(
            model, scale=scale, category_size=category_size, device=device, **how_to_run
        )
        networks = batch.Networks.single(
            upscaler, Path(models.canonical(model)).stem if model else default_name(scale)
        )
        target_size = target_size or batch.Factor(upscaler.scale)
    options = {"format_name": "format_name", "template": "name"}
    options |= {"quality": "quality", "recursive": "recursive"}
    config = batch.BatchConfig(
        target_size,
        format_name=format_name,
        template=name,
        models=networks.models,
        recursive=recursive,
        overwrite=overwrite,
        quality=quality,
        strip_metadata=strip_metadata,
        shard=shard,
        defaults=frozenset(key for key, each in options.items() if not is_typed(context, each)),
    )
    if manifest is None:
        config = batch.give_way(config, inputs, output)
    with batch.open_streams(inputs, output, config) as streams:
        if manifest is None:
            plan = batch.plan(streams.inputs, streams.out, config)
        else:
            plan = batch.plan_manifest(manifest, streams.inputs, streams.out, config)
        if dry_run:
            _forecast(plan, networks, streams, json_lines, quiet)
            return
        with batch.failures_to(failures) as list_failure:
            tally, interrupted = _run(
                plan, networks, streams, list_failure, preview, json_lines, quiet
            )
        seconds = time.perf_counter() - start
        _conclude(plan, tally, seconds, interrupted, json_lines, quiet)


def _check_not_missing(inputs: list[str]) -> None:
    """Check that the only input, if it is a file, is there.

    Among several, and in JSON, a missing one is a picture that fails.

    Raises:
        AtdsrError: It is not there, or belongs to no store that is known.
    """
    if len(inputs) != 1 or inputs[0] == STREAM or glob.has_magic(inputs[0]):
        return
    path = locate(inputs[0])
    if not isinstance(path, Path):
        return  # a store is asked when the network is there, since both may take a while
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise AtdsrError(missing(path)) from None
    except OSError:
        return  # what it is becomes known when it is read


def _target_size(
    outscale: float | None, size: tuple[int | None, int | None, bool] | None
) -> "TargetSize | None":
    """Return how large the results are to be; None is as large as the network makes them."""
    from atdsr import batch

    if outscale is not None:
        return batch.Factor(outscale)
    return None if size is None else batch.TargetBox(*size)


def _forecast(
    plan: "Plan", networks: "Networks", streams: "Streams", json_lines: bool, quiet: bool
) -> None:
    """Print what would become of each picture, and the summary.

    Raises:
        typer.Exit: With 1 if a picture would fail.
    """
    from atdsr import batch

    tally = batch.ForecastTally()
    for found in batch.forecast(plan, networks):
        each = found.renamed(streams.restore_names)
        tally.add_forecast(each)
        if json_lines:
            say(out, json.dumps(each.record()))
        elif not quiet and each.outcome != batch.Outcome.FAILED:
            say(out, each.line)
    _show_failures(tally)
    if json_lines:
        say(out, json.dumps(batch.forecast_totals(tally, plan)))
    elif plan.several and not quiet:
        say(out, batch.forecast_summary(tally, plan))
    if tally.failures:
        raise typer.Exit(1)


def _run(
    plan: "Plan",
    networks: "Networks",
    streams: "Streams",
    list_failure: "Callable[[Result], None]",
    preview: bool,
    json_lines: bool,
    quiet: bool,
) -> tuple["Tally", bool]:
    """Run a plan and show its progress.

    Returns:
        What became of the pictures, and whether Ctrl-C came before the end. Failures are not shown
        yet: at the end nobody misses them.
    """
    from atdsr import batch

    tally = batch.Tally()
    # a bar would catch what is meant for standard output
    with progress_bar(quiet or json_lines) as progress:
        if preview or progress.disable:  # all crops take about the same time
            fraction = (1 / max(1, plan.total)).__mul__
        else:
            fraction = batch.work_done(plan, networks)
        task = progress.add_task("", total=1)
        numbers = itertools.count(1 + plan.total - len(plan.items))

        def show(line: str) -> None:
            if not quiet:
                say(progress.console, streams.restore_names(line))

        def reporter_for(item: "BatchItem") -> Reporter:
            name = printable(item.source.name)
            count = f"{next(numbers)} of {plan.total}  " if plan.total > 1 else ""
            progress.update(task, description=count + name, refresh=True)

            def show_progress(done: float) -> None:
                progress.update(task, completed=fraction(done))

            return Reporter(
                show_progress,
                lambda sentence: show(f"{item.source}: {sentence}"),
            )

        for path in plan.left_out:
            show(f"{path}: left out as an earlier output; name it alone to enlarge it")
        try:
            run = batch.run_previews if preview else batch.run
            for result in map(streams.restore_result, run(plan, networks, reporter_for)):
                tally.add(result.outcome, result.message, result.seconds)
                if json_lines:
                    say(out, json.dumps(result.record()))
                if result.outcome == batch.Outcome.FAILED:
                    list_failure(result)
                else:
                    show(result.line)
        except KeyboardInterrupt:
            return tally, True
    return tally, False


def _conclude(
    plan: "Plan",
    tally: "Tally",
    seconds: float,
    interrupted: bool,
    json_lines: bool,
    quiet: bool,
) -> None:
    """Show what failed, and the summary, with the time that it all took.

    Raises:
        typer.Exit: With 1 if a picture failed, and with 128 + the signal after one, such as Ctrl-C.
    """
    from atdsr import batch

    _show_failures(tally)
    if json_lines:
        say(out, json.dumps(batch.totals(tally, plan, interrupted=interrupted)))
    summary = batch.summary(tally, plan, seconds)
    if interrupted:
        say(err, f"interrupted: {summary}")
        raise typer.Exit(interrupts.exit_code())
    if plan.several and not quiet:
        say(err, summary)
    if tally.failures:
        raise typer.Exit(1)


def _show_failures(tally: "Tally") -> None:
    """Show what failed."""
    from atdsr import batch

    for failure in tally.failures:
        say(err, f"error: {failure}")
    if more := tally.counts[batch.Outcome.FAILED] - len(tally.failures):
        say(err, f"error: {more:,} more failed; --failures FILE lists them all.")
