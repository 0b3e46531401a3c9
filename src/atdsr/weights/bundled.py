"""The models that come with atdsr."""

from dataclasses import dataclass
from importlib import resources

from atdsr import weights as weight_files
from atdsr.base import files
from atdsr.network.config import ATDConfig, atd_light
from atdsr.weights import CheckpointError, Weights


@dataclass(frozen=True)
class ZooModel:
    """A model whose weights are in the package.

    Attributes:
        name: what a user writes.
        config: the network.
        file: its weights, a file name in the package's `weights` folder.
        sha256: of that file, in hexadecimal.
        parameters: how many numbers the network has learned.
        psnr_y: PSNR in dB on Y, by name of the test set, as `docs/protocol.md` takes it.
        data: what it was trained on.
        hours: of training, with those of the model that it began with.
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

    def load(self, prefer: str = "params_ema") -> Weights:
        """The weights, after a check of their SHA-256.

        Args:
            prefer: which of a file's two sets to take if it has two, as for `checkpoint.load`.

        Raises:
            CheckpointError: the file is missing or is not the one this version came with.
        """
        with resources.as_file(resources.files("atdsr.weights") / self.file) as path:
            if not path.is_file():
                raise CheckpointError(f"{path} is missing; install atdsr again.")
            if files.sha256(path) != self.sha256:
                raise CheckpointError(f"{path} is damaged (SHA-256 differs); install atdsr again.")
            return weight_files.load(path, prefer=prefer)


_DATA = "420 pictures, 347 megapixels"
_HARDWARE = "2 cores of an Intel Xeon at 2.5 GHz"

MODELS = (
    ZooModel(
        name="atd-light-x2",
        config=atd_light(2),
        file="atd-light-x2.safetensors",
        sha256="6c30213c837b53f752c6ef0a483ace8d1f4c31ff96c4d24c630d59dd46792b30",
        parameters=753_204,
        psnr_y={"Set5": 37.37, "Set14": 33.00, "B100": 31.74, "Urban100": 30.46},
        data=_DATA,
        hours=4.4,
        hardware=_HARDWARE,
        licence="Apache-2.0",
    ),
    ZooModel(
        name="atd-light-x3",
        config=atd_light(3),
        file="atd-light-x3.safetensors",
        sha256="c806aca22fc6049eafc0d6e1718c5a66b6f15cf5bf7e3c324a6e29938af4c35d",
        parameters=759_699,
        psnr_y={"Set5": 33.56, "Set14": 29.76, "B100": 28.70, "Urban100": 26.85},
        data=_DATA,
        hours=4.8,
        hardware=_HARDWARE,
        licence="Apache-2.0",
    ),
    ZooModel(
        name="atd-light-x4",
        config=atd_light(4),
        file="atd-light-x4.safetensors",
        sha256="9e4e7b427379359eec7716426fbed57d2eb6970d9d7f8964b09b021a4a389f5a",
        parameters=768_792,
        psnr_y={"Set5": 31.42, "Set14": 28.09, "B100": 27.24, "Urban100": 25.16},
        data=_DATA,
        hours=5.6,
        hardware=_HARDWARE,
        licence="Apache-2.0",
    ),
)
"""Every model that comes with atdsr, one per line of `atdsr models`."""
