"""From the folder that a recipe names to a packed set."""

from collections.abc import Callable
from pathlib import Path

from atdsr.base import units
from atdsr.datasets import sources
from atdsr.datasets.index import INDEX, DataError, Index
from atdsr.datasets.packed import PackedSet
from atdsr.datasets.packing import Progress, pack, unwatched
from atdsr.datasets.sources import Source


def prepare(
    train: Path,
    scale: int,
    lr: Path | None = None,
    template: str = "{}",
    *,
    tell: Callable[[str], None],
    progress: Progress = unwatched,
) -> Path:
    """The packed set that is meant by a folder, made if need be.

    A folder of HR pictures is packed beside itself, as `FOLDER.packed_x2`; an interrupted packing
    is gone on with. A set that was made before is taken as it is, after a look at the names, sizes
    and times of its pictures: where these have changed since, it is refused rather than replaced,
    as other runs may be using it.

    Args:
        train: a packed set, or a folder of HR pictures.
        scale: of the LR pictures.
        lr: folder of LR pictures for a folder of HR pictures; None makes them.
        template: of their names; see `pack`.
        tell: called with a sentence before long work.
        progress: see `pack`.

    Raises:
        DataError: no such folder, LR given for what is packed already, a set of other pictures
            than those that lie beside it now, and what `pack` and `PackedSet` raise.
        PictureError, FileError: see `pack`.
    """
    if (train / INDEX).exists():
        if lr is not None:
            raise DataError(f"{train} is packed with its LR pictures; take the folder {lr} out.")
        return PackedSet(train, scale).folder
    beside = train if train.name not in ("", "..") else train.resolve()
    packed = beside.with_name(f"{beside.name}.packed_x{scale}")
    found = sources.find(train, (scale,), lr, template)
    if packed.exists():
        change = _change(Index.read(PackedSet(packed, scale).folder), found)
        if change:
            raise DataError(
                f"{packed} was packed from other pictures than {train} holds now ({change}); "
                "remove it to have them packed anew, or name it itself to train on it as it is."
            )
        return packed
    size = units.byte_size(sources.estimate(found, (scale,)))
    tell(f"packing {len(found)} pictures of {train} into {packed}, about {size}, once")
    return pack(train, packed, (scale,), lr, template, progress=progress).folder


def _change(index: Index, found: list[Source]) -> str:
    """What is other now than when a set was packed; empty if nothing is."""
    then = {entry.name: entry.sources for entry in index.pictures}
    now = {source.name: source.stamps for source in found}
    for name in now:
        if name not in then:
            return f"{name} is new"
        if then[name].keys() != now[name].keys():
            return "its LR pictures were made" if index.lr == "matlab" else "its LR was given"
        if then[name] != now[name]:
            return f"{name} or its LR picture has changed"
    gone = next((name for name in then if name not in now), None)
    return f"{gone} is gone" if gone else ""
