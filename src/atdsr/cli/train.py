"""`atdsr train`."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atdsr.base import interrupts
from atdsr.base.errors import AtdsrError, no_folder
from atdsr.cli.console import err, leads, out, print_table, say
from atdsr.cli.options import Device, DeviceOption, QuietOption, UsageError, argument, flag

if TYPE_CHECKING:
    import torch

    from atdsr.reports.training_runs import TrainingRun
    from atdsr.training import Event, TrainConfig

RECIPE = "recipe.yaml"  # in the folder of a run

EXAMPLES = """\b
Examples:
  atdsr train finetune --data my/photos
                                    a bundled network on pictures of your own
  atdsr train 101                   a published recipe, by its number
  atdsr train 101 --dry-run         what it does, and how long it takes here
  atdsr train my.yaml --set optim.lr=2e-4
  atdsr train -opt options/train/101_ATD_light_SRx2_scratch.yml
  torchrun --nproc-per-node 8 -m atdsr train 101
"""


def train(
    context: typer.Context,
    recipe: Annotated[str | None, argument("RECIPE")] = None,
    opt: Annotated[
        Path | None,
        typer.Option(
            "-opt",
            "--opt",
            metavar="FILE",
            help="An option file of the official code, in place of RECIPE.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A packed set, or a folder of HR pictures, in place of the recipe's.",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting instead of the recipe's, such as data.batch=16; repeatable.",
        ),
    ] = None,
    list_recipes: Annotated[
        bool, flag("--list", help="List the recipes that come with atdsr, and exit.")
    ] = False,
    dry_run: Annotated[
        bool,
        flag(
            "--dry-run",
            help="Print the full recipe with the memory and time that it takes; do not train.",
        ),
    ] = False,
    restart: Annotated[
        bool,
        flag("--restart", help="Start over; the existing run is renamed to NAME.1 and kept."),
    ] = False,
    allow_code: Annotated[
        bool,
        flag(
            "--allow-code",
            help="Let the recipe import Python code (loss.kind: package.module:function). Read "
            "the recipe and the code first.",
        ),
    ] = False,
    device: DeviceOption = Device.auto,
    quiet: QuietOption = False,
) -> None:
    """Train a network by a recipe.

    RECIPE is a YAML file, or the name of a recipe that comes with atdsr; docs/training.md says
    what it may hold. The same command goes on where an interrupted run stopped.
    """
    with interrupts.deferred():  # in the middle of these imports it is lost
        from atdsr.inference.config import choose_device

    if list_recipes:
        _print_recipes()
        return
    quiet = quiet or not leads()
    changes = [*_data_overrides(data), *(overrides or [])]
    config = _load_config(context, recipe, opt, changes, allow_code=allow_code, quiet=quiet)
    where = choose_device(device.value)
    if dry_run:
        if leads():
            _print_plan(config, where)
        return
    if restart and leads() and _first_start():
        _set_aside(config.output, quiet=quiet)
    _run(config, where, quiet=quiet)


def _data_overrides(folder: Path | None) -> list[str]:
    """Return overrides for other pictures, whose LR is made or packed with them.

    Raises:
        AtdsrError: There is no such folder.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        raise AtdsrError(no_folder(folder))
    return [f"data.train={json.dumps(str(folder))}", "data.lr=null", "data.template='{}'"]


def _load_config(
    context: typer.Context,
    recipe: str | None,
    opt: Path | None,
    overrides: list[str],
    *,
    allow_code: bool,
    quiet: bool,
) -> "TrainConfig":
    """Return the configuration of the recipe or the option file, and print its notes.

    Raises:
        UsageError: Neither of them is given, or both.
        AtdsrError: It cannot be read.
    """
    from atdsr.training import basicsr, recipes

    if (recipe is None) == (opt is None):
        raise UsageError(
            "Name a recipe, or an option file with -opt; `atdsr train --list` lists the recipes "
            "that come with atdsr.",
            context,
        )
    if allow_code and (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)  # where people keep such a module; behind all that is installed
    if recipe is not None:
        return recipes.load(recipe, overrides, allow_code=allow_code)
    assert opt is not None
    options = basicsr.read_training(opt, overrides, allow_code=allow_code)
    for note in options.notes if not quiet else ():
        say(err, note)
    return options.config


def _run(config: "TrainConfig", device: "torch.device", *, quiet: bool) -> None:
    """Train, and say where the weights are.

    Raises:
        Exit: With 128 + the signal if the run was asked to stop.
    """
    from atdsr import training
    from atdsr.cli.run_display import show_run
    from atdsr.reports import training_runs
    from atdsr.training import Started

    own = config.output / RECIPE
    if leads() and own.exists() and not training_runs.is_run(config.output):
        raise AtdsrError(
            f"{own} exists, and {config.output} is not the folder of a run; name another output."
        )
    try:
        with show_run(config.output, quiet=quiet) as display:

            def callback(event: "Event") -> None:
                if isinstance(event, Started):  # from here on the folder is this run's
                    _write_recipe(config)
                display(event)

            weights = training.fit(config, device=device, callback=callback)
    except training.StoppedError as stopped:
        if leads():
            say(err, str(stopped))
        raise typer.Exit(interrupts.exit_code()) from None
    if not leads():
        return
    best = config.output / "best.safetensors"
    if best.is_file() and not quiet:
        say(err, f"best weights: {best}{_gain(training_runs.read(config.output))}")
    say(out, str(weights))


def _gain(run: "TrainingRun") -> str:
    """Return what the best weights of a run have gained over the first that were measured."""
    if len(run.validations) < 2 or run.best is None:
        return ""
    first, best = run.validations[0], run.best
    if first.step == 0 and best is first:
        return "; no later step was better on average than step 0, with which training began"
    gain = best.mean_psnr - first.mean_psnr
    return f" (step {best.step:,}, {gain:+.2f} dB since step {first.step:,})"


def _write_recipe(config: "TrainConfig") -> None:
    """Write the resolved recipe into the run's folder."""
    from atdsr.base import files
    from atdsr.training import recipes

    with files.atomic_write(config.output / RECIPE, overwrite=True) as temporary:
        temporary.write_text(recipes.dump(config), "utf-8")


def _set_aside(folder: Path, *, quiet: bool) -> None:
    from atdsr.reports import training_runs

    moved_to = training_runs.set_aside(folder)
    if moved_to is not None and not quiet:
        say(err, f"the run that was in {folder} is now {moved_to}")


def _print_plan(config: "TrainConfig", device: "torch.device") -> None:
    """Print a recipe that can be used as it is, with the costs of the run as comments."""
    from atdsr.training import recipes
    from atdsr.training.estimate import estimate
    from atdsr.training.schedule_checks import warnings

    for line in recipes.dump(config).splitlines():
        say(out, line)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    for line in estimate(config, device, ranks).lines():
        say(out, f"# {line}")
    for sentence in (*warnings(config), *_missing_inputs(config, device)):
        say(err, f"warning: {sentence}")


def _missing_inputs(config: "TrainConfig", device: "torch.device") -> Iterator[str]:
    """Yield a sentence for each kind of pictures without which the run would not start."""
    from atdsr import datasets
    from atdsr.training import validation
    from atdsr.training.loop import pack_config

    try:
        datasets.find_unpacked(config.data.train, pack_config(config, device))
    except AtdsrError as error:
        yield str(error)
    try:
        validation.find_sets(config)
    except AtdsrError as error:
        yield str(error)


def _print_recipes() -> None:
    """Print a table of the recipes that come with atdsr."""
    from atdsr.training import recipes

    header = ["recipe", "network", "scale", "steps", "batch", "patch", "lr", "begins with"]
    lines = []
    for name in recipes.names():
        config = recipes.load(name)
        scale = config.network.scale
        lines.append(
            [
                name,
                recipes.name_of(config.network) or "",
                f"x{scale}",
                f"{config.iterations:,}",
                str(config.data.batch),
                str(config.data.patch),
                f"{config.optim.lr:g}",
                _origin(config.init_from),
            ]
        )
    print_table(header, lines)


def _origin(weights: Path | None) -> str:
    """Return where a run's initial weights come from: the name of another run, or of a file."""
    if weights is None:
        return "fresh weights"
    return weights.parent.parent.name if weights.parent.name == "models" else weights.name


def _first_start() -> bool:
    """Return whether torchrun has not restarted this process after a failure."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
