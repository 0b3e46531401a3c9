"""Whole layers in inference on CPUs, in float32, by the kernels in C."""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atdsr.network import operators
from atdsr.network.attention import refine_dictionary, scaled_keys
from atdsr.network.kernels.cpu.attention import (
    SIDE_MULTIPLE,
    category_attention,
    window_attention,
)
from atdsr.network.kernels.cpu.dictionary import gather_tokens, look_up
from atdsr.network.kernels.cpu.tokenwise import depthwise_gelu, linear

if TYPE_CHECKING:
    from atdsr.network.model import Layer


class Workspace:
    """Memory for intermediate results, by name, that all layers of one forward pass use again.

    Nothing outside a layer ever sees it. Freed and allocated again layer by layer, blocks of many
    sizes leave gaps that nothing fits into: the process grew to twice what was ever in use.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def buffer(self, name: str, *shape: int) -> Tensor:
        """Return an uninitialised float32 tensor in the memory that had this name before."""
        size = math.prod(shape)
        memory = self._buffers.get(name)
        if memory is None or memory.numel() < size:
            memory = self._buffers[name] = torch.empty(size, dtype=torch.float32, device="cpu")
        return memory[:size].view(shape)


class CPUBackend:
    """Runs whole layers in one forward pass; it belongs to the thread of that pass."""

    def __init__(self) -> None:
        self._workspace = Workspace()

    def run_layer(self, layer: "Layer", x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `model.Layer.forward`; the result has memory of its own.

        Two buffers serve twice: "wide" holds queries, keys and values, then the hidden channels of
        the feed-forward part; "narrow" what category attention returns, then what the depthwise
        convolution does. The result's own memory first holds what window attention returns.
        """
        (b, h, w, c), n = x.shape, x.shape[1] * x.shape[2]
        buffer = self._workspace.buffer
        tokens, norm = x.flatten(1, 2), layer.norm_attention
        out = torch.empty(b, n, c, dtype=torch.float32, device="cpu")

        # dictionary attention, without its values
        entries = layer.dictionary
        q = buffer("query", b, n, entries.query.out_features)
        linear((tokens,), entries.query.weight.T, entries.query.bias, norm=norm, out=q)
        keys = scaled_keys(_map(entries.key, dictionary), entries.scale, entries.largest_scale)
        keys = keys.expand(b, -1, -1)
        shares = buffer("shares", b, n, dictionary.shape[1])
        refines = layer.refinement is not None
        attention, categories, statistics = look_up(q, keys, shares, refines=refines)

        # window and category attention
        qkv = buffer("wide", b, n, 3 * c)
        linear((tokens,), layer.qkv.weight.T, layer.qkv.bias, norm=norm, out=qkv)
        window, category = layer.window, layer.category
        grid = qkv.view(b, h, w, 3 * c), window.bias_table, window.side, window.shifted
        if window.side % SIDE_MULTIPLE == 0:
            window_attention(*grid, keep=False, out=out.view(b, h, w, c))
        else:
            out.view(b, h, w, c).copy_(operators.window_attention(*grid))
        order_by, count = category.sort_keys(categories, x)
        order = operators.sort_by_category(order_by, count)
        runs = qkv, order, category.log_scale(), category.heads, min(n, category.group)
        from_category = buffer("narrow", b, n, c)
        category_attention(*runs, keep=False, out=from_category)

        # the sum of the three and x: projections and the dictionary's values are one linear map
        projections = torch.cat([window.proj.weight.T, category.proj.weight.T])
        values = _map(entries.value, dictionary).expand(b, -1, -1)
        weight = torch.cat([projections.expand(b, -1, -1), values], dim=1)
        bias = None
        if window.proj.bias is not None:
            bias = torch.stack([window.proj.bias, category.proj.bias]).sum(0)
        linear((out, from_category, attention), weight, bias, residual=tokens, out=out)

        # feed-forward part
        ffn, norm = layer.ffn, layer.norm_ffn
        hidden = buffer("wide", b, n, ffn.fc2.in_features)
        weight, bias = ffn.fc1.weight.T, ffn.fc1.bias
        if room := hidden.shape[-1] - ffn.fc1.out_features:  # for the codes: columns of zeros
            weight = F.pad(weight, (0, room))
            bias = None if bias is None else F.pad(bias, (0, room))
        linear((out,), weight, bias, norm=norm, gelu=True, out=hidden)
        hidden = hidden.view(b, h, w, -1)
        if layer.code is not None:
            codes = _map(layer.code, dictionary)[0]
            hidden[..., -codes.shape[-1] :] = F.embedding(categories.view(b, h, w), codes)
        mixed = depthwise_gelu(hidden, ffn.depthwise, buffer("narrow", *hidden.shape))
        linear((mixed.flatten(1, 2),), ffn.fc2.weight.T, ffn.fc2.bias, residual=out, out=out)

        if layer.refinement is not None and statistics is not None:
            gathered = gather_tokens(attention, out, layer.refinement.weight, statistics)
            dictionary = refine_dictionary(dictionary, gathered, layer.refinement.sigma)
        return out.view(b, h, w, c), dictionary


def _map(linear_map: nn.Linear, dictionary: Tensor) -> Tensor:
    """Map a dictionary, `b m c`; PyTorch's bits depend on the number of threads."""
    return linear((dictionary,), linear_map.weight.T, linear_map.bias)
