"""From what a file holds to the tensors of one network: containers and prefixes taken off.

Programs save weights beside an optimizer, inside other containers, or with prefixes before every
name. The network is found by a name that every ATD has, wherever it lies.
"""

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from atdsr.weights.contents import CheckpointError, StateDict, shown
from atdsr.weights.key_names import official_name

_USUAL = (
    "params_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "net_g",
    "generator",
    "network",
    "net",
)
"""What containers and prefixes of networks are usually called, in the order of preference."""

_MARK = re.compile(r"(.*?)(layers\.0\.residual_group\.td|blocks\.0\.dictionary)")
"""The whole name of an ATD's first dictionary, official or ours, after whatever prefix."""

_DEEPEST = 8  # levels of containers
_MOST_SETS = 16  # of weights under different prefixes

# DataParallel, torch.compile, FSDP and activation checkpointing put these into names
_PUT_IN = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


def unwrap(content: Any, prefer: str) -> StateDict:
    """The tensors of the network in a file, under official names if it is an ATD.

    Args:
        content: what the file holds: tensors by name, or containers of such.
        prefer: which of two sets to take where there are two, such as `params_ema` or `params`.

    Raises:
        CheckpointError: no tensors are there, or two of one name; the file's name is for the
            caller to add.
    """
    found = next(_with_network(content, prefer, set()), None)
    if found is None:
        found = next(_with_tensors(content, prefer), {})
    tensors: StateDict = {}
    for name, value in _items(found):
        if not isinstance(value, Tensor) or not isinstance(name, str):
            continue
        name = _without_parts(name)
        if name in tensors:
            raise CheckpointError(f"it holds the tensor {shown(name)} twice.")
        tensors[name] = Tensor.detach(value)  # without attributes that a file has given to it
    if not tensors:
        raise CheckpointError("it is a PyTorch file but holds no weights of a model.")
    return _without_prefix(tensors, prefer)


def _items(content: Any) -> Iterator[tuple[Any, Any]]:
    """The entries of a dictionary, whatever attributes a file has given to it."""
    return iter(dict.items(content)) if isinstance(content, dict) else iter(())


def _with_network(content: Any, prefer: str, seen: set[int], level: int = 0) -> Iterator[Any]:
    """Containers in which the tensors of an ATD lie, the preferred first; each is seen once."""
    if id(content) in seen or level > _DEEPEST:
        return
    seen.add(id(content))
    inner: list[tuple[tuple[bool, bool, int], Any]] = []
    for name, value in _items(content):
        if isinstance(value, dict):
            inner.append((_rank([str(name)], prefer), value))
        elif isinstance(value, Tensor) and _MARK.fullmatch(_without_parts(str(name))):
            yield content
            return
    for _, value in sorted(inner, key=lambda ranked: ranked[0]):
        yield from _with_network(value, prefer, seen, level + 1)


def _with_tensors(content: Any, prefer: str) -> Iterator[Any]:
    """Containers with tensors of any network, down the usual names."""
    for _ in range(_DEEPEST):
        if any(isinstance(value, Tensor) for _, value in _items(content)):
            yield content
        entries = dict(_items(content))
        usual = (key for key in (prefer, *_USUAL) if isinstance(entries.get(key), dict))
        content = entries.get(next(usual, None))


def _rank(parts: list[str], prefer: str) -> tuple[bool, bool, int]:
    """Sorts the names of containers, or the parts of a prefix, by what is to be taken."""
    words = {word for part in parts for word in re.split(r"[^a-z0-9]+", part.lower())}
    places = [_USUAL.index(part) for part in parts if part in _USUAL]
    is_average, wanted = "ema" in words, "ema" in prefer
    return prefer not in parts, is_average != wanted, min(places, default=len(_USUAL))


def _without_parts(name: str) -> str:
    if not any(part in name for part in _PUT_IN):
        return name
    return ".".join(part for part in name.split(".") if part not in _PUT_IN)


def _without_prefix(tensors: StateDict, prefer: str) -> StateDict:
    """The tensors of the preferred ATD without their prefix; of another network as they are.

    Raises:
        CheckpointError: there are too many of them.
    """
    marks = [match for match in map(_MARK.fullmatch, tensors) if match]
    if not marks:
        return tensors
    if len(marks) > _MOST_SETS:
        raise CheckpointError(f"it holds {len(marks)} networks; name a file with one.")
    chosen = min(marks, key=lambda mark: _rank(mark[1].split("."), prefer))
    prefix = chosen[1]
    others = tuple(mark[1] for mark in marks if len(mark[1]) > len(prefix))
    is_ours = chosen[2].startswith("blocks")
    return {
        official_name(name[len(prefix) :]) if is_ours else name[len(prefix) :]: tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not name.startswith(others) and name != _COUNTER
    }
