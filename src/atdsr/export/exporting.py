"""Exporting a network to a file: build, check, write."""

import json
from dataclasses import dataclass
from pathlib import Path

import atdsr
from atdsr.base import files
from atdsr.base.reporter import SILENT, Reporter
from atdsr.export import formats, programs
from atdsr.export.checks import Check, check
from atdsr.export.config import ExportConfig, ExportError
from atdsr.network.config import ATDConfig
from atdsr.network.model import ATD


@dataclass(frozen=True)
class Description:
    """What an exported file says about the network.

    Attributes:
        name: Name of the model.
        licence: Licence of the weights; None if it is not known.
        source: Where the weights are from.
    """

    name: str
    licence: str | None = None
    source: str | None = None


def export(
    model: ATD,
    path: str | Path,
    description: Description,
    config: ExportConfig | None = None,
    *,
    overwrite: bool = False,
    reporter: Reporter = SILENT,
) -> list[Check]:
    """Write a network to a file that other programs run.

    The file takes pictures of any size, RGB in [0, 1]: `b 3 h w` -> `b 3 h*scale w*scale`. It is
    compared with the network at three sizes before it is given its name.

    Args:
        model: The network, in float32. Its category size is at most the square of its window.
        path: Path of the file. The suffix decides what is written: `.onnx` for ONNX, `.pt2` for
            what `torch.export` makes (one picture at a time), `.xml` for OpenVINO's IR, with the
            weights in a `.bin` beside it.
        description: What the file says about the network.
        config: How it is written, by default in float32.
        overwrite: Whether an existing file may be replaced.
        reporter: Receives the progress.

    Returns:
        What the comparison gave at each size.

    Raises:
        ExportError: The suffix is another one, the network cannot be exported, a package is
            missing, or the file computes something else than the network.
        FileError: The file exists and `overwrite` is False, or it cannot be written.
    """
    path, config = Path(path), config or ExportConfig()
    exporter = formats.for_path(path)
    _check_config(model.config)
    paths = [path.with_suffix(suffix) for suffix in exporter.suffixes]
    for target in paths:
        files.check_target(target, overwrite=overwrite)
    prepared = programs.prepared(model, half=config.precision == "fp16")
    metadata = _metadata(model, description)
    exported = exporter.build(prepared, config, metadata, reporter.part(0, 0.9).progress)
    checks = check(programs.prepared(model, half=False), exported.run)
    reporter.progress(1.0)
    with files.atomic_write_all(paths, overwrite=overwrite) as temporaries:
        for temporary, content in zip(temporaries, exported.contents, strict=True):
            temporary.write_bytes(content)
    return checks


def _check_config(config: ATDConfig) -> None:
    """Refuse a network that the exportable layers do not compute.

    Raises:
        ExportError: Its runs have more tokens than a window, and so more than a small picture.
    """
    if config.category_size > config.window**2:
        raise ExportError(
            f"category_size is {config.category_size}; networks up to {config.window**2}, the "
            "tokens of a window, can be exported."
        )


def _metadata(model: ATD, description: Description) -> dict[str, str]:
    """Return what the file says about the network, for people and for `inference`."""
    config = model.config
    facts = {
        "name": description.name,
        "architecture": "ATD",
        "scale": str(config.scale),
        "window": str(config.window),
        "licence": description.licence,
        "source": description.source,
        "parameters": str(sum(parameter.numel() for parameter in model.parameters())),
        "version": atdsr.__version__,
        "config": json.dumps(config.to_dict()),
    }
    return {name: text for name, text in facts.items() if text}
