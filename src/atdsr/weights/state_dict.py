"""Weights in memory: a configuration, and parameters under our names or the official ones."""

import dataclasses
import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from atdsr.base.errors import AtdsrError
from atdsr.network.config import ATDConfig, NetworkConfig
from atdsr.network.model import ATD
from atdsr.network.unet import Network, build
from atdsr.network.windows import position_index

StateDict = dict[str, Tensor]

POSITION_INDEX = "relative_position_index_SA"
"""A buffer that official files hold beside the parameters: one, or one a layer of an ATD-U."""

_BIAS_TABLE = "relative_position_bias_table"
_LONGEST_SHOWN_NAME = 120  # characters of a tensor's name in an error message

# (our name, official name), applied in this order to a whole name; no pattern matches what an
# earlier one has produced
_OFFICIAL_NAMES = tuple(
    (re.compile(ours), theirs)
    for ours, theirs in (
        (r"^norm_in\.", "patch_embed.norm."),
        (r"^norm_out\.", "norm."),
        (r"^((?:en|de)coders\.\d)\.dictionary$", r"\1.block.td"),
        (r"^((?:en|de)coders\.\d)\.layers\.", r"\1.block.layers."),
        (r"^(middle|refine)\.dictionary$", r"\1_blks.block.td"),
        (r"^(middle|refine)\.layers\.", r"\1_blks.block.layers."),
        (r"^(downs\.\d)\.0\.", r"\1.down.0."),
        (r"^(ups\.\d)\.0\.", r"\1.up.0."),
        (r"^blocks\.(\d+)\.dictionary$", r"layers.\1.residual_group.td"),
        (r"^blocks\.(\d+)\.(conv|norm)\.", r"layers.\1.\2."),
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
        (r"\.code\.", ".fc_td."),
        (r"\.ffn\.depthwise\.", ".convffn.dwconv.depthwise_conv.0."),
        (r"\.ffn\.", ".convffn."),
        (r"^head\.0\.", "upsample.0."),
        (r"^head\.reduce\.", "conv_before_upsample."),
        (r"^head\.enlarge\.", "upsample."),
        (r"^head\.up(\d)\.", r"conv_up\1."),
        (r"^head\.refine\.", "conv_hr."),
        (r"^head\.to_rgb\.", "conv_last."),
    )
)


class WeightsError(AtdsrError):
    """Weights that cannot be found or read, or a file that holds something else."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """A network's configuration and its parameters under our names."""

    config: NetworkConfig
    state: StateDict

    @property
    def parameters(self) -> int:
        """Number of values in all tensors, with the few that are kept for the file format only."""
        return sum(tensor.numel() for tensor in self.state.values())

    def enlarging(self, task: str) -> ATDConfig:
        """Return the configuration of a network that enlarges.

        Args:
            task: What needs one, for the sentence.

        Raises:
            WeightsError: It restores pictures and does not enlarge them.
        """
        if isinstance(self.config, ATDConfig):
            return self.config
        raise WeightsError(
            f"{task} takes networks that enlarge, and these are the weights of an ATD-U, which "
            "restores; `atdsr restore` runs it."
        )

    def build_enlarging(self, task: str) -> ATD:
        """Build the network as `build` does, if it enlarges.

        Raises:
            WeightsError: As in `enlarging`.
        """
        self.enlarging(task)
        model = self.build()
        assert isinstance(model, ATD), "its configuration is an ATD's"
        return model

    def build(self) -> Network:
        """Build the network with these parameters, in float32 and ready for inference."""
        with torch.device("meta"):
            model = build(self.config)
        form = {"copy": True, "memory_format": torch.contiguous_format}
        copies = {
            name: tensor.detach().to("cpu", torch.float32, **form)
            for name, tensor in self.state.items()
        }
        model.load_state_dict(copies, assign=True)  # `to_empty` would import sympy
        model.reset_buffers()
        return model.eval()


def official_name(name: str) -> str:
    """Return the official name of a parameter that has this name here."""
    for ours, theirs in _OFFICIAL_NAMES:
        name = ours.sub(theirs, name)
    return name


def official_state_dict(weights: Weights) -> StateDict:
    """Return the parameters under their official names, with the buffers that others need."""
    tensors = {official_name(name): tensor for name, tensor in weights.state.items()}
    if isinstance(weights.config, ATDConfig):
        return tensors | {POSITION_INDEX: position_index(weights.config.window)}
    tables = {name: tensor for name, tensor in tensors.items() if name.endswith(_BIAS_TABLE)}
    for name, table in tables.items():
        side = (math.isqrt(len(table)) + 1) // 2
        tensors[name.removesuffix(_BIAS_TABLE) + POSITION_INDEX] = position_index(side)
    return tensors


def is_position_index(name: str) -> bool:
    """Whether a tensor of this official name is a buffer that follows from the configuration."""
    return name == POSITION_INDEX or name.endswith(f".attn_win.{POSITION_INDEX}")


def first_non_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with a value that is not a finite float32 number.

    Args:
        tensors: Floating-point tensors, all on one device.

    Returns:
        The name, or None if all values are finite.
    """
    singles = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    # one norm over all of them, since nearly always there is nothing to name
    if not singles or get_total_norm(list(singles.values()), math.inf).isfinite():
        return None
    return next(name for name, tensor in singles.items() if not tensor.isfinite().all())


def shown_name(name: str) -> str:
    """Return the name of a tensor for an error message, whatever characters a file put into it."""
    if name.isprintable() and len(name) <= _LONGEST_SHOWN_NAME:
        return name
    return repr(name[:_LONGEST_SHOWN_NAME])
