"""What the readers of option files for testing and for training share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from atdsr.base import yaml_io
from atdsr.base.errors import AtdsrError, short
from atdsr.base.yaml_io import YamlError
from atdsr.network.config import ATDConfig, ConfigError
from atdsr.training.basicsr.sections import FileSchema, Metrics, TestDataset
from atdsr.training.config import TestFolder
from atdsr.training.config_errors import first_problem

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
    "code_width": "dim_ffn_td",
}
"""The fields of `ATDConfig` by their official names."""

RESTORER_KEYS = {
    "channels": "in_chans",
    "width": "embed_dim",
    "depths": "depths",
    "heads": "num_heads",
    "windows": "window_size",
    "code_widths": "dim_ffn_td",
    "reduced_widths": "reducted_dim",
    "category_size": "category_size",
    "dictionary_size": "num_tokens",
    "ffn_kernel": "convffn_kernel_size",
    "ffn_ratio": "mlp_ratio",
}
"""The fields of `ATDUConfig` by their official names."""

ATD, ATD_U = "ATD", "ATDUNet"
"""The official names of the networks."""

_METRICS = ("calculate_psnr", "calculate_ssim")
# which the authors' files for ATD-U give twice, and which has no bearing on the result
_REPEATABLE = ("dataset_enlarge_ratio",)


class BasicSRError(AtdsrError):
    """An option file that cannot be followed; the sentence names the file and the key."""


@contextmanager
def option_file(path: Path, networks: Sequence[str] = (ATD,)) -> Iterator[dict[Any, Any]]:
    """Yield the content of an option file, and put the file's name before errors in the block.

    Args:
        path: The file.
        networks: The networks that it may be for, by their official names.

    Raises:
        BasicSRError: The file is no YAML mapping of plain values, or something in it is wrong.
    """
    try:
        content = yaml_io.read(path, _REPEATABLE)
    except YamlError as error:
        raise BasicSRError(str(error)) from None
    try:
        network = content.get("network_g")
        kind = network.get("type", ATD) if isinstance(network, dict) else ATD
        if kind not in networks:  # before any of its other keys is called unknown
            names = " or ".join(networks)
            raise BasicSRError(f"network_g.type is {short(kind)}; only {names} is read here.")
        yield content
    except ValidationError as error:
        _, sentence = first_problem(error, content)
        raise BasicSRError(f"{path}: {sentence}") from None
    except (BasicSRError, ConfigError) as error:
        raise BasicSRError(f"{path}: {error}") from None


def phases(content: Mapping[Any, Any]) -> set[str]:
    """Return what the datasets of a file are for: "train", "val", "test"."""
    datasets = content.get("datasets")
    return {str(key).split("_")[0] for key in datasets} if isinstance(datasets, dict) else set()


def locate(path: Path, file: Path) -> Path:
    """Return a path relative to the working directory, or else to the option file's repository."""
    if not path.exists():
        for folder in file.absolute().parents:
            if folder.name == "options" and (folder.parent / path).exists():
                return folder.parent / path
    return path


def network_config(options: FileSchema) -> ATDConfig:
    """Return the network of an option file.

    Raises:
        BasicSRError: It enlarges by another factor than the file says.
        ConfigError: There is no such network.
    """
    network, scale = options.network_g, options.scale
    if network.upscale != scale:
        raise BasicSRError(
            f"scale is {scale} and network_g.upscale {network.upscale}; they must be equal."
        )
    return ATDConfig(**{field: getattr(network, key) for field, key in NETWORK_KEYS.items()})


def find_test_folders(datasets: Mapping[str, TestDataset], file: Path) -> tuple[TestFolder, ...]:
    """Return the test sets by their folders, each where it is found.

    Args:
        datasets: The test sets of the file.
        file: The option file.

    Raises:
        BasicSRError: Two sets have the same name.
    """
    names = [dataset.name for dataset in datasets.values()]
    for name in names:
        if names.count(name) > 1:
            raise BasicSRError(f"two test sets are called {name}; their pictures would mix.")
    return tuple(
        TestFolder(
            name=dataset.name,
            hr=locate(dataset.dataroot_gt, file),
            lr=locate(dataset.dataroot_lq, file) if dataset.dataroot_lq else None,
            template=dataset.filename_tmpl,
        )
        for dataset in datasets.values()
    )


def evaluation_notes(
    test_sets: Sequence[TestFolder], metrics: Metrics | None, scale: int
) -> Iterator[str]:
    """Yield a note for each metric that is not measured, and for each set without LR pictures.

    Raises:
        BasicSRError: PSNR or SSIM is asked for by another protocol; the sentence names the key.
    """
    for name, metric in (metrics or {}).items():
        if metric.get("type") not in _METRICS:
            yield (
                f"val.metrics.{name} ({short(metric.get('type'))}) is not measured; PSNR and "
                "SSIM on Y are."
            )
            continue
        for key, value in {"crop_border": scale, "test_y_channel": True}.items():
            if metric.get(key) != value:
                raise BasicSRError(
                    f"val.metrics.{name}.{key} is {short(metric.get(key))}; figures are taken "
                    f"with {str(value).lower()} (docs/protocol.md), so write that."
                )
    for test_set in test_sets:
        if test_set.lr is None:
            yield (
                f"{test_set.name} has no dataroot_lq; its LR pictures are made by MATLAB's bicubic."
            )
