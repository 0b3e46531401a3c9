"""What a layer does to each token's row beside attention, as functions of tensors.

Each is plain PyTorch, and a pass or a few over the rows where the kernels of `kernels/layers.py`
run: in use on a CPU, in float32 (`tests/unit/test_kernels.py` holds the two together).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atdsr.kernels import cpu, layers


def normed_maps(x: Tensor, norm: nn.LayerNorm, *maps: nn.Linear) -> list[Tensor]:
    """Linear maps of the normed rows: `b h w c` -> `b h w m` each."""
    if layers.takes(x):
        return [
            _fused((x,), part.weight.T, part.bias, norm=norm, out=_room(x, part, f"map {i}"))
            for i, part in enumerate(maps)
        ]
    x = norm(x)
    return [part(x) for part in maps]


def add_maps(
    x: Tensor, attended: list[tuple[Tensor, nn.Linear]], shares: Tensor, values: Tensor
) -> Tensor:
    """The sum of x, linear maps of what was attended to, and shares @ values (equation 4).

    Args:
        x: `b h w c`.
        attended: `b h w k` each, and its map to c features.
        shares: `b n m`, n = h * w.
        values: `b m c`.
    """
    if layers.takes(x):
        weights = torch.cat([part.weight.T for _, part in attended])
        inputs = (*(rows for rows, _ in attended), shares.view(*x.shape[:3], -1))
        weight = torch.cat([weights.expand(x.shape[0], -1, -1), values], dim=1)
        bias = torch.stack([part.bias for _, part in attended]).sum(0)
        out = cpu.room("tokens", *x.shape)  # from a block's second layer on where x is
        return _fused(inputs, weight, bias, residual=x, out=out)
    sum_ = torch.baddbmm(x.flatten(1, 2), shares, values).view_as(x)
    for rows, part in attended:
        sum_ = sum_ + part(rows)
    return sum_


def feed_forward(
    x: Tensor, norm: nn.LayerNorm, fc1: nn.Linear, depthwise: nn.Conv2d, fc2: nn.Linear
) -> Tensor:
    """The sum of x and the feed-forward part of its normed rows (equation 5): `b h w c`.

    The kernels put it in the place of x, which nobody else may need any more.
    """
    if layers.takes(x):
        room = _room(x, fc1, "map 0")  # what was mapped there has been attended to by now
        hidden = _fused((x,), fc1.weight.T, fc1.bias, norm=norm, gelu=True, out=room)
        hidden = layers.depthwise_gelu(hidden, depthwise)
        return _fused((hidden,), fc2.weight.T, fc2.bias, residual=x, out=x)
    hidden = F.gelu(fc1(norm(x)))
    mixed = depthwise(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return x + fc2(hidden + F.gelu(mixed))


def _room(x: Tensor, part: nn.Linear, name: str) -> Tensor:
    return cpu.room(name, *x.shape[:3], part.out_features)


def _fused(
    inputs: tuple[Tensor, ...],
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    **how: Any,
) -> Tensor:
    b, h, w, _ = inputs[0].shape
    rows = tuple(part.flatten(1, 2) for part in inputs)
    residual = None if residual is None else residual.flatten(1, 2)
    out = None if out is None else out.flatten(1, 2)
    return layers.linear(rows, weight, bias, residual=residual, out=out, **how).view(b, h, w, -1)
