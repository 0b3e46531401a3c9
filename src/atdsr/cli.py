"""The command line: parse, call, print, exit code.

Modules are imported where they are used, so that `--help` answers at once.
"""

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from typer.core import TyperArgument, TyperCommand, TyperGroup

import atdsr
from atdsr.errors import AtdsrError

if TYPE_CHECKING:
    from atdsr.jobs import Plan, Result
    from atdsr.upscale import Upscaler


class _Command(TyperCommand):
    """A command whose usage line names its arguments as its help text does."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Arguments first, as in the examples."""
        arguments = [param for param in self.params if isinstance(param, TyperArgument)]
        return [*(str(argument.metavar) for argument in arguments), "[OPTIONS]"]


class _Group(TyperGroup):
    """The commands, and the place where a foreseen failure becomes a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except AtdsrError as error:
            _say(err, f"error: {error}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            _say(err, "interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Enlarge pictures with ATD, the Adaptive Token Dictionary transformer.",
)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make training sets.")
app.add_typer(data_app, name="data")


def _console(*, stderr: bool) -> Console:
    """A console that prints names of files as they are: no markup, no emoji codes, no wrapping."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


out, err = _console(stderr=False), _console(stderr=True)


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(StrEnum):
    """Of matrix products."""

    fp32 = "fp32"
    bf16 = "bf16"


class Format(StrEnum):
    """Of picture files; the names of `pixels.FORMATS`."""

    png = "png"
    tiff = "tiff"
    jpg = "jpg"
    webp = "webp"
    avif = "avif"
    bmp = "bmp"


def _scale(text: str) -> int:
    if text not in ("2", "3", "4"):
        raise typer.BadParameter(f"{text!r} is not 2, 3 or 4.")
    return int(text)


def _at_least_1(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is not a whole number from 1 on.")
    return int(text)


def _flag(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, metavar="", **settings)  # else the help names its type


def _argument(name: str) -> Any:
    return typer.Argument(metavar=name, hidden=True)  # the help text says what it is


ModelOption = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="NAME|FILE",
        help="A name that `atdsr models` lists, or a .safetensors or .pth file.  "
        "[default: the one that comes with atdsr for the scale]",
    ),
]
ScaleOption = Annotated[
    int | None,
    typer.Option(
        "-s",
        "--scale",
        metavar="2|3|4",
        parser=_scale,
        help="How many times the sides grow.  [default: 2, or what the model does]",
    ),
]
CategorySizeOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=_at_least_1,
        help="Tokens in a group of category attention, for a FILE that cannot tell.",
    ),
]
DeviceOption = Annotated[
    Device, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        metavar="fp32|bf16", help="Of matrix products; bf16 is faster on hardware made for it."
    ),
]
OverwriteOption = Annotated[bool, _flag("--overwrite", help="Replace existing outputs.")]
QuietOption = Annotated[bool, _flag("-q", "--quiet", help="Print nothing but errors.")]


def _version(wanted: bool) -> None:
    if wanted:
        _say(out, f"atdsr {atdsr.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, _flag("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    pass


_UPSCALE_EXAMPLES = """\b
Examples:
  atdsr upscale photo.jpg                    makes photo_x2.jpg beside it
  atdsr upscale photo.jpg -o large.png       a name and a format of your own
  atdsr upscale photos -o large              a whole folder, into another
  atdsr upscale "photos/*.png" -f webp       a glob; all become WebP
  atdsr upscale art.png -m my.safetensors    weights of your own
"""


@app.command(cls=_Command, epilog=_UPSCALE_EXAMPLES)
def upscale(
    inputs: Annotated[list[str], _argument("INPUT...")],
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

    upscaler = _load(model, scale, category_size, device, precision)
    plan = jobs.plan(inputs, output, upscaler.scale, format_name)
    results, interrupted = _enlarge(plan, upscaler, overwrite, quiet)
    failures = [result.line for result in results if result.outcome == jobs.Outcome.FAILED]
    for failure in failures:
        _say(err, f"error: {failure}")
    summary = jobs.summary(results, len(plan.jobs))
    if interrupted:
        _say(err, f"interrupted: {summary}")
        raise typer.Exit(130)
    if plan.several and not quiet:
        _say(err, summary)
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
    with _progress(quiet) as progress:
        task = progress.add_task("", total=len(plan.jobs))

        def show(job: jobs.Job, done: float) -> None:
            progress.update(task, description=_printable(job.source.name), completed=done)

        def tell(line: str) -> None:
            if not quiet:
                _say(progress.console, line)

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


@app.command(cls=_Command)
def models() -> None:
    """List the models that come with atdsr."""
    from atdsr import zoo

    table = Table("name", "scale", "parameters", "PSNR-Y", "where from", "licence")
    for model in zoo.MODELS:
        psnr = ", ".join(f"{name} {value:.2f}" for name, value in model.psnr_y.items())
        table.add_row(
            model.name,
            f"x{model.config.scale}",
            f"{model.parameters:,}",
            psnr,
            model.origin,
            model.licence,
        )
    out.print(table)


@app.command(cls=_Command)
def info(
    file: Annotated[Path, _argument("FILE")],
    category_size: CategorySizeOption = None,
) -> None:
    """Describe a file of weights.

    FILE is a .safetensors or .pth file. No code in it is ever run.
    """
    from dataclasses import asdict

    from atdsr import checkpoint

    weights = checkpoint.load(file, category_size=category_size)
    rows = {"file": file, "parameters": f"{weights.parameters:,}", **asdict(weights.config)}
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        _say(out, f"{name:{width}}{value}")


@app.command(cls=_Command)
def convert(
    source: Annotated[Path, _argument("IN")],
    target: Annotated[Path, _argument("OUT")],
    category_size: CategorySizeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert weights between .pth and .safetensors.

    The suffix of OUT decides. A .pth is written with `params_ema`, for the official code; a
    .safetensors carries the configuration. Both load in spandrel, chaiNNer and ComfyUI.
    """
    from atdsr import checkpoint

    checkpoint.save(
        checkpoint.load(source, category_size=category_size), target, overwrite=overwrite
    )
    _say(out, f"{source} -> {target}")


@app.command(name="eval", cls=_Command)
def evaluate(
    data: Annotated[
        str,
        typer.Option(
            metavar="DIR[,DIR...]",
            help="Test sets: folders with HR pictures, or with a folder HR that has them.",
        ),
    ],
    scale: ScaleOption = None,
    model: ModelOption = None,
    category_size: CategorySizeOption = None,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.fp32,
    quiet: QuietOption = False,
) -> None:
    """Measure PSNR and SSIM on test sets, beside bicubic.

    LR pictures are MATLAB-bicubic reductions of the HR ones; the figures are taken on Y, as the
    field takes them.
    """
    from atdsr import evaluation

    upscaler = _load(model, scale, category_size, device, precision)
    name = Path(model).name if model else _default_name(scale)
    methods = {
        "bicubic": evaluation.bicubic(upscaler.scale),
        name: evaluation.network(upscaler),
    }
    table = Table("set", "scale", "pictures", "method", "PSNR-Y", "SSIM-Y")
    for folder in data.split(","):
        with _progress(quiet) as progress:
            results = evaluation.evaluate(
                methods, Path(folder), upscaler.scale, _tracked(progress, folder)
            )
        for result in results:
            table.add_row(
                result.dataset,
                f"x{result.scale}",
                str(len(result.pictures)),
                result.method,
                f"{result.psnr_y:.2f}",
                f"{result.ssim_y:.4f}",
            )
    out.print(table)


@app.command(cls=_Command)
def train(
    recipe: Annotated[Path, _argument("RECIPE")],
    device: DeviceOption = Device.auto,
    quiet: QuietOption = False,
) -> None:
    """Train a network by a recipe.

    RECIPE is a YAML file; docs/training.md says what it may hold. The same command goes on where
    an interrupted run stopped.
    """
    from atdsr import recipes, training, upscale

    wanted = recipes.load(recipe)
    total = wanted.settings.iterations

    def report(line: training.Report) -> None:
        if not quiet:
            err.print(
                f"step {line.step}/{total}  loss {line.loss:.5f}  lr {line.lr:.2e}  "
                f"{line.seconds / wanted.settings.log_every:.2f} s/step"
            )

    try:
        weights = training.fit(
            wanted.config, wanted.settings, device=upscale.choose_device(device), report=report
        )
    except training.StoppedError as stopped:
        _say(err, str(stopped))
        raise typer.Exit(130) from None
    _say(out, str(weights))


@data_app.command(cls=_Command)
def pack(
    folder: Annotated[Path, _argument("FOLDER")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="The packed set, a new folder.")
    ],
    scale: Annotated[
        list[int] | None,
        typer.Option(
            "-s",
            "--scale",
            metavar="2|3|4",
            parser=_scale,
            help="A scale to train for; may be given again.  [default: 2]",
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Pack a folder of pictures for training.

    FOLDER holds HR pictures, also in folders inside. The set keeps their pixels and their
    MATLAB-bicubic reductions.
    """
    from atdsr import data

    with _progress(quiet) as progress:
        packed = data.pack(folder, output, scale or (2,), _tracked(progress, folder.name))
    _say(out, f"{len(packed.entries)} pictures -> {output}")


@app.command(cls=_Command)
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where to put the pictures.")
    ] = Path("demo"),
    device: DeviceOption = Device.auto,
) -> None:
    """Enlarge a sample photo and compare.

    What bicubic and the network make of it is put side by side with the original.
    """
    from atdsr import demo as sample

    upscaler = _load(None, None, None, device, Precision.fp32)
    with _progress(quiet=False) as progress:
        task = progress.add_task("coffee.png", total=1)
        made = sample.run(upscaler, output, lambda share: progress.update(task, completed=share))
    for method, psnr in made.psnr_y.items():
        out.print(f"{method:10} {psnr:6.2f} dB PSNR-Y")
    _say(out, f"enlarged:   {made.enlarged}")
    _say(out, f"comparison: {made.comparison}")


def main() -> None:
    """Run the command line as a process of its own."""
    from atdsr.memory import keep_freed_memory

    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that its encoding lacks
    app()


def _load(
    model: str | None,
    scale: int | None,
    category_size: int | None,
    device: Device,
    precision: Precision,
) -> "Upscaler":
    """The named model, or the one for the scale.

    Raises:
        AtdsrError: a model of another scale than asked for, and what `upscale.load` raises.
    """
    from atdsr import upscale

    upscaler = upscale.load(
        model or _default_name(scale), device.value, precision.value, category_size=category_size
    )
    if scale is not None and scale != upscaler.scale:
        raise AtdsrError(f"{model} enlarges by {upscaler.scale}, not by {scale}; drop --scale.")
    return upscaler


def _default_name(scale: int | None) -> str:
    from atdsr import zoo

    return zoo.for_scale(scale or 2).name


def _say(console: Console, line: str) -> None:
    console.print(_printable(line))


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _printable(text: str) -> str:
    """The text on one line, whatever names of files bring: newlines, control codes, no UTF-8."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    columns = (
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(max_width=32, no_wrap=True, overflow="ellipsis"),
        ),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    hidden = quiet or not err.is_terminal
    with Progress(*columns, console=err, disable=hidden, transient=True) as progress:
        yield progress


def _tracked(progress: Progress, name: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    return lambda items: progress.track(items, description=_printable(name))
