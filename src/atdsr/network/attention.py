"""The three attentions of ATD as functions of tensors, in plain PyTorch.

Parameters stay in `model.py`. Equation numbers are those of `docs/model.md`. `operators.py` runs
kernels in place of window and category attention where there are some; the tests compare them with
these functions. Window attention is here twice: once written as its equation.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network.windows import (
    merge,
    partition,
    position_index,
    shift,
    shift_penalties,
    unshift,
)

MAX_LOGIT_SCALE = math.log(100.0)
"""Upper bound of the category attention's learned `logit_scale`, before its exponential."""

# --------------------------------------------------------------------------- window attention


def window_attention_reference(qkv: Tensor, table: Tensor, side: int, shifted: bool) -> Tensor:
    """Self-attention inside windows, every score matrix written out.

    Args:
        qkv: `b h w 3c`, channel = part * c + head * (c / heads) + i.
        table: `(2 side - 1)^2 heads`, the relative position biases.
        side: Side of a window in tokens; it divides h and w.
        shifted: Whether the windows are shifted by half their side, around the map's edges.

    Returns:
        `b h w c`, before the projection. Equation (6), SW-MSA.
    """
    bias = position_bias(table, side)
    if shifted:
        qkv = shift(qkv, side)
    q, k, v = split_heads(partition(qkv, side), len(bias))  # b rows columns heads n d
    scores = (q * q.shape[-1] ** -0.5) @ k.mT + bias
    if shifted:
        rows, columns = scores.shape[1:3]
        last_row = torch.arange(rows, device=qkv.device) == rows - 1
        last_column = torch.arange(columns, device=qkv.device) == columns - 1
        penalties = _constant(shift_penalties, side, qkv.device).to(bias.dtype)
        scores = scores + penalties[last_row.long()[:, None], last_column.long()][:, :, None]
    out = merge(join_heads(scores.softmax(-1) @ v), side)
    return unshift(out, side) if shifted else out


def window_attention(qkv: Tensor, table: Tensor, side: int, shifted: bool) -> Tensor:
    """Compute `window_attention_reference` without score matrices where PyTorch can.

    The windows of a shifted layer form four rectangles (inside, right, bottom, corner). Each has
    one bias for all its windows, so no mask ever grows with the picture.
    """
    bias = position_bias(table, side)
    if not shifted:
        return merge(_biased_attention(partition(qkv, side), bias), side)
    windows = partition(shift(qkv, side), side)  # b rows columns n 3c
    penalties = _constant(shift_penalties, side, qkv.device).to(bias.dtype)
    attended_rows = []
    for last_row, rows in enumerate(_all_but_last_and_last(windows.shape[1])):
        rectangles = [
            _biased_attention(windows[:, rows, columns], bias + penalties[last_row, last_column])
            for last_column, columns in enumerate(_all_but_last_and_last(windows.shape[2]))
        ]
        attended_rows.append(torch.cat(rectangles, dim=2))
    return unshift(merge(torch.cat(attended_rows, dim=1), side), side)


def position_bias(table: Tensor, side: int) -> Tensor:
    """Return the bias `heads n n` of all pairs of tokens in a window, n = side * side."""
    index = _constant(position_index, side, table.device)
    return table[index].permute(2, 0, 1)  # n n heads -> heads n n


_constants: dict[tuple[object, int, torch.device], Tensor] = {}


def _constant(
    make: Callable[[int, torch.device], Tensor], side: int, device: torch.device
) -> Tensor:
    """Return what a function of `windows.py` returns, computed once for each device.

    A layer would otherwise spend most of a millisecond on it in every forward pass.
    """
    if torch.compiler.is_compiling():  # a compiled graph has constants of its own
        return make(side, device)
    key = make, side, device
    if key not in _constants:
        with torch.inference_mode(False):  # training may need it later
            constant = make(side, device)
        if type(constant) is not Tensor:  # a stand-in without numbers, of a tracer
            return constant
        _constants[key] = constant
    return _constants[key]


def _all_but_last_and_last(count: int) -> tuple[slice, slice]:
    return slice(0, count - 1), slice(count - 1, count)


def _biased_attention(windows: Tensor, bias: Tensor) -> Tensor:
    """Attention of `b rows columns n 3c` under one `heads n n` bias -> `b rows columns n c`."""
    grid = windows.shape[:3]
    q, k, v = split_heads(windows.flatten(0, 2), bias.shape[0])
    if 0 in grid:  # a picture of one row or column of windows has only a last one
        out = q
    elif torch.is_grad_enabled() and bias.requires_grad:
        # SDPA has no fused backward that gives the bias a gradient on every device
        out = (q * q.shape[-1] ** -0.5 @ k.mT + bias).softmax(-1) @ v
    else:
        # the fused CPU kernel accepts a mask only with a batch axis
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
    return join_heads(out).unflatten(0, grid)


# ----------------------------------------------------------------------- dictionary attention


def attention_map(q: Tensor, k: Tensor, scale: Tensor, largest: float = 1.0) -> Tensor:
    """Return the map A of the tokens' attention to the dictionary, TDCA (equation 7).

    Args:
        q: `b n d`, queries of the picture's tokens.
        k: `b m d`, keys of the dictionary.
        scale: `m`, or `1` for all keys, learned; the cosine is multiplied by 1 + scale * ln m.
        largest: What the scale is clamped to; from below it is clamped to 0.

    Returns:
        `b n m`; each row sums to 1.
    """
    return (F.normalize(q, dim=-1, eps=1e-12) @ scaled_keys(k, scale, largest).mT).softmax(-1)


def scaled_keys(k: Tensor, scale: Tensor, largest: float = 1.0) -> Tensor:
    """Return unit vectors, each times its temperature; the arguments are `attention_map`'s."""
    # two floats: exporters to ONNX refuse a clamp to an integer and a float
    temperature = 1 + scale.clamp(0.0, largest) * math.log(k.shape[1])
    return F.normalize(k, dim=-1, eps=1e-12) * temperature[:, None]


def gather_tokens(attention: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return the tokens that each entry gathers, softmax(norm(A^T)) x (equation 9).

    The paper normalises A^T over the tokens (InstanceNorm, affine) before a softmax over the
    tokens. What is added to a whole row does not change its softmax, so neither the mean nor the
    affine bias changes the result; only the deviation and the affine weight remain.

    Args:
        attention: The map A, `b n m`.
        x: `b n c`, the layer's output.
        weight: `m`, the instance norm's affine weight.

    Returns:
        `b m c`.
    """
    shares = attention.mT.contiguous()  # b m n: what follows walks along the tokens
    variance = shares.var(dim=-1, keepdim=True, correction=0)
    return (shares * (weight[:, None] * (variance + 1e-5).rsqrt())).softmax(-1) @ x


def refine_dictionary(dictionary: Tensor, gathered: Tensor, sigma: Tensor) -> Tensor:
    """Move the dictionary towards the gathered tokens, adaptive refinement (equation 10).

    Args:
        dictionary: `b m c`.
        gathered: `b m c`, of `gather_tokens`.
        sigma: `m 1`; its sigmoid is the share of the old dictionary that is kept.
    """
    keep = sigma.sigmoid()
    return keep * dictionary + (1 - keep) * gathered.to(dictionary.dtype)


# ------------------------------------------------------------------------- category attention


def sort_keys(
    categories: Tensor, count: int, h: int, w: int, block: int | None
) -> tuple[Tensor, int]:
    """Return the keys by which the tokens of a picture are sorted before they attend in runs.

    Args:
        categories: Integer `b n`, n = h * w, the dictionary token that each token attends to most.
        count: Number of dictionary tokens.
        h: Rows of tokens.
        w: Columns of tokens.
        block: `ATDConfig.category_block`.

    Returns:
        The keys, integer `b n`, and how many there may be. Without blocks they are the categories.
        With blocks they are in the order of blocks, row by row, and inside a block of categories.
    """
    if block is None or block >= max(h, w):
        return categories, count
    rows, columns = math.ceil(h / block), math.ceil(w / block)
    y, x = (torch.arange(length, device=categories.device) // block for length in (h, w))
    blocks = (y[:, None] * columns + x).flatten()
    return blocks * count + categories, rows * columns * count


def category_attention(
    qkv: Tensor, order: Tensor, log_scale: Tensor, heads: int, group: int
) -> Tensor:
    """Adaptive category-based attention, AC-MSA (equations 12, 13).

    Tokens attend to the others of their run of `group` sorted tokens. A last run that is short
    borrows the tokens before its end, mirrored; what it computes for them is dropped.

    Args:
        qkv: `b n 3c`, channel = part * c + head * (c / heads) + i.
        order: Integer `b n`, the tokens sorted by category.
        log_scale: Scalar tensor; scores are multiplied by its exponential.
        heads: Number of heads.
        group: Tokens in a run, at most n.

    Returns:
        `b n c` in the original order, before the projection.
    """
    b, n, _ = qkv.shape
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


class _PermuteTokens(torch.autograd.Function):
    """A row gather whose gradient is the gather of the inverse, not a scatter-add."""

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        b, n, c = x.shape
        start = torch.arange(0, b * n, n, device=x.device)[:, None]
        return x.reshape(b * n, c).index_select(0, (order + start).flatten()).reshape(b, n, c)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, order, inverse = inputs
        ctx.save_for_backward(order, inverse)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):
        order, inverse = ctx.saved_tensors
        return permute_tokens(grad_outputs[0], inverse, order), None, None


def permute_tokens(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Return the tokens of `b n c` in the given order (`b n`); `inverse` is the way back."""
    return _PermuteTokens.apply(x, order, inverse)


# --------------------------------------------------------------------------------------- heads


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the queries, keys and values `... heads n d` of `... n 3c`."""
    parts = qkv.unflatten(-1, (3, heads, -1))  # ... n 3 heads d
    q, k, v = parts.transpose(-4, -2).unbind(-3)  # ... heads 3 n d -> heads n d
    return q, k, v


def join_heads(x: Tensor) -> Tensor:
    """Return `... n c` of `... heads n d`, the inverse of one part of `split_heads`."""
    return x.transpose(-3, -2).flatten(-2)
