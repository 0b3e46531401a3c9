"""The configuration of the network in a weight file, from its metadata or its tensors."""

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from atdsr.base.errors import short
from atdsr.network.config import U_LEVELS, U_NETWORK, ATDConfig, ATDUConfig, Head, NetworkConfig
from atdsr.weights.state_dict import WeightsError, shown_name

CONFIG_KEY = "atdsr.config"
"""The key in a safetensors file's metadata that holds the configuration as JSON."""

_LAYER = re.compile(r"layers\.(\d+)\.residual_group\.layers\.\d+\.norm1\.weight")
_BIAS_TABLE = "attn_win.relative_position_bias_table"
_U_DICTIONARY = "encoders.0.block.td"  # a tensor that only an ATD-U has
_NEAREST = "conv_up1.weight"  # a tensor that only the head "nearest+conv" has
_MAX_JSON_LENGTH = 2**16  # characters

# category sizes of the published networks of both generations, which a state dict does not tell
_PUBLISHED_CATEGORY_SIZES = {
    (48, "pixelshuffledirect"): 128,
    (210, "pixelshuffle"): 256,
    (210, "nearest+conv"): 256,
    (216, "pixelshuffle"): 256,
    (216, "nearest+conv"): 256,
    (48, None): 128,  # ATD-U
}

_UNSUPPORTED = {
    "layers.0.conv.0.weight": "resi_connection '3conv'",
    "absolute_pos_embed": "absolute position embedding (ape)",
    "no_norm": "the variant without norm",
}
"""Tensors that only variants have which are not built here, and what to call the variant."""


def read_config(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], category_size: int | None
) -> NetworkConfig:
    """Return the configuration in the metadata, or else the one that the tensors imply.

    Args:
        tensors: Tensors of the file, under official names.
        metadata: Metadata of a safetensors file; empty for other files.
        category_size: Overrides the category size of the file.

    Raises:
        WeightsError, ConfigError: There is no configuration that can be built.
    """
    if CONFIG_KEY not in metadata:
        return infer_config(tensors, category_size)
    config = _parse_config(metadata[CONFIG_KEY])
    if category_size is not None:
        config = dataclasses.replace(config, category_size=category_size)
    return config


def _parse_config(text: str) -> NetworkConfig:
    """Return the configuration in a JSON text.

    Raises:
        WeightsError: The text is not a JSON object with the fields of a configuration.
        ConfigError: A field has a value that cannot be built.
    """
    prefix = "its metadata is not the configuration of an ATD"
    if len(text) > _MAX_JSON_LENGTH:
        raise WeightsError(f"{prefix} (a text of {len(text):,} characters).")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise WeightsError(f"{prefix} (it cannot be read as JSON).") from None
    if not isinstance(values, dict):
        raise WeightsError(f"{prefix} (it is not a JSON object).")
    is_u = values.get("network") == U_NETWORK
    if is_u:
        del values["network"]
    kind = ATDUConfig if is_u else ATDConfig
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            raise WeightsError(f"{prefix} (it has no field {short(name)}).")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise WeightsError(f"{prefix} (the field {name} is missing).")
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return kind(**arguments)


def infer_config(tensors: Mapping[str, Tensor], category_size: int | None = None) -> NetworkConfig:
    """Return the configuration that the names and shapes of official tensors imply.

    `img_range` is 1 in every published file and cannot be inferred. Nor can the category size: it
    is known for the two published networks and must be given for all others.

    Raises:
        WeightsError: The tensors are not those of an ATD, or of one that this version does not
            build. The caller adds the name of the file.
    """
    _refuse_other_networks(tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    is_u = _U_DICTIONARY in tensors
    try:
        fields = _infer_u_fields(shapes) if is_u else _infer_fields(shapes)
    except (KeyError, IndexError, ValueError, ZeroDivisionError, OverflowError):
        raise WeightsError(
            "some of ATD's tensors are missing or misshapen; the file may be cut short."
        ) from None
    width, kind = fields["width"], "ATD-U" if is_u else "ATD"
    if category_size is None:
        category_size = _PUBLISHED_CATEGORY_SIZES.get((width, fields.get("head")))
    if category_size is None:
        raise WeightsError(
            f"an {kind} of width {width} does not tell its category size; give category_size= "
            "(--category-size on the command line), the `category_size` of its training."
        )
    return (ATDUConfig if is_u else ATDConfig)(category_size=category_size, **fields)


def _infer_fields(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return every field of a configuration that can be inferred from shapes.

    Raises:
        KeyError, IndexError, ValueError, ZeroDivisionError, OverflowError: Tensors are missing or
            have other shapes.
    """
    first_layer = "layers.{}.residual_group.layers.0."
    block0 = first_layer.format(0)
    depths = _depths(shapes)
    width = shapes["conv_first.weight"][0]
    (hidden, _) = shapes[block0 + "convffn.fc1.weight"]
    *_, kernel = shapes[block0 + "convffn.dwconv.depthwise_conv.0.weight"]
    code = shapes.get(block0 + "fc_td.weight")  # of an ATD v2
    head, scale = _head_and_scale(shapes)
    return {
        "scale": scale,
        "width": width,
        "depths": depths,
        "heads": tuple(
            shapes[first_layer.format(block) + _BIAS_TABLE][1] for block in range(len(depths))
        ),
        "dictionary_size": shapes["layers.0.residual_group.td"][0],
        "reduced_width": shapes[block0 + "attn_atd.wq.weight"][0],
        "ffn_kernel": kernel,
        "ffn_ratio": _ffn_ratio(width, hidden),
        "head": head,
        "window": (math.isqrt(shapes[block0 + _BIAS_TABLE][0]) + 1) // 2,
        "code_width": None if code is None else code[0],
    }


def _infer_u_fields(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return every field of an ATD-U's configuration that can be inferred from shapes.

    Raises:
        KeyError, IndexError, ValueError, ZeroDivisionError, OverflowError: As `_infer_fields`.
    """
    width, channels, _, _ = shapes["conv_first.weight"]
    blocks = [*(f"encoders.{level}.block." for level in range(U_LEVELS - 1)), "middle_blks.block."]
    tables = [shapes[f"{block}layers.0.{_BIAS_TABLE}"] for block in blocks]
    hidden, _ = shapes[blocks[0] + "layers.0.convffn.fc1.weight"]
    coarsest, _ = shapes[blocks[-1] + "layers.0.convffn.fc1.weight"]
    return {
        "channels": channels,
        "width": width,
        "depths": tuple(
            _count_matches(shapes, rf"{re.escape(block)}layers\.\d+\.norm1\.weight")
            for block in blocks
        ),
        "heads": tuple(heads for _, heads in tables),
        "windows": tuple((math.isqrt(rows) + 1) // 2 for rows, _ in tables),
        "code_widths": tuple(shapes[f"{block}layers.0.fc_td.weight"][0] for block in blocks),
        "reduced_widths": tuple(
            shapes[f"{block}layers.0.attn_atd.wq.weight"][0] for block in blocks
        ),
        "dictionary_size": shapes[_U_DICTIONARY][0],
        "ffn_kernel": shapes[blocks[0] + "layers.0.convffn.dwconv.depthwise_conv.0.weight"][-1],
        "ffn_ratio": _u_ratio(width, hidden, coarsest),
    }


def _u_ratio(width: int, hidden: int, coarsest: int) -> float:
    """Return a ratio that gives the hidden channels of all levels, such as 2.66 for ATD-U's.

    The shortest decimal number that does is what somebody has written.
    """
    wide = width << (U_LEVELS - 1)
    for digits in range(1, 16):
        ratio = math.ceil(coarsest / wide * 10**digits) / 10**digits
        if int(wide * ratio) == coarsest and int(width * ratio) == hidden:
            return ratio
    return _ffn_ratio(wide, coarsest)


def _depths(names: Iterable[str]) -> tuple[int, ...]:
    """Return the number of layers in each block."""
    layers = Counter(match[1] for match in map(_LAYER.fullmatch, names) if match)
    blocks = _count_matches(names, r"layers\.\d+\.residual_group\.td")
    return tuple(layers[str(block)] for block in range(blocks))


def _refuse_other_networks(tensors: Mapping[str, Tensor]) -> None:
    """Refuse networks that this version does not build.

    Raises:
        WeightsError: The sentence names the architecture or the option.
    """
    if _U_DICTIONARY in tensors:
        return
    if "layers.0.residual_group.td" not in tensors:
        example = next(iter(sorted(tensors)), "nothing")
        raise WeightsError(
            f"these are not the weights of an ATD (the first tensor is {shown_name(example)}); "
            "no token dictionary is among them."
        )
    conv_first = tensors.get("conv_first.weight")
    if conv_first is not None and conv_first.shape[1:2] != (3,):
        raise WeightsError("this ATD does not take RGB pictures; only 3 channels are built.")
    for name, variant in _UNSUPPORTED.items():
        if name in tensors:
            raise WeightsError(f"this ATD uses {variant}, which this version does not build.")
    if not {"upsample.0.weight", _NEAREST} & tensors.keys():
        raise WeightsError(
            "this ATD has `upscale: 1` (it restores and does not enlarge), which this version "
            "does not build."
        )


def _head_and_scale(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Head, int]:
    if _NEAREST in shapes:
        return "nearest+conv", 4
    channels = shapes["upsample.0.weight"][0]
    if "conv_before_upsample.0.weight" not in shapes:
        return "pixelshuffledirect", math.isqrt(channels // 3)
    shuffles = _count_matches(shapes, r"upsample\.(\d+)\.weight")
    return "pixelshuffle", math.isqrt(channels // 64) ** shuffles


def _count_matches(names: Iterable[str], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def _ffn_ratio(width: int, hidden: int) -> float:
    """Return a ratio with `int(width * ratio) == hidden`, whatever the division rounds to."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)
