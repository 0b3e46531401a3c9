"""`atdsr models`, `atdsr info` and `atdsr convert`."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from atdsr.base import interrupts, units
from atdsr.base.errors import AtdsrError
from atdsr.base.scales import RESTORING
from atdsr.cli.console import err, out, print_table, printable, say, say_wrapped
from atdsr.cli.options import (
    CategorySizeOption,
    OverwriteOption,
    QuietOption,
    UsageError,
    argument,
    flag,
)

if TYPE_CHECKING:
    from atdsr.weights.models import BundledModel, OfficialModel
    from atdsr.weights.published_file import PublishedFile

EXAMPLES = """\b
Examples:
  atdsr models                               list them
  atdsr models fetch official/atd-x4         download one; again, to go on
  atdsr models fetch https://host/a.pth      any weight file, by its address
  atdsr models add 003_ATD_SRx4_finetune.pth where a browser has fetched it
"""

_SETS = ("Set5", "Set14", "B100", "Urban100")  # the last is one of those that are restored, too
_RESTORED_SETS = (
    "CBSD68",
    "Kodak24",
    "McMaster",
    "Set12",
    "BSD68",
    "Classic5",
    "LIVE1",
    "Urban100",
)
_RESTORING_NETWORK = "ATD-U"  # as its paper calls it, for all kinds of damage


def models(context: typer.Context) -> None:
    """List the models, and download others.

    Without a command, all named models are listed by what they are for: those that come with atdsr,
    and those that the authors of ATD and others have published. The latter are downloaded when you
    ask for them.
    """
    if context.invoked_subcommand is not None:
        return
    from atdsr.weights import models

    for purpose in get_args(models.Purpose):
        group = [model for model in models.named() if model.purpose == purpose]
        if not group:
            continue
        restores = group[-1].config.scale == RESTORING
        does, sets = ("removes", _SETS[-1:]) if restores else ("scale", _SETS)
        rows = [_row(model, sets) for model in group]
        bundled = sum(isinstance(model, models.BundledModel) for model in group)
        header = ["name", does, "parameters", *sets, "weights"]
        print_table(header, rows, bundled, f"for {purpose}")
    say_wrapped(
        "PSNR in dB, on Y and clean pictures where they are enlarged, of official models as "
        "published. `atdsr info NAME` says more."
    )


def _row(model: "BundledModel | OfficialModel", sets: Sequence[str]) -> list[str]:
    """Return the line of a model in the table, with columns for test sets."""
    from atdsr.weights import models

    figures = _figures(model)
    location, does = "bundled", f"x{model.config.scale}"
    if isinstance(model, models.OfficialModel):
        location = "here" if model.is_here else "online"
        does = model.damage or does
    return [
        model.name,
        does,
        f"{model.parameters:,}",
        *(f"{figures[name]:.2f}" if name in figures else "" for name in sets),
        location,
    ]


def fetch(
    context: typer.Context,
    names: Annotated[list[str], argument("NAME|URL...")],
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", metavar="HEX", help="SHA-256 that the file at URL must have."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Download models that do not come with atdsr.

    NAME is one that `atdsr models` lists as official/... or community/..., or all for the official
    ones; URL is the address of any weight file. The same command continues an interrupted download.
    Files are checked; those that are here already are not downloaded again.
    """
    from atdsr.weights import models

    if names == ["all"]:
        names = [model.name for model in models.OFFICIAL]
    names = list(dict.fromkeys(names))
    if sha256 is not None and (len(names) > 1 or "://" not in names[0]):
        raise UsageError("--sha256 belongs to one URL; named models have theirs.", context)
    for model in [
        models.linked_file(name, sha256) if "://" in name else models.find_official(name)
        for name in names
    ]:
        line = f"{model.name}: already here, {model.path}"
        if not model.is_intact:
            _download(model, quiet)
            line = f"{model.name} -> {model.path}"
        if not quiet:
            say(out, line)


def add(
    file: Annotated[Path, argument("FILE")],
    name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help="Which model it is.  [default: by the file's name and content]",
        ),
    ] = None,
) -> None:
    """Add an official or community model that you have downloaded by hand.

    FILE is the file as its authors ship it. It is checked and copied to the folder that `atdsr
    models fetch` uses.
    """
    from atdsr.weights import models

    model = models.add(file, name)
    say(out, f"{file} -> {model.name}")


def info(
    name: Annotated[str, argument("NAME|FILE")],
    category_size: CategorySizeOption = None,
) -> None:
    """Describe a model or a weight file.

    NAME is one that `atdsr models` lists, FILE a .safetensors or .pth file. No code in it is
    ever run.
    """
    from atdsr.weights import models

    weights = models.load_weights(name, category_size=category_size)
    rows: dict[str, object] = {"file": name}
    if not models.is_file(name):
        rows = _facts(models.find(name))
    network = {"network": weights.config.name}
    rows |= network | {"parameters": f"{weights.parameters:,}"}
    rows |= weights.config.to_dict() | network
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        say(out, f"{name:{width}}{value}")


def convert(
    source: Annotated[str, argument("IN")],
    target: Annotated[Path, argument("OUT")],
    category_size: CategorySizeOption = None,
    half: Annotated[
        bool, flag("--half", help="Store values in 16 bits, which halves the file.")
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert weights between .pth and .safetensors.

    IN is a file or a name that `atdsr models` lists; the suffix of OUT selects the format. A .pth
    file holds `params_ema`, for the official code; a .safetensors file carries the configuration.
    Both load in spandrel, chaiNNer and ComfyUI, which do not know ATD v2 yet.
    """
    from dataclasses import replace

    from atdsr.network.config import ATDConfig
    from atdsr.weights import WeightsError, models, read_weights, write_weights

    weights = models.load_weights(source, category_size=category_size)
    write_weights(weights, target, overwrite=overwrite, half=half)
    say(out, f"{source} -> {target}")
    config = weights.config
    try:
        told = read_weights(target).config
    except WeightsError:
        told = None
    block = config.category_block if isinstance(config, ATDConfig) else None
    if isinstance(told, ATDConfig) and told.category_block is None and block is not None:
        told = replace(told, category_block=block)  # the sentence below says all
        say(
            err,
            f"{target} cannot tell that this network sorts tokens in squares of "
            f"{block}; whoever loads it will sort them all over the picture.",
        )
    if told != config:
        say(
            err,
            f"{target} cannot tell the category size of this network; load it with "
            f"--category-size {config.category_size} (in Python, category_size=).",
        )


def ensure_here(names: Sequence[str], *, yes: bool, quiet: bool) -> None:
    """Download the official models among these names that are not here, if the user agrees.

    Args:
        names: Names of models, or weight files.
        yes: Whether to download without asking.
        quiet: Whether to show no progress bar.

    Raises:
        AtdsrError: There is no user to ask, or a download fails.
        typer.Exit: The user does not agree.
    """
    if not names:
        return
    from atdsr.weights import download, models

    names = [models.canonical(name) for name in names]
    for model in (*models.OFFICIAL, *models.COMMUNITY):
        if model.name not in names or model.is_here:
            continue
        if not yes and _on_terminal():
            question = f"{model.name} is not here yet: download {_size(model)}from "
            # the answer has a line of its own, which only a keyboard ends
            say(err, f"{question}{download.source(model)}? [y/N]")
            yes = typer.confirm("", err=True, prompt_suffix="", show_default=False)
            if not yes:
                say(err, "nothing downloaded")
                raise typer.Exit(1)
        if not yes:
            raise AtdsrError(
                f"{model.name} is not here; `atdsr models fetch {model.name}` downloads it, and "
                "so does this command with --yes."
            )
        _download(model, quiet)


def _on_terminal() -> bool:
    """Whether there is a user to ask."""
    return sys.stdin.isatty() and err.console.is_terminal


def _download(model: "PublishedFile", quiet: bool) -> None:
    """Download a model with a progress bar.

    Raises:
        AtdsrError: The download fails.
        typer.Exit: A signal such as Ctrl-C has interrupted it; the exit code is 128 + signal.
    """
    from atdsr.weights import download

    if not quiet:
        say(err, f"{model.name}: {_size(model)}from {download.source(model)}")
    try:
        with _bytes_bar(quiet) as bar:
            task = bar.add_task(printable(model.file), total=model.nbytes)
            download.fetch(model, lambda done, total: bar.update(task, completed=done, total=total))
    except KeyboardInterrupt:
        say(err, "interrupted; `atdsr models fetch` goes on from here")
        raise typer.Exit(interrupts.exit_code()) from None


@contextmanager
def _bytes_bar(quiet: bool) -> Iterator[Any]:
    """Yield a progress bar for bytes; it is shown only if standard error is a terminal."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    hidden = quiet or not err.console.is_terminal
    with Progress(*columns, console=err.console, disable=hidden, transient=True) as progress:
        yield progress


def _size(model: "PublishedFile") -> str:
    if model.expected_bytes is None:
        return ""
    about = "about " if model.nbytes is None else ""
    return f"{about}{units.byte_size(model.expected_bytes)} "


def _facts(model: "BundledModel | OfficialModel") -> dict[str, object]:
    """Return the facts about a named model, by their labels."""
    from atdsr.weights import models

    figures = ", ".join(f"{name} {value:.2f}" for name, value in _figures(model).items())
    rows: dict[str, object] = {"model": model.name}
    if figures:
        published = isinstance(model, models.OfficialModel)
        what = "PSNR" if model.config.scale == RESTORING else "PSNR-Y"
        rows[what] = f"{figures} (as published)" if published else figures
    rows["trained on"] = model.data
    if isinstance(model, models.CommunityModel):
        rows |= {"made for": model.note, "author": model.author}
    if isinstance(model, models.OfficialModel):
        rows |= {"file": model.path, "bytes": f"{model.path.stat().st_size:,}"}
        if model.record is not None:
            rows |= {"source": f"{model.record.source}, {model.record.when}"}
    else:
        rows["trained for"] = f"{model.hours:g} hours on {model.hardware}"
    return rows | {"licence": model.licence, "SHA-256": model.sha256}


def _figures(model: "BundledModel | OfficialModel") -> dict[str, float]:
    """Return PSNR in dB by test set: measured, or of official models as published."""
    from atdsr.evaluation import published
    from atdsr.weights import models

    if isinstance(model, models.BundledModel):
        return model.psnr_y
    if isinstance(model, models.CommunityModel):
        return {}
    if model.damage:
        names = {f"{name} {model.damage}": name for name in _RESTORED_SETS}
        rows = published.rows(RESTORING, names)
        return {names[row.dataset]: row.psnr for row in rows if row.model == _RESTORING_NETWORK}
    return {
        row.dataset: row.psnr
        for row in published.rows(model.config.scale, _SETS)
        if row.model == model.config.name
    }
