"""Planning a batch: which files the inputs name, and which file each of them becomes."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from atdsr import imaging
from atdsr.base.errors import AtdsrError
from atdsr.base.stores import Location, ObjectPath, locate
from atdsr.batch.config import (
    BatchConfig,
    BatchError,
    TargetBox,
    choose_network_scale,
    enlargement,
)
from atdsr.batch.inputs import find, identity, is_folder_or_glob
from atdsr.batch.naming import Template

_LOSSY = {"jpg", "webp", "avif", "jxl"}  # the formats with a quality to choose


@dataclass(frozen=True)
class BatchItem:
    """A picture file to enlarge.

    Attributes:
        source: The file or object to read.
        target: The file or object to write.
        origin: The line of a manifest that names the picture, as sentences name it.
    """

    source: Location
    target: Location
    origin: str = ""


@dataclass(frozen=True)
class LocalItem(BatchItem):
    """A picture whose files are on disk, for a while at least."""

    source: Path
    target: Path


class Items(Protocol):
    """Pictures that are counted already, and found again each time that they are asked for."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[BatchItem]: ...


@dataclass(frozen=True)
class Plan:
    """What to do with the files that the inputs name.

    Attributes:
        items: The pictures in the order of the inputs, each once.
        left_out: Files that have the name of an output for another one of the inputs, without
            those that this plan writes.
        several: Whether the inputs are a folder, a glob or more than one file, or the command is
            for a shard of them. An existing output is then skipped, so that an interrupted folder
            can be continued.
        config: What the command asks for.
        problems: Files and folders that cannot even be opened, each with a sentence.
        unread: How many files of each unsupported format are among the inputs.
        out: The folder of all outputs; None if there is no such folder.
        is_remote: Whether the pictures are in a store, so that opening one means to read it there.
    """

    items: Items
    left_out: Collection[Location]
    several: bool
    config: BatchConfig
    problems: tuple[tuple[Path, str], ...] = ()
    unread: Mapping[str, int] = field(default_factory=dict)
    out: Location | None = None
    is_remote: bool = False

    @property
    def total(self) -> int:
        """The number of results there will be."""
        return len(self.items) + len(self.problems)


def plan_files(inputs: Sequence[str], out: str | None, config: BatchConfig) -> Plan:
    """Find the files that inputs name, and a name for the output of each.

    An input is a file, a folder or a glob. A folder stands for its files of known suffixes; with
    `config.recursive` also for those of folders inside, except links and the folder for outputs.
    A glob stands for such files likewise, and its `**` enters folders. Hidden files are left out,
    and so is what storage boxes and archives keep for themselves, such as `@eaDir`. In a folder,
    and beside the input where `out` is None, outputs are named by the template, usually
    `{stem}_x{scale}{ext}`. Where both `a` and `a_x2` are among the inputs, the latter is taken for
    an earlier output and left out, and so is a file in a folder or glob that the output of another
    input would be.

    With `config.shard`, everything is found, named and checked as without, so that all shards agree
    on it, and the plan holds the pictures of that shard. A folder that cannot be read is a problem
    of every shard.

    Args:
        inputs: The inputs as a person writes them.
        out: The output. It is a folder if it exists as one, ends in a slash, there is a template,
            or the input is a folder, a glob or several files; otherwise a file. None puts each
            output beside its input.
        config: What the command asks for.

    Raises:
        BatchError, PictureError: An input names nothing; `out`, the template or the quality does
            not fit; or an output would overwrite an input or another output.
    """
    template = Template.from_config(config)
    try:
        several = len(inputs) > 1 or any(is_folder_or_glob(name) for name in inputs)
        input_files = find(inputs, out, recursive=config.recursive, clips=config.clips)
        earlier = template.earlier_outputs(input_files.files)
        sources = [source for source in input_files.files if source not in earlier]
        is_file = out is not None and not (several or config.template or is_folder(out))
        folder = None if out is None or is_file else output_folder(out, several, config)
        items: list[BatchItem] = []
        unreadable: list[tuple[Path, str]] = []
        for source in sources:
            parent = source.parent if folder is None else folder / input_files.files[source]
            try:
                if out is not None and is_file:
                    items.append(BatchItem(source, output_file(out, source, config)))
                else:
                    items.append(BatchItem(source, parent / output_name(source, template, config)))
            except _UnreadableError as error:
                unreadable.append((source, str(error)))
        if not config.overwrite:
            items = _without_results(items, {Path(locate(name)) for name in inputs})
        _check(items)
    except OSError as error:
        raise BatchError(f"{error.filename} cannot be read: {error.strerror}.") from None
    check_quality((item.target.suffix for item in items), config)
    _check_format(items, config)
    left_out = earlier - {item.target for item in items}

    def is_ours(source: Location) -> bool:
        name = (input_files.files[Path(source)] / source.name).as_posix()
        return config.shard is None or config.shard.holds(name)

    return Plan(
        tuple(item for item in items if is_ours(item.source)),
        tuple(sorted(filter(is_ours, left_out))),
        several or config.shard is not None,
        config,
        (*input_files.problems, *(each for each in unreadable if is_ours(each[0]))),
        input_files.unread,
        out=folder,
    )


def is_folder(out: str) -> bool:
    """Return whether the output that a person names is a folder, or is meant to be one."""
    return out.endswith(("/", os.sep)) or locate(out).is_dir()


class _UnreadableError(BatchError):
    """The size or format of a picture cannot be read, so that its output gets no name."""


def output_name(source: Location, template: Template, config: BatchConfig) -> Path:
    """Return the name of a picture's output, relative to the folder for outputs.

    Raises:
        BatchError: As in `Template.render`; `_UnreadableError` concerns this picture only.
    """
    values = _known_values(config)
    size = config.size
    if "ext" in template.fields:
        values["ext"] = _suffix(source, config)
    if needs_size(template, config):
        source_width, source_height = _size(source, config)
        width, height = size.resolve(source_width, source_height)
        factor = enlargement(source_width, source_height, width, height)
        model = config.models.get(choose_network_scale(factor, config.models or (2,)), "")
        values = {"scale": f"{width / source_width:.3g}", "model": model} | values
        values |= {"width": width, "height": height}
    return template.render(source, values)


def _known_values(config: BatchConfig) -> dict[str, object]:
    """Return the values of fields that are the same for all pictures."""
    values: dict[str, object] = {}
    if not isinstance(config.size, TargetBox):
        values["scale"] = f"{config.size.factor:g}"
    if len(config.models) < 2:
        values["model"] = "".join(config.models.values())
    return values


def needs_size(template: Template, config: BatchConfig) -> bool:
    """Return whether a name depends on the size of the picture, which then has to be opened."""
    of_size = {"width", "height", "scale", "model"} - _known_values(config).keys()
    return bool(template.fields & of_size)


def _suffix(source: Location, config: BatchConfig) -> str:
    """Return the suffix of a picture's output: of the format asked for, or the picture's own.

    A picture whose suffix belongs to no format keeps the format of its content. A format that is
    read but not written becomes PNG.

    Raises:
        _UnreadableError: The content is not a picture.
    """
    if (clips := config.clips_for(source)) is not None:
        return clips.suffix(source, config.clip_format)
    if config.picture_format is not None:
        return imaging.FORMATS[config.picture_format]
    suffix = source.suffix.lower()
    if suffix in imaging.WRITABLE_SUFFIXES:
        return source.suffix
    name = "" if suffix in imaging.READABLE_SUFFIXES else _open(source).format_name
    return imaging.FORMATS.get(name, imaging.FORMATS["png"])


def _size(source: Location, config: BatchConfig) -> tuple[int, int]:
    """Return width and height of a picture or clip before its turn, to name its output.

    Raises:
        _UnreadableError: As `_open`.
    """
    if (clips := config.clips_for(source)) is not None:
        try:
            return clips.size(Path(source))
        except AtdsrError as error:
            raise _UnreadableError(str(error)) from None
    frames = _open(source)
    return frames.width, frames.height


def _open(source: Location) -> imaging.Frames:
    """Open a picture before its turn, to name its output.

    Raises:
        _UnreadableError: It cannot be opened, or can be read only once.
    """
    if isinstance(source, ObjectPath):
        raise _UnreadableError(
            f"{source} is not read before its turn; name the format with --format, or with the "
            "suffix of a file with -o."
        )
    if source.exists() and not source.is_file():
        raise _UnreadableError(f"{source} can be read only once; name the format with --format.")
    try:
        return imaging.open_frames(source)
    except AtdsrError as error:
        raise _UnreadableError(str(error)) from None


def output_folder(out: str, several: bool, config: BatchConfig) -> Location:
    """Return the folder for the outputs.

    Raises:
        BatchError: It is a file, or looks like the name of a picture.
    """
    folder = locate(out)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise BatchError(f"{out} is a file; name a folder for the outputs.")
    file_suffixes = imaging.WRITABLE_SUFFIXES | config.clip_suffixes
    if not is_folder(out) and folder.suffix.lower() in file_suffixes:
        if several:
            raise BatchError(
                f"{out} looks like one file for several pictures; name a folder with -o."
            )
        if config.template:
            raise BatchError(f"{out} looks like a file; with --name, -o names a folder.")
    return folder


def output_file(out: str | Path, source: Location, config: BatchConfig) -> Location:
    """Return the file for the only output, with the format's suffix if it has none.

    Raises:
        BatchError: Its suffix belongs to no format, or to another one than was asked for; or it is
            no name of a file yet and exists, such as a device.
        _UnreadableError: As in `_suffix`.
    """
    target = locate(out)
    if not target.suffix:
        if target.exists():
            raise BatchError(
                f"{out} exists and is not a folder, and its name has no suffix, which says the "
                "format; name another file or a folder."
            )
        return target.with_suffix(_suffix(source, config))
    if config.is_clip(source) and target.suffix.lower() not in config.clip_suffixes:
        raise BatchError(
            f"{out}: a clip becomes {', '.join(sorted(config.clip_suffixes))}; change the suffix."
        )
    if target.suffix.lower() not in imaging.READABLE_SUFFIXES and not config.is_clip(source):
        raise BatchError(
            f"{out}: no format has the suffix '{target.suffix}'; add a suffix such as .png to the "
            "name of a file, or / to that of a folder."
        )
    name = config.format_name
    if name is not None and config.format_of(target) != name:
        suffix = config.suffix_of(name)
        raise BatchError(f"{out} does not end in {suffix}; change its suffix or drop --format.")
    return target


def _without_results(items: Sequence[BatchItem], named: Collection[Path]) -> list[BatchItem]:
    """Return the items without pictures that are the result of another one, as of an earlier run.

    Those that a person named one by one stay, and so do those that would become themselves.
    """
    targets = {identity(item.target) for item in items if item.target.exists()}
    return [
        item
        for item in items
        if item.source in named
        or identity(item.source) not in targets
        or identity(item.source) == identity(item.target)
    ]


def _check(items: Sequence[BatchItem]) -> None:
    """Check that no file is both read and written, or written twice.

    Raises:
        BatchError: There is such a file.
    """
    sources = {identity(item.source) for item in items}
    source_of: dict[object, Location] = {}
    for item in items:
        if identity(item.target) in sources:
            raise would_replace_input(item.target)
        target = identity(item.target, links=False)
        if target in source_of:
            raise would_be_one(source_of[target], item.source, item.target)
        source_of[target] = item.source


def would_replace_input(target: Location) -> BatchError:
    """Return the error for an output that is an input."""
    return BatchError(f"{target} is an input and is never overwritten; name another.")


def would_be_one(source: Location, other: Location, target: Location) -> BatchError:
    """Return the error for two pictures with one output, which suggests a `--name`."""
    fields = "{parent}_{name}" if source.name == other.name else "{name}"
    return BatchError(
        f"{source} and {other} would both become {target}; enlarge them one at a time, or tell "
        f'them apart with fields of --name, such as "{fields}_large".'
    )


def _check_format(items: Sequence[BatchItem], config: BatchConfig) -> None:
    """Check that a format that was asked for is one of at least one output.

    Raises:
        BatchError: It is of clips, and all inputs are pictures, or the other way round.
    """
    if config.format_name is None or "format_name" in config.defaults or not items:
        return
    is_for_clips = config.clip_format is not None
    if not any(config.is_clip(item.source) == is_for_clips for item in items):
        kind, other = ("clips", "a picture") if is_for_clips else ("pictures", "a clip")
        raise BatchError(
            f"--format {config.format_name} is for {kind}, and each input is {other}; choose "
            "another, or drop it."
        )


def check_quality(suffixes: Iterable[str], config: BatchConfig) -> None:
    """Check that a quality that was asked for applies to at least one output.

    Args:
        suffixes: Those of the outputs, in any case.
        config: What the command asks for.

    Raises:
        BatchError: It applies to none.
    """
    used = {suffix.lower() for suffix in suffixes}
    if config.quality is None or "quality" in config.defaults or not used:
        return
    known = used & imaging.WRITABLE_SUFFIXES
    if not any(imaging.format_of(Path(f"a{suffix}")) in _LOSSY for suffix in known):
        raise BatchError(
            "--quality applies only to JPEG, WebP, AVIF and JPEG XL; drop it, or choose one of "
            "them with --format."
        )
