"""The named models: those that come with atdsr, and how to find any model by its name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from atdsr.base import errors, files
from atdsr.network.config import ATDConfig, atd_light
from atdsr.weights import download
from atdsr.weights.download import ByteProgress, DownloadError
from atdsr.weights.files import READ_SUFFIXES, check_file_type, read_weights
from atdsr.weights.official import (
    COMMUNITY,
    OFFICIAL,
    CommunityModel,
    LinkedFile,
    OfficialModel,
    Purpose,
    generation,
    linked_file,
)
from atdsr.weights.published_file import CacheError
from atdsr.weights.state_dict import Weights, WeightsError

__all__ = [
    "BUNDLED",
    "COMMUNITY",
    "OFFICIAL",
    "BundledModel",
    "CacheError",
    "CommunityModel",
    "DownloadError",
    "LinkedFile",
    "OfficialModel",
    "Purpose",
    "add",
    "by_scale",
    "canonical",
    "fetch",
    "fetch_file",
    "find",
    "find_official",
    "for_scale",
    "generation",
    "is_file",
    "linked_file",
    "load_weights",
    "named",
]


@dataclass(frozen=True)
class BundledModel:
    """A model whose weights are in the package.

    Attributes:
        name: Name that a user writes.
        config: Configuration of the network.
        file: Name of the weight file in the package's `weights` folder.
        sha256: SHA-256 of that file, in hexadecimal.
        parameters: Number of learned values.
        psnr_y: PSNR in dB on Y by name of the test set, measured as in `docs/protocol.md`, that is,
            on clean pictures.
        hours: Hours of training, including those of the model that it started from.
        data: Training data.
        hardware: Hardware that took those hours.
        licence: Licence of the weights.
        purpose: What it is for.
    """

    name: str
    config: ATDConfig
    file: str
    sha256: str
    parameters: int
    psnr_y: dict[str, float]
    hours: float
    data: str = "420 pictures, 347 megapixels"
    hardware: str = "2 cores of an Intel Xeon, then of an AMD EPYC"
    licence: str = "Apache-2.0"
    purpose: Purpose = "clean pictures"

    def load(self, prefer: str = "params_ema") -> Weights:
        """Read the weights, after a check of their SHA-256.

        Args:
            prefer: Which of two sets of parameters to take, as for `read_weights`.

        Raises:
            WeightsError: The file is missing or is not the one that this version came with.
        """
        with resources.as_file(resources.files("atdsr.weights") / self.file) as path:
            if not path.is_file():
                raise WeightsError(f"{path} is missing; install atdsr again.")
            if files.sha256(path) != self.sha256:
                raise WeightsError(f"{path} is damaged (SHA-256 differs); install atdsr again.")
            return read_weights(path, prefer=prefer)


BUNDLED = (
    BundledModel(
        name="atd-light-x2",
        config=atd_light(2),
        file="atd-light-x2.safetensors",
        sha256="7a9f09236aa19252a7ac59a7c67a309591207819397ecc8e9398b5c90d063ad0",
        parameters=753_204,
        psnr_y={"Set5": 37.90, "Set14": 33.46, "B100": 32.10, "Urban100": 31.67},
        hours=12.6,
    ),
    BundledModel(
        name="atd-light-x3",
        config=atd_light(3),
        file="atd-light-x3.safetensors",
        sha256="422486185208aee22f314fb3b13fefde5f7c4ef3ebf6cef7f19b7ceb295ccab9",
        parameters=759_699,
        psnr_y={"Set5": 33.87, "Set14": 29.98, "B100": 28.85, "Urban100": 27.30},
        hours=11.7,
    ),
    BundledModel(
        name="atd-light-x4",
        config=atd_light(4),
        file="atd-light-x4.safetensors",
        sha256="b95843a0e8def48629470bebed72af99b4abe2f55f12d38fd84f72bfdbe95396",
        parameters=768_792,
        psnr_y={"Set5": 31.80, "Set14": 28.34, "B100": 27.41, "Urban100": 25.56},
        hours=12.1,
    ),
    BundledModel(
        name="atd-light-photo-x2",
        config=atd_light(2),
        file="atd-light-photo-x2.safetensors",
        sha256="f9e7e90afcbbd20b942b3c301f458f2cba1e6efcfdbb307b3a17af77eb231cf5",
        parameters=753_204,
        psnr_y={"Set5": 37.14, "Set14": 33.00, "B100": 31.68, "Urban100": 31.08},
        hours=13.0,
        purpose="everyday photos",
    ),
    BundledModel(
        name="atd-light-photo-x4",
        config=atd_light(4),
        file="atd-light-photo-x4.safetensors",
        sha256="68325a754efd09a65b9e72be9ca249bd0f34238346559bb0950bc8f345ae92fe",
        parameters=768_792,
        psnr_y={"Set5": 31.68, "Set14": 28.24, "B100": 27.33, "Urban100": 25.45},
        hours=13.5,
        purpose="everyday photos",
    ),
)
"""Every model that comes with atdsr, one per line of `atdsr models`."""

_OFFICIAL = "official/"


def named() -> tuple[BundledModel | OfficialModel, ...]:
    """Return all named models: those that come with atdsr, the authors' and others'."""
    return (*BUNDLED, *OFFICIAL, *COMMUNITY)


def find(name: str, others: Sequence[str] = ()) -> BundledModel | OfficialModel:
    """Return the model of that name, whose case does not matter.

    Args:
        name: The name.
        others: What else could be named in that place, for the sentence.

    Raises:
        WeightsError: There is none; the sentence names those with a similar name.
    """
    models = {model.name: model for model in named()}
    if canonical(name) in models:
        return models[canonical(name)]
    meant = errors.nearest(name.lower(), others)
    similar = [meant] if meant else _similar(name.lower(), list(models))
    advice = ""
    if similar:
        *first, last = similar
        listed = f"name one of {', '.join(first)} or {last}." if first else f"did you mean {last}?"
        advice = f" {listed}"
    also = ""
    if others:
        *before, last_other = others
        also = f"; {', '.join(before)} and {last_other} can be named as well"
    raise WeightsError(
        f"there is neither a file nor a model called {name!r};{advice} `atdsr models` lists the "
        f"models{also}."
    )


def _similar(name: str, names: Sequence[str]) -> list[str]:
    """Return the name that a mistyped one stands for: several, if its scale is missing or wrong.

    Names are compared without "official/", too; of two that are then alike, the model that comes
    with atdsr is meant.
    """
    official = name.startswith(_OFFICIAL)
    families: dict[str, list[str]] = {}
    for known in names:
        if known.startswith(_OFFICIAL) or not official:
            families.setdefault(_split_scale(known)[0], []).append(known)
    by_name = {family.removeprefix(_OFFICIAL): family for family in reversed(families)}
    family, scale = _split_scale(name.removeprefix(_OFFICIAL))
    found = families.get(by_name.get(errors.nearest(family, by_name) or "", ""), [])
    return [known for known in found if _split_scale(known)[1] == scale] or found


def _split_scale(name: str) -> tuple[str, str]:
    """Return the name of a family of models, and the scale as in x2; either may be empty."""
    match = re.fullmatch(r"(.*?)[-_ ]?(?:x(\d+)|(\d+)x)?", name, re.DOTALL)
    assert match is not None  # any text matches
    return match[1], match[2] or match[3] or ""


def canonical(name: str) -> str:
    """Return the name of a model that is given in another case; any other name as it is."""
    names = {model.name.lower(): model.name for model in named()}
    own = names.get(name.lower())
    return own if own is not None and (own == name or not _exists(Path(name))) else name


def find_official(name: str) -> OfficialModel:
    """Return the model of that name, which its authors or others have published.

    Raises:
        WeightsError: There is none; the sentence names one with a similar name.
    """
    model = find(name)
    if isinstance(model, OfficialModel):
        return model
    raise WeightsError(f"{name} comes with atdsr and need not be fetched or added.")


def is_file(name_or_path: str | Path) -> bool:
    """Whether this is the path of a weight file, even a missing one, and not a model's name.

    A model's name wins over a file or folder of the same name, unless it is in another case.
    """
    if _name(name_or_path) in [model.name for model in named()]:
        return False
    path = Path(name_or_path)
    return path.suffix.lower() in READ_SUFFIXES or _exists(path)


def load_weights(
    name_or_path: str | Path, *, category_size: int | None = None, prefer: str = "params_ema"
) -> Weights:
    """Read the weights of a named model or of a file.

    Args:
        name_or_path: A name that `atdsr models` lists, or a file that `read_weights` reads.
        category_size: Category size for files that do not tell it (the published networks do).
        prefer: Which of two sets of parameters to take, as for `read_weights`.

    Raises:
        WeightsError: There is no such model, or the file cannot be read, or an official model has
            not been fetched yet, or a category size is given for a named model, which has its own.
    """
    if is_file(name_or_path):
        return read_weights(name_or_path, category_size=category_size, prefer=prefer)
    if category_size is not None:
        raise WeightsError(
            f"{name_or_path} knows its category size; leave out category_size (--category-size)."
        )
    return find(_name(name_or_path)).load(prefer)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, for example
        return False


def _name(name_or_path: str | Path) -> str:
    """Return the name of a model; a path has other slashes on Windows."""
    return canonical(name_or_path.as_posix() if isinstance(name_or_path, Path) else name_or_path)


def by_scale(purpose: Purpose) -> dict[int, BundledModel]:
    """Return the bundled models for a purpose, by their scales."""
    return {model.config.scale: model for model in BUNDLED if model.purpose == purpose}


def for_scale(scale: int) -> BundledModel:
    """Return the bundled model of a scale, which is used if none is named.

    Raises:
        WeightsError: No model of that scale comes with this version.
    """
    models = by_scale("clean pictures")
    if scale in models:
        return models[scale]
    scales = ", ".join(map(str, models))
    raise WeightsError(
        f"no model for scale {scale} comes with this version (bundled: scale {scales}); "
        "name an official one (`atdsr models`) or a file of weights with --model."
    )


def fetch(name: str, progress: ByteProgress | None = None) -> Path:
    """Download a published model unless it is here; continue an interrupted download.

    Args:
        name: Name of one of `OFFICIAL` or `COMMUNITY`.
        progress: Called with the number of bytes downloaded, and the total if it is known.

    Returns:
        Path of the weight file, which `load_weights` finds by the name of the model.

    Raises:
        WeightsError: There is no such model.
        DownloadError: There is no network or no answer, or what came is not the file.
        CacheError: The folder cannot be written, or another process is fetching the same model.
    """
    return download.fetch(find_official(name), progress)


def fetch_file(url: str, sha256: str | None = None, progress: ByteProgress | None = None) -> Path:
    """Download a weight file by its address unless it is here; continue an interrupted download.

    Args:
        url: Address of the file, http or https.
        sha256: SHA-256 that it must have, in hexadecimal. None trusts what comes first, and every
            later file of this address must be the same.
        progress: See `fetch`.

    Returns:
        Path of the weight file, which `load_weights` reads.

    Raises:
        WeightsError, DownloadError, CacheError: See `fetch`.
    """
    return download.fetch(linked_file(url, sha256), progress)


def add(file: str | Path, name: str | None = None) -> OfficialModel:
    """Copy a file that was downloaded by hand to the folder for official weights.

    Args:
        file: A file as its authors ship it; it is not changed.
        name: Name of one of `OFFICIAL` or `COMMUNITY`; None goes by the name of the file, and by
            its content where models of both generations have files of that name.

    Raises:
        WeightsError: The file is not that model's, or its name is not one of the authors'.
        CacheError: It cannot be written.
    """
    path = Path(file)
    if not path.is_file():
        folder = f"{path} is a folder; name the .pth file that was fetched."
        raise WeightsError(folder if path.exists() else errors.missing(path))
    model = _model_of_file(path) if name is None else find_official(name)
    suffix = Path(model.file).suffix
    if path.suffix.lower() != suffix:
        raise WeightsError(
            f"{path} is not a {suffix} file, as {model.file} is; add it as it was fetched."
        )
    model.add(path)
    return model


def _model_of_file(path: Path) -> OfficialModel:
    """Return the official model whose file has that name, ignoring a browser's " (1)".

    Models of both generations have files of the same name; then the file's content decides.

    Raises:
        WeightsError: There is none, or the file cannot be read.
    """
    stem = re.sub(r" ?\(\d+\)$", "", path.stem)
    named = [model for model in (*OFFICIAL, *COMMUNITY) if Path(model.file).stem == stem]
    if len(named) > 1:
        check_file_type(path)
        kind = generation(read_weights(path, category_size=named[0].config.category_size).config)
        named = [model for model in named if generation(model.config) == kind]
    if named:
        return named[0]
    raise WeightsError(
        f"{path.name} is not called as the authors call their files (such as "
        f"{OFFICIAL[0].file}); say with --as NAME which model it is."
    )
