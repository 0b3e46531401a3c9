"""Reading files with weights; each is read as what it is, whatever its name ends in."""

import io
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from atdsr.network.config import ATDConfig, ConfigError
from atdsr.network.model import ATD
from atdsr.weights import file_kinds, pickles
from atdsr.weights.configs import config_of
from atdsr.weights.contents import CheckpointError, StateDict, Weights, first_not_finite, shown
from atdsr.weights.key_names import POSITION_INDEX, official_name
from atdsr.weights.wrappers import unwrap

READ_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
"""What files with weights are called; a file that is there may be called otherwise."""

_MOST_HEADER = 2**24  # bytes of a safetensors file's header, which lists its tensors
_MOST_TENSORS = 50_000  # in a safetensors file
_MOST_PICKLE = 2**25  # bytes that tell what is in a PyTorch file
_NAME_IT = "name a .safetensors or .pth file."


def load(
    path: str | Path, *, category_size: int | None = None, prefer: str = "params_ema"
) -> Weights:
    """Read the weights of an ATD from a file; no code in it is ever run.

    Args:
        path: a safetensors file, or one that `torch.save` has written: the official form, a bare
            state dict, or one inside the containers and prefixes that other programs add.
        category_size: tokens in a run of the category attention, where the file cannot tell it;
            wins over what the file says.
        prefer: which of a file's two sets to take if it has it, `params_ema` or `params`; then
            the other, then the bare file.

    Raises:
        CheckpointError: one sentence: no such file, not a file of weights, damaged, of another
            architecture, of an ATD that this version does not build, or with values that are no
            finite numbers.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path, prefer)
    try:
        _check_values(tensors, path.stat().st_size)
        config = config_of(tensors, metadata, category_size)
        state = _from_official(tensors, config)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return Weights(config, state)


def read_tensors(path: Path, prefer: str = "params_ema") -> tuple[StateDict, dict[str, str]]:
    """The tensors of a file, without containers and prefixes, and its metadata.

    Raises:
        CheckpointError: see `load`.
    """
    try:
        is_pytorch = _check(path)
        content, metadata = (_torch_load(path), {}) if is_pytorch else _safetensors(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
    except safetensors.SafetensorError:
        raise CheckpointError(
            f"{path} is no safetensors file or is damaged; fetch it again."
        ) from None
    try:
        return unwrap(content, prefer), metadata
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def load_run(path: Path) -> dict[str, Any]:
    """The state of a training run.

    Raises:
        CheckpointError: the file is damaged or is something else.
    """
    content = _torch_load(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is no state of a training run.")
    return content


# ------------------------------------------------------------------------------- before reading


def check_kind(path: Path) -> None:
    """Refuse a file that is something else than weights, by how it begins.

    Raises:
        CheckpointError: it is; the sentence says what.
        OSError: it cannot be read.
    """
    head, size = _begin(path)
    strange = file_kinds.strange(head, size)
    if strange is not None:
        raise CheckpointError(f"{path} {strange}")


def _begin(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, and its size.

    Raises:
        CheckpointError: there is no such file.
        OSError: it cannot be read.
    """
    try:
        is_there = path.exists()
    except OSError as error:  # a name that is too long, say
        raise CheckpointError(f"{path} cannot be looked up: {error.strerror}.") from None
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; {_NAME_IT}")
    if not is_there:
        raise CheckpointError(f"{path} does not exist; {_NAME_IT}")
    if not path.is_file():
        raise CheckpointError(f"{path} is no regular file; {_NAME_IT}")
    with path.open("rb") as file:
        return file.read(file_kinds.HEAD), path.stat().st_size


def _check(path: Path) -> bool:
    """Refuse what is not to be read at all.

    Returns:
        Whether it is a PyTorch file, and no safetensors one.

    Raises:
        CheckpointError: it is something else, or costs more than its size explains.
        OSError: it cannot be read.
    """
    check_kind(path)
    head, size = _begin(path)
    if file_kinds.is_safetensors(head, size):
        if int.from_bytes(head[:8], "little") > _MOST_HEADER:
            raise CheckpointError(f"{path} has a header too large for any ATD; it was not loaded.")
        return False
    if not file_kinds.is_pytorch(head):
        if path.suffix.lower() != ".safetensors":
            raise CheckpointError(f"{path} {pickles.DAMAGED}")
        return False  # one that is cut short, say
    objection = _archive_objection(path) if head.startswith(b"PK") else _legacy_objection(path)
    if objection is not None:
        raise CheckpointError(f"{path} {objection}")
    return True


def _archive_objection(path: Path) -> str | None:
    """What is to be said against a ZIP archive of PyTorch's, see `pickles.objection`."""
    try:
        strange = file_kinds.strange_archive(path)
        if strange is not None:
            return strange
        with zipfile.ZipFile(path) as archive:
            (name,) = file_kinds.pickles(archive.namelist())
            if archive.getinfo(name).file_size > _MOST_PICKLE:
                return "holds more than weights; it was not loaded."
            return pickles.objection(io.BytesIO(archive.read(name)))
    except OSError:
        raise
    except Exception:  # a damaged archive fails in as many ways as it can be damaged
        return pickles.DAMAGED


def _legacy_objection(path: Path) -> str | None:
    """The same for a file as PyTorch wrote it before 1.6: five pickles, then the values."""
    with path.open("rb") as file:
        return pickles.objection(file, count=5)


# --------------------------------------------------------------------------------------- reading


def _safetensors(path: Path) -> tuple[StateDict, dict[str, str]]:
    with safetensors.safe_open(path, framework="pt") as file:
        names = file.keys()
        if len(names) > _MOST_TENSORS:
            raise CheckpointError(f"{path} holds {len(names):,} tensors, more than any ATD.")
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def _torch_load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old archives warn about their own format
            with path.open("rb") as file:  # by its name it might be taken for another kind
                return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged archive fails in as many ways as it can be damaged
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise CheckpointError(
                f"{path} takes more memory than there is, or claims to while it is damaged."
            ) from None
        raise CheckpointError(f"{path} {pickles.DAMAGED}") from None


def _check_values(tensors: Mapping[str, Tensor], size: int) -> None:
    """Refuse tensors without values of their own, before anything is made of them.

    A tensor may claim to be far larger than what the file holds of it, by repeating it.

    Args:
        tensors: of a file.
        size: of the file in bytes.

    Raises:
        CheckpointError: naming the tensor; the file's name is for the caller to add.
    """
    claimed = 0
    for name, tensor in tensors.items():
        kind = _odd_kind(tensor)
        if kind is not None:
            raise CheckpointError(
                f"the tensor {shown(name)} is {kind}, and not the plain numbers that weights are; "
                "save a state_dict of dense tensors."
            )
        claimed += tensor.numel() * tensor.element_size()
    if claimed > size:
        raise CheckpointError(
            f"its tensors claim {claimed:,} bytes and the file has {size:,}; save each tensor by "
            "itself (`tensor.clone()`)."
        )


def _odd_kind(tensor: Tensor) -> str | None:
    """What a tensor is that does not hold its values one after the other; None if it does."""
    if tensor.is_meta:
        return "on the device meta, without values"
    if tensor.is_quantized:
        return "quantized"
    return "sparse" if tensor.layout != torch.strided or tensor.is_nested else None


def _from_official(tensors: Mapping[str, Tensor], config: ATDConfig) -> StateDict:
    """Parameters under our names, checked against the configuration.

    Raises:
        CheckpointError: a tensor is missing, has another shape, holds no finite numbers, or has
            no place in the network.
    """
    with torch.device("meta"):
        expected = ATD(config).state_dict()
    state: StateDict = {}
    for name, like in expected.items():
        theirs = official_name(name)
        if theirs not in tensors:
            raise CheckpointError(f"the tensor {theirs} is missing; the file may be cut short.")
        tensor = tensors[theirs]
        if tensor.shape != like.shape or not tensor.is_floating_point():
            raise CheckpointError(
                f"the tensor {theirs} is {tuple(tensor.shape)} of {tensor.dtype} where the "
                f"network has {tuple(like.shape)} floats."
            )
        state[name] = tensor
    known = {official_name(name) for name in expected} | {POSITION_INDEX}
    for name in tensors:
        if name not in known:
            raise CheckpointError(f"the tensor {shown(name)} has no place in an ATD as configured.")
    bad = first_not_finite(state)
    if bad is not None:
        raise CheckpointError(
            f"the tensor {official_name(bad)} has values that are not finite numbers; its "
            "training failed, or the file is damaged."
        )
    return state
