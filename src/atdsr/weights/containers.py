"""Find the tensors of one network in a file, without the containers and prefixes around them.

Programs save weights beside an optimizer, inside other containers, or with prefixes before every
name. The network is found by a name that every ATD has, wherever it lies.
"""

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from atdsr.weights.state_dict import StateDict, WeightsError, official_name, shown_name

_USUAL_NAMES = (
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
"""Usual names of containers and prefixes of networks, in the order of preference."""

_FIRST_DICTIONARY = re.compile(
    r"(.*?)"
    r"(layers\.0\.residual_group\.td|blocks\.0\.dictionary|encoders\.0\.(?:block\.td|dictionary))"
)
"""The whole name of the first dictionary of an ATD or ATD-U, official or ours, after a prefix."""

_MAX_DEPTH = 8  # levels of containers
_MAX_NETWORKS = 16  # under different prefixes

# DataParallel, torch.compile, FSDP and activation checkpointing put these into names
_WRAPPER_PARTS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_AVERAGED_MODEL_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


def unwrap(content: Any, prefer: str) -> StateDict:
    """Return the tensors of the network in a file, under official names if it is an ATD.

    Args:
        content: Content of the file: tensors by name, or containers of them.
        prefer: Which of two sets of parameters to take, such as `params_ema` or `params`.

    Raises:
        WeightsError: There are no tensors, or two of one name. The caller adds the name of the
            file.
    """
    container = next(_atd_containers(content, prefer, set()), None)
    if container is None:
        container = next(_tensor_containers(content, prefer), {})
    tensors: StateDict = {}
    for name, value in _items(container):
        if not isinstance(value, Tensor) or not isinstance(name, str):
            continue
        name = _without_wrapper_parts(name)
        if name in tensors:
            raise WeightsError(
                f"it holds the tensor {shown_name(name)} twice; save the model's state_dict alone."
            )
        tensors[name] = Tensor.detach(value)  # drops attributes that a file may have set on it
    if not tensors:
        raise WeightsError(
            "it is a PyTorch file but holds no weights of a model; name one that does."
        )
    return _without_prefix(tensors, prefer)


def _items(content: Any) -> Iterator[tuple[Any, Any]]:
    """Return the entries of a dictionary; a file may have set an attribute `items` on it."""
    return iter(dict.items(content)) if isinstance(content, dict) else iter(())


def _atd_containers(
    content: Any, prefer: str, visited: set[int], depth: int = 0
) -> Iterator[dict[Any, Any]]:
    """Yield the containers that hold the tensors of an ATD, the preferred first, each once."""
    if id(content) in visited or depth > _MAX_DEPTH:
        return
    visited.add(id(content))
    ranked: list[tuple[tuple[bool, bool, int], Any]] = []
    for name, value in _items(content):
        if isinstance(value, dict):
            ranked.append((_rank([str(name)], prefer), value))
        elif isinstance(value, Tensor) and _FIRST_DICTIONARY.fullmatch(
            _without_wrapper_parts(str(name))
        ):
            yield content
            return
    for _, value in sorted(ranked, key=lambda entry: entry[0]):
        yield from _atd_containers(value, prefer, visited, depth + 1)


def _tensor_containers(content: Any, prefer: str) -> Iterator[dict[Any, Any]]:
    """Yield the containers with tensors of any network, going down the usual names."""
    for _ in range(_MAX_DEPTH):
        if any(isinstance(value, Tensor) for _, value in _items(content)):
            yield content
        entries = dict(_items(content))
        names = (name for name in (prefer, *_USUAL_NAMES) if isinstance(entries.get(name), dict))
        content = entries.get(next(names, None))


def _rank(parts: list[str], prefer: str) -> tuple[bool, bool, int]:
    """Return a sort key for the name of a container, or the parts of a prefix; least is best."""
    words = {word for part in parts for word in re.split(r"[^a-z0-9]+", part.lower())}
    positions = [_USUAL_NAMES.index(part) for part in parts if part in _USUAL_NAMES]
    is_average, prefers_average = "ema" in words, "ema" in prefer
    return (
        prefer not in parts,
        is_average != prefers_average,
        min(positions, default=len(_USUAL_NAMES)),
    )


def _without_wrapper_parts(name: str) -> str:
    if not any(part in name for part in _WRAPPER_PARTS):
        return name
    return ".".join(part for part in name.split(".") if part not in _WRAPPER_PARTS)


def _without_prefix(tensors: StateDict, prefer: str) -> StateDict:
    """Take the prefix off the tensors of the preferred ATD; leave other networks as they are.

    Raises:
        WeightsError: There are too many ATDs.
    """
    matches = [match for match in map(_FIRST_DICTIONARY.fullmatch, tensors) if match]
    if not matches:
        return tensors
    if len(matches) > _MAX_NETWORKS:
        raise WeightsError(f"it holds {len(matches)} networks; name a file with one.")
    preferred = min(matches, key=lambda match: _rank(match[1].split("."), prefer))
    prefix = preferred[1]
    inner_prefixes = tuple(match[1] for match in matches if len(match[1]) > len(prefix))
    has_our_names = preferred[2].endswith("dictionary")
    return {
        official_name(name[len(prefix) :]) if has_our_names else name[len(prefix) :]: tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
        and not name.startswith(inner_prefixes)
        and name != _AVERAGED_MODEL_COUNTER
    }
