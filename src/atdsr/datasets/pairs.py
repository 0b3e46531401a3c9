"""Pairs of HR and LR pictures: listing the files of a folder, matching them, and reading them.

Publishers append marks to the names: `babyx2.png` and `baby_LR_x2.png` are the LR pictures of
`baby.png`, DIV2K's `0001x2.png` is that of `0001.png`. If a set has other names, a template
describes them: `{}_small` for `baby_small.png`.
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
from atdsr.base.errors import AtdsrError, no_folder, unreadable

# the marks that publishers of test sets append to the names of the pictures, then the scale
_MARK = re.compile(
    r"[ _-]SRF_(?P<srf>\d)_(HR|LR)"
    r"|(?P<kind>[ _-](HR|GT|LR|LQ|LRBI|LRBD|LRDN|bicubic))?(?P<dash>[ _-]?)x(?P<scale>\d)"
    r"|[ _-](HR|GT|LR|LQ|LRBI)",
    re.IGNORECASE,
)


class PairsError(AtdsrError):
    """Folders that cannot be read, or pictures that are no pair of HR and LR."""


@contextmanager
def errors_as(kind: type[AtdsrError]) -> Iterator[None]:
    """Raise the errors of this module as the caller's own kind, with the same sentence."""
    try:
        yield
    except PairsError as error:
        raise kind(str(error)) from None


# ------------------------------------------------------------------------------------- folders


def children(folder: Path) -> list[Path]:
    """Return what is directly in a folder, by name.

    Raises:
        PairsError: It cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        raise PairsError(no_folder(folder)) from None
    except OSError as error:
        raise PairsError(unreadable(folder, error)) from None


def pictures(folder: Path) -> list[Path]:
    """Return the picture files directly in a folder, by name, without hidden ones.

    Raises:
        PairsError: It cannot be read.
    """
    paths = [path for path in children(folder) if files.is_user_file(path.name)]
    return [path for path in paths if imaging.is_picture_file(path)]


def tree(folder: Path) -> list[Path]:
    """Return the picture files of a folder and its subfolders, in the order of their paths.

    Links to folders are followed, each folder is visited once, hidden ones are skipped.

    Raises:
        PairsError: A folder cannot be read.
    """
    paths: list[Path] = []
    visited: set[str] = set()
    pending = [folder]
    while pending:
        current = pending.pop()
        real = os.path.realpath(current)
        if real in visited:
            continue
        visited.add(real)
        for path in children(current):
            if not files.is_user_file(path.name):
                continue
            if path.is_dir():
                pending.append(path)
            elif imaging.is_picture_file(path):
                paths.append(path)
    return sorted(paths)


def scale_of(name: str) -> int | None:
    """Return the scale of a folder called `x2` or `X2`; None for other names."""
    match = re.fullmatch(r"[xX]([2348])", name)
    return int(match[1]) if match else None


def subfolder(folder: Path, name: str) -> Path | None:
    """Return the subfolder of that name in upper or lower case, such as `X2` for `x2`."""
    for spelling in (name, name.lower(), name.upper()):
        if (folder / spelling).is_dir():
            return folder / spelling
    return None


# --------------------------------------------------------------------------------------- names


def names(paths: Sequence[Path], scale: int) -> dict[Path, str]:
    """Return the pictures' names, without a mark such as `_HR_x2` if all of them have one.

    Raises:
        PairsError: Two pictures in one folder have the same name.
    """
    unmarked = {path: _without_mark(path.stem, scale) for path in paths}
    has_marks = all(name is not None for name in unmarked.values())
    name_of = {path: (has_marks and unmarked[path]) or path.stem for path in paths}
    counts = Counter((path.parent, name) for path, name in name_of.items())
    duplicate = next((key for key, count in counts.items() if count > 1), None)
    if duplicate is not None:
        first, second, *_ = (path for path in paths if (path.parent, name_of[path]) == duplicate)
        raise PairsError(f"{first} and {second.name} are two files for one picture; keep one.")
    return name_of


def match(
    hr_paths: Sequence[Path],
    hr_folder: Path,
    lr_paths: Sequence[Path],
    lr_folder: Path,
    scale: int,
    template: str,
) -> list[Path]:
    """Return the LR picture of each HR picture.

    Args:
        hr_paths: The HR pictures.
        hr_folder: Their folder; a picture in a subfolder has its LR picture in a subfolder of the
            same name.
        lr_paths: The LR pictures.
        lr_folder: Their folder.
        scale: Scale between the two.
        template: Name of an LR picture without its suffix; `{}` stands for the HR picture's name.
            With the plain `{}`, names may also have marks such as `x2`.

    Raises:
        PairsError: An HR picture has no LR picture, two in one folder have the same name, or the
            template is invalid.
    """
    check_template(template)
    allows_marks = template == "{}"
    lr_by_name = {_key(path, lr_folder, path.stem): path for path in lr_paths}
    if allows_marks:
        unmarked = {
            _key(path, lr_folder, _without_mark(path.stem, scale) or path.stem): path
            for path in lr_paths
        }
        lr_by_name = unmarked | lr_by_name  # a full name is preferred
    hr_names = names(hr_paths, scale)
    matches: list[Path] = []
    for path in hr_paths:
        lr_name = template.replace("{}", path.stem)
        match = lr_by_name.get(_key(path, hr_folder, lr_name))
        if match is None and allows_marks:
            match = lr_by_name.get(_key(path, hr_folder, hr_names[path]))
        if match is None:
            called = "" if allows_marks else f" called {lr_name}"
            raise PairsError(
                f"{lr_folder} has no LR picture{called} for {path}; add it, or take HR out."
            )
        matches.append(match)
    return matches


def check_template(template: str) -> None:
    """See whether a text is a template of names.

    Raises:
        PairsError: It does not contain `{}` exactly once, or is no file name.
    """
    rest = template.replace("{}", "", 1)
    if "{}" not in template or any(character in rest for character in "{}/\\"):
        raise PairsError(f"{template!r} must be a file's name with {{}} in it once, as '{{}}x2'.")


def _key(path: Path, folder: Path, name: str) -> tuple[str, str]:
    """Return the subfolder of a picture and a name, by which pairs are matched."""
    return os.path.relpath(path.parent, folder), name


def _without_mark(stem: str, scale: int) -> str | None:
    """Return `baby` for `babyx2`, `baby_HR_x2` and so on; None without a mark of this scale."""
    for start in range(1, len(stem)):
        mark = _MARK.fullmatch(stem, start)
        if mark:
            numbers = (mark["srf"], mark["scale"])
            return stem[:start] if all(n in (None, str(scale)) for n in numbers) else None
    return None


# ------------------------------------------------------------------------------------ pictures


def read_rgb8(path: Path) -> NDArray[np.uint8]:
    """Read an HR or LR picture as the protocol has it, for training and for scoring alike.

    Gray is replicated to RGB, 16 bits are rounded to 8, and an alpha channel that is opaque
    everywhere is dropped.

    Returns:
        Samples `h w 3` of uint8.

    Raises:
        PairsError: A pixel is not opaque.
        PictureError: The file cannot be read.
    """
    picture = imaging.read(path)
    if picture.is_transparent:
        raise PairsError(
            f"{path} has transparency, which no HR or LR picture may have; flatten it, or take it "
            "out of the folder."
        )
    colours, _ = imaging.split_alpha(picture.samples)
    return imaging.replicate_gray(imaging.to_uint8(colours))
