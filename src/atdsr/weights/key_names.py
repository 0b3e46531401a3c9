"""Names of parameters: ours, the official ones, and what other programs put around them."""

import re

from atdsr.network.windows import position_index
from atdsr.weights.contents import StateDict, Weights

POSITION_INDEX = "relative_position_index_SA"
"""A buffer that official files have beside the parameters."""

# (ours, theirs), applied in this order to a whole name; no pattern fits what an earlier one made
_OFFICIAL_NAMES = tuple(
    (re.compile(ours), theirs)
    for ours, theirs in (
        (r"^norm_in\.", "patch_embed.norm."),
        (r"^norm_out\.", "norm."),
        (r"^blocks\.(\d+)\.dictionary$", r"layers.\1.residual_group.td"),
        (r"^blocks\.(\d+)\.conv\.", r"layers.\1.conv."),
        (r"^blocks\.(\d+)\.layers\.", r"layers.\1.residual_group.layers."),
        (r"\.norm_attention\.", ".norm1."),
        (r"\.norm_ffn\.", ".norm2."),
        (r"\.refinement\.sigma$", ".sigma"),
        (r"\.refinement\.", ".norm3."),
        (r"\.qkv\.", ".wqkv."),
        (r"\.window\.bias_table$", ".attn_win.relative_position_bias_table"),
        (r"\.window\.proj\.", ".attn_win.proj."),
        (r"\.dictionary\.query\.", ".attn_atd.wq."),
        (r"\.dictionary\.key\.", ".attn_atd.wk."),
        (r"\.dictionary\.value\.", ".attn_atd.wv."),
        (r"\.dictionary\.scale$", ".attn_atd.scale"),
        (r"\.category\.", ".attn_aca."),
        (r"\.ffn\.depthwise\.", ".convffn.dwconv.depthwise_conv.0."),
        (r"\.ffn\.", ".convffn."),
        (r"^head\.0\.", "upsample.0."),
        (r"^head\.reduce\.", "conv_before_upsample."),
        (r"^head\.enlarge\.", "upsample."),
        (r"^head\.to_rgb\.", "conv_last."),
    )
)


def official_name(name: str) -> str:
    """Our name of a parameter -> the official one."""
    for ours, theirs in _OFFICIAL_NAMES:
        name = ours.sub(theirs, name)
    return name


def to_official(weights: Weights) -> StateDict:
    """Parameters under the official names, with the buffer that spandrel looks for."""
    tensors = {official_name(name): tensor for name, tensor in weights.state.items()}
    tensors[POSITION_INDEX] = position_index(weights.config.window)
    return tensors
