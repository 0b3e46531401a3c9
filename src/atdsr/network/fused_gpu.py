"""Whole layers on GPUs, in inference and training, by the kernels in Triton.

Tokens keep their dtype (float32 also under autocast to bfloat16); products are of autocast's dtype.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from atdsr.network import operators
from atdsr.network.attention import refine_dictionary
from atdsr.network.kernels import gpu
from atdsr.network.kernels.gpu.depthwise import depthwise_gelu
from atdsr.network.kernels.gpu.dictionary import gather_shares, look_up
from atdsr.network.kernels.gpu.rows import add_maps, normed_gelu_map, normed_maps

if TYPE_CHECKING:
    from atdsr.network.model import Layer


class GPUBackend:
    """Runs whole layers; every step has a backward pass."""

    def run_layer(self, layer: "Layer", x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `model.Layer.forward`."""
        dtype = gpu.product_dtype(x)

        # x comes back from the first map, so that its gradients are summed in the backward kernel
        maps = [_weight_and_bias(layer.qkv), _weight_and_bias(layer.dictionary.query)]
        x, (qkv, q) = normed_maps(x, *_norm(layer.norm_attention), maps, dtype)

        # a static dictionary is one for all pictures
        keys = layer.dictionary.scaled_keys(dictionary).expand(len(x), -1, -1)
        values = layer.dictionary.value(dictionary).expand(len(x), -1, -1)
        q = q.flatten(1, 2)
        mixed, categories, statistics = look_up(q, keys, values)

        window, category = layer.window, layer.category
        from_window = operators.window_attention(
            qkv, window.bias_table, window.side, window.shifted
        )
        order_by, count = category.sort_keys(categories, x)
        from_category = operators.category_attention(
            qkv.flatten(1, 2), order_by, category.log_scale(), category.heads, category.group, count
        )
        attended = [
            (from_window, *_weight_and_bias(window.proj)),
            (from_category.view_as(from_window), *_weight_and_bias(category.proj)),
        ]
        x = add_maps(x, attended, mixed.view_as(x))

        ffn = layer.ffn
        x, hidden = normed_gelu_map(x, *_norm(layer.norm_ffn), *_weight_and_bias(ffn.fc1), dtype)
        codes = layer.codes(dictionary, categories, x)
        if codes is not None:
            hidden = torch.cat([hidden, codes.to(hidden.dtype)], dim=-1)
        hidden = depthwise_gelu(hidden, *_weight_and_bias(ffn.depthwise))
        x = add_maps(x, [(hidden, *_weight_and_bias(ffn.fc2))], None)

        if layer.refinement is not None:
            weight = layer.refinement.weight
            gathered = gather_shares(q, keys, x.flatten(1, 2), weight, statistics)
            dictionary = refine_dictionary(dictionary, gathered, layer.refinement.sigma)
        return x, dictionary

    def end_stack(self) -> None:
        """Do nothing: nothing is kept."""


def _norm(norm: nn.LayerNorm) -> tuple[Tensor, Tensor, float]:
    return norm.weight, norm.bias, norm.eps


def _weight_and_bias(module: nn.Linear | nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return a map's weight and bias, zeros where it has none, since the kernels add one."""
    if module.bias is None:
        return module.weight, module.weight.new_zeros(len(module.weight))
    return module.weight, module.bias
