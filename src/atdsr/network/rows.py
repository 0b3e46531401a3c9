"""What a layer does to each token's row beside attention, as functions of tensors.

Each is plain PyTorch, and a pass or a few over the rows where kernels run: in use on a CPU in
float32, and on a GPU also in training and in bfloat16 (`tests/unit/network/test_kernels.py` and
`test_gpu_*.py` hold them together). Under autocast the tokens themselves stay in float32.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atdsr.network.kernels import cpu, gpu
from atdsr.network.kernels.cpu import layers

_WIDEST = 512  # row of which the GPU kernels hold a block in registers


def normed_maps(x: Tensor, norm: nn.LayerNorm, *maps: nn.Linear) -> tuple[Tensor, list[Tensor]]:
    """Linear maps of the normed rows: `b h w c` -> `b h w m` each, after x itself.

    Whoever needs x beside them takes it from here, so that its gradient is summed in the backward
    kernel and not in a pass of its own.
    """
    if _on_gpu(x):
        from atdsr.network.kernels.gpu import rows as on_gpu

        return on_gpu.normed_maps(
            x, *_of_norm(norm), [_of_map(part) for part in maps], gpu.product_dtype(x)
        )
    if layers.takes(x):
        return x, [
            _fused((x,), part.weight.T, part.bias, norm=norm, out=_room(x, part, f"map {i}"))
            for i, part in enumerate(maps)
        ]
    normed = norm(x)
    return x, [part(normed) for part in maps]


def add_maps(
    x: Tensor,
    attended: list[tuple[Tensor, nn.Linear]],
    mixed: Tensor | tuple[Tensor, Tensor],
) -> Tensor:
    """The sum of x, linear maps of what was attended to, and what was looked up (equation 4).

    Args:
        x: `b h w c`.
        attended: `b h w k` each, and its map to c features.
        mixed: `b n c`, n = h * w; or two matrices of which it is the product, `b n m` and `b m c`.
    """
    if _on_gpu(x):
        from atdsr.network.kernels.gpu import rows as on_gpu

        parts = [(inputs, *_of_map(part)) for inputs, part in attended]
        if isinstance(mixed, tuple):
            mixed = mixed[0] @ mixed[1]
        return on_gpu.add_maps(x, parts, mixed.view_as(x))
    if isinstance(mixed, tuple) and layers.takes(x):
        shares, values = mixed
        weights = torch.cat([part.weight.T for _, part in attended])
        inputs = (*(rows for rows, _ in attended), shares.view(*x.shape[:3], -1))
        weight = torch.cat([weights.expand(x.shape[0], -1, -1), values], dim=1)
        bias = torch.stack([part.bias for _, part in attended]).sum(0)
        out = cpu.room("tokens", *x.shape)  # from a block's second layer on where x is
        return _fused(inputs, weight, bias, residual=x, out=out)
    if isinstance(mixed, Tensor):
        sum_ = x + mixed.view_as(x)
    elif torch.is_autocast_enabled(x.device.type):  # a sum is not to be as coarse as a product
        sum_ = x + (mixed[0] @ mixed[1]).view_as(x)
    else:
        sum_ = torch.baddbmm(x.flatten(1, 2), *mixed).view_as(x)
    for rows, part in attended:
        sum_ = sum_ + part(rows)
    return sum_


def feed_forward(
    x: Tensor, norm: nn.LayerNorm, fc1: nn.Linear, depthwise: nn.Conv2d, fc2: nn.Linear
) -> Tensor:
    """The sum of x and the feed-forward part of its normed rows (equation 5): `b h w c`.

    On a CPU the kernels put it in the place of x, which nobody else may need any more.
    """
    if _on_gpu(x):
        from atdsr.network.kernels.gpu import depthwise as depthwise_on_gpu
        from atdsr.network.kernels.gpu import rows as on_gpu

        given = (*_of_norm(norm), *_of_map(fc1), gpu.product_dtype(x))
        x, hidden = on_gpu.normed_gelu_map(x, *given)
        hidden = depthwise_on_gpu.depthwise_gelu(hidden, *_of_map(depthwise))
        return on_gpu.add_maps(x, [(hidden, *_of_map(fc2))], None)
    if layers.takes(x):
        room = _room(x, fc1, "map 0")  # what was mapped there has been attended to by now
        hidden = _fused((x,), fc1.weight.T, fc1.bias, norm=norm, gelu=True, out=room)
        hidden = layers.depthwise_gelu(hidden, depthwise)
        return _fused((hidden,), fc2.weight.T, fc2.bias, residual=x, out=x)
    hidden = F.gelu(fc1(norm(x)))
    mixed = depthwise(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return x + fc2(hidden + F.gelu(mixed))


def _on_gpu(x: Tensor) -> bool:
    return gpu.run_on(x) and x.shape[-1] <= _WIDEST


def _of_norm(norm: nn.LayerNorm) -> tuple[Tensor, Tensor, float]:
    return norm.weight, norm.bias, norm.eps


def _of_map(part: nn.Linear | nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert part.bias is not None, "every map of the network has one"
    return part.weight, part.bias


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
