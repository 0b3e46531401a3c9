"""`atdsr data pack`, `atdsr data check`, `atdsr data identify` and `atdsr data degrade`."""

from pathlib import Path
from typing import Annotated

import typer

from atdsr.base import units
from atdsr.base.reporter import Reporter
from atdsr.cli.console import err, out, printable, progress_bar, say
from atdsr.cli.options import (
    SCALE_METAVAR,
    Device,
    DeviceOption,
    OverwriteOption,
    QuietOption,
    argument,
    at_least_1,
    parse_scale,
)


def pack(
    folder: Annotated[Path, argument("FOLDER")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="SET", help="The packed set, a new folder.")
    ],
    scale: Annotated[
        list[int] | None,
        typer.Option(
            "-s",
            "--scale",
            metavar=SCALE_METAVAR,
            parser=parse_scale,
            help="Scale to train for; repeat it for several.  [default: 2]",
        ),
    ] = None,
    lr: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Existing LR pictures, or a folder with X2, X3 ... in it.  [default: made by "
            "MATLAB's bicubic]",
        ),
    ] = None,
    template: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Name of an LR picture, with {} for the name of HR; by default, suffixes such as "
            "x2 are recognised.",
        ),
    ] = "{}",
    crop: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=at_least_1,
            help="Pack a square of NxN pixels of each picture, the most detailed of six; N is a "
            "multiple of 12.  [default: whole pictures]",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Pack what this network makes of the LR pictures in the place of HR, to train a "
            "small network on: any model, also of another architecture.",
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    workers: Annotated[
        int | None,
        typer.Option(
            "-j",
            metavar="N",
            parser=at_least_1,
            help="Number of pictures to read at once.  [default: one per processor, and 1 with "
            "--teacher]",
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Pack a folder of pictures for training.

    FOLDER holds HR pictures, also in subfolders. The set keeps their pixels and those of the
    LR pictures. Run the same command again to resume.
    """
    from atdsr import datasets

    scales = tuple(scale or (2,))
    network = None
    if teacher is not None:
        from atdsr.base import memory
        from atdsr.evaluation import methods

        memory.keep_freed_memory()
        network = methods.teacher(teacher, scales[0], device)
    config = datasets.PackConfig(scales, lr, template, crop, network)
    with progress_bar(quiet) as progress:
        task = progress.add_task(printable(folder.name), total=1)
        reporter = Reporter(lambda done: progress.update(task, completed=done))
        packed = datasets.pack(folder, output, config, workers, reporter)
    say(out, f"{units.counted(len(packed.records), 'picture')} -> {output}")


def check(folder: Annotated[Path, argument("SET")], quiet: QuietOption = False) -> None:
    """Read a packed set back and compare it with its hashes.

    Damaged pictures are named, and the exit code is 1 if there are any.
    """
    from atdsr import datasets

    with progress_bar(quiet) as progress:
        task = progress.add_task(printable(folder.name), total=1)
        result = datasets.check(
            folder, Reporter(lambda done: progress.update(task, completed=done))
        )
    scales = ", ".join(f"x{scale}" for scale in result.scales)
    contents = (
        f"{units.counted(result.pictures, 'picture')}, {units.byte_size(result.nbytes)}, {scales}"
    )
    if not result.damage:
        say(out, f"{contents}: intact")
        return
    for sentence in result.damage:
        say(out, sentence)
    say(err, f"error: {folder} ({contents}) is damaged; pack the pictures anew.")
    raise typer.Exit(1)


def identify(data: Annotated[str, argument("DATA")], quiet: QuietOption = False) -> None:
    """Tell whether a test set is the one that papers use.

    DATA is a test set as for `atdsr eval`. Its name, number of pictures and a SHA-256 for each
    scale are printed. The hash depends on the pixels alone, not on names or file formats.
    """
    from atdsr.base.scales import SCALES
    from atdsr.evaluation import standard_sets, testsets

    sets, errors = [], []
    for scale in SCALES:
        try:
            sets += [(test_set, scale) for test_set in testsets.find(data, scale)]
        except testsets.TestSetError as error:  # DATA may have the pictures of one scale only
            errors.append(error)
    if not sets:
        raise errors[0]
    for test_set, scale in sets:
        with progress_bar(quiet) as progress:
            pairs = progress.track(test_set.pairs, description=printable(test_set.name))
            pictures = [standard_sets.picture_digest(pair.load_hr(scale)) for pair in pairs]
        digest = standard_sets.set_digest(pictures)
        standard = standard_sets.identify(digest, scale)
        verdict = f"the {standard.name} of papers" if standard else "no set known to atdsr"
        say(out, f"{test_set.name}, {len(pictures)} pictures, x{scale}: {digest} ({verdict})")


def degrade(
    picture: Annotated[Path, argument("PICTURE")],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="SHEET",
            help="The sheet, such as sheet.png; a folder for the LR pictures if PICTURE is one.",
        ),
    ],
    degradation: Annotated[
        str,
        typer.Option(
            "-d",
            "--degradation",
            metavar="NAME",
            help="web, bsrgan or realesrgan, or a recipe that has a data.degradation.",
        ),
    ] = "web",
    scale: Annotated[
        int | None,
        typer.Option(
            "-s",
            "--scale",
            metavar=SCALE_METAVAR,
            parser=parse_scale,
            help="Scale of LR.  [default: that of the recipe, or 2]",
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Number of LR pictures on the sheet.")
    ] = 10,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of what is drawn.")] = 0,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a degradation does to a picture.

    The sheet has the middle of the picture, and LR pictures made of it as training makes them from
    its crops, with what was done to each. If PICTURE is a folder, an LR picture is made of each
    picture in it, to validate on.
    """
    from atdsr.datasets import degraded_folder
    from atdsr.datasets.degradations import Degrader
    from atdsr.reports import degradation_sheet
    from atdsr.training import recipes

    chosen, scale = recipes.degradation(degradation, scale)
    degrader = Degrader(chosen, scale, seed)
    if not picture.is_dir():
        degradation_sheet.write(picture, output, degrader, count=count, overwrite=overwrite)
        say(out, f"{printable(degradation)} x{scale} -> {output}")
        return
    with progress_bar(quiet) as progress:
        task = progress.add_task(printable(picture.name), total=1)
        reporter = Reporter(lambda done: progress.update(task, completed=done))
        made = degraded_folder.write(
            picture, output, degrader, overwrite=overwrite, reporter=reporter
        )
    say(out, f"{units.counted(made, 'picture')}, {printable(degradation)} x{scale} -> {output}")
