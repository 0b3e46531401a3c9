"""What option files for testing and for training have in common, section by section."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from atdsr.base import yaml_io
from atdsr.base.errors import AtdsrError, short
from atdsr.base.yaml_io import YamlError
from atdsr.network.model import ATDConfig, ConfigError, Head
from atdsr.training.settings import FolderName, Location, Template, TestFolder


class BasicSRError(AtdsrError):
    """An option file that cannot be followed; the sentence names the file and the key."""


@contextmanager
def following(path: Path) -> Iterator[dict[Any, Any]]:
    """The content of an option file, while it is followed; errors get the file's name.

    Raises:
        BasicSRError: it is no YAML mapping of plain values, or something in it is wrong.
    """
    try:
        content = yaml_io.read(path)
    except YamlError as error:
        raise BasicSRError(str(error)) from None
    try:
        yield content
    except ValidationError as error:
        _, sentence = yaml_io.describe_error(error, content)
        raise BasicSRError(f"{path}: {sentence}") from None
    except (BasicSRError, ConfigError) as error:
        raise BasicSRError(f"{path}: {error}") from None


def phases(content: Mapping[Any, Any]) -> set[str]:
    """What the datasets of a file are for: "train", "val", "test"."""
    datasets = content.get("datasets")
    return {str(key).split("_")[0] for key in datasets} if isinstance(datasets, dict) else set()


def refuse_other_networks(content: Mapping[Any, Any]) -> None:
    """Say that only ATD is built here, before any other key is looked at.

    Raises:
        BasicSRError: the file is for another network.
    """
    network = content.get("network_g")
    kind = network.get("type", "ATD") if isinstance(network, dict) else "ATD"
    if kind != "ATD":
        raise BasicSRError(f"network_g.type is {short(kind)}; only ATD is built here.")


def located(path: Path, file: Path) -> Path:
    """A path as seen from here, or else from the repository that the option file lies in."""
    if not path.exists():
        for folder in file.absolute().parents:
            if folder.name == "options" and (folder.parent / path).exists():
                return folder.parent / path
    return path


# ------------------------------------------------------------- what a file may hold, key by key


class Section(BaseModel):
    """A mapping in an option file; each key of it is a field, passed over, or refused."""

    passed_over: ClassVar[str] = ""
    """Keys, between spaces, that have no bearing on the result."""
    instead: ClassVar[dict[str, str]] = {}
    """Keys that do and are not supported, with what to do; no value (`~`) is fine."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise section_error("it must hold `key: value` lines.")
        passed_over = cls.passed_over.split()
        names = [*cls.model_fields, *passed_over]
        for key, value in values.items():
            if key in cls.instead and value is not None:
                raise section_error(f"{key} is not supported: {cls.instead[key]}.")
            if key not in names and key not in cls.instead:
                near = yaml_io.nearest(key, names)
                hint = f"did you mean {near!r}?" if near else "take it out if nothing needs it."
                raise section_error(f"there is no key {short(key)}; {hint}")
        return {key: value for key, value in values.items() if key in cls.model_fields}


def section_error(sentence: str) -> PydanticCustomError:
    """What a validator raises about a section as a whole."""
    return PydanticCustomError(yaml_io.SECTION, "{sentence}", {"sentence": sentence})


def part_of_name(text: str) -> str:
    """Let nothing through that would lead out of a folder of results.

    Raises:
        ValueError: the text cannot be part of a file's name.
    """
    if not text.isprintable() or any(character in text for character in "/\\:"):
        raise ValueError("it becomes part of a file's name, and cannot")
    return text


Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
"""A size of a network."""
Factor = Annotated[float, Field(gt=0, le=1_000_000)]
"""A number above 0."""


class Backend(Section):
    """How pictures are kept."""

    type: Literal["disk"] = "disk"


class Dataset(Section):
    """Pairs of pictures, as sections of every phase name them."""

    instead: ClassVar[dict[str, str]] = {
        "meta_info_file": "put the pictures of the set in a folder of their own",
        "color": "the network takes RGB",
        "mean": "the network subtracts its own mean colour",
        "std": "the network takes samples as they are",
    }

    type: Literal["PairedImageDataset"]
    dataroot_gt: Location
    dataroot_lq: Location | None = None
    filename_tmpl: Template = "{}"
    io_backend: Backend = Backend()


class TestDataset(Dataset):
    """A test set."""

    __test__ = False  # not a test of pytest's

    passed_over = (
        "phase scale gt_size use_hflip use_rot use_shuffle num_worker_per_gpu batch_size_per_gpu "
        "dataset_enlarge_ratio prefetch_mode num_prefetch_queue pin_memory "
        "persistent_workers"
    )

    name: FolderName


def test_folders(datasets: Mapping[str, TestDataset], file: Path) -> tuple[TestFolder, ...]:
    """The test sets by their folders, each where it is found.

    Args:
        datasets: as the file names them.
        file: the option file.
    """
    return tuple(
        TestFolder(
            name=dataset.name,
            hr=located(dataset.dataroot_gt, file),
            lr=located(dataset.dataroot_lq, file) if dataset.dataroot_lq else None,
            template=dataset.filename_tmpl,
        )
        for dataset in datasets.values()
    )


class Network(Section):
    """The arguments of the official network, with the defaults that they have there."""

    passed_over = "img_size patch_size use_checkpoint"

    type: Literal["ATD"]
    upscale: Count = 2
    in_chans: Literal[3] = 3
    embed_dim: Count = 90
    depths: tuple[Count, ...] = (6, 6, 6, 6)
    num_heads: tuple[Count, ...] = (6, 6, 6, 6)
    window_size: Count = 8
    category_size: Count = 128
    num_tokens: Count = 64
    reducted_dim: Count = 4
    convffn_kernel_size: Count = 5
    mlp_ratio: Factor = 2.0
    qkv_bias: Literal[True] = True
    ape: Literal[False] = False
    patch_norm: Literal[True] = True
    img_range: Factor = 1.0
    upsampler: Head
    resi_connection: Literal["1conv"] = "1conv"

    def config(self, scale: int) -> ATDConfig:
        """The network.

        Raises:
            BasicSRError: it enlarges by another factor than the file says.
            ConfigError: there is no such network.
        """
        if self.upscale != scale:
            raise BasicSRError(
                f"scale is {scale} and network_g.upscale {self.upscale}; they must be equal."
            )
        return ATDConfig(**{field: getattr(self, key) for field, key in NETWORK_KEYS.items()})


NETWORK_KEYS = {
    "scale": "upscale",
    "width": "embed_dim",
    "depths": "depths",
    "heads": "num_heads",
    "category_size": "category_size",
    "dictionary_size": "num_tokens",
    "reduced_width": "reducted_dim",
    "ffn_kernel": "convffn_kernel_size",
    "ffn_ratio": "mlp_ratio",
    "head": "upsampler",
    "window": "window_size",
    "img_range": "img_range",
}
"""The fields of `ATDConfig` by their official names."""


# --------------------------------------------------------------------------------------- figures

Metrics = dict[str, dict[str, Any]]
_MEASURED = ("calculate_psnr", "calculate_ssim")


def check_names(datasets: Mapping[str, TestDataset]) -> None:
    """Refuse two sets of one name.

    Raises:
        BasicSRError: there are two.
    """
    names = [dataset.name for dataset in datasets.values()]
    for name in names:
        if names.count(name) > 1:
            raise BasicSRError(f"two test sets are called {name}; their pictures would mix.")


def check_metrics(metrics: Metrics | None, scale: int) -> list[str]:
    """Refuse PSNR and SSIM by another protocol.

    Returns:
        A sentence for each metric that is not measured.

    Raises:
        BasicSRError: naming the key.
    """
    notes = []
    protocol = {"crop_border": scale, "test_y_channel": True}
    for name, metric in (metrics or {}).items():
        if metric.get("type") not in _MEASURED:
            notes.append(
                f"val.metrics.{name} ({short(metric.get('type'))}) is not measured; PSNR and "
                "SSIM on Y are."
            )
            continue
        for key, ours in protocol.items():
            if metric.get(key) != ours:
                raise BasicSRError(
                    f"val.metrics.{name}.{key} is {short(metric.get(key))}; figures are taken "
                    f"with {str(ours).lower()} (docs/protocol.md), so write that."
                )
    return notes


def made_pictures(datasets: Mapping[str, TestDataset]) -> list[str]:
    """Notes on the sets whose LR pictures are made here."""
    return [
        f"{dataset.name} has no dataroot_lq; its LR pictures are made by MATLAB's bicubic."
        for dataset in datasets.values()
        if dataset.dataroot_lq is None
    ]
