"""Making a packed set, in parallel and in several goes if need be."""

import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from atdsr.base import files, units
from atdsr.datasets import sources
from atdsr.datasets.index import DataError
from atdsr.datasets.packed import PackedSet
from atdsr.datasets.partial import JOURNAL, Partial
from atdsr.datasets.sources import Loaded, Source

Progress = Callable[[Sequence[Any]], Iterable[Any]]
"""What wraps a list so that a bar follows its items."""


def unwatched(items: Sequence[Any]) -> Iterable[Any]:
    """The `Progress` of nobody."""
    return items


def pack(
    folder: str | Path,
    out: str | Path,
    scales: Sequence[int] = (2,),
    lr: str | Path | None = None,
    template: str = "{}",
    workers: int | None = None,
    progress: Progress = unwatched,
) -> PackedSet:
    """Make a packed set from the pictures of a folder and its subfolders.

    Gray pictures are replicated to RGB and 16-bit ones rounded to 8; a picture with transparency
    is refused, since it has no colours where nothing shows. The set appears under its name when
    it is whole. Until then it grows in a hidden folder beside (`.NAME.partial`), and the same call
    goes on with what an interrupted one has done, however it ended; from a picture on that has
    changed since, or that was added or taken out, it is packed anew, and entirely with other
    scales or LR.

    Args:
        folder: where pictures of known suffixes are looked for; hidden files are passed over.
        out: the packed set to make; must not exist.
        scales: of the LR pictures to store, of 2, 3 and 4.
        lr: folder of the LR pictures of the one scale, or with a folder `x2`, `X3` ... for each;
            None makes them by MATLAB's bicubic.
        template: name of an LR picture without its suffix; `{}` stands for the HR picture's. With
            the plain `{}` names may also bear marks such as `x2`.
        workers: threads; by default one a processor. Each holds one picture in memory.
        progress: wraps the list of pictures, for a progress bar.

    Returns:
        The set, open for the first of the scales.

    Raises:
        DataError: no picture, one that cannot be used or has not the LR picture it should, `out`
            exists or cannot be written, or another process is packing it.
        PictureError: a picture cannot be read.
        FileError: a folder or file cannot be made.
    """
    folder, out = Path(folder), Path(out)
    if not scales or not {2, 3, 4}.issuperset(scales) or len(set(scales)) < len(scales):
        raise DataError(f"scales {tuple(scales)} must be among 2, 3 and 4, each once.")
    _check_free(out)
    found = sources.find(folder, scales, None if lr is None else Path(lr), template)
    partial = out.with_name(f".{out.name}.partial")
    try:
        with files.folder_lock(partial):
            _check_free(out)  # another process may have finished just now
            with Partial(partial, scales, "matlab" if lr is None else "given", found) as kept:
                _check_room(out, found[kept.done :], scales)
                _add_all(kept, found, scales, workers or sources.usable_cpus(), progress)
                kept.finish()
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


def _add_all(
    kept: Partial,
    found: Sequence[Source],
    scales: Sequence[int],
    workers: int,
    progress: Progress,
) -> None:
    done = kept.done
    with closing(_loaded(found[done:], scales, workers)) as loaded:
        for number, source in enumerate(progress(found)):
            if number >= done:
                kept.add(source, next(loaded))


def _loaded(
    found: Sequence[Source], scales: Sequence[int], workers: int
) -> Generator[Loaded, None, None]:
    """The pictures in order, read in parallel; `workers` and one more are in memory at once."""
    waiting: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as pool:
        try:
            for source in found:
                waiting.append(pool.submit(sources.load, source, scales))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _check_free(out: Path) -> None:
    if out.exists():
        raise DataError(f"{out} exists; name another place for the packed set or remove it.")


def _check_room(out: Path, left: Sequence[Source], scales: Sequence[int]) -> None:
    """See whether the disk has room for the pictures that are left.

    Raises:
        DataError: it is far too small; what is close is tried.
    """
    needed, free = sources.estimate(left, scales), shutil.disk_usage(out.parent).free
    if 0.9 * needed > free:  # the estimate may be too high
        raise DataError(
            f"{out} needs about {units.byte_size(needed)} more, and its disk has "
            f"{units.byte_size(free)} left; make room or name another place."
        )
