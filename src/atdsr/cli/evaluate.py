"""`atdsr eval`."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atdsr.base import interrupts
from atdsr.base.errors import AtdsrError
from atdsr.base.reporter import SILENT, Reporter
from atdsr.base.scales import RESTORING
from atdsr.cli.console import err, out, print_table, printable, progress_bar, say
from atdsr.cli.models import ensure_here
from atdsr.cli.options import (
    CategorySizeOption,
    Device,
    DeviceOption,
    EnsembleOption,
    OverwriteOption,
    ParameterSet,
    ParametersOption,
    Precision,
    PrecisionOption,
    QuietOption,
    ScaleOption,
    TileOption,
    UsageError,
    YesOption,
    flag,
)

if TYPE_CHECKING:
    from atdsr.evaluation import Evaluation, Method, Metric
    from atdsr.evaluation.damage import Damage
    from atdsr.evaluation.expected import Expected
    from atdsr.evaluation.records import Records
    from atdsr.evaluation.testsets import TestSet
    from atdsr.inference.config import InferenceConfig
    from atdsr.training.basicsr import TestOptions

EXAMPLES = """\b
Examples:
  atdsr eval --data Set5,Set14               sets in ATDSR_BENCHMARKS
  atdsr eval --data Set5 -m my.pth,lanczos   weights of your own, and more
  atdsr eval --data my/photos --html a.html  a page with plots and details
  atdsr eval --data Set5 --degrade jpeg75    LR saved as JPEG first
  atdsr eval --data CBSD68 -m official/atd-u-color-25    removing noise
  atdsr eval --data Set5 --expect a.json     fail where figures have changed
  atdsr eval -opt options/test/001_ATD.yml   as the official file says
"""


def evaluate(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|NAME,...",
            help="Test sets: folders, or names of folders in the one that the environment "
            "variable ATDSR_BENCHMARKS names.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME|FILE,...",
            help="Names that `atdsr models` lists, files of weights (of other networks too, with "
            "spandrel), bicubic, lanczos, identity.  [default: the bundled model for the scale]",
        ),
    ] = None,
    scale: ScaleOption = None,
    lr: Annotated[
        str,
        typer.Option(
            metavar="matlab|DIR",
            help="Where LR pictures come from: made from HR as MATLAB does, or a folder. For "
            "networks that restore, it holds the pictures to restore.",
        ),
    ] = "matlab",
    degrade: Annotated[
        str | None,
        typer.Option(
            metavar="jpeg75,...",
            help="Degrade LR first: jpeg75 for JPEG 4:2:0 of that quality, noise5 for Gaussian "
            "noise, noise5+jpeg75, or clean; a list measures each. For networks that restore, "
            "what they remove, also from gray pictures (gray+jpeg10); the default is what a model "
            "is for.",
        ),
    ] = None,
    opt: Annotated[
        Path | None,
        typer.Option(
            "-opt",
            "--opt",
            metavar="FILE",
            help="An option file of the official code, in place of the above; --data chooses among "
            "its sets.",
        ),
    ] = None,
    ensemble: EnsembleOption = False,
    metrics: Annotated[
        str, typer.Option(metavar="lpips,dists", help="Further metrics, computed by pyiqa.")
    ] = "",
    save_images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Save the enlarged pictures as DIR/SET/PICTURE_METHOD.png."
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every figure.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the table.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with plots and details."),
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Fail if PSNR differs by more than 0.01 dB from FILE, written by --json.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    restart: Annotated[bool, flag("--restart", help="Start over instead of resuming.")] = False,
    tile: TileOption = "off",
    category_size: CategorySizeOption = None,
    parameters: ParametersOption = ParameterSet.params_ema,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.fp32,
    yes: YesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure PSNR and SSIM on test sets, beside bicubic.

    PSNR and SSIM are measured on Y, as in papers, and shown above published figures. A test set is
    a folder with HR pictures, or with a folder HR that has them; HR/Set5/x2 is understood as well.

    Networks that restore are measured on whole pictures with noise or JPEG, in colour or gray, as
    in papers, beside identity, the picture that they are given.

    Scores are saved as they are measured; run the same command again to resume.
    """
    from atdsr.evaluation import damage, expected, methods, testsets
    from atdsr.inference.config import InferenceConfig
    from atdsr.training import basicsr

    outputs = _Outputs(json, markdown, html, overwrite)
    figures = None if expect is None else expected.read(expect)
    config = InferenceConfig(device.value, precision.value, tile=tile, ensemble=ensemble)
    reporter = SILENT
    if tile == "auto" and not quiet:
        reporter = Reporter(notice=lambda line: say(err, line))
    images = save_images
    if opt is not None:
        _refuse_beside_opt(
            context,
            model=model,
            scale=scale,
            lr=None if lr == "matlab" else lr,
            degrade=degrade,
            save_images=images,
            category_size=category_size,
            parameters=None if parameters == ParameterSet.params_ema else parameters,
        )
        options = basicsr.read_test(opt)
        for note in options.notes if not quiet else ():
            say(err, note)
        sets = options.sets(_split(data or ""))
        compared = _methods_of(options, config, reporter)
        images = options.images if options.save_images else None
    elif data is None:
        raise UsageError("Missing option '--data': name a test set.", context)
    else:
        damages = list(dict.fromkeys(damage.parse(text) for text in _split(degrade or "")))
        for name in _split(data):
            testsets.locate(name)  # before the networks, which take a while
        ensure_here(_split(model or ""), yes=yes, quiet=quiet)
        lr_folder = None if lr == "matlab" else lr
        if not damages and lr_folder is not None:
            damages = [None]  # whatever the pictures suffer from, they have it already
        compared = methods.named(
            _split(model or ""),
            scale,
            config,
            category_size=category_size,
            prefer=parameters.value,
            reporter=reporter,
            degrade=damages,
        )
        sets = _find_sets(data, compared, lr_folder, damages or [None])
    comparison = _Comparison(compared, sets, _load_metrics(metrics, device), images, outputs)
    result = comparison.run(restart, quiet)
    if figures is not None:
        _check_expected(result, figures)


@dataclass(frozen=True)
class _Outputs:
    """Files to write the results to."""

    json: Path | None
    markdown: Path | None
    html: Path | None
    overwrite: bool

    def __post_init__(self) -> None:
        """Check before the work that the files can be written after it."""
        from atdsr.base import files

        paths = [path for path in (self.json, self.markdown, self.html) if path is not None]
        for path in paths:
            files.check_target(path, overwrite=self.overwrite)
        if len(set(paths)) < len(paths):
            raise AtdsrError("two outputs have the same name; give each a file of its own.")

    def write(
        self, evaluation: "Evaluation", sets: Sequence["TestSet"], images: Path, quiet: bool
    ) -> None:
        from atdsr.evaluation import tables
        from atdsr.reports import evaluation_page

        if self.json is not None:
            tables.write_json(evaluation, self.json, overwrite=self.overwrite)
        if self.markdown is not None:
            tables.write_markdown(evaluation, self.markdown, overwrite=self.overwrite)
        if self.html is None:
            return
        with progress_bar(quiet) as bar:
            task = bar.add_task(printable(self.html.name), total=1)
            evaluation_page.write(
                evaluation,
                sets,
                images,
                self.html,
                overwrite=self.overwrite,
                reporter=Reporter(lambda done: bar.update(task, completed=done)),
            )


@dataclass(frozen=True)
class _Comparison:
    """Methods to compare, test sets to compare them on, and where the results go."""

    methods: Sequence["Method"]
    sets: Sequence["TestSet"]
    metrics: Mapping[str, "Metric"]
    images: Path | None
    outputs: _Outputs

    def run(self, restart: bool, quiet: bool) -> "Evaluation":
        """Measure, going on where an earlier run was stopped; write and print the results."""
        from atdsr import evaluation
        from atdsr.evaluation import tables
        from atdsr.evaluation.records import Records, cache_folder

        name = evaluation.evaluation_id(self.methods, self.sets, list(self.metrics))
        with Records(cache_folder() / name, restart=restart) as records:
            done, total = evaluation.count_recorded(self.methods, self.sets, records)
            if done and not quiet:
                say(err, f"going on after {done} of {total}")
            # the page needs enlarged pictures, even if the user does not keep them
            images = self.images or (records.folder / "images" if self.outputs.html else None)
            try:
                result = self._measure(records, images, quiet)
                self.outputs.write(result, self.sets, images or records.folder, quiet)
            except KeyboardInterrupt:
                say(err, f"interrupted after {self._work_done(records)}")
                raise typer.Exit(interrupts.exit_code()) from None
            except AtdsrError:
                done_now, _ = evaluation.count_recorded(self.methods, self.sets, records)
                if self.images is not None and done_now > done:
                    say(err, f"stopped after {self._work_done(records)}")
                raise
            for table in tables.tables(result):
                published = [["published:"], *table.published] if table.published else []
                print_table(
                    table.header,
                    [*table.measured, *published],
                    section=len(table.measured) if published else 0,
                    title=table.title,
                )
            for note in result.notes if not quiet else ():
                say(err, note)
            records.remove()
        return result

    def _work_done(self, records: "Records") -> str:
        """Return how much is done, where it is, and how to go on."""
        from atdsr import evaluation

        done, total = evaluation.count_recorded(self.methods, self.sets, records)
        folder = "" if self.images is None else f", whose pictures are in {self.images}"
        return f"{done} of {total}{folder}; the same command goes on from here"

    def _measure(self, records: "Records", images: Path | None, quiet: bool) -> "Evaluation":
        from atdsr import evaluation

        with progress_bar(quiet) as bar:
            task = bar.add_task("")

            def show(done: int, total: int, description: str) -> None:
                bar.update(task, completed=done, total=total, description=printable(description))

            result = evaluation.evaluate(
                self.methods,
                self.sets,
                metrics=self.metrics,
                images=images,
                overwrite=self.outputs.overwrite,
                records=records,
                progress=show,
            )
        command = shlex.join(["atdsr", *sys.argv[1:]])
        return replace(result, machine={**result.machine, "command": command})


def _refuse_beside_opt(context: typer.Context, **options: Any) -> None:
    """Refuse options that an option file decides.

    Raises:
        UsageError: One of them is given.
    """
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"-opt names the network, the pictures and where results go; leave out "
                f"--{name.replace('_', '-')}.",
                context,
            )


def _split(text: str) -> list[str]:
    """Split a list at its commas, unless it is a path that has one in it."""
    if Path(text).exists():
        return [text] if text else []
    return [name for name in text.split(",") if name]


def _find_sets(
    data: str,
    compared: Sequence["Method"],
    lr: str | None,
    damages: Sequence["Damage | None"],
) -> list["TestSet"]:
    """Return the test sets for the scales and damages of the methods, each once.

    Raises:
        UsageError: Gray pictures are asked for where pictures are enlarged.
    """
    from atdsr.evaluation import testsets

    to_restore = dict.fromkeys(each for method in compared for each in method.damages or ())
    sets: list[TestSet] = []
    for scale in dict.fromkeys(method.scale for method in compared):
        found = [each for name in _split(data) for each in testsets.find(name, scale, lr)]
        if scale == RESTORING:
            sets += [each.to_restore(damage) for each in found for damage in to_restore]
        elif any(damage is not None and damage.gray for damage in damages):
            raise UsageError("gray+ is for networks that restore; leave it out.")
        else:
            sets += [each.damaged(damage) for each in found for damage in damages]
    return list(dict.fromkeys(sets))


def _methods_of(
    options: "TestOptions", config: "InferenceConfig", reporter: Reporter
) -> list["Method"]:
    """Return bicubic and the network of an option file."""
    from atdsr.base import files
    from atdsr.evaluation import methods
    from atdsr.inference.upscaler import Upscaler

    upscaler = Upscaler(options.load().build(), config)
    identity = files.sha256(options.weights)
    return [
        methods.baseline("bicubic", upscaler.scale),
        methods.network(upscaler, options.suffix, identity, reporter),
    ]


def _load_metrics(names: str, device: Device) -> dict[str, "Metric"]:
    from atdsr.evaluation import perceptual
    from atdsr.inference import config

    chosen = config.choose_device(device.value)
    return {name: perceptual.load(name, chosen) for name in _split(names)}


def _check_expected(result: "Evaluation", figures: "Expected") -> None:
    """Print whether the figures are the expected ones.

    Raises:
        typer.Exit: With code 1 if they are not.
    """
    from atdsr.evaluation import expected

    verdict = expected.compare(result, figures)
    for sentence in verdict.differing:
        say(err, f"error: {sentence}")
    agree = verdict.compared - len(verdict.differing)
    left = f"; {verdict.missing} more not measured" if verdict.missing else ""
    say(
        out,
        f"{agree} of {verdict.compared} figures as expected, within {verdict.tolerance:g} dB{left}",
    )
    if verdict.differing:
        raise typer.Exit(1)
