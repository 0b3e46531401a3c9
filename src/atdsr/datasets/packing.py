"""Packs a folder of pictures, in parallel and in several attempts if need be."""

import os
import shutil
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from atdsr.base import files, units
from atdsr.base.reporter import SILENT, Reporter
from atdsr.datasets import source_images
from atdsr.datasets.pack_writer import JOURNAL, PackWriter
from atdsr.datasets.packed_set import INDEX, DataError, Index, PackedSet
from atdsr.datasets.source_images import LoadedImage, PackConfig, SourceImage

WHOLE = PackConfig()
"""Whole pictures, for x2."""

_MANY = 100  # pictures, from which on a notice after every tenth of them is worth reading


def pack(
    folder: str | Path,
    out: str | Path,
    config: PackConfig = WHOLE,
    workers: int | None = None,
    reporter: Reporter = SILENT,
) -> PackedSet:
    """Make a packed set from the pictures of a folder and its subfolders.

    Gray pictures are replicated to RGB and 16-bit ones rounded to 8. A picture with transparency
    is refused, since it has no colours where nothing shows. The set appears under its name when
    it is complete. Until then it grows in a hidden folder beside it (`.NAME.partial`), and the
    same call resumes an interrupted one, however that ended. From the first picture on that has
    changed since, or that was added or taken out, pictures are packed anew, and all of them with
    another configuration.

    Args:
        folder: Folder with pictures of known suffixes; hidden files are skipped.
        out: The packed set to make; must not exist.
        config: What is packed of them.
        workers: Number of threads; by default one per processor, and one if there is a teacher,
            whose network has threads of its own. Each holds one picture in memory.
        reporter: Receives the progress.

    Returns:
        The set, open for the first of the scales.

    Raises:
        DataError: There is no picture, one cannot be used or lacks its LR picture, the teacher
            fails, `out` exists or cannot be written, or another process is packing it.
        PictureError: A picture cannot be read.
        FileError: A folder or file cannot be made.
    """
    folder, out = Path(folder), Path(out)
    _check_free(out)
    sources = source_images.find(folder, config)
    if workers is None:
        workers = _cpu_count() if config.teacher is None else 1
    partial = out.with_name(f".{out.name}.partial")
    try:
        with files.folder_lock(partial):
            _check_free(out)  # another process may have finished just now
            with PackWriter(partial, config, sources) as writer:
                remaining = sources[writer.packed :]
                _check_disk_space(out, remaining, config)
                with closing(_load_images(remaining, config, workers)) as images:
                    for source in remaining:
                        reporter.progress(writer.packed / len(sources))
                        writer.add(source, next(images))
                reporter.progress(1)
                writer.finish()
        partial.rename(out)
        files.sync_folder(out.parent)
        for name in (JOURNAL, files.LOCK_NAME):
            (out / name).unlink(missing_ok=True)
    except BlockingIOError:
        raise DataError(f"another process is packing {out}; wait for its end.") from None
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror or error}; what is done is kept, and the "
            "same command goes on with it."
        ) from None
    return PackedSet(out, config.scales[0])


def _load_images(
    sources: Sequence[SourceImage], config: PackConfig, workers: int
) -> Generator[LoadedImage, None, None]:
    """Read the pictures in order and in parallel; at most `workers` + 1 are in memory at once."""
    queue: deque[Future[LoadedImage]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as pool:
        try:
            for source in sources:
                queue.append(pool.submit(source_images.load, source, config))
                if len(queue) > workers:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _cpu_count() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def _check_free(out: Path) -> None:
    if out.exists():
        raise DataError(f"{out} exists; name another place for the packed set or remove it.")


def _check_disk_space(out: Path, remaining: Sequence[SourceImage], config: PackConfig) -> None:
    """See whether the disk has room for the remaining pictures.

    Raises:
        DataError: It is far too small; if it is only a little too small, packing is tried.
    """
    needed = source_images.estimate_bytes(remaining, config)
    free = shutil.disk_usage(out.parent).free
    if 0.9 * needed > free:  # the estimate may be too high
        raise DataError(
            f"{out} needs about {units.byte_size(needed)} more, and its disk has "
            f"{units.byte_size(free)} left; make room or name another place."
        )


def prepare(train: Path, config: PackConfig, reporter: Reporter = SILENT) -> Path:
    """Return the packed set of a folder, which is made if need be.

    A folder of HR pictures is packed beside itself, as `FOLDER.packed_x2`; an interrupted packing
    is resumed. An existing set is used as it is, after a look at the names, sizes and times of
    its pictures: if these have changed since, it is refused rather than replaced, as other runs
    may be using it.

    Args:
        train: A packed set, or a folder of HR pictures.
        config: What is packed of the folder, for a single scale.
        reporter: Receives a notice before long work, and after every tenth of many pictures.

    Raises:
        DataError, PictureError, FileError: See `find_unpacked` and `pack`.
    """
    packed, sources = find_unpacked(train, config)
    if not sources:
        return packed
    size = units.byte_size(source_images.estimate_bytes(sources, config))
    count = len(sources)
    reporter.notice(f"packing {count} pictures of {train} into {packed}, about {size}, once")

    def progress(fraction: float) -> None:
        done = round(fraction * count)
        if count >= _MANY and done and done % (count // 10) == 0:
            reporter.notice(f"packed {done} of {count} pictures.")

    return pack(train, packed, config, reporter=Reporter(progress)).folder


def find_unpacked(train: Path, config: PackConfig) -> tuple[Path, list[SourceImage]]:
    """Return the packed set of a folder, and the pictures that are to be packed into it first.

    Args:
        train: See `prepare`.
        config: See `prepare`.

    Raises:
        DataError: There is no such folder, a set that is packed already is given what only a
            folder can have, the set was made from other pictures than those that lie beside it
            now, or by another teacher, and what `source_images.find` and `PackedSet` raise.
    """
    (scale,) = config.scales
    if not train.exists():
        raise DataError(
            f"there is no folder {train}; name a folder of pictures or a packed set by --data, or "
            "by data.train in the recipe."
        )
    if (train / INDEX).exists():
        if config.lr is not None:
            raise DataError(
                f"{train} is packed with its LR pictures; take the folder {config.lr} out of the "
                "settings."
            )
        if config.crop is not None or config.teacher is not None:
            key = "data.teacher" if config.crop is None else "data.crop"
            raise DataError(f"{train} is packed already; take {key} out of the settings.")
        return PackedSet(train, scale).folder, []
    named = train if train.name not in ("", "..") else train.resolve()
    crop = "" if config.crop is None else f"_crop{config.crop}"
    crop += "" if config.min_side is None else f"_min{config.min_side}"
    teacher = "" if config.teacher is None else f"_{config.teacher.name}"
    packed = named.with_name(f"{named.name}.packed_x{scale}{crop}{teacher}")
    sources = source_images.find(train, config)
    if packed.exists():
        index = Index.read(PackedSet(packed, scale).folder)
        if config.teacher is not None and index.teacher != config.teacher.identity:
            raise DataError(
                f"{packed} has the answers of another network of that name; remove it to have "
                "them made anew, or name it itself to train on it as it is."
            )
        change = _find_change(index, sources)
        if change is not None:
            raise DataError(
                f"{packed} was packed from other pictures than {train} holds now ({change}); "
                "remove it to have them packed anew, or name it itself to train on it as it is."
            )
        return packed, []
    return packed, sources


def _find_change(index: Index, sources: list[SourceImage]) -> str | None:
    """Return what has changed since a set was packed; None if nothing has."""
    packed = {record.name: record.sources for record in index.pictures}
    current = {source.name: source.stamps for source in sources}
    for name in current:
        if name not in packed:
            return f"{name} is new"
        if packed[name].keys() != current[name].keys():
            return "its LR pictures were made" if index.lr == "matlab" else "its LR was given"
        if packed[name] != current[name]:
            return f"{name} or its LR picture has changed"
    missing = next((name for name in packed if name not in current), None)
    return None if missing is None else f"{missing} is gone"
