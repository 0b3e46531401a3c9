"""`atdsr upscale`."""

import glob
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atdsr.base.errors import AtdsrError, missing
from atdsr.base.option_values import STREAM
from atdsr.base.reporter import Reporter
from atdsr.base.stores import locate
from atdsr.cli.clip_options import (
    CodecOption,
    CrfOption,
    DeinterlaceOption,
    EndOption,
    FramesOption,
    HardwareOption,
    PresetOption,
    StartOption,
    ThreadsOption,
)
from atdsr.cli.console import err, out, printable, progress_bar, say
from atdsr.cli.models import ensure_here
from atdsr.cli.options import (
    CategorySizeOption,
    Device,
    DeviceOption,
    EnsembleOption,
    FailuresOption,
    JsonOption,
    ManifestOption,
    ModelOption,
    NameOption,
    OutscaleOption,
    OverlapOption,
    OverwriteOption,
    Precision,
    PrecisionOption,
    ProviderOption,
    QualityOption,
    QuietOption,
    RecursiveOption,
    SizeOption,
    StripMetadataOption,
    TileOption,
    UpscaleFormatOption,
    UpscaleScaleOption,
    UsageError,
    VerboseOption,
    YesOption,
    argument,
    flag,
    output_option,
    parse_shard,
)
from atdsr.cli.upscaling import asked_size, choose_networks, conclude, default_fields, show_failures

if TYPE_CHECKING:
    from collections.abc import Callable

    from atdsr.batch import (
        BatchConfig,
        BatchItem,
        ModelAdvice,
        Networks,
        Plan,
        Result,
        Streams,
        Tally,
    )

EXAMPLES = """\b
Examples:
  atdsr upscale photo.jpg                    makes photo_x2.jpg beside it
  atdsr upscale photo.jpg -o large.png       choose the name and format
  atdsr upscale photo.jpg --size 1920x1080   as large as fits into a screen
  atdsr upscale photos -r -o large           a tree of folders, into another
  atdsr upscale "photos/*.png" -f webp       a glob; all become WebP
  atdsr upscale art.png -m my.safetensors    weights of your own
  atdsr upscale a.jpg --restore official/atd-u-jpeg-q20    restore it first
  atdsr upscale film.mkv --frames 48         the first 48 frames of a clip
  atdsr upscale photo.jpg --preview          only its middle, beside bicubic
  atdsr upscale s3://photos -r -o large      a bucket, onto the disk
  atdsr upscale photos --dry-run             what would be made, and how long
  cat a.png | atdsr upscale - -o - > b.png   through standard input and output
"""


def upscale(
    context: typer.Context,
    inputs: Annotated[list[str] | None, argument("INPUT...")] = None,
    output: Annotated[str | None, output_option("NAME_x2")] = None,
    name: NameOption = None,
    recursive: RecursiveOption = False,
    overwrite: OverwriteOption = False,
    format_name: UpscaleFormatOption = None,
    quality: QualityOption = None,
    strip_metadata: StripMetadataOption = False,
    outscale: OutscaleOption = None,
    size: SizeOption = None,
    scale: UpscaleScaleOption = None,
    model: ModelOption = None,
    restore: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Remove noise or traces of JPEG first, by a model for that, such as "
            "official/atd-u-color-25.",
        ),
    ] = None,
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
    json_lines: JsonOption = False,
    shard: Annotated[
        Any,
        typer.Option(
            metavar="K/N|auto[/N]",
            parser=parse_shard,
            help="Make only the K-th of N parts of the pictures, for many processes or machines; "
            "auto: K from a SLURM array or an indexed Kubernetes Job.",
        ),
    ] = None,
    manifest: ManifestOption = None,
    failures: FailuresOption = None,
    codec: CodecOption = None,
    crf: CrfOption = None,
    preset: PresetOption = None,
    hardware: HardwareOption = False,
    start: StartOption = None,
    end: EndOption = None,
    frames: FramesOption = None,
    deinterlace: DeinterlaceOption = False,
    threads: ThreadsOption = None,
    yes: YesOption = False,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
) -> None:
    """Enlarge picture files and clips.

    INPUT is one or more pictures, a folder (its own pictures, not those in subfolders), a glob in
    quotes, or - for standard input. With atdsr[stores], INPUT and OUT may be in a store, such as
    s3://photos/2024, gs:// or az://. PNG, TIFF, JPEG, WebP, AVIF, BMP, GIF, JPEG 2000 and PPM are
    read and written, and JPEG XL with atdsr[formats]. ICO and, with atdsr[formats], HEIC are read
    and become PNG. Transparency, 16 bits, metadata and the colour profile are kept if the output
    format can hold them, and photos are set upright. Animations stay animations, and
    multi-page files stay multi-page.

    With atdsr[video], clips (MP4, MOV, MKV, WebM, AVI, TS and others) become MP4, MOV or MKV.
    Sound, subtitles, chapters and time stamps stay as they are. The same command goes on with an
    interrupted clip.

    An input is never overwritten, an existing output only with --overwrite. An existing output is
    an error for a single picture and is skipped among several, so run the same command again to
    resume. If the inputs include both a.png and a_x2.png, the second is taken for an earlier output
    and left out; name it alone to enlarge it.
    """
    began = time.perf_counter()  # what is imported and loaded is time that people wait, too
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
    if start is not None and end is not None and end <= start:
        raise UsageError("--end is not after --start; give a later one.")
    scale, target_size = asked_size(context, scale=scale, outscale=outscale, size=size)
    if not json_lines:
        check_not_missing(inputs)
    from atdsr import batch  # it imports PyTorch, so what can be refused has been refused
    from atdsr.video import ClipFiles, VideoConfig

    ensure_here([name for name in (model, restore) if name], yes=yes, quiet=quiet)
    chosen = choose_networks(
        model,
        scale=scale,
        target_size=target_size,
        category_size=category_size,
        device=device,
        restore=restore,
        precision=precision.value,
        tile=tile,
        overlap=overlap,
        ensemble=ensemble,
        provider=provider.value if provider else None,
    )
    config = batch.BatchConfig(
        chosen.size,
        format_name=format_name,
        template=name,
        models=chosen.networks.models,
        recursive=recursive,
        overwrite=overwrite,
        quality=quality,
        strip_metadata=strip_metadata,
        shard=shard,
        clips=ClipFiles(
            VideoConfig(
                None if codec is None else codec.value,
                crf,
                preset,
                hardware,
                start,
                end,
                frames,
                deinterlace,
                threads or 0,
            )
        ),
        defaults=default_fields(context),
    )
    showing = Showing(dry_run, preview, json_lines, quiet)
    # whoever names a model has chosen
    advice = batch.ModelAdvice(() if model or restore else chosen.networks.models)
    run_batch(config, chosen.networks, inputs, output, showing, began, advice, manifest, failures)


@dataclass(frozen=True)
class Showing:
    """What of a batch is made and shown; the fields are those options."""

    dry_run: bool = False
    preview: bool = False
    json_lines: bool = False
    quiet: bool = False


def run_batch(
    config: "BatchConfig",
    networks: "Networks",
    inputs: list[str],
    output: str | None,
    showing: Showing,
    began: float,
    advice: "ModelAdvice",
    manifest: Path | None = None,
    failures: Path | None = None,
) -> None:
    """Make the pictures of a command, and show what becomes of them.

    Args:
        config: What the command asks for.
        networks: What enlarges or restores the pictures.
        inputs: The pictures, folders and globs.
        output: Where the results go.
        showing: What is shown, and whether pictures are made at all.
        began: When the command began, of `time.perf_counter`.
        advice: What another model is advised for.
        manifest: A list of pictures to take instead of the inputs.
        failures: A file for the pictures that fail.

    Raises:
        typer.Exit: A picture failed, or Ctrl-C came before the end.
    """
    from atdsr import batch

    dry_run, json_lines, quiet = showing.dry_run, showing.json_lines, showing.quiet
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
                plan, networks, streams, list_failure, advice, showing.preview, json_lines, quiet
            )
        seconds = time.perf_counter() - began
        conclude(plan, tally, seconds, interrupted, json_lines, quiet)


def check_not_missing(inputs: list[str]) -> None:
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
    show_failures(tally)
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
    advice: "ModelAdvice",
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
                lambda words: progress.update(task, description=f"{count}{name}  {words}"),
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
                    if not quiet and (line := advice.line(result.source)):
                        say(err, streams.restore_names(line))
        except KeyboardInterrupt:
            return tally, True
    return tally, False
