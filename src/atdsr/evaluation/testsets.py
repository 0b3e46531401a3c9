"""Test sets: find the HR pictures and their LR pictures in the usual folder layouts.

Where pictures are restored and not enlarged, HR is the original, and LR the picture to restore.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from atdsr.base.errors import AtdsrError, no_folder
from atdsr.base.scales import RESTORING
from atdsr.datasets import pairs
from atdsr.evaluation import standard_sets
from atdsr.evaluation.damage import Damage
from atdsr.imaging import metrics, resample

BENCHMARKS = "ATDSR_BENCHMARKS"
"""The environment variable that names the folder in which test sets are found by name."""

_SYNONYMS = {"BSD100": "B100", "B100": "BSD100"}
_STUDIO_RANGE = "Urban100"
"""The set whose gray is MATLAB's Y where JPEG is removed; elsewhere gray is OpenCV's."""


class TestSetError(AtdsrError):
    """A test set that cannot be found or read, or that the protocol does not allow."""

    __test__ = False  # tells pytest that this is not a test


@dataclass(frozen=True)
class Pair:
    """A picture of a test set.

    Attributes:
        name: Name of the file, without suffixes such as `x2` and `_HR` that all files have.
        hr: File of the high-resolution picture.
        lr: File of the low-resolution picture; None to make it from HR as MATLAB does.
        damage: What is done to the low-resolution picture; None for nothing.
        studio_range: Whether gray is Y of BT.601 in studio range, rounded, and not the luma of a
            gray file. It only matters where `damage` has it made gray.
    """

    name: str
    hr: Path
    lr: Path | None = None
    damage: Damage | None = None
    studio_range: bool = False

    @pairs.errors_as(TestSetError)
    def load(self, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the HR picture, cropped to a multiple of the scale, and the LR picture.

        Returns:
            Samples h w 3 of uint8, and h/scale w/scale 3. At scale 1, samples of uint8 and the
            picture to restore, floats of the same shape as of `Damage.to_restore`; h w 1 if gray.

        Raises:
            TestSetError: The sizes do not match, or a picture has transparency.
            PictureError: A file cannot be read.
        """
        hr = self.load_hr(scale)
        lr = self._load_lr(hr, scale)
        if scale != RESTORING:
            return hr, lr if self.damage is None else self.damage.apply(lr, self.name)
        damage = self.damage or Damage()
        if damage.gray:
            hr, lr = (_gray(samples, self.studio_range) for samples in (hr, lr))
        return hr, damage.to_restore(lr, self.name)

    def _load_lr(self, hr: np.ndarray, scale: int) -> np.ndarray:
        if self.lr is None:
            return hr if scale == RESTORING else resample.downscale(hr, scale)
        lr = pairs.read_rgb8(self.lr)
        if (lr.shape[0] * scale, lr.shape[1] * scale) != hr.shape[:2]:
            height, width = pairs.read_rgb8(self.hr).shape[:2]
            raise TestSetError(
                f"{self.lr} is {lr.shape[1]}x{lr.shape[0]} and {self.hr} is "
                f"{width}x{height}, which is no pair for scale {scale}; "
                "let atdsr make LR (--lr matlab)."
            )
        return lr

    @pairs.errors_as(TestSetError)
    def load_hr(self, scale: int) -> np.ndarray:
        """Return the HR picture, cropped to a multiple of the scale, as samples h w 3 of uint8.

        Raises:
            TestSetError: It is smaller than the scale, or has transparency.
            PictureError: The file cannot be read.
        """
        try:
            return resample.crop_to_multiple(pairs.read_rgb8(self.hr), scale)
        except resample.ResampleError as error:
            raise TestSetError(f"{self.hr}: {error}") from None


@dataclass(frozen=True)
class TestSet:
    """A set of pictures; its figures are means over them.

    Attributes:
        name: Name of the folder, or of its parent if the folder is `HR` or `x2`.
        pairs: The pictures, with distinct names.
        scale: The only scale that its pairs suit; None if they suit any. A set for networks that
            restore has 1.
        damage: What is done to its pictures; None for nothing.
        base: Name of the set that these pictures are of, where `name` says more than that.
    """

    __test__ = False  # tells pytest that this is not a test

    name: str
    pairs: tuple[Pair, ...]
    scale: int | None = None
    damage: Damage | None = None
    base: str = ""

    def damaged(self, damage: Damage | None) -> "TestSet":
        """Return the set with damaged LR pictures and a name of its own, or itself for None."""
        return self if damage is None else self._with(damage, self.scale, self.pairs)

    def to_restore(self, damage: Damage) -> "TestSet":
        """Return the set for networks that restore, with a name of its own."""
        by_y = self.name == _STUDIO_RANGE and damage.quality is not None
        undamaged = tuple(replace(pair, studio_range=by_y) for pair in self.pairs)
        return self._with(damage, RESTORING, undamaged)

    def _with(self, damage: Damage, scale: int | None, undamaged: tuple[Pair, ...]) -> "TestSet":
        damaged = tuple(replace(pair, damage=damage) for pair in undamaged)
        name = f"{self.name} {damage}".rstrip()
        return TestSet(name, damaged, scale, damage, self.name)


@pairs.errors_as(TestSetError)
def find(data: str | Path, scale: int, lr: str | Path | None = None) -> tuple[TestSet, ...]:
    """Find the test sets of a path or a name; `docs/evaluation.md` lists the layouts.

    Args:
        data: A folder with HR pictures, with a folder `HR` or `x2`, or with several test sets; or
            the name of a set in the folder that `ATDSR_BENCHMARKS` names.
        scale: Scale, which chooses among folders `x2`, `x3` and `x4`.
        lr: A folder with the LR pictures, or with a folder of them for each set or scale. The path
            may be relative to the set's own folder. None makes LR from HR as MATLAB does.

    Raises:
        TestSetError: There is no such folder, it has no pictures, or an HR picture has no LR
            picture.
    """
    folder = locate(data)
    hr_folders = _hr_folders(folder, scale)
    if not hr_folders:
        raise TestSetError(
            f"{folder} holds no pictures, neither itself nor in HR, x{scale} or HR/x{scale}; name "
            "the folder of a test set."
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
    """Return the test set of a folder of HR pictures and, if given, one of LR pictures.

    Args:
        hr: Folder with the HR pictures.
        scale: Scale between HR and LR.
        lr: Folder with an LR picture for each HR picture.
        name: Name of the set, by default `set_name(hr)`.
        template: Name of an LR picture without its suffix; `{}` stands for the name of the HR
            picture. With the plain `{}`, the names of both may also have suffixes such as `x2`.

    Raises:
        TestSetError: A folder cannot be read or has no pictures, an LR picture is missing, two
            pictures have one name, or the template is invalid.
    """
    paths = pairs.pictures(hr)
    if not paths:
        raise TestSetError(f"{hr} holds no pictures; name the folder of a test set.")
    names = pairs.names(paths, scale)
    lr_paths: list[Path | None] = [None] * len(paths)
    if lr is not None:
        lr_paths[:] = pairs.match(paths, hr, pairs.pictures(lr), lr, scale, template)
    set_pairs = tuple(
        Pair(names[path], path, lr_path) for path, lr_path in zip(paths, lr_paths, strict=True)
    )
    only_scale = scale if lr is not None or pairs.scale_of(hr.name) else None
    return TestSet(name or set_name(hr), set_pairs, only_scale)


def locate(data: str | Path) -> Path:
    """Return the folder that a path or a name stands for, whatever it contains.

    Raises:
        TestSetError: There is none.
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
    """Return the name of the set in a folder: what papers call it, or the folder's name.

    If the folder is `HR` or `x2`, the name is its parent's.
    """
    return standard_sets.known_name(_set_folder(folder.resolve()).name)


def _set_folder(folder: Path) -> Path:
    """Return the folder, or its nearest parent that is not called `HR`, `GT`, `x2` or the like."""
    while folder.name.upper() in ("HR", "GT") or pairs.scale_of(folder.name):
        folder = folder.parent
    return folder


def _gray(rgb: np.ndarray, studio_range: bool) -> np.ndarray:
    """Return RGB samples h w 3 of uint8 as gray h w 1: MATLAB's Y, rounded, or full-range luma.

    Pillow's full-range luma and OpenCV's differ by one level in a few of 100,000 pixels.
    """
    if studio_range:
        return np.rint(metrics.y_channel(rgb)).astype(np.uint8)[..., None]
    return np.asarray(Image.fromarray(rgb).convert("L"))[..., None]


# ------------------------------------------------------------------------------------- folders


def _hr_folders(folder: Path, scale: int) -> list[Path]:
    """Return the folders with HR pictures, of the one set in this folder or of several.

    Raises:
        TestSetError: It is the folder of another scale, or cannot be read.
    """
    other = pairs.scale_of(folder.name)
    if other and other != scale:
        sibling = pairs.subfolder(folder.parent, f"x{scale}")
        if sibling is None:
            raise TestSetError(
                f"{folder} holds pictures for scale {other}, not for {scale}; name another folder, "
                "or a model of that scale."
            )
        folder = sibling
    only_set = _first_with_pictures(_hr_candidates(folder, scale))
    if only_set is not None:
        return [only_set]
    root = pairs.subfolder(folder, "HR") or folder
    children = sorted(child for child in pairs.children(root) if child.is_dir())
    hr_folders = (_first_with_pictures(_hr_candidates(child, scale)) for child in children)
    return [path for path in hr_folders if path is not None]


def _first_with_pictures(folders: Iterable[Path]) -> Path | None:
    return next((folder for folder in folders if pairs.pictures(folder)), None)


def _hr_candidates(folder: Path, scale: int) -> list[Path]:
    """Return the folders that may hold the HR pictures of a single set, the likeliest first."""
    hr = pairs.subfolder(folder, "HR")
    candidates = (
        pairs.subfolder(hr, f"x{scale}") if hr else None,
        hr,
        pairs.subfolder(folder, f"x{scale}"),
        folder,
    )
    return [candidate for candidate in candidates if candidate is not None]


def _lr_folder(lr: Path, hr: Path, name: str, scale: int) -> Path:
    """Return the folder with the LR pictures of a set.

    Raises:
        TestSetError: There is none.
    """
    set_folder = _set_folder(hr)
    roots = dict.fromkeys((lr, set_folder / lr))
    if not any(root.is_dir() for root in roots):
        raise TestSetError(no_folder(lr))
    for root in roots:
        if not root.is_dir():
            continue
        for inner in (set_folder.name, name, _SYNONYMS.get(name, name), "."):
            for folder in (pairs.subfolder(root / inner, f"x{scale}"), root / inner):
                if folder is not None and folder.is_dir() and pairs.pictures(folder):
                    return folder
    raise TestSetError(
        f"{lr} has no LR pictures of {name} for scale {scale}, neither itself nor in {name}, "
        f"x{scale} or {name}/x{scale}."
    )
