"""`atdsr cluster`."""

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atdsr.base.option_values import STREAM
from atdsr.base.reporter import Reporter
from atdsr.base.stores import locate
from atdsr.cli.console import out, progress_bar, say
from atdsr.cli.models import ensure_here
from atdsr.cli.options import (
    CategorySizeOption,
    Device,
    EnsembleOption,
    FailuresOption,
    FormatOption,
    JsonOption,
    ManifestOption,
    ModelOption,
    NameOption,
    OutscaleOption,
    OverlapOption,
    OverwriteOption,
    Precision,
    PrecisionOption,
    QualityOption,
    QuietOption,
    RecursiveOption,
    SizeOption,
    StripMetadataOption,
    TileOption,
    UpscaleScaleOption,
    UsageError,
    YesOption,
    argument,
)
from atdsr.cli.upscaling import asked_size, choose_networks, conclude, default_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from atdsr.batch import Plan, Result, Tally
    from atdsr.cluster import ClusterConfig, NetworkSource

EXAMPLES = """\b
Examples:
  atdsr cluster upscale photos -r -o large                     on this machine
  atdsr cluster upscale /data/photos -r -o /data/large --address auto
  atdsr cluster upscale s3://photos -r -o s3://large --address ray://head:10001
"""
RESULTS = "_results"
"""The folder for the log, in that for the outputs."""


def upscale(
    context: typer.Context,
    inputs: Annotated[list[str] | None, argument("INPUT...")] = None,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="OUT", help="A folder, or one in a store.")
    ] = "",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT|ray://HOST:PORT",
            help="A Ray cluster; auto: the one that this machine is part of.  [default: "
            "RAY_ADDRESS, or Ray is started on this machine]",
        ),
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Processes that enlarge pictures.  [default: as many as the cluster has room for]",
        ),
    ] = None,
    cpus_per_actor: Annotated[
        float, typer.Option(metavar="N", min=0.01, help="CPUs of each, and its threads.")
    ] = 1,
    gpus_per_actor: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=0,
            help="GPUs of each; 0.5 lets two share one.  [default: 1 if there are GPUs, else 0]",
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            help="Pictures that a process is given at a time; more for tiny ones.",
        ),
    ] = 4,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for a log of all results in Parquet files, on disk or in a store.  "
            f"[default: {RESULTS} in OUT]",
        ),
    ] = None,
    name: NameOption = None,
    recursive: RecursiveOption = False,
    overwrite: OverwriteOption = False,
    format_name: FormatOption = None,
    quality: QualityOption = None,
    strip_metadata: StripMetadataOption = False,
    outscale: OutscaleOption = None,
    size: SizeOption = None,
    scale: UpscaleScaleOption = None,
    model: ModelOption = None,
    ensemble: EnsembleOption = False,
    tile: TileOption = "auto",
    overlap: OverlapOption = None,
    category_size: CategorySizeOption = None,
    precision: PrecisionOption = Precision.fp32,
    manifest: ManifestOption = None,
    failures: FailuresOption = None,
    json_lines: JsonOption = False,
    yes: YesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Enlarge picture files on the machines of a Ray cluster.

    INPUT is as for `atdsr upscale`: pictures, folders, globs, or objects in stores. All machines
    need atdsr with atdsr[ray], and see INPUT and OUT under the same names: on a shared disk, or in
    a store. Weights are sent to them.

    An existing output is skipped, so run the same command again to resume. A picture whose process
    or machine is lost is given to another.
    """
    start = time.perf_counter()
    inputs = inputs or []
    if not output:
        raise UsageError("Name the folder for the outputs with -o.")
    if not inputs and manifest is None:
        raise UsageError("Name a picture, a folder or a glob, or a list with --manifest.")
    if STREAM in (*inputs, output):
        raise UsageError("- is one picture on this machine; `atdsr upscale` enlarges it.")
    scale, target_size = asked_size(context, scale=scale, outscale=outscale, size=size)
    output = f"{output.rstrip('/')}/"  # never a file
    log_folder = locate(output) / RESULTS if log is None else locate(log)
    from atdsr import batch, cluster  # they import PyTorch
    from atdsr.inference import InferenceConfig

    try:
        where = cluster.ClusterConfig(address, actors, cpus_per_actor, gpus_per_actor, batch_size)
    except cluster.ClusterError as error:
        raise UsageError(str(error)) from None
    ensure_here([model] if model else [], yes=yes, quiet=quiet)
    how_to_run: dict[str, Any] = {
        "precision": precision.value,
        "tile": tile,
        "overlap": overlap,
        "ensemble": ensemble,
    }
    # loaded here too, so that what is wrong with it is said before the cluster is asked
    chosen = choose_networks(
        model,
        scale=scale,
        target_size=target_size,
        category_size=category_size,
        device=Device.cpu,
        **how_to_run,
    )
    source = cluster.NetworkSource.read(
        chosen.model, InferenceConfig(**how_to_run), category_size=category_size
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
        defaults=default_fields(context),
    )
    if manifest is None:
        plan = batch.plan(inputs, output, batch.give_way(config, inputs, output))
    else:
        plan = batch.plan_manifest(manifest, inputs, output, config)
    plan = replace(plan, several=True)  # a run is started again as it was
    with (
        batch.failures_to(failures) as list_failure,
        cluster.connected(where) as complete,
        cluster.results_to(log_folder) as write_result,
    ):

        def keep(result: "Result") -> None:
            write_result(result)
            if result.outcome is batch.Outcome.FAILED:
                list_failure(result)

        tally, interrupted = _run(plan, source, complete, keep, json_lines, quiet)
    conclude(plan, tally, time.perf_counter() - start, interrupted, json_lines, quiet)


def _run(
    plan: "Plan",
    source: "NetworkSource",
    config: "ClusterConfig",
    keep: "Callable[[Result], None]",
    json_lines: bool,
    quiet: bool,
) -> tuple["Tally", bool]:
    """Run a plan on a cluster and show its progress.

    Returns:
        What became of the pictures, and whether Ctrl-C came before the end.
    """
    from atdsr import batch, cluster

    tally = batch.Tally()
    with progress_bar(quiet or json_lines) as progress:
        task = progress.add_task(f"{config.actors} actors", total=plan.total)

        def show(line: str) -> None:
            if not quiet:
                say(progress.console, line)

        for path in plan.left_out:
            show(f"{path}: left out as an earlier output; name it alone to enlarge it")
        try:
            for result in cluster.run(plan, source, config, Reporter(notice=show)):
                tally.add(result.outcome, result.message, result.seconds)
                keep(result)
                progress.update(task, advance=1)
                if json_lines:
                    say(out, json.dumps(result.record()))
                if result.outcome is not batch.Outcome.FAILED:
                    for notice in result.notices:
                        show(f"{result.source}: {notice}")
                    show(result.line)
        except KeyboardInterrupt:
            return tally, True
    return tally, False
