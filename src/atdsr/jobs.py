"""Which picture file becomes which, and doing so: one bad file never stops the others."""

import glob
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from atdsr import pixels
from atdsr.errors import AtdsrError
from atdsr.pixels import PictureError
from atdsr.upscale import Progress, UpscaleError, Upscaler

_OUTPUT_STEM = re.compile(r"(.+)_x[234]")


class JobError(AtdsrError):
    """Inputs that name nothing, or outputs that cannot be as asked."""


@dataclass(frozen=True)
class Job:
    """A picture file to enlarge, and the file to make of it."""

    source: Path
    target: Path

    def run(
        self, upscaler: Upscaler, *, overwrite: bool = False, progress: Progress = lambda _: None
    ) -> None:
        """Read, enlarge, write; the target appears whole or not at all.

        Raises:
            JobError, PictureError, FileError: one sentence naming the file.
        """
        if not overwrite and self.target.is_file():
            raise JobError(
                f"{self.target} exists and is kept; replace it with --overwrite, or name another "
                "with -o."
            )
        with _ctrl_c_later():
            picture = pixels.read(self.source)
        pixels.check_target(self.target, overwrite=overwrite, alpha=picture.is_transparent)
        try:
            enlarged = upscaler(picture, progress=progress)
        except (UpscaleError, PictureError) as error:
            raise JobError(f"{self.source}: {error}") from None
        except MemoryError:
            raise JobError(f"{self.source} is too large for the memory of this machine.") from None
        with _ctrl_c_later():
            pixels.write(enlarged, self.target, overwrite=overwrite)


@dataclass(frozen=True)
class Plan:
    """What to do with the files that the inputs name.

    Attributes:
        jobs: in the order of the inputs, each source once.
        left_out: files that bear the name of an output for another file of the list, without
            those that this plan writes.
        several: whether the inputs are a folder, a glob or more than one; then an existing output
            is kept in passing, so that an interrupted folder can be continued.
    """

    jobs: tuple[Job, ...]
    left_out: tuple[Path, ...]
    several: bool


class Outcome(StrEnum):
    """What became of a job."""

    DONE = "done"
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """What became of a job, and the line that says so."""

    outcome: Outcome
    line: str


def run(
    plan: Plan,
    upscaler: Upscaler,
    *,
    overwrite: bool = False,
    progress: Callable[[Job, float], None] = lambda _job, _done: None,
) -> Iterator[Result]:
    """Do the jobs one after another.

    Args:
        plan: what to do.
        upscaler: what to do it with.
        overwrite: whether existing outputs are replaced.
        progress: called with the job in work and how many jobs are done by now, the share of
            this one included.

    Yields:
        What became of each job; a failed one does not end the rest.
    """
    for number, job in enumerate(plan.jobs):

        def share(done: float, job: Job = job, number: int = number) -> None:
            progress(job, number + done)

        share(0)
        try:
            if plan.several and not overwrite and job.target.is_file():
                result = Result(Outcome.KEPT, f"{job.source}: {job.target} exists and is kept")
            else:
                job.run(upscaler, overwrite=overwrite, progress=share)
                result = Result(Outcome.DONE, f"{job.source} -> {job.target}")
        except AtdsrError as error:
            result = Result(Outcome.FAILED, str(error))
        except OSError as error:  # such as a name that is too long to ask for
            result = Result(Outcome.FAILED, f"{job.target}: {error.strerror or error}.")
        share(1)
        yield result


def summary(results: Iterable[Result], total: int) -> str:
    """How many of the pictures are done, kept and failed, as in "2 of 4 pictures done, 1 kept"."""
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[Outcome.DONE]} of {total} picture{'s' * (total != 1)} done"]
    parts += [f"{counts[o]} {o}" for o in (Outcome.KEPT, Outcome.FAILED) if counts[o]]
    return ", ".join(parts)


def plan(
    inputs: Sequence[str], out: str | None, scale: int, format_name: str | None = None
) -> Plan:
    """Find the files that inputs name, and a name for what becomes of each.

    An input is a file, a folder (its files of known suffixes, not hidden, not those of folders
    inside) or a glob (likewise; `**` goes into folders). In a folder, and beside the input where
    `out` is None, an output is called `{stem}_x{scale}` with the input's suffix or the format's.
    Where both `a` and `a_x2` (3, 4; of any suffix) are in one list, the latter is taken for an
    earlier output and left out.

    Args:
        inputs: as a person writes them.
        out: a folder if it exists as one, ends in a slash, or the input is a folder, a glob or
            several; else a file; None is beside each input.
        scale: how many times the sides grow.
        format_name: of `pixels.FORMATS`; None is as the input's suffix or `out` says.

    Raises:
        JobError: an input names nothing, `out` does not fit, or an output would fall on an input
            or on another.
    """
    try:
        several = len(inputs) > 1 or any(_is_list(name) for name in inputs)
        found = list(dict.fromkeys(source for name in inputs for source in _expand(name)))
        earlier = _earlier_outputs(found)
        sources = [source for source in found if source not in earlier]
        suffix = None if format_name is None else pixels.FORMATS[format_name]
        if out is None or several or out.endswith(("/", os.sep)) or Path(out).is_dir():
            folder = None if out is None else _folder(out, several)
            jobs = [
                Job(source, (folder or source.parent) / _output_name(source, scale, suffix))
                for source in sources
            ]
        else:
            jobs = [Job(source, _file(out, format_name)) for source in sources]
        _check(jobs)
    except OSError as error:
        raise JobError(f"{error.filename} cannot be read: {error.strerror}.") from None
    left_out = earlier - {job.target for job in jobs}
    return Plan(tuple(jobs), tuple(sorted(left_out)), several)


def _is_list(name: str) -> bool:
    path = Path(name)
    return path.is_dir() or (glob.has_magic(name) and not path.exists())


def _expand(name: str) -> list[Path]:
    """The picture files that one input names; a file called like a glob is that file.

    Raises:
        JobError: none.
    """
    if not name:
        raise JobError("an INPUT is empty; name a picture, a folder or a glob.")
    path = Path(name)
    if not _is_list(name):
        return [path]  # a missing file is named when its turn comes, with the good ones done
    if path.is_dir():
        matches = [inner for inner in path.iterdir() if not inner.name.startswith(".")]
        problem = f"{name} is a folder without pictures."
    else:
        matches = [Path(match) for match in glob.glob(name, recursive=True)]  # noqa: PTH207
        problem = f"no picture matches {name}."
    found = sorted(match for match in matches if pixels.is_picture_file(match))
    if not found:
        raise JobError(problem)
    return found


def _earlier_outputs(sources: Sequence[Path]) -> set[Path]:
    """Those of the files that bear the name of an output for another one of them."""
    stems = {(source.parent, source.stem) for source in sources}
    return {
        source
        for source in sources
        if (match := _OUTPUT_STEM.fullmatch(source.stem)) and (source.parent, match[1]) in stems
    }


def _output_name(source: Path, scale: int, suffix: str | None) -> str:
    return f"{source.stem}_x{scale}{suffix or source.suffix}"


def _folder(out: str, several: bool) -> Path:
    """The folder for the outputs.

    Raises:
        JobError: a file is in its place, or it reads like the name of a picture.
    """
    folder = Path(out)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise JobError(f"{out} is a file; name a folder for the outputs.")
    named = out.endswith(("/", os.sep))
    if several and not named and folder.suffix.lower() in pixels.WRITABLE_SUFFIXES:
        raise JobError(f"{out} reads like one file for several pictures; name a folder with -o.")
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
                f"{makers[target]} and {job.source} would both become {job.target}; "
                "enlarge them one at a time."
            )
        makers[target] = job.source


def _identity(path: Path) -> object:
    """What two names of one file share, also links, or where the system ignores case."""
    try:
        status = path.stat()
    except OSError:  # no such file; `Path.resolve` would raise for a loop of links
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block.

    libvips calls Python for its log, and an exception that is raised there is shown and lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal comes here
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(signal.SIGINT, None)
