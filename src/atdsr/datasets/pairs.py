"""HR and LR pictures: which files a folder holds, which two belong together, what each is read as.

Publishers append marks to the names: `babyx2.png` and `baby_LR_x2.png` are the LR pictures of
`baby.png`, DIV2K's `0001x2.png` is that of `0001.png`. Where a set has another way, a template says
it: `{}_small` for `baby_small.png`.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atdsr import imaging
from atdsr.base import files
from atdsr.base.errors import AtdsrError

# what publishers of test sets append to the names of the pictures, and then the scale
_MARK = re.compile(
    r"[ _-]SRF_(?P<srf>\d)_(HR|LR)"
    r"|(?P<kind>[ _-](HR|GT|LR|LQ|LRBI|LRBD|LRDN|bicubic))?(?P<dash>[ _-]?)x(?P<scale>\d)"
    r"|[ _-](HR|GT|LR|LQ|LRBI)",
    re.IGNORECASE,
)


class PairsError(AtdsrError):
    """Folders that cannot be read, or pictures that do not belong together or are no HR or LR."""


@contextmanager
def errors_as(kind: type[AtdsrError]) -> Iterator[None]:
    """Let errors of this module be of the caller's own kind, with the same sentence."""
    try:
        yield
    except PairsError as error:
        raise kind(str(error)) from None


# ------------------------------------------------------------------------------------- folders


def children(folder: Path) -> list[Path]:
    """What is right in a folder, by name.

    Raises:
        PairsError: it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise PairsError(f"{folder} cannot be read: {error.strerror}.") from None


def pictures(folder: Path) -> list[Path]:
    """The picture files right in a folder, by name; hidden ones are somebody else's.

    Raises:
        PairsError: it cannot be read.
    """
    shown = [path for path in children(folder) if files.is_user_file(path.name)]
    return [path for path in shown if imaging.is_picture_file(path)]


def tree(folder: Path) -> list[Path]:
    """The picture files of a folder and of those inside it, in the order of their paths.

    Links to folders are followed, each folder is taken once, hidden ones are passed over.

    Raises:
        PairsError: a folder cannot be read.
    """
    found: list[Path] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        inside = waiting.pop()
        real = os.path.realpath(inside)
        if real in seen:
            continue
        seen.add(real)
        for path in children(inside):
            if not files.is_user_file(path.name):
                continue
            if path.is_dir():
                waiting.append(path)
            elif imaging.is_picture_file(path):
                found.append(path)
    return sorted(found)


def scale_of(name: str) -> int | None:
    """The scale that a folder called `x2` or `X2` is for."""
    found = re.fullmatch(r"[xX]([2348])", name)
    return int(found[1]) if found else None


def subfolder(folder: Path, name: str) -> Path | None:
    """The folder of that name in any case, as `X2` for `x2`."""
    for spelling in (name, name.lower(), name.upper()):
        if (folder / spelling).is_dir():
            return folder / spelling
    return None


# --------------------------------------------------------------------------------------- names


def names(paths: Sequence[Path], scale: int) -> dict[Path, str]:
    """The pictures' names, without a mark such as `_HR_x2` if all of them bear one.

    Raises:
        PairsError: two in one folder have one name.
    """
    bare = {path: _without_mark(path.stem, scale) for path in paths}
    if any(name is None for name in bare.values()):
        bare = {path: path.stem for path in paths}
    found = {path: name or path.stem for path, name in bare.items()}
    counts = Counter((path.parent, name) for path, name in found.items())
    twice = next((place for place, count in counts.items() if count > 1), None)
    if twice is not None:
        first, second, *_ = (path for path in paths if (path.parent, found[path]) == twice)
        raise PairsError(f"{first} and {second.name} are two files for one picture; keep one.")
    return found


def match(
    high: Sequence[Path], folder: Path, low: Sequence[Path], lr: Path, scale: int, template: str
) -> list[Path]:
    """The LR picture of each HR picture.

    Args:
        high: the HR pictures.
        folder: where they are; a picture in a folder inside has its LR picture in one of the
            same name.
        low: the LR pictures.
        lr: where those are.
        scale: between the two.
        template: name of an LR picture without its suffix; `{}` stands for the HR picture's.
            The plain `{}` lets names also bear marks such as `x2`.

    Raises:
        PairsError: an HR picture has none, two in one folder have one name, or the template is
            none.
    """
    check_template(template)
    whole = {_place(path, lr, path.stem): path for path in low}
    bare = {_place(path, lr, _without_mark(path.stem, scale) or path.stem): path for path in low}
    plain = template == "{}"
    by_name = bare | whole if plain else whole
    own = names(high, scale)
    pairs = []
    for path in high:
        wanted = template.replace("{}", path.stem)
        found = by_name.get(_place(path, folder, wanted))
        if found is None and plain:
            found = by_name.get(_place(path, folder, own[path]))
        if found is None:
            called = "" if plain else f" called {wanted}"
            raise PairsError(f"{lr} has no LR picture{called} for {path}.")
        pairs.append(found)
    return pairs


def check_template(template: str) -> None:
    """See whether a text is a template of names.

    Raises:
        PairsError: it has not `{}` in it once, or is no name of a file.
    """
    rest = template.replace("{}", "", 1)
    if "{}" not in template or any(character in rest for character in "{}/\\"):
        raise PairsError(f"{template!r} must be a file's name with {{}} in it once, as '{{}}x2'.")


def _place(path: Path, folder: Path, name: str) -> tuple[str, str]:
    return os.path.relpath(path.parent, folder), name


def _without_mark(stem: str, scale: int) -> str | None:
    """`baby` for `babyx2`, `baby_HR_x2` and the like; None if there is no mark of this scale."""
    for start in range(1, len(stem)):
        found = _MARK.fullmatch(stem, start)
        if found:
            numbers = (found["srf"], found["scale"])
            return stem[:start] if all(n in (None, str(scale)) for n in numbers) else None
    return None


# ------------------------------------------------------------------------------------ pictures


def read_rgb8(path: Path) -> NDArray[np.uint8]:
    """An HR or LR picture as the protocol has it, for training and for scoring alike.

    Gray is replicated to RGB, 16 bits are rounded to 8, and an alpha channel that is opaque
    everywhere is dropped.

    Returns:
        Samples `h w 3` of uint8.

    Raises:
        PairsError: a pixel is not opaque.
        PictureError: the file cannot be read.
    """
    picture = imaging.read(path)
    if picture.is_transparent:
        raise PairsError(
            f"{path} has transparency, which no HR or LR picture may have; flatten it, or take it "
            "out of the folder."
        )
    colours, _ = imaging.split_alpha(picture.samples)
    return imaging.replicate_gray(imaging.to_uint8(colours))
