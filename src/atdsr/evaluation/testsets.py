"""Test sets: which HR picture belongs to which LR picture, however their folders are laid out."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atdsr import pixels, resample
from atdsr.errors import AtdsrError

BENCHMARKS = "ATDSR_BENCHMARKS"
"""The environment variable with the folder where a test set is looked up by its name."""

_SYNONYMS = {"BSD100": "B100", "B100": "BSD100"}
# what publishers of test sets append to the names of the pictures, and then the scale
_MARK = re.compile(
    r"[ _-]SRF_(?P<srf>\d)_(HR|LR)"
    r"|(?P<kind>[ _-](HR|GT|LR|LQ|LRBI|LRBD|LRDN|bicubic))?(?P<dash>[ _-]?)x(?P<scale>\d)"
    r"|[ _-](HR|GT|LR|LQ|LRBI)",
    re.IGNORECASE,
)


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

    def load(self, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """The HR picture, cropped to a multiple of the scale, and the LR one.

        Returns:
            Samples h w 3 of uint8, and h/scale w/scale 3.

        Raises:
            TestSetError: the sizes do not match, or a picture is not 8-bit gray or RGB.
            PictureError: a file cannot be read.
        """
        whole = _read_rgb(self.hr)
        try:
            hr = resample.crop_to_multiple(whole, scale)
        except resample.ResampleError as error:
            raise TestSetError(f"{self.hr}: {error}.") from None
        if self.lr is None:
            return hr, resample.downscale(hr, scale)
        lr = _read_rgb(self.lr)
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


def read(hr: Path, scale: int, lr: Path | None = None, name: str | None = None) -> TestSet:
    """The test set of a folder of HR pictures and, if given, one of LR pictures.

    Args:
        hr: holds the HR pictures.
        scale: between the two.
        lr: holds an LR picture for each, of the same name but for suffixes such as `x2`.
        name: of the set; by default `set_name(hr)`.

    Raises:
        TestSetError: a folder cannot be read or holds no pictures, an LR picture is missing, or
            two pictures have one name.
    """
    paths = _pictures(hr)
    if not paths:
        raise TestSetError(f"{hr} holds no pictures.")
    names = _names(paths, scale)
    small = {} if lr is None else _by_name(lr, scale)
    pairs = []
    for path in paths:
        found = small.get(path.stem) or small.get(names[path])
        if lr is not None and found is None:
            raise TestSetError(f"{lr} has no LR picture for {path}.")
        pairs.append(Pair(names[path], path, found))
    fixed = scale if lr is not None or _scale_of(hr.name) else None
    return TestSet(name or set_name(hr), tuple(pairs), fixed)


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
    while folder.name.upper() in ("HR", "GT") or _scale_of(folder.name):
        folder = folder.parent
    return "B100" if folder.name == "BSD100" else folder.name


# ------------------------------------------------------------------------------------- folders


def _hr_folders(folder: Path, scale: int) -> list[Path]:
    """The folders with the HR pictures of the set in this folder, or of the several in it.

    Raises:
        TestSetError: it is the folder of another scale, or cannot be read.
    """
    other = _scale_of(folder.name)
    if other and other != scale:
        sibling = _subfolder(folder.parent, f"x{scale}")
        if sibling is None:
            raise TestSetError(f"{folder} holds pictures for scale {other}, not for {scale}.")
        folder = sibling
    for single in _single(folder, scale):
        if _pictures(single):
            return [single]
    several = _subfolder(folder, "HR") or folder
    children = sorted(child for child in _children(several) if child.is_dir())
    found = (
        next((path for path in _single(child, scale) if _pictures(path)), None)
        for child in children
    )
    return [path for path in found if path is not None]


def _single(folder: Path, scale: int) -> list[Path]:
    """Where the HR pictures of a single set may lie, the likeliest first."""
    hr = _subfolder(folder, "HR")
    steps = [_subfolder(hr, f"x{scale}") if hr else None, hr, _subfolder(folder, f"x{scale}")]
    return [step for step in (*steps, folder) if step is not None]


def _lr_folder(lr: Path, hr: Path, name: str, scale: int) -> Path:
    """The folder with the LR pictures of a set.

    Raises:
        TestSetError: there is none.
    """
    own = hr
    while own.name.upper() in ("HR", "GT") or _scale_of(own.name):
        own = own.parent
    for root in dict.fromkeys((lr, own / lr)):
        if not root.is_dir():
            continue
        for inner in (own.name, name, _SYNONYMS.get(name, name), "."):
            for step in (_subfolder(root / inner, f"x{scale}"), root / inner):
                if step is not None and step.is_dir() and _pictures(step):
                    return step
    raise TestSetError(
        f"{lr} has no LR pictures of {name} for scale {scale}, neither itself nor in {name}, "
        f"x{scale} or {name}/x{scale}."
    )


def _scale_of(name: str) -> int | None:
    """The scale that a folder called `x2` or `X2` is for."""
    found = re.fullmatch(r"[xX]([2348])", name)
    return int(found[1]) if found else None


def _subfolder(folder: Path, name: str) -> Path | None:
    """The folder of that name in any case, as `X2` for `x2`."""
    for spelling in (name, name.lower(), name.upper()):
        if (folder / spelling).is_dir():
            return folder / spelling
    return None


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise TestSetError(f"{folder} cannot be read: {error.strerror}.") from None


# -------------------------------------------------------------------------------------- pictures


def _pictures(folder: Path) -> list[Path]:
    """The picture files right in a folder, by name; hidden ones are somebody else's."""
    return [
        path
        for path in _children(folder)
        if not path.name.startswith(".") and pixels.is_picture_file(path)
    ]


def _names(paths: Sequence[Path], scale: int) -> dict[Path, str]:
    """The pictures' names, without a mark such as `_HR_x2` if all of them bear one.

    Raises:
        TestSetError: two have one name.
    """
    bare = {path: _without_mark(path.stem, scale) for path in paths}
    if any(name is None for name in bare.values()):
        bare = {path: path.stem for path in paths}
    names = {path: name or path.stem for path, name in bare.items()}
    twice = next((name for name, count in Counter(names.values()).items() if count > 1), None)
    if twice is not None:
        first, second, *_ = (path for path in paths if names[path] == twice)
        raise TestSetError(f"{first} and {second.name} are two files for one picture; keep one.")
    return names


def _by_name(folder: Path, scale: int) -> Mapping[str, Path]:
    """The LR pictures by their whole names and, where that is nobody's, by their bare ones."""
    paths = _pictures(folder)
    whole = {path.stem: path for path in paths}
    bare = {_without_mark(path.stem, scale) or path.stem: path for path in paths}
    return bare | whole


def _without_mark(stem: str, scale: int) -> str | None:
    """`baby` for `babyx2`, `baby_HR_x2` and the like; None if there is no mark of this scale."""
    for start in range(1, len(stem)):
        found = _MARK.fullmatch(stem, start)
        if found:
            numbers = (found["srf"], found["scale"])
            return stem[:start] if all(n in (None, str(scale)) for n in numbers) else None
    return None


def _read_rgb(path: Path) -> np.ndarray:
    """A picture as uint8 RGB; a gray one is replicated, as the protocol has it.

    Raises:
        TestSetError: it has transparency or 16 bits, which no test set of the protocol has.
    """
    samples = pixels.read(path).samples
    if samples.dtype != np.uint8 or samples.shape[2] in (2, 4):
        raise TestSetError(f"{path} is not 8-bit gray or RGB, as the protocol needs.")
    return pixels.replicate_gray(samples)
