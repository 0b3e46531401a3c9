"""`atdsr runs show` and `atdsr runs list`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atdsr.base import units
from atdsr.base.errors import AtdsrError
from atdsr.cli.console import err, out, print_table, say
from atdsr.cli.options import OverwriteOption, argument

if TYPE_CHECKING:
    from atdsr.reports.runs import Run

_MOST_CELLS = 10_000  # of the table of validations, which takes a second


def show(
    folder: Annotated[Path, argument("DIR")],
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw its curves.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with curves and strips."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Show what a training run has come to.

    DIR is the folder of a run, also while it goes on; or a folder of such folders, such as
    experiments, for one line a run.
    """
    from atdsr.base import files
    from atdsr.reports import runs

    for path in (png, html):
        if path is not None:
            files.check_target(path, overwrite=overwrite)
    found = runs.find(folder, _warn)
    if not runs.is_run(folder):
        if png is not None or html is not None:
            raise AtdsrError(f"{folder} holds several runs; name one for --png and --html.")
        _print_list(found)
        return
    (run,) = found
    _print_run(run)
    if png is not None:
        from atdsr.reports.runs import drawing

        drawing.png(run, png, overwrite=overwrite)
        say(out, f"curves: {png}")
    if html is not None:
        from atdsr.reports.runs import page

        page.write(run, html, overwrite=overwrite)
        say(out, f"page:   {html}")


def list_runs(folder: Annotated[Path, argument("DIR")] = Path("experiments")) -> None:
    """List the training runs in a folder, the latest first.

    DIR is a folder of runs' folders.  [default: experiments]
    """
    from atdsr.reports import runs

    _print_list(runs.find(folder, _warn))


def _warn(sentence: str) -> None:
    say(err, f"left out: {sentence}")


def _print_run(run: "Run") -> None:
    """What a run is and has come to, then a line for each validation."""
    from atdsr.reports import runs

    say(out, run.name)
    facts = runs.facts(run)
    width = max(map(len, facts))
    for name, text in facts.items():
        say(out, f"  {name:{width}}  {text}")
    if not run.validations:
        return
    best, sets = run.best, run.sets
    shown = run.validations[-(_MOST_CELLS // (len(sets) + 3)) :]
    bicubic = run.validations[-1].bicubic
    header = ["PSNR (dB)", *sets, *(["mean"] if len(sets) > 1 else []), ""]
    lines = [["bicubic", *(_decibels(bicubic.get(name)) for name in sets)]]
    for each in shown:
        figures = [_decibels(each.psnr.get(name)) for name in sets]
        figures += [_decibels(each.mean_psnr)] if len(sets) > 1 else []
        lines.append([f"{each.step:,}", *figures, "best" if each is best else ""])
    if len(shown) < len(run.validations):
        say(out, f"the last {len(shown):,} of {len(run.validations):,} validations:")
    print_table(header, lines, section=1)


def _print_list(found: "list[Run]") -> None:
    """A line for each run."""
    from atdsr.reports import runs

    header = ["run", "step", "of", "loss", "best PSNR", "at step", "speed", "trained", "written"]
    lines = []
    for run in found:
        best = run.best
        lines.append(
            [
                run.name,
                f"{run.step:,}",
                f"{run.iterations:,}" if run.iterations else "",
                units.significant(run.recent_loss, 4),
                _decibels(best.mean_psnr) if best else "",
                f"{best.step:,}" if best else "",
                units.iteration_rate(run.pace),
                units.duration(run.seconds) if run.lines else "",
                runs.written(run),
            ]
        )
    print_table(header, lines)


def _decibels(value: float | None) -> str:
    return units.UNKNOWN if value is None else units.decibels(value)
