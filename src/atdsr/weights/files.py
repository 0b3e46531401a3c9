"""Read and write weight files. A file is read by its content, whatever its name ends in."""

import dataclasses
import io
import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from atdsr.base.errors import missing, unreadable
from atdsr.base.files import atomic_write
from atdsr.network.config import ConfigError, NetworkConfig
from atdsr.network.unet import build
from atdsr.weights import file_types
from atdsr.weights.config import CONFIG_KEY, read_config
from atdsr.weights.containers import unwrap
from atdsr.weights.pickle_scan import DAMAGED, pickle_rejection
from atdsr.weights.state_dict import (
    StateDict,
    Weights,
    WeightsError,
    first_non_finite,
    is_position_index,
    official_name,
    official_state_dict,
    shown_name,
)

READ_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
"""Usual suffixes of weight files; an existing file may have any other."""

WRITE_SUFFIXES = (".safetensors", ".pth")
"""Suffixes that a weight file may be written with."""

_MAX_HEADER_BYTES = 2**24  # of a safetensors file, whose header lists its tensors
_MAX_TENSORS = 50_000  # in a safetensors file
_MAX_PICKLE_BYTES = 2**25  # of the pickle in a PyTorch file, which lists its tensors
_NAME_A_FILE = "name a .safetensors or .pth file."


def read_weights(
    path: str | Path, *, category_size: int | None = None, prefer: str = "params_ema"
) -> Weights:
    """Read the weights of an ATD from a file; no code in it is ever run.

    Args:
        path: A safetensors file, or one that `torch.save` has written: the official form, a bare
            state dict, or one inside the containers and prefixes that other programs add.
        category_size: Tokens in a run of the category attention, for files that do not tell it.
            Overrides what the file says.
        prefer: Which of a file's two sets of parameters to take, `params_ema` or `params`. If it
            is missing, the other is taken, then a bare state dict.

    Raises:
        WeightsError: The file does not exist, holds no weights, is damaged, holds another
            architecture or an ATD that this version does not build, or has values that are not
            finite numbers. The message is one sentence.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path, prefer)
    try:
        _check_tensors(tensors, path.stat().st_size)
        config = read_config(tensors, metadata, category_size)
        state = _from_official(tensors, config)
    except (WeightsError, ConfigError) as error:
        raise WeightsError(f"{path}: {error}") from None
    return Weights(config, state)


def read_tensors(path: Path, prefer: str = "params_ema") -> tuple[StateDict, dict[str, str]]:
    """Read the tensors of a file, without containers and prefixes, and its metadata.

    Args:
        path: A file as for `read_weights`, of any network.
        prefer: Which of two sets of parameters to take, as for `read_weights`.

    Raises:
        WeightsError: The file cannot be read, as for `read_weights`.
    """
    try:
        if _check_file(path):
            content, metadata = _torch_load(path), {}
        else:
            content, metadata = _read_safetensors(path)
    except OSError as error:
        raise WeightsError(unreadable(path, error)) from None
    except safetensors.SafetensorError:
        raise WeightsError(
            f"{path} is not a safetensors file, or it is damaged; fetch it again."
        ) from None
    try:
        return unwrap(content, prefer), metadata
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def read_torch_file(path: Path) -> dict[str, Any]:
    """Read a dictionary of tensors and plain values that `torch.save` has written.

    Raises:
        WeightsError: The file is damaged or holds something else.
        OSError: The file cannot be read.
    """
    content = _torch_load(path)
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no dictionary.")
    return content


# --------------------------------------------------------------------------------------- writing


def write_weights(
    weights: Weights,
    path: str | Path,
    *,
    overwrite: bool = False,
    trained: StateDict | None = None,
    half: bool = False,
) -> None:
    """Write weights in the format that the suffix names.

    A `.safetensors` file carries the configuration. A `.pth` file holds the parameters under
    `params_ema`, the key that the official code's options name.

    Args:
        weights: Weights to write.
        path: Path of the file.
        overwrite: Whether an existing file may be replaced.
        trained: The parameters that `weights` are the moving average of. A `.pth` file holds them
            under `params`, so that training can go on from them.
        half: Whether values are stored as float16, which halves the file. A network computes with
            them as with any others; they are rounded to 11 bits.

    Raises:
        WeightsError: The path has another suffix, or a value is too large for float16.
        FileError: The file exists and `overwrite` is False, or it cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        raise WeightsError(
            f"{path}: weights are written as .safetensors or .pth; let its name end in one of them."
        )
    if half:
        weights = dataclasses.replace(weights, state=_halved(weights.state, path))
    tensors = {name: value.contiguous() for name, value in official_state_dict(weights).items()}
    if suffix == ".safetensors":
        # a single key: safetensors writes several in random order, and equal weights shall give
        # equal files
        metadata = {CONFIG_KEY: json.dumps(weights.config.to_dict())}
        content = safetensors.torch.save(tensors, metadata)
    else:
        parameter_sets = {"params_ema": tensors}
        if trained is not None:
            parameter_sets["params"] = official_state_dict(
                dataclasses.replace(weights, state=trained)
            )
        content = torch_file_bytes(parameter_sets)
    # both libraries report a full disk in messages of their own, so they do not write the file
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)


def _halved(state: StateDict, path: Path) -> StateDict:
    """Return parameters as float16.

    Raises:
        WeightsError: A value is too large.
    """
    halved = {name: value.half() for name, value in state.items()}
    for name, value in halved.items():
        if not value.isfinite().all():
            raise WeightsError(
                f"{path}: {official_name(name)} has values beyond the range of float16; write "
                "float32."
            )
    return halved


def torch_file_bytes(content: Any) -> memoryview:
    """Return the bytes that `torch.save` writes for tensors and containers of them."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


# ------------------------------------------------------------------------- checks before reading


def check_file_type(path: Path) -> None:
    """Refuse a file whose first bytes show that it does not hold weights.

    Raises:
        WeightsError: The sentence says what the file is.
        OSError: The file cannot be read.
    """
    rejection = file_types.rejection(*_read_head(path))
    if rejection is not None:
        raise WeightsError(f"{path} {rejection}")


def _read_head(path: Path) -> tuple[bytes, int]:
    """Return the first bytes of a file, and its size.

    Raises:
        WeightsError: There is no such file.
        OSError: The file cannot be read.
    """
    try:
        exists = path.exists()
    except OSError as error:  # a name that is too long, for example
        raise WeightsError(f"{path} cannot be looked up: {error.strerror}.") from None
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; {_NAME_A_FILE}")
    if not exists:
        raise WeightsError(missing(path))
    if not path.is_file():
        raise WeightsError(f"{path} is not a regular file; {_NAME_A_FILE}")
    with path.open("rb") as file:
        return file.read(file_types.HEAD_BYTES), path.stat().st_size


def _check_file(path: Path) -> bool:
    """Refuse a file that must not be read.

    Returns:
        True for a PyTorch file, False for a safetensors file.

    Raises:
        WeightsError: The file holds something else, or costs more than its size explains.
        OSError: The file cannot be read.
    """
    check_file_type(path)
    head, size = _read_head(path)
    if file_types.is_safetensors(head, size):
        if int.from_bytes(head[:8], "little") > _MAX_HEADER_BYTES:
            raise WeightsError(f"{path} has a header too large for any ATD; it was not loaded.")
        return False
    if not file_types.is_pytorch(head):
        if path.suffix.lower() == ".onnx":
            raise WeightsError(
                f"{path} is an ONNX file, which `atdsr upscale` and `atdsr eval` run; here name a "
                ".safetensors or .pth file."
            )
        if path.suffix.lower() != ".safetensors":
            raise WeightsError(f"{path} {DAMAGED}")
        return False  # the safetensors library names what is wrong, such as a file cut short
    if head.startswith(b"PK"):
        rejection = _archive_rejection(path)
    else:  # as PyTorch wrote it before 1.6: five pickles, then the values
        with path.open("rb") as file:
            rejection = pickle_rejection(file, count=5)
    if rejection is not None:
        raise WeightsError(f"{path} {rejection}")
    return True


def _archive_rejection(path: Path) -> str | None:
    """Return why a ZIP archive must not be read, or None if it may be."""
    try:
        rejection = file_types.archive_rejection(path)
        if rejection is not None:
            return rejection
        with zipfile.ZipFile(path) as archive:
            (name,) = file_types.pickle_entries(archive.namelist())
            if archive.getinfo(name).file_size > _MAX_PICKLE_BYTES:
                return "holds more than weights; it was not loaded."
            return pickle_rejection(io.BytesIO(archive.read(name)))
    except OSError:
        raise
    except Exception:  # a damaged archive fails in as many ways as it can be damaged
        return DAMAGED


# --------------------------------------------------------------------------------------- reading


def _read_safetensors(path: Path) -> tuple[StateDict, dict[str, str]]:
    with safetensors.safe_open(path, framework="pt") as file:
        names = file.keys()
        if len(names) > _MAX_TENSORS:
            raise WeightsError(
                f"{path} holds {len(names):,} tensors, more than any ATD; it was not loaded."
            )
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def _torch_load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old archives warn about their own format
            with path.open("rb") as file:  # by its name it might be taken for another format
                return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged archive fails in as many ways as it can be damaged
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise WeightsError(
                f"{path} takes more memory than there is, or claims to while it is damaged."
            ) from None
        raise WeightsError(f"{path} {DAMAGED}") from None


def _check_tensors(tensors: Mapping[str, Tensor], size: int) -> None:
    """Refuse tensors that do not store each of their values, before they are copied.

    A tensor may claim to be far larger than what the file holds of it, by repeating it.

    Args:
        tensors: Tensors of a file.
        size: Size of the file in bytes.

    Raises:
        WeightsError: The sentence names the tensor. The caller adds the name of the file.
    """
    claimed_bytes = 0
    for name, tensor in tensors.items():
        problem = _storage_problem(tensor)
        if problem is not None:
            raise WeightsError(
                f"the tensor {shown_name(name)} is {problem}, and not the plain numbers that "
                "weights are; save a state_dict of dense tensors."
            )
        claimed_bytes += tensor.numel() * tensor.element_size()
    if claimed_bytes > size:
        raise WeightsError(
            f"its tensors claim {claimed_bytes:,} bytes and the file has {size:,}; save each "
            "tensor by itself (`tensor.clone()`)."
        )


def _storage_problem(tensor: Tensor) -> str | None:
    """Return why a tensor does not store its values one after the other; None if it does."""
    if tensor.is_meta:
        return "on the device meta, without values"
    if tensor.is_quantized:
        return "quantized"
    return "sparse" if tensor.layout != torch.strided or tensor.is_nested else None


def _from_official(tensors: Mapping[str, Tensor], config: NetworkConfig) -> StateDict:
    """Return the parameters under our names, checked against the configuration.

    Raises:
        WeightsError: A tensor is missing, has another shape, holds values that are not finite, or
            is not part of the network.
    """
    with torch.device("meta"):
        expected = build(config).state_dict()
    state: StateDict = {}
    for name, like in expected.items():
        official = official_name(name)
        if official not in tensors:
            raise WeightsError(f"the tensor {official} is missing; the file may be cut short.")
        tensor = tensors[official]
        if tensor.shape != like.shape or not tensor.is_floating_point():
            raise WeightsError(
                f"the tensor {official} is {tuple(tensor.shape)} of {tensor.dtype} where the "
                f"network has {tuple(like.shape)} floats."
            )
        state[name] = tensor
    known = {official_name(name) for name in expected}
    for name in tensors:
        if name not in known and not is_position_index(name):
            raise WeightsError(
                f"the tensor {shown_name(name)} has no place in an ATD as configured."
            )
    non_finite = first_non_finite(state)
    if non_finite is not None:
        raise WeightsError(
            f"the tensor {official_name(non_finite)} has values that are not finite numbers; its "
            "training failed, or the file is damaged."
        )
    return state
