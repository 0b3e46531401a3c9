"""`atdsr runs show` and `atdsr runs list`."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atdsr.base import units
from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import Reporter
from atdsr.cli.console import err, out, print_table, say
from atdsr.cli.options import OverwriteOption, argument

if TYPE_CHECKING:
    from atdsr.reports.training_runs import TrainingRun

_REPORTER = Reporter(notice=lambda sentence: say(err, f"left out: {sentence}"))
_MOST_CELLS = 10_000  # of the table of validations; printing so many takes a second


def show(
    folder: Annotated[Path, argument("DIR")],
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw its curves.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with curves and images."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Show the progress and results of a training run.

    DIR is the folder of a run, also while it goes on; or a folder of such folders, such as
    experiments, for one line a run.
    """
    from atdsr.base import files
    from atdsr.reports import training_runs

    for path in (png, html):
        if path is not None:
            files.check_target(path, overwrite=overwrite)
    runs = training_runs.find(folder, _REPORTER)
    if not training_runs.is_run(folder):
        if png is not None or html is not None:
            raise AtdsrError(f"{folder} holds several runs; name one for --png and --html.")
        _print_list(runs)
        return
    (run,) = runs
    _print_run(run)
    if png is not None:
        from atdsr.reports import run_curves

        run_curves.png(run, png, overwrite=overwrite)
        say(out, f"curves: {png}")
    if html is not None:
        from atdsr.reports import run_page

        run_page.write(run, html, overwrite=overwrite)
        say(out, f"page:   {html}")


def list_runs(folder: Annotated[Path, argument("DIR")] = Path("experiments")) -> None:
    """List the training runs in a folder, the latest first.

    DIR is a folder of runs' folders.  [default: experiments]
    """
    from atdsr.reports import training_runs

    _print_list(training_runs.find(folder, _REPORTER))


def _print_run(run: "TrainingRun") -> None:
    """Print the facts of a run, then a line for each validation."""
    from atdsr.reports import training_runs

    say(out, run.name)
    facts = training_runs.facts(run)
    width = max(map(len, facts))
    for name, text in facts.items():
        say(out, f"  {name:{width}}  {text}")
    if not run.validations:
        return
    best, sets = run.best, run.sets
    validations = run.validations[-(_MOST_CELLS // (len(sets) + 3)) :]
    baseline = run.validations[-1].bicubic
    header = ["PSNR (dB)", *sets, *(["mean"] if len(sets) > 1 else []), ""]
    lines = [[run.baseline, *(units.decibels(baseline.get(name)) for name in sets)]]
    for validated in validations:
        figures = [units.decibels(validated.psnr.get(name)) for name in sets]
        figures += [units.decibels(validated.mean_psnr)] if len(sets) > 1 else []
        lines.append([f"{validated.step:,}", *figures, "best" if validated is best else ""])
    if len(validations) < len(run.validations):
        say(out, f"the last {len(validations):,} of {len(run.validations):,} validations:")
    print_table(header, lines, section=1)


def _print_list(runs: "list[TrainingRun]") -> None:
    """Print a line for each run."""
    from atdsr.reports import training_runs

    names = Counter(run.name for run in runs)
    header = ["run", "step", "of", "loss", "best PSNR", "at step", "speed", "trained", "written"]
    lines = []
    for run in runs:
        best = run.best
        lines.append(
            [
                run.name if names[run.name] == 1 else f"{run.name} ({run.folder.name})",
                f"{run.step:,}",
                f"{run.iterations:,}" if run.iterations else "",
                units.significant(run.recent_loss, 4),
                units.decibels(best.mean_psnr) if best else "",
                f"{best.step:,}" if best else "",
                units.iteration_rate(run.pace),
                units.duration(run.seconds) if run.entries else "",
                training_runs.written(run),
            ]
        )
    print_table(header, lines)
