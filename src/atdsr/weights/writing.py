"""Writing files with weights."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from atdsr.base.files import replacing
from atdsr.weights.configs import CONFIG_KEY
from atdsr.weights.contents import CheckpointError, StateDict, Weights
from atdsr.weights.key_names import to_official

SUFFIXES = (".safetensors", ".pth")
"""What a file with weights may be called when it is written."""


def save(
    weights: Weights,
    path: str | Path,
    *,
    overwrite: bool = False,
    trained: StateDict | None = None,
) -> None:
    """Write weights by suffix: `.safetensors` with the configuration, or official `.pth`.

    A `.pth` holds them under `params_ema`, the key that the official code's options name.

    Args:
        weights: what to write.
        path: the file.
        overwrite: whether an existing one may be replaced.
        trained: the parameters that `weights` are the moving average of, which a `.pth` has
            under `params`, for who trains on.

    Raises:
        CheckpointError: another suffix.
        FileError: the file exists and `overwrite` is False, or it cannot be written.
    """
    path = Path(path)
    tensors = {name: tensor.contiguous() for name, tensor in to_official(weights).items()}
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(f"{path}: weights are written as .safetensors or .pth.")
    if path.suffix.lower() == ".safetensors":
        # one key alone: safetensors writes several in random order, and equal weights shall
        # give equal files
        metadata = {CONFIG_KEY: json.dumps(dataclasses.asdict(weights.config))}
        content = safetensors.torch.save(tensors, metadata)
    else:
        sets = {"params_ema": tensors}
        if trained is not None:
            sets["params"] = to_official(dataclasses.replace(weights, state=trained))
        content = archive(sets)
    # both libraries fail on a full disk in words of their own, so they do not write the file
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


def archive(content: Any) -> memoryview:
    """The bytes that `torch.save` makes of tensors and containers of them."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()
