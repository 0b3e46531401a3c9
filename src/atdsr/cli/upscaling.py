"""What `atdsr upscale` and `atdsr cluster upscale` do alike."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from atdsr.base import interrupts
from atdsr.cli.console import err, out, say
from atdsr.cli.options import (
    Device,
    UsageError,
    default_name,
    is_typed,
    load_restorer,
    load_upscaler,
)

if TYPE_CHECKING:
    from atdsr.batch import Networks, Plan, Tally, TargetSize

_FIELDS = {  # of `batch.BatchConfig`, with the parameters of the commands
    "format_name": "format_name",
    "template": "name",
    "quality": "quality",
    "recursive": "recursive",
}


def asked_size(
    context: typer.Context,
    *,
    scale: int | None,
    outscale: float | None,
    size: tuple[int | None, int | None, bool] | None,
) -> tuple[int | None, "TargetSize | None"]:
    """Return the scale of the network that is asked for, and the size of the results.

    Of --scale, --outscale and --size, what is typed wins over a person's defaults. No size is the
    one that the network makes.

    Raises:
        UsageError: Two sizes are asked for.
    """
    if any(is_typed(context, each) for each in ("outscale", "size", "scale")):  # not a default
        outscale = outscale if is_typed(context, "outscale") else None
        size = size if is_typed(context, "size") else None
        scale = scale if is_typed(context, "scale") else None
    if is_typed(context, "model") and not is_typed(context, "scale"):
        scale = None  # a default for other models than this one
    if outscale is not None and size is not None:
        raise UsageError("--outscale and --size exclude each other; give one of them.")
    if outscale is None and size is None:
        return scale, None
    from atdsr import batch

    if outscale is not None:
        return scale, batch.Factor(outscale)
    return scale, None if size is None else batch.TargetBox(*size)


class Chosen(NamedTuple):
    """The networks of a command.

    Attributes:
        networks: Those that are loaded, or will be.
        size: The size of the results.
        model: The name or file of the only one; None for all that come with atdsr.
    """

    networks: "Networks"
    size: "TargetSize"
    model: str | None


def choose_networks(
    model: str | None,
    *,
    scale: int | None,
    target_size: "TargetSize | None",
    category_size: int | None,
    device: Device,
    restore: str | None = None,
    **how_to_run: Any,
) -> Chosen:
    """Return the networks of a command, and the size of its results.

    Args:
        model: A name or a file.
        scale: The scale that the network must have.
        target_size: The size that is asked for.
        category_size: As in `atdsr.load`.
        device: Where to compute.
        restore: A name or a file of a network that each picture goes through first.
        **how_to_run: Other fields of `inference.InferenceConfig`.

    Raises:
        AtdsrError: There is no such network, or it does not run here.
    """
    from atdsr import batch
    from atdsr.inference import InferenceConfig
    from atdsr.weights import models

    restorer, restorer_name = None, ""
    if restore is not None:
        restorer_name = Path(models.canonical(restore)).stem
        how = {name: value for name, value in how_to_run.items() if name != "provider"}
        restorer = load_restorer(restore, device=device, **how)
    if target_size is not None and (model, scale, category_size) == (None, None, None):
        config = InferenceConfig(device.value, **how_to_run)
        bundled = batch.Networks.bundled(config, restorer, restorer_name)
        return Chosen(bundled, target_size, None)
    upscaler = load_upscaler(
        model,
        scale=scale,
        category_size=category_size,
        device=device,
        restorer=restorer,
        **how_to_run,
    )
    name = Path(models.canonical(model)).stem if model else default_name(scale)
    networks = batch.Networks.single(upscaler, name, restorer_name)
    return Chosen(networks, target_size or batch.Factor(upscaler.scale), model or name)


def default_fields(context: typer.Context) -> frozenset[str]:
    """Return the fields of `batch.BatchConfig` that are not on the command line."""
    return frozenset(key for key, each in _FIELDS.items() if not is_typed(context, each))


def conclude(
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

    show_failures(tally)
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


def show_failures(tally: "Tally") -> None:
    """Show what failed."""
    from atdsr import batch

    for failure in tally.failures:
        say(err, f"error: {failure}")
    if more := tally.counts[batch.Outcome.FAILED] - len(tally.failures):
        say(err, f"error: {more:,} more failed; --failures FILE lists them all.")
