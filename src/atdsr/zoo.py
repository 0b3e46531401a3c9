"""The named models: what they are, where their weights lie, what to expect of them."""

import difflib
import hashlib
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from atdsr import checkpoint
from atdsr.checkpoint import CheckpointError, Weights
from atdsr.model import ATDConfig, atd_light


@dataclass(frozen=True)
class ZooModel:
    """A model that can be named.

    Attributes:
        name: what a user writes.
        config: the network.
        file: its weights, a file name in the package's `weights` folder.
        sha256: of that file, in hexadecimal.
        parameters: how many numbers the network has learned.
        psnr_y: PSNR in dB on Y, by name of the test set, as `docs/protocol.md` takes it.
        data: what it was trained on.
        hours: of training.
        hardware: that took those hours.
        licence: of the weights.
    """

    name: str
    config: ATDConfig
    file: str
    sha256: str
    parameters: int
    psnr_y: dict[str, float]
    data: str
    hours: float
    hardware: str
    licence: str

    def load(self) -> Weights:
        """The weights, after a check of their SHA-256.

        Raises:
            CheckpointError: the file is missing or is not the one this version came with.
        """
        with as_file(files("atdsr") / "weights" / self.file) as path:
            if not path.is_file():
                raise CheckpointError(f"{path} is missing; install atdsr again.")
            if hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
                raise CheckpointError(f"{path} is damaged (SHA-256 differs); install atdsr again.")
            return checkpoint.load(path)


MODELS = (
    ZooModel(
        name="atd-light-x2",
        config=atd_light(2),
        file="atd-light-x2.safetensors",
        sha256="14021a2704766a6caf4b186eb77de47ac03d1cb2851ecab4cdfada62e18b4838",
        parameters=753_204,
        psnr_y={"Set5": 37.34, "Set14": 32.95, "B100": 31.70, "Urban100": 30.34},
        data="420 pictures, 347 megapixels",
        hours=3.9,
        hardware="2 cores of an Intel Xeon at 2.5 GHz",
        licence="Apache-2.0",
    ),
)
"""Every model that can be named, one per line of `atdsr models`."""


def find(name: str) -> ZooModel:
    """The model of that name.

    Raises:
        CheckpointError: there is none; the sentence names the nearest.
    """
    for model in MODELS:
        if model.name == name:
            return model
    names = [model.name for model in MODELS]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0)[0]
    raise CheckpointError(
        f"there is neither a file nor a model called {name!r}; did you mean {near}? "
        "`atdsr models` lists them."
    )


def means_file(name_or_path: str | Path) -> bool:
    """Whether this stands for a file of weights, also one that is missing, and not for a model.

    A model's name wins over a file or folder that is called like it.
    """
    if str(name_or_path) in [model.name for model in MODELS]:
        return False
    path = Path(name_or_path)
    return path.suffix.lower() in checkpoint.SUFFIXES or path.exists()


def load(
    name_or_path: str | Path, *, category_size: int | None = None, prefer: str = "params_ema"
) -> Weights:
    """The weights of a named model or of a file.

    Args:
        name_or_path: a name of `atdsr models`, or a `.safetensors` or official `.pth` file.
        category_size: of a file that cannot tell it (the published networks can).
        prefer: which of a file's two sets to take, as for `checkpoint.load`.

    Raises:
        CheckpointError: no such model, no such weights in the file, or a category size for a
            named model, which knows its own.
    """
    if means_file(name_or_path):
        return checkpoint.load(name_or_path, category_size=category_size, prefer=prefer)
    if category_size is not None:
        raise CheckpointError(f"{name_or_path} knows its category size; leave it out.")
    return find(str(name_or_path)).load()


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
        "name a file of weights with --model."
    )
