"""Test sets: which HR picture belongs to which LR picture, however their folders are laid out."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atdsr.base.errors import AtdsrError
from atdsr.datasets import pairs
from atdsr.imaging import resample

BENCHMARKS = "ATDSR_BENCHMARKS"
"""The environment variable with the folder where a test set is looked up by its name."""

_SYNONYMS = {"BSD100": "B100", "B100": "BSD100"}


class TestSetError(AtdsrError):
    """A test set that cannot be found or read, or that the protocol does not allow."""

    __test__ = False  # not a test of pytest's


@dataclass(frozen=True)
class Pair:
    """A picture of a test set.

    Attributes:
        name: the file's, without suffixes such as `x2` and `_HR` that all of them bear.
        hr: file of the high-resolution picture.
        lr: file of the low-resolution one; None if it is made by the MATLAB recipe.
    """

    name: str
    hr: Path
    lr: Path | None = None

    @pairs.errors_as(TestSetError)
    def load(self, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """The HR picture, cropped to a multiple of the scale, and the LR one.

        Returns:
            Samples h w 3 of uint8, and h/scale w/scale 3.

        Raises:
            TestSetError: the sizes do not match, or a picture has transparency.
            PictureError: a file cannot be read.
        """
        whole = pairs.read_rgb8(self.hr)
        try:
            hr = resample.crop_to_multiple(whole, scale)
        except resample.ResampleError as error:
            raise TestSetError(f"{self.hr}: {error}.") from None
        if self.lr is None:
            return hr, resample.downscale(hr, scale)
        lr = pairs.read_rgb8(self.lr)
        if (lr.shape[0] * scale, lr.shape[1] * scale) != hr.shape[:2]:
            raise TestSetError(
                f"{self.lr} is {lr.shape[1]}x{lr.shape[0]} and {self.hr} is "
                f"{whole.shape[1]}x{whole.shape[0]}, which is no pair for scale {scale}; let atdsr "
                "make LR (--lr matlab)."
            )
        return hr, lr


@dataclass(frozen=True)
class TestSet:
    """Pictures that a figure is the mean over.

    Attributes:
        name: the folder's, or its parent's where the folder is `HR` or `x2`.
        pairs: by name, none twice.
        scale: the one it was found for; None where its pairs suit any.
    """

    __test__ = False  # not a test of pytest's

    name: str
    pairs: tuple[Pair, ...]
    scale: int | None = None


@pairs.errors_as(TestSetError)
def find(data: str | Path, scale: int, lr: str | Path | None = None) -> tuple[TestSet, ...]:
    """The test sets that a path or a name stands for; `docs/evaluation.md` lists the layouts.

    Args:
        data: a folder with HR pictures, with a folder `HR`, with `x2`, or with several test sets;
            or the name of a set that lies in the folder that `ATDSR_BENCHMARKS` names.
        scale: chooses among folders `x2`, `x3` and `x4`.
        lr: a folder with the LR pictures, or with a folder of them for each set or scale, from
            here or from the set's own folder; None makes LR by the MATLAB recipe.

    Raises:
        TestSetError: no such folder, no picture in it, or none that belongs to an HR picture.
    """
    folder = locate(data)
    hr_folders = _hr_folders(folder, scale)
    if not hr_folders:
        raise TestSetError(
            f"{folder} holds no pictures, neither itself nor in HR, x{scale} or HR/x{scale}."
        )
    sets = []
    for hr in hr_folders:
        name = set_name(hr)
        sets.append(read(hr, scale, None if lr is None else _lr_folder(Path(lr), hr, name, scale)))
    return tuple(sets)


@pairs.errors_as(TestSetError)
def read(
    hr: Path, scale: int, lr: Path | None = None, name: str | None = None, template: str = "{}"
) -> TestSet:
    """The test set of a folder of HR pictures and, if given, one of LR pictures.

    Args:
        hr: holds the HR pictures.
        scale: between the two.
        lr: holds an LR picture for each.
        name: of the set; by default `set_name(hr)`.
        template: name of an LR picture without its suffix; `{}` stands for the HR picture's. With
            the plain `{}` the names of both may also bear marks such as `x2`.

    Raises:
        TestSetError: a folder cannot be read or holds no pictures, an LR picture is missing,
            two pictures have one name, or the template is none.
    """
    paths = pairs.pictures(hr)
    if not paths:
        raise TestSetError(f"{hr} holds no pictures.")
    names = pairs.names(paths, scale)
    small: list[Path | None] = [None] * len(paths)
    if lr is not None:
        small[:] = pairs.match(paths, hr, pairs.pictures(lr), lr, scale, template)
    found = (Pair(names[path], path, low) for path, low in zip(paths, small, strict=True))
    fixed = scale if lr is not None or pairs.scale_of(hr.name) else None
    return TestSet(name or set_name(hr), tuple(found), fixed)


def locate(data: str | Path) -> Path:
    """The folder that a path or a name stands for, whatever is in it.

    Raises:
        TestSetError: there is none.
    """
    path = Path(data)
    roots = [path.parent]
    is_name = path.name == str(data)
    if is_name and os.environ.get(BENCHMARKS):
        roots.append(Path(os.environ[BENCHMARKS]))
    for root in roots:
        for name in (path.name, _SYNONYMS.get(path.name, path.name)):
            for folder in (root / name, root / "HR" / name):
                if folder.is_dir():
                    return folder
    if path.exists():
        raise TestSetError(f"{path} is a file; name the folder of a test set.")
    where = f", nor in the folder that {BENCHMARKS} names" if len(roots) > 1 else ""
    hint = (
        f"; to find test sets by their names, set {BENCHMARKS} to the folder they lie in"
        if is_name and len(roots) == 1
        else "; name the folder of a test set"
    )
    raise TestSetError(f"there is no folder {str(data)!r} here{where}{hint}.")


def set_name(folder: Path) -> str:
    """The folder's name, or its parent's where the folder is `HR` or `x2`; BSD100 is B100."""
    folder = folder.resolve()
    while folder.name.upper() in ("HR", "GT") or pairs.scale_of(folder.name):
        folder = folder.parent
    return "B100" if folder.name == "BSD100" else folder.name


# ------------------------------------------------------------------------------------- folders


def _hr_folders(folder: Path, scale: int) -> list[Path]:
    """The folders with the HR pictures of the set in this folder, or of the several in it.

    Raises:
        TestSetError: it is the folder of another scale, or cannot be read.
    """
    other = pairs.scale_of(folder.name)
    if other and other != scale:
        sibling = pairs.subfolder(folder.parent, f"x{scale}")
        if sibling is None:
            raise TestSetError(f"{folder} holds pictures for scale {other}, not for {scale}.")
        folder = sibling
    for single in _single(folder, scale):
        if pairs.pictures(single):
            return [single]
    several = pairs.subfolder(folder, "HR") or folder
    children = sorted(child for child in pairs.children(several) if child.is_dir())
    found = (
        next((path for path in _single(child, scale) if pairs.pictures(path)), None)
        for child in children
    )
    return [path for path in found if path is not None]


def _single(folder: Path, scale: int) -> list[Path]:
    """Where the HR pictures of a single set may lie, the likeliest first."""
    hr = pairs.subfolder(folder, "HR")
    steps = [
        pairs.subfolder(hr, f"x{scale}") if hr else None,
        hr,
        pairs.subfolder(folder, f"x{scale}"),
    ]
    return [step for step in (*steps, folder) if step is not None]


def _lr_folder(lr: Path, hr: Path, name: str, scale: int) -> Path:
    """The folder with the LR pictures of a set.

    Raises:
        TestSetError: there is none.
    """
    own = hr
    while own.name.upper() in ("HR", "GT") or pairs.scale_of(own.name):
        own = own.parent
    for root in dict.fromkeys((lr, own / lr)):
        if not root.is_dir():
            continue
        for inner in (own.name, name, _SYNONYMS.get(name, name), "."):
            for step in (pairs.subfolder(root / inner, f"x{scale}"), root / inner):
                if step is not None and step.is_dir() and pairs.pictures(step):
                    return step
    raise TestSetError(
        f"{lr} has no LR pictures of {name} for scale {scale}, neither itself nor in {name}, "
        f"x{scale} or {name}/x{scale}."
    )
