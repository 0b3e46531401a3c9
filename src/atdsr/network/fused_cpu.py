"""Whole layers in inference on CPUs, in float32, by the kernels in C."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from atdsr.network.attention import MAX_LOGIT_SCALE, refine_dictionary, scaled_keys
from atdsr.network.kernels.cpu.attention import category_attention, window_attention
from atdsr.network.kernels.cpu.dictionary import gather_tokens, look_up
from atdsr.network.kernels.cpu.tokenwise import depthwise_gelu, linear
from atdsr.network.operators import sort_by_category

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
        query = layer.dictionary.query
        q = buffer("query", b, n, query.out_features)
        linear((tokens,), query.weight.T, query.bias, norm=norm, out=q)
        keys = scaled_keys(layer.dictionary.key(dictionary), layer.dictionary.scale)
        shares = buffer("shares", b, n, dictionary.shape[1])
        attention, categories, statistics = look_up(q, keys, shares)

        # window and category attention
        qkv = buffer("wide", b, n, 3 * c)
        linear((tokens,), layer.qkv.weight.T, layer.qkv.bias, norm=norm, out=qkv)
        window, category = layer.window, layer.category
        grid = qkv.view(b, h, w, 3 * c), window.bias_table, window.side, window.shifted
        window_attention(*grid, keep=False, out=out.view(b, h, w, c))
        order_by, count = category.sort_keys(categories, x, dictionary.shape[1])
        order = sort_by_category(order_by, count)
        log_scale = category.logit_scale.clamp(max=MAX_LOGIT_SCALE)
        runs = qkv, order, log_scale, category.heads, min(n, category.group)
        from_category = buffer("narrow", b, n, c)
        category_attention(*runs, keep=False, out=from_category)

        # the sum of the three and x: projections and the dictionary's values are one linear map
        projections = torch.cat([window.proj.weight.T, category.proj.weight.T])
        values = layer.dictionary.value(dictionary)
        weight = torch.cat([projections.expand(b, -1, -1), values], dim=1)
        bias = torch.stack([window.proj.bias, category.proj.bias]).sum(0)
        linear((out, from_category, attention), weight, bias, residual=tokens, out=out)

        # feed-forward part
        ffn, norm = layer.ffn, layer.norm_ffn
        hidden = buffer("wide", b, n, ffn.fc1.out_features)
        linear((out,), ffn.fc1.weight.T, ffn.fc1.bias, norm=norm, gelu=True, out=hidden)
        hidden = hidden.view(b, h, w, -1)
        mixed = depthwise_gelu(hidden, ffn.depthwise, buffer("narrow", *hidden.shape))
        linear((mixed.flatten(1, 2),), ffn.fc2.weight.T, ffn.fc2.bias, residual=out, out=out)

        if layer.refinement is not None:
            gathered = gather_tokens(attention, out, layer.refinement.weight, statistics)
            dictionary = refine_dictionary(dictionary, gathered, layer.refinement.sigma)
        return out.view(b, h, w, c), dictionary
