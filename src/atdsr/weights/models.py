"""The named models: what they are, where their weights lie, what to expect of them.

Some come with atdsr (`MODELS`); those that the authors have published (`OFFICIAL`) are
downloaded when asked for.
"""

import difflib
import re
from pathlib import Path

from atdsr import weights as weight_files
from atdsr.weights import CheckpointError, Weights, download
from atdsr.weights.bundled import MODELS, ZooModel
from atdsr.weights.download import FetchError, Progress
from atdsr.weights.official import OFFICIAL
from atdsr.weights.store import OfficialModel, StoreError

__all__ = [
    "MODELS",
    "OFFICIAL",
    "FetchError",
    "OfficialModel",
    "StoreError",
    "ZooModel",
    "add",
    "fetch",
    "find",
    "find_official",
    "for_scale",
    "load",
    "means_file",
]


def find(name: str) -> ZooModel | OfficialModel:
    """The model of that name.

    Raises:
        CheckpointError: there is none; the sentence names the nearest.
    """
    models = {model.name: model for model in (*MODELS, *OFFICIAL)}
    if name in models:
        return models[name]
    near = difflib.get_close_matches(name, models, n=1, cutoff=0)[0]
    raise CheckpointError(
        f"there is neither a file nor a model called {name!r}; did you mean {near}? "
        "`atdsr models` lists them."
    )


def find_official(name: str) -> OfficialModel:
    """The official model of that name.

    Raises:
        CheckpointError: there is none; the sentence names the nearest.
    """
    model = find(name)
    if isinstance(model, OfficialModel):
        return model
    raise CheckpointError(f"{name} comes with atdsr; only official/... are fetched or added.")


def means_file(name_or_path: str | Path) -> bool:
    """Whether this stands for a file of weights, also one that is missing, and not for a model.

    A model's name wins over a file or folder that is called like it.
    """
    if _name(name_or_path) in [model.name for model in (*MODELS, *OFFICIAL)]:
        return False
    path = Path(name_or_path)
    return path.suffix.lower() in weight_files.READ_SUFFIXES or _exists(path)


def load(
    name_or_path: str | Path, *, category_size: int | None = None, prefer: str = "params_ema"
) -> Weights:
    """The weights of a named model or of a file.

    Args:
        name_or_path: a name of `atdsr models`, or a file that `checkpoint.load` reads.
        category_size: of a file that cannot tell it (the published networks can).
        prefer: which of a file's two sets to take, as for `checkpoint.load`.

    Raises:
        CheckpointError: no such model, no such weights in the file, an official model that was
            not fetched yet, or a category size for a named model, which knows its own.
    """
    if means_file(name_or_path):
        return weight_files.load(name_or_path, category_size=category_size, prefer=prefer)
    if category_size is not None:
        raise CheckpointError(f"{name_or_path} knows its category size; leave it out.")
    return find(_name(name_or_path)).load(prefer)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, say
        return False


def _name(name_or_path: str | Path) -> str:
    """A model's name, also where it went through a path, which has other slashes on Windows."""
    return name_or_path.as_posix() if isinstance(name_or_path, Path) else name_or_path


def for_scale(scale: int) -> ZooModel:
    """The model to use where none is named.

    Raises:
        CheckpointError: no model of that scale comes with this version.
    """
    for model in MODELS:
        if model.config.scale == scale:
            return model
    scales = ", ".join(str(model.config.scale) for model in MODELS)
    raise CheckpointError(
        f"no model for scale {scale} comes with this version (bundled: scale {scales}); "
        "name an official one (`atdsr models`) or a file of weights with --model."
    )


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Download an official model unless it is here; go on where an earlier download stopped.

    Args:
        name: of one of `OFFICIAL`.
        progress: called with the bytes that are here and, where it is known, the size.

    Returns:
        The file with the weights, which `load` finds by the model's name.

    Raises:
        CheckpointError: no such model.
        FetchError: no network, no answer, or what came is not the file.
        StoreError: the folder cannot be written, or another process fetches the same.
    """
    return download.fetch(find_official(name), progress)


def add(file: str | Path, name: str | None = None) -> OfficialModel:
    """Copy a file that was fetched by hand to where official weights lie.

    Args:
        file: a `.pth` file as the authors ship it; it stays as it is.
        name: of one of `OFFICIAL`; None goes by the file's name.

    Raises:
        CheckpointError: the file is not that model's, or its name tells nothing.
        StoreError: it cannot be written.
    """
    path = Path(file)
    if not path.is_file():
        raise CheckpointError(f"{path} is no file; name the .pth file that was fetched.")
    if path.suffix.lower() != ".pth":
        raise CheckpointError(f"{path}: the authors ship .pth files; add it as it was fetched.")
    model = _named_like(path) if name is None else find_official(name)
    model.add(path)
    return model


def _named_like(path: Path) -> OfficialModel:
    """The official model whose file has that name, but for a browser's " (1)"."""
    stem = re.sub(r" ?\(\d+\)$", "", path.stem)
    for model in OFFICIAL:
        if Path(model.file).stem == stem:
            return model
    raise CheckpointError(
        f"{path.name} is not called as the authors call their files (such as "
        f"{OFFICIAL[0].file}); say with --as NAME which model it is."
    )
