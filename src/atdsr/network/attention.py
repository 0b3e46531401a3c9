"""The three attentions of ATD as functions of tensors; parameters stay in `model.py`.

Equation numbers are those of `docs/model.md`.

Each is plain PyTorch, and calls the kernels (`kernels/`) for tensors that they take, which compute
the same function (`tests/unit/network/` holds them together). Window attention stands here once
more, written as its equation. What needs Triton is imported where it is called, on GPUs that it
compiles for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network.kernels import cpu, gpu
from atdsr.network.kernels.cpu import attention as on_cpu
from atdsr.network.kernels.cpu import layers
from atdsr.network.windows import merge, partition, shift, unshift

MAX_LOGIT_SCALE = math.log(100.0)
"""Upper bound of the category attention's learned `logit_scale`, before its exponential."""

_MOST_COUNTED = 2**16  # categories that are sorted by counting on a CPU

# --------------------------------------------------------------------------- window attention


def window_attention_reference(
    qkv: Tensor, bias: Tensor, penalties: Tensor | None, side: int
) -> Tensor:
    """Self-attention inside windows, every score matrix written out.

    Args:
        qkv: `b h w 3c`, channel = part * c + head * (c / heads) + i.
        bias: `heads n n` with n = side * side, the relative position bias.
        penalties: `2 2 n n` of `windows.shift_penalties` for a shifted layer, None otherwise.
        side: side of a window in tokens; divides h and w.

    Returns:
        `b h w c`, before the projection. Equation (6), SW-MSA.
    """
    heads = bias.shape[0]
    if penalties is not None:
        qkv = shift(qkv, side)
    q, k, v = split_heads(partition(qkv, side), heads)  # b rows columns heads n d
    scores = (q * q.shape[-1] ** -0.5) @ k.mT + bias
    if penalties is not None:
        rows, columns = scores.shape[1:3]
        last_row = torch.arange(rows, device=qkv.device) == rows - 1
        last_column = torch.arange(columns, device=qkv.device) == columns - 1
        scores = scores + penalties[last_row.long()[:, None], last_column.long()][:, :, None]
    out = merge(join_heads(scores.softmax(-1) @ v), side)
    return out if penalties is None else unshift(out, side)


def window_attention(
    qkv: Tensor, table: Tensor, position_index: Tensor, penalties: Tensor | None, side: int
) -> Tensor:
    """`window_attention_reference`, without score matrices in memory where that can be had.

    The windows of a shifted layer are four rectangles (inside, right, bottom, corner), each with
    one bias for all its windows, so no mask ever grows with the picture.

    Args:
        qkv: as there.
        table: `(2 side - 1)^2 heads`, the relative position biases.
        position_index: of `windows.position_index`.
        penalties: as there.
        side: as there.
    """
    shifted = penalties is not None
    if gpu.run_on(qkv):
        from atdsr.network.kernels.gpu import attention as on_gpu

        return on_gpu.window_attention(qkv, table, side, shifted)
    if on_cpu.takes_windows(qkv, side):
        return on_cpu.window_attention(qkv, table, side, shifted)
    bias = table[position_index].permute(2, 0, 1)  # n n heads -> heads n n
    if penalties is None:
        return merge(_biased_attention(partition(qkv, side), bias), side)
    windows = partition(shift(qkv, side), side)  # b rows columns n 3c
    rows = []
    for last_row, of_rows in enumerate(_all_but_last_and_last(windows.shape[1])):
        parts = [
            _biased_attention(windows[:, of_rows, of_columns], bias + penalties[last_row, last])
            for last, of_columns in enumerate(_all_but_last_and_last(windows.shape[2]))
        ]
        rows.append(torch.cat(parts, dim=2))
    return unshift(merge(torch.cat(rows, dim=1), side), side)


def _all_but_last_and_last(count: int) -> tuple[slice, slice]:
    return slice(0, count - 1), slice(count - 1, count)


def _biased_attention(windows: Tensor, bias: Tensor) -> Tensor:
    """Attention of `b rows columns n 3c` under one `heads n n` bias -> `b rows columns n c`."""
    grid = windows.shape[:3]
    q, k, v = split_heads(windows.flatten(0, 2), bias.shape[0])
    if 0 in grid:  # a picture of one row or column of windows has nothing but a last one
        out = q
    elif torch.is_grad_enabled() and bias.requires_grad:
        # SDPA has no fused backward that gives the bias a gradient on every device
        out = (q * q.shape[-1] ** -0.5 @ k.mT + bias).softmax(-1) @ v
    else:
        # the batch axis is what lets the fused CPU kernel take the mask
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
    return join_heads(out).unflatten(0, grid)


# ----------------------------------------------------------------------- dictionary attention


@dataclass(frozen=True)
class LookUp:
    """What the tokens found in the dictionary.

    A is the attention map, `b n m`, whose rows sum to 1.

    Attributes:
        categories: integer `b n`, the entry of the largest share, the first where several are
            (equation 11).
        mixed: A v, `b n c` (equation 7); or A and v, where their product is still to be added to
            something.
        gather: x `b n c` and the instance norm's weight `m` -> the tokens that the entries gather,
            softmax(norm(A^T)) x, `b m c` (equation 9).
    """

    categories: Tensor
    mixed: Tensor | tuple[Tensor, Tensor]
    gather: Callable[[Tensor, Tensor], Tensor]


def look_up(q: Tensor, k: Tensor, v: Tensor, scale: Tensor) -> LookUp:
    """Cross-attention of the picture's tokens to the token dictionary, TDCA (equation 7).

    Args:
        q: `b n d`, queries of the picture's tokens.
        k: `b m d`, keys of the dictionary.
        v: `b m c`, its values.
        scale: `m`, learned, clamped to [0, 1]; the cosine is multiplied by 1 + scale * ln m.
    """
    if gpu.run_on(q):
        from atdsr.network.kernels.gpu import dictionary as on_gpu

        keys = _scaled_keys(k, scale)
        mixed, categories, statistics = on_gpu.look_up(q, keys, v)
        return LookUp(
            categories, mixed, partial(on_gpu.gather_shares, q, keys, statistics=statistics)
        )
    if layers.takes(q):
        shares, categories, statistics = layers.look_up(q, _scaled_keys(k, scale))
        gather = partial(layers.gather_shares, shares, statistics=statistics)
        return LookUp(categories, (shares, v), gather)
    shares = attention_map(q, k, scale)
    return LookUp(shares.argmax(-1), (shares, v), partial(_gather_shares, shares))


def attention_map(q: Tensor, k: Tensor, scale: Tensor) -> Tensor:
    """The map A of `look_up`, `b n m`, in plain PyTorch."""
    return (F.normalize(q, dim=-1, eps=1e-12) @ _scaled_keys(k, scale).mT).softmax(-1)


def _scaled_keys(k: Tensor, scale: Tensor) -> Tensor:
    """Unit vectors, each times its temperature."""
    temperature = 1 + scale.clamp(0, 1) * math.log(k.shape[1])
    return F.normalize(k, dim=-1, eps=1e-12) * temperature[:, None]


def _gather_shares(shares: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """`LookUp.gather` of a map A that is written out."""
    shares = shares.mT.contiguous()  # b m n: what follows walks along the tokens
    variance = shares.var(dim=-1, keepdim=True, correction=0)
    return (shares * (weight[:, None] * (variance + 1e-5).rsqrt())).softmax(-1) @ x


def refine_dictionary(
    dictionary: Tensor, found: LookUp, x: Tensor, weight: Tensor, sigma: Tensor
) -> Tensor:
    """Adaptive dictionary refinement (equations 9, 10).

    The paper normalises A^T over the tokens (InstanceNorm, affine) before a softmax over the
    tokens. The softmax does not see what is added to a whole row, so neither the mean nor the
    affine bias changes the result; only the deviation and the affine weight remain.

    Args:
        dictionary: `b m c`.
        found: of `look_up`.
        x: `b n c`, the layer's output.
        weight: `m`, the instance norm's affine weight.
        sigma: `m 1`; its sigmoid is the share of the old dictionary that is kept.

    Returns:
        The refined dictionary, `b m c`.
    """
    keep = sigma.sigmoid()
    gathered = found.gather(x, weight).to(dictionary.dtype)
    return keep * dictionary + (1 - keep) * gathered


# ------------------------------------------------------------------------- category attention


def category_attention(
    qkv: Tensor,
    categories: Tensor,
    logit_scale: Tensor,
    heads: int,
    group: int,
    count: int | None = None,
) -> Tensor:
    """Adaptive category-based attention, AC-MSA (equations 12, 13).

    Tokens are sorted by category, ties by position on every device, and attend to the others of
    their run of `group` sorted tokens. A last run that is short borrows the tokens before its
    end, mirrored; what it computes for them is dropped.

    Args:
        qkv: `b n 3c`, channel = part * c + head * (c / heads) + i.
        categories: integer `b n`, the dictionary token that each token attends to most.
        logit_scale: scalar tensor; scores are multiplied by exp(min(logit_scale, ln 100)).
        heads: number of heads.
        group: tokens in a run; a picture of fewer tokens is one run.
        count: of dictionary tokens, where it is known; a GPU then sorts by counting.

    Returns:
        `b n c` in the original order, before the projection.
    """
    b, n, _ = qkv.shape
    group = min(n, group)
    order = sort_tokens(categories, count)
    log_scale = logit_scale.clamp(max=MAX_LOGIT_SCALE)
    if gpu.run_on(qkv):
        from atdsr.network.kernels.gpu import attention as on_gpu

        return on_gpu.category_attention(qkv, order, log_scale, heads, group)
    if on_cpu.takes(qkv):
        return on_cpu.category_attention(qkv, order, log_scale, heads, group)
    order = order.long()
    inverse = torch.empty_like(order).scatter_(
        1, order, torch.arange(n, device=order.device).expand(b, n)
    )
    runs = permute_tokens(qkv, order, inverse)
    missing = -n % group
    if missing:
        runs = torch.cat([runs, runs[:, n - missing :].flip(1)], dim=1)
    q, k, v = split_heads(runs.reshape(-1, group, runs.shape[-1]), heads)
    out = F.scaled_dot_product_attention(q * log_scale.exp(), k, v, scale=1.0)
    out = join_heads(out).reshape(b, n + missing, -1)
    return permute_tokens(out[:, :n], inverse, order)


def sort_tokens(categories: Tensor, count: int | None = None) -> Tensor:
    """The tokens of integer `b n` sorted by category, ties by position: integer `b n`.

    Args:
        categories: of the tokens.
        count: if it is given, each is from 0 to count - 1.
    """
    if count is not None and gpu.run_on_device_of(categories):
        from atdsr.network.kernels.gpu import sorting

        return sorting.sort_by_category(categories.int(), count)
    if cpu.run_on(categories):
        first, last = (int(end) for end in categories.aminmax())
        if first >= 0 and last < _MOST_COUNTED:
            return layers.sort_by_category(categories.int(), last + 1)
    return categories.sort(dim=1, stable=True).indices


class _PermuteTokens(torch.autograd.Function):
    """A row gather whose gradient is the gather of the inverse, not a scatter-add."""

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return _gather_tokens(x, order)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, order, inverse = inputs
        ctx.save_for_backward(order, inverse)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):
        order, inverse = ctx.saved_tensors
        return permute_tokens(grad_outputs[0], inverse, order), None, None


def permute_tokens(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Tokens of `b n c` in the given order (`b n`), `inverse` being the way back."""
    return _PermuteTokens.apply(x, order, inverse)


def _gather_tokens(x: Tensor, order: Tensor) -> Tensor:
    b, n, c = x.shape
    start = torch.arange(0, b * n, n, device=x.device)[:, None]
    return x.reshape(b * n, c).index_select(0, (order + start).flatten()).reshape(b, n, c)


# --------------------------------------------------------------------------------------- heads


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values `... heads n d` of `... n 3c`."""
    parts = qkv.unflatten(-1, (3, heads, -1))  # ... n 3 heads d
    q, k, v = parts.transpose(-4, -2).unbind(-3)  # ... heads 3 n d -> heads n d
    return q, k, v


def join_heads(x: Tensor) -> Tensor:
    """`... heads n d` -> `... n c`, the inverse of one part of `split_heads`."""
    return x.transpose(-3, -2).flatten(-2)
