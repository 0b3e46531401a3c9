"""Which files the inputs name, and which file becomes of each."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.batch.finding import find, identity, is_list
from atdsr.batch.naming import Template
from atdsr.batch.order import Box, JobError, Order

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
        unread: how many files of each kind that nobody reads are among the inputs.
    """

    jobs: tuple[Job, ...]
    left_out: tuple[Path, ...]
    several: bool
    order: Order
    problems: tuple[tuple[Path, str], ...] = ()
    unread: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many results there will be."""
        return len(self.jobs) + len(self.problems)


def plan(inputs: Sequence[str], out: str | None, order: Order) -> Plan:
    """Find the files that inputs name, and a name for what becomes of each.

    An input is a file, a folder (its files of known suffixes; with `order.recursive` also those
    of folders inside that are no links and not the folder for outputs) or a glob (likewise; `**`
    goes into folders). Neither takes what is hidden, or what storage boxes and archives keep for
    themselves, such as `@eaDir`. In a folder, and beside the input where `out` is
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
        several = len(inputs) > 1 or any(is_list(name) for name in inputs)
        found = find(inputs, out, recursive=order.recursive)
        earlier = template.earlier_outputs(found.files)
        sources = [source for source in found.files if source not in earlier]
        is_file = out is not None and not (several or order.template or is_folder(out))
        folder = None if out is None or is_file else _folder(out, several, order)
        jobs: list[Job] = []
        for source in sources:
            place = source.parent if folder is None else folder / found.files[source]
            try:
                if out is not None and is_file:
                    jobs.append(Job(source, _file(out, source, order)))
                else:
                    jobs.append(Job(source, place / _name(source, template, order)))
            except _UnreadableError as error:
                found.problems.append((source, str(error)))
        _check(jobs)
    except OSError as error:
        raise JobError(f"{error.filename} cannot be read: {error.strerror}.") from None
    _check_quality(jobs, order)
    left_out = earlier - {job.target for job in jobs}
    problems = tuple(found.problems)
    return Plan(tuple(jobs), tuple(sorted(left_out)), several, order, problems, found.unread)


def is_folder(out: str) -> bool:
    """Whether what is named for the outputs is a folder, or is meant to be one."""
    return out.endswith(("/", os.sep)) or Path(out).is_dir()


class _UnreadableError(JobError):
    """The size or the format of a picture is not to be had, so that it gets no name."""


def _name(source: Path, template: Template, order: Order) -> Path:
    """The name of a picture's output, relative to the folder for outputs.

    Raises:
        JobError: see `Template.render`; `_UnreadableError` concerns this picture only.
    """
    values: dict[str, object] = {"model": order.model}
    goal = order.goal
    if "ext" in template.fields:
        values["ext"] = _suffix(source, order)
    if not isinstance(goal, Box):
        values["scale"] = f"{goal.factor:g}"
    if template.fields & ({"width", "height", "scale"} - values.keys()):
        frames = _opened(source)
        width, height = goal.size(frames.width, frames.height)
        values = {"scale": f"{width / frames.width:.3g}"} | values
        values |= {"width": width, "height": height}
    return template.render(source, values)


def _suffix(source: Path, order: Order) -> str:
    """The suffix of a picture's output: of the format asked for, or the picture's own.

    A picture whose suffix is that of no format keeps the format of its content. One of a format
    that is read but not written becomes PNG.

    Raises:
        _UnreadableError: the content is that of no picture.
    """
    if order.format_name is not None:
        return imaging.FORMATS[order.format_name]
    suffix = source.suffix.lower()
    if suffix in imaging.WRITABLE_SUFFIXES:
        return source.suffix
    name = "" if suffix in imaging.READABLE_SUFFIXES else _opened(source).format_name
    return imaging.FORMATS.get(name, imaging.FORMATS["png"])


def _opened(source: Path) -> imaging.Frames:
    """A picture that is looked into before its turn.

    Raises:
        _UnreadableError: it cannot be.
    """
    if source.exists() and not source.is_file():
        raise _UnreadableError(f"{source} can be read only once; name the format with --format.")
    try:
        return imaging.open_frames(source)
    except AtdsrError as error:
        raise _UnreadableError(str(error)) from None


def _folder(out: str, several: bool, order: Order) -> Path:
    """The folder for the outputs.

    Raises:
        JobError: a file is in its place, or it looks like the name of a picture.
    """
    folder = Path(out)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise JobError(f"{out} is a file; name a folder for the outputs.")
    if not is_folder(out) and folder.suffix.lower() in imaging.WRITABLE_SUFFIXES:
        if several:
            raise JobError(
                f"{out} looks like one file for several pictures; name a folder with -o."
            )
        if order.template:
            raise JobError(f"{out} looks like a file; with --name, -o names a folder.")
    return folder


def _file(out: str, source: Path, order: Order) -> Path:
    """The file for the only output, with the format's suffix if it has none.

    Raises:
        JobError: its suffix is of another format than the one asked for.
        _UnreadableError: see `_suffix`.
    """
    target = Path(out)
    if not target.suffix:
        return target.with_suffix(_suffix(source, order))
    name = order.format_name
    if name is not None and imaging.format_of(target) != name:
        suffix = imaging.FORMATS[name]
        raise JobError(f"{out} does not end in {suffix}; change its suffix or drop --format.")
    return target


def _check(jobs: Sequence[Job]) -> None:
    """See that no file is read and written, or written twice.

    Raises:
        JobError: naming the files.
    """
    sources = {identity(job.source) for job in jobs}
    makers: dict[str, Path] = {}
    for job in jobs:
        if identity(job.target) in sources:
            raise JobError(f"{job.target} is an input and is never overwritten; name another.")
        target = os.path.realpath(job.target)
        if target in makers:
            raise JobError(
                f"{makers[target]} and {job.source} would both become {job.target}; enlarge them "
                "one at a time, or tell them apart with fields of --name."
            )
        makers[target] = job.source


def _check_quality(jobs: Sequence[Job], order: Order) -> None:
    """See that a quality applies to at least one output.

    Raises:
        JobError: it is not.
    """
    suffixes = {job.target.suffix.lower() for job in jobs}
    lossy = {s for s in suffixes & imaging.WRITABLE_SUFFIXES if _format(s) in _LOSSY}
    if order.quality is not None and jobs and not lossy:
        raise JobError(
            "--quality applies only to JPEG, WebP, AVIF and JPEG XL; drop it, or choose one of "
            "them with --format."
        )


def _format(suffix: str) -> str:
    return imaging.format_of(Path(f"a{suffix}"))
