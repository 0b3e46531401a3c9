"""The configuration of a network in a file: from its metadata, or from names and shapes."""

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from atdsr.base.errors import short
from atdsr.network.config import ATDConfig, Head
from atdsr.weights.contents import CheckpointError, shown

CONFIG_KEY = "atdsr.config"
"""The key of a safetensors file's metadata that holds the configuration as JSON."""

_LAYER = re.compile(r"layers\.(\d+)\.residual_group\.layers\.\d+\.norm1\.weight")
_MOST_TEXT = 2**16  # characters of such a JSON text


def config_of(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], category_size: int | None
) -> ATDConfig:
    """The configuration that the metadata states, or else the one that the tensors have.

    Raises:
        CheckpointError, ConfigError: there is none that can be built.
    """
    if CONFIG_KEY not in metadata:
        return infer_config(tensors, category_size)
    config = _from_json(metadata[CONFIG_KEY])
    if category_size is not None:
        config = dataclasses.replace(config, category_size=category_size)
    return config


def _from_json(text: str) -> ATDConfig:
    """The configuration that a JSON text holds.

    Raises:
        CheckpointError: it is no JSON object with the fields of a configuration.
        ConfigError: a field has a value that cannot be built.
    """
    begin = "its metadata is no configuration of an ATD"
    if len(text) > _MOST_TEXT:
        raise CheckpointError(f"{begin} (a text of {len(text):,} characters).")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{begin} (it cannot be read as JSON).") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{begin} (it is no JSON object).")
    fields = {field.name: field for field in dataclasses.fields(ATDConfig)}
    for name in values:
        if name not in fields:
            raise CheckpointError(f"{begin} (it has no field {short(name)}).")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise CheckpointError(f"{begin} (the field {name} is missing).")
    lists: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return ATDConfig(**lists)


def infer_config(tensors: Mapping[str, Tensor], category_size: int | None = None) -> ATDConfig:
    """The configuration that official tensors have, by their names and shapes.

    `img_range` is 1 in every published file and cannot be seen. The category size cannot be seen
    either; it is known for the two published networks and asked for otherwise.

    Raises:
        CheckpointError: not an ATD, or one that this version does not build; the file's name is
            for the caller to add.
    """
    _refuse_other_networks(tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        found = _fields_of(shapes)
    except (KeyError, IndexError, ValueError, ZeroDivisionError, OverflowError):
        raise CheckpointError(
            "some of ATD's tensors are missing or misshapen; the file may be cut short."
        ) from None
    width = found["width"]
    if category_size is None:
        category_size = {
            (48, "pixelshuffledirect"): 128,
            (210, "pixelshuffle"): 256,
        }.get((width, found["head"]))
    if category_size is None:
        raise CheckpointError(
            f"an ATD of width {width} does not tell its category size; give category_size= "
            "(--category-size on the command line), the `category_size` of its training."
        )
    return ATDConfig(category_size=category_size, **found)


def _fields_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """All fields of a configuration that shapes tell.

    Raises:
        KeyError, IndexError, ValueError, ZeroDivisionError, OverflowError: tensors are missing or
            have other shapes.
    """
    group = "layers.{}.residual_group.layers.0."
    first = group.format(0)
    table = "attn_win.relative_position_bias_table"
    depths = _depths(shapes)
    width = shapes["conv_first.weight"][0]
    hidden, _, kernel, _ = shapes[first + "convffn.dwconv.depthwise_conv.0.weight"]
    head, scale = _head_of(shapes)
    return {
        "scale": scale,
        "width": width,
        "depths": depths,
        "heads": tuple(shapes[group.format(block) + table][1] for block in range(len(depths))),
        "dictionary_size": shapes["layers.0.residual_group.td"][0],
        "reduced_width": shapes[first + "attn_atd.wq.weight"][0],
        "ffn_kernel": kernel,
        "ffn_ratio": _ratio(width, hidden),
        "head": head,
        "window": (math.isqrt(shapes[first + table][0]) + 1) // 2,
    }


def _depths(names: Iterable[str]) -> tuple[int, ...]:
    """Layers in each block."""
    layers = Counter(match[1] for match in map(_LAYER.fullmatch, names) if match)
    blocks = _count(names, r"layers\.\d+\.residual_group\.td")
    return tuple(layers[str(block)] for block in range(blocks))


def _refuse_other_networks(tensors: Mapping[str, Tensor]) -> None:
    """Say by name what cannot be built.

    Raises:
        CheckpointError: naming the architecture or the option.
    """
    if "layers.0.residual_group.td" not in tensors:
        example = next(iter(sorted(tensors)), "nothing")
        raise CheckpointError(
            f"these are not the weights of an ATD (the first tensor is {shown(example)}); "
            "no token dictionary is among them."
        )
    if tensors["conv_first.weight"].shape[1:2] != (3,) if "conv_first.weight" in tensors else False:
        raise CheckpointError("this ATD does not take RGB pictures; only 3 channels are built.")
    refused = {
        "conv_up1.weight": "the upsampler 'nearest+conv'",
        "layers.0.conv.0.weight": "resi_connection '3conv'",
        "absolute_pos_embed": "absolute position embedding (ape)",
        "no_norm": "the variant without norm",
    }
    for name, what in refused.items():
        if name in tensors:
            raise CheckpointError(f"this ATD uses {what}, which this version does not build.")
    if "upsample.0.weight" not in tensors:
        raise CheckpointError(
            "this ATD has `upscale: 1` (it restores and does not enlarge), which this version "
            "does not build."
        )


def _head_of(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Head, int]:
    channels = shapes["upsample.0.weight"][0]
    if "conv_before_upsample.0.weight" not in shapes:
        return "pixelshuffledirect", math.isqrt(channels // 3)
    steps = _count(shapes, r"upsample\.(\d+)\.weight")
    return "pixelshuffle", math.isqrt(channels // 64) ** steps


def _count(names: Iterable[str], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def _ratio(width: int, hidden: int) -> float:
    """A ratio with `int(width * ratio) == hidden`, whatever the division rounds to."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)
