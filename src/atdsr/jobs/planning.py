"""Which files the inputs name, and which file becomes of each."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atdsr import pixels
from atdsr.errors import AtdsrError
from atdsr.jobs.naming import Template
from atdsr.jobs.order import Box, JobError, Order

_LOSSY = {"jpg", "webp", "avif", "jxl"}  # the formats with a quality to choose


@dataclass(frozen=True)
class Job:
    """A picture file to enlarge, and the file to make of it."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """What to do with the files that the inputs name.

    Attributes:
        jobs: in the order of the inputs, each source once.
        left_out: files that bear the name of an output for another file of the list, without
            those that this plan writes.
        several: whether the inputs are a folder, a glob or more than one; then an existing output
            is kept in passing, so that an interrupted folder can be continued.
        order: how to do the jobs.
        problems: files and folders that cannot even be looked at, each with a sentence.
    """

    jobs: tuple[Job, ...]
    left_out: tuple[Path, ...]
    several: bool
    order: Order
    problems: tuple[tuple[Path, str], ...] = ()

    @property
    def total(self) -> int:
        """How many results there will be."""
        return len(self.jobs) + len(self.problems)


@dataclass(frozen=True)
class _Found:
    """The picture files that inputs name.

    Attributes:
        files: each with its folder below the input, which is kept below the folder for outputs.
        problems: as in `Plan`.
    """

    files: dict[Path, Path]
    problems: list[tuple[Path, str]]


def plan(inputs: Sequence[str], out: str | None, order: Order) -> Plan:
    """Find the files that inputs name, and a name for what becomes of each.

    An input is a file, a folder (its files of known suffixes, not hidden; with `order.recursive`
    also those of folders inside that are not hidden, not links and not the folder for outputs) or
    a glob (likewise; `**` goes into folders). In a folder, and beside the input where `out` is
    None, an output is called by the order's template, usually `{stem}_x{scale}{ext}`. Where both
    `a` and `a_x2` are in one list, the latter is taken for an earlier output and left out.

    Args:
        inputs: as a person writes them.
        out: a folder if it exists as one, ends in a slash, there is a template, or the input is a
            folder, a glob or several; else a file; None is beside each input.
        order: what is asked for.

    Raises:
        JobError, PictureError: an input names nothing, `out`, the template or the quality does
            not fit, or an output would fall on an input or on another.
    """
    template = Template.of(order)
    try:
        several = len(inputs) > 1 or any(_is_list(name) for name in inputs)
        found = _find(inputs, out, order)
        earlier = template.earlier_outputs(found.files)
        sources = [source for source in found.files if source not in earlier]
        jobs: list[Job] = []
        problems = found.problems
        if out is None or several or order.template or _is_folder(out):
            folder = None if out is None else _folder(out, several, order)
            for source in sources:
                place = source.parent if folder is None else folder / found.files[source]
                try:
                    jobs.append(Job(source, place / _name(source, template, order)))
                except _UnreadableError as error:
                    problems.append((source, str(error)))
        else:
            jobs = [Job(source, _file(out, order.format_name)) for source in sources]
        _check(jobs)
    except OSError as error:
        raise JobError(f"{error.filename} cannot be read: {error.strerror}.") from None
    _check_quality(jobs, order)
    left_out = earlier - {job.target for job in jobs}
    return Plan(tuple(jobs), tuple(sorted(left_out)), several, order, tuple(problems))


def _is_list(name: str) -> bool:
    path = Path(name)
    return path.is_dir() or (glob.has_magic(name) and not path.exists())


def _is_folder(out: str) -> bool:
    return out.endswith(("/", os.sep)) or Path(out).is_dir()


def _find(inputs: Sequence[str], out: str | None, order: Order) -> _Found:
    """The picture files that all inputs name, in their order.

    Raises:
        JobError: an input names none.
        OSError: an input cannot be looked at.
    """
    found = _Found({}, [])
    apart = None if out is None else _identity(Path(out))
    for name in inputs:
        if not name:
            raise JobError("an INPUT is empty; name a picture, a folder or a glob.")
        path = Path(name)
        if not _is_list(name):
            files = [path]  # a missing file is named when its turn comes, with the good ones done
            problem = ""
        elif path.is_dir():
            files = _inside(path, apart, found.problems) if order.recursive else _visible(path)
            problem = f"{name} is a folder without pictures" + (
                "." if order.recursive else "; --recursive looks into the folders inside."
            )
        else:
            files = [Path(match) for match in glob.glob(name, recursive=True)]  # noqa: PTH207
            problem = f"no picture matches {name}."
        if problem:
            files = sorted(file for file in files if pixels.is_picture_file(file))
        if not files:
            raise JobError(problem)
        for file in files:
            below = file.parent.relative_to(path) if path.is_dir() else Path()
            found.files.setdefault(file, below)
    return found


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _inside(top: Path, apart: object, problems: list[tuple[Path, str]]) -> list[Path]:
    """What is in a folder and in those inside, none of them hidden, a link or `apart`.

    A folder inside that cannot be read is added to the problems.

    Raises:
        OSError: the folder itself cannot be read.
    """
    paths: list[Path] = []
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            content = _visible(folder)
            inner = [path for path in content if path.is_dir() and not path.is_symlink()]
        except OSError as error:
            if folder == top:
                raise
            problems.append((folder, f"{folder} cannot be read: {error.strerror}."))
            continue
        paths += content
        folders += [path for path in inner if _identity(path) != apart]
    return paths


class _UnreadableError(JobError):
    """The size of a picture is not to be had, so that it gets no name."""


def _name(source: Path, template: Template, order: Order) -> Path:
    """The name of a picture's output, relative to the folder for outputs.

    Raises:
        JobError: see `Template.render`; `_UnreadableError` concerns this picture only.
    """
    if order.format_name is None:
        suffix = pixels.written_suffix(source)
    else:
        suffix = pixels.FORMATS[order.format_name]
    values: dict[str, object] = {"ext": suffix, "model": order.model}
    goal = order.goal
    if not isinstance(goal, Box):
        values["scale"] = f"{goal.factor:g}"
    if template.fields & ({"width", "height", "scale"} - values.keys()):
        try:
            frames = pixels.open_frames(source)
        except AtdsrError as error:
            raise _UnreadableError(str(error)) from None
        width, height = goal.size(frames.width, frames.height)
        values = {"scale": f"{width / frames.width:.3g}"} | values
        values |= {"width": width, "height": height}
    return template.render(source, values)


def _folder(out: str, several: bool, order: Order) -> Path:
    """The folder for the outputs.

    Raises:
        JobError: a file is in its place, or it reads like the name of a picture.
    """
    folder = Path(out)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise JobError(f"{out} is a file; name a folder for the outputs.")
    if not _is_folder(out) and folder.suffix.lower() in pixels.WRITABLE_SUFFIXES:
        if several:
            raise JobError(
                f"{out} reads like one file for several pictures; name a folder with -o."
            )
        if order.template:
            raise JobError(f"{out} reads like a file; beside --name, -o names a folder.")
    return folder


def _file(out: str, format_name: str | None) -> Path:
    """The file for the only output, with the format's suffix if it has none.

    Raises:
        JobError: its suffix is of another format than the one asked for.
    """
    target = Path(out)
    if format_name is None:
        return target
    suffix = pixels.FORMATS[format_name]
    if not target.suffix:
        return target.with_suffix(suffix)
    if pixels.format_of(target) != format_name:
        raise JobError(f"{out} does not end in {suffix}; change its suffix or drop --format.")
    return target


def _check(jobs: Sequence[Job]) -> None:
    """See that no file is read and written, or written twice.

    Raises:
        JobError: naming the files.
    """
    sources = {_identity(job.source) for job in jobs}
    makers: dict[str, Path] = {}
    for job in jobs:
        if _identity(job.target) in sources:
            raise JobError(f"{job.target} is an input and is never overwritten; name another.")
        target = os.path.realpath(job.target)
        if target in makers:
            raise JobError(
                f"{makers[target]} and {job.source} would both become {job.target}; enlarge them "
                "one at a time, or tell them apart with fields of --name."
            )
        makers[target] = job.source


def _identity(path: Path) -> object:
    """What two names of one file share, also links, or where the system ignores case."""
    try:
        status = path.stat()
    except OSError:  # no such file; `Path.resolve` would raise for a loop of links
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _check_quality(jobs: Sequence[Job], order: Order) -> None:
    """See that a quality is of use for at least one output.

    Raises:
        JobError: it is not.
    """
    suffixes = {job.target.suffix.lower() for job in jobs}
    lossy = {s for s in suffixes & pixels.WRITABLE_SUFFIXES if _format(s) in _LOSSY}
    if order.quality is not None and jobs and not lossy:
        raise JobError(
            "--quality is of use for JPEG, WebP, AVIF and JPEG XL only; drop it, or choose one of "
            "them with --format."
        )


def _format(suffix: str) -> str:
    return pixels.format_of(Path(f"a{suffix}"))
