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
from atdsr.base.scales import SCALES, list_scales
from atdsr.datasets import source_images
from atdsr.datasets.pack_writer import JOURNAL, PackWriter
from atdsr.datasets.packed_set import INDEX, DataError, Index, PackedSet
from atdsr.datasets.source_images import LoadedImage, SourceImage

_MANY = 100  # pictures, from which on a notice after every tenth of them is worth reading


def pack(
    folder: str | Path,
    out: str | Path,
    scales: Sequence[int] = (2,),
    lr: str | Path | None = None,
    template: str = "{}",
    workers: int | None = None,
    reporter: Reporter = SILENT,
) -> PackedSet:
    """Make a packed set from the pictures of a folder and its subfolders.

    Gray pictures are replicated to RGB and 16-bit ones rounded to 8. A picture with transparency
    is refused, since it has no colours where nothing shows. The set appears under its name when
    it is complete. Until then it grows in a hidden folder beside it (`.NAME.partial`), and the
    same call resumes an interrupted one, however that ended. From the first picture on that has
    changed since, or that was added or taken out, pictures are packed anew, and all of them with
    other scales or LR.

    Args:
        folder: Folder with pictures of known suffixes; hidden files are skipped.
        out: The packed set to make; must not exist.
        scales: Scales of the LR pictures to store, out of `base.scales`.
        lr: Folder of the LR pictures of a single scale, or with a folder `x2`, `X3` ... for each;
            None makes them by MATLAB's bicubic.
        template: Name of an LR picture without its suffix; `{}` stands for the HR picture's. With
            the plain `{}`, names may also have marks such as `x2`.
        workers: Number of threads; by default one per processor. Each holds one picture in memory.
        reporter: Receives the progress.

    Returns:
        The set, open for the first of the scales.

    Raises:
        DataError: There is no picture, one cannot be used or lacks its LR picture, `out` exists
            or cannot be written, or another process is packing it.
        PictureError: A picture cannot be read.
        FileError: A folder or file cannot be made.
    """
    folder, out = Path(folder), Path(out)
    if not scales or not set(SCALES).issuperset(scales) or len(set(scales)) < len(scales):
        raise DataError(f"scales {tuple(scales)} must be among {list_scales('and')}, each once.")
    _check_free(out)
    sources = source_images.find(folder, scales, None if lr is None else Path(lr), template)
    lr_origin = "matlab" if lr is None else "given"
    partial = out.with_name(f".{out.name}.partial")
    try:
        with files.folder_lock(partial):
            _check_free(out)  # another process may have finished just now
            with PackWriter(partial, scales, lr_origin, sources) as writer:
                remaining = sources[writer.packed :]
                _check_disk_space(out, remaining, scales)
                with closing(_load_images(remaining, scales, workers or _cpu_count())) as images:
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
    return PackedSet(out, scales[0])


def _load_images(
    sources: Sequence[SourceImage], scales: Sequence[int], workers: int
) -> Generator[LoadedImage, None, None]:
    """Read the pictures in order and in parallel; at most `workers` + 1 are in memory at once."""
    queue: deque[Future[LoadedImage]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as pool:
        try:
            for source in sources:
                queue.append(pool.submit(source_images.load, source, scales))
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


def _check_disk_space(out: Path, remaining: Sequence[SourceImage], scales: Sequence[int]) -> None:
    """See whether the disk has room for the remaining pictures.

    Raises:
        DataError: It is far too small; if it is only a little too small, packing is tried.
    """
    needed = source_images.estimate_bytes(remaining, scales)
    free = shutil.disk_usage(out.parent).free
    if 0.9 * needed > free:  # the estimate may be too high
        raise DataError(
            f"{out} needs about {units.byte_size(needed)} more, and its disk has "
            f"{units.byte_size(free)} left; make room or name another place."
        )


def prepare(
    train: Path,
    scale: int,
    lr: Path | None = None,
    template: str = "{}",
    reporter: Reporter = SILENT,
) -> Path:
    """Return the packed set of a folder, which is made if need be.

    A folder of HR pictures is packed beside itself, as `FOLDER.packed_x2`; an interrupted packing
    is resumed. An existing set is used as it is, after a look at the names, sizes and times of
    its pictures: if these have changed since, it is refused rather than replaced, as other runs
    may be using it.

    Args:
        train: A packed set, or a folder of HR pictures.
        scale: Scale of the LR pictures.
        lr: Folder of LR pictures for a folder of HR pictures; None makes them.
        template: Names of the LR pictures; see `pack`.
        reporter: Receives a notice before long work, and after every tenth of many pictures.

    Raises:
        DataError, PictureError, FileError: See `find_unpacked` and `pack`.
    """
    packed, sources = find_unpacked(train, scale, lr, template)
    if not sources:
        return packed
    size = units.byte_size(source_images.estimate_bytes(sources, (scale,)))
    count = len(sources)
    reporter.notice(f"packing {count} pictures of {train} into {packed}, about {size}, once")

    def progress(fraction: float) -> None:
        done = round(fraction * count)
        if count >= _MANY and done and done % (count // 10) == 0:
            reporter.notice(f"packed {done} of {count} pictures.")

    return pack(train, packed, (scale,), lr, template, reporter=Reporter(progress)).folder


def find_unpacked(
    train: Path, scale: int, lr: Path | None = None, template: str = "{}"
) -> tuple[Path, list[SourceImage]]:
    """Return the packed set of a folder, and the pictures that are to be packed into it first.

    Args:
        train: See `prepare`, as all others.
        scale: Scale of the LR pictures.
        lr: Folder of LR pictures.
        template: Names of the LR pictures.

    Raises:
        DataError: There is no such folder, LR is given for a set that is packed already, the set
            was made from other pictures than those that lie beside it now, and what
            `source_images.find` and `PackedSet` raise.
    """
    if not train.exists():
        raise DataError(
            f"there is no folder {train}; name a folder of pictures or a packed set by --data, or "
            "by data.train in the recipe."
        )
    if (train / INDEX).exists():
        if lr is not None:
            raise DataError(
                f"{train} is packed with its LR pictures; take the folder {lr} out of the settings."
            )
        return PackedSet(train, scale).folder, []
    named = train if train.name not in ("", "..") else train.resolve()
    packed = named.with_name(f"{named.name}.packed_x{scale}")
    sources = source_images.find(train, (scale,), lr, template)
    if packed.exists():
        change = _find_change(Index.read(PackedSet(packed, scale).folder), sources)
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
