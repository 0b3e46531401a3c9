"""Layers of operations that exported programs may hold, for pictures of any size.

Exporters refuse a stable sort and conditions on the size of a picture, and TensorRT builds no sort
of more than 3,840 tokens. So tokens are sorted by counting, windows are an order of the tokens too,
and a shift's penalties are four more channels of the queries and keys.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from atdsr.network.attention import join_heads, split_heads
from atdsr.network.windows import SHIFT_PENALTY, position_index

if TYPE_CHECKING:
    from atdsr.network.model import Layer


@dataclass(frozen=True)
class Windows:
    """The windows of a picture, as an order of its tokens.

    Attributes:
        order: int64 `1 n`, the tokens, window by window.
        place: int64 `1 n`, where each token comes in that order.
        pairs: int64 `side^4`, the row of the bias table for each pair of tokens in a window.
        regions: `1 windows 1 side*side 4`, which of the four parts of the picture that a shift
            makes neighbours a token is in, as zeros and a one. None without a shift.
    """

    order: Tensor
    place: Tensor
    pairs: Tensor
    regions: Tensor | None


class ExportBackend:
    """Runs layers in one forward pass; it keeps what all layers of that pass share.

    A picture has at least as many tokens as a run of the category attention: the side of a window
    squared is no less than `category_size`.
    """

    def __init__(self) -> None:
        self._windows: dict[bool, Windows] = {}

    def run_layer(self, layer: "Layer", x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        """Compute `model.Layer.forward`."""
        return compute_layer(layer, x, dictionary, self.windows(layer, x))

    def end_stack(self) -> None:
        """Keep what there is."""

    def windows(self, layer: "Layer", x: Tensor) -> Windows:
        """Return the windows in which a layer looks at tokens `b h w c`."""
        shifted = layer.window.shifted
        if shifted not in self._windows:
            h, w = x.shape[1:3]
            self._windows[shifted] = make_windows(h, w, layer.window.side, shifted, x.device)
        return self._windows[shifted]


def compute_layer(
    layer: "Layer", x: Tensor, dictionary: Tensor, windows: Windows
) -> tuple[Tensor, Tensor]:
    """Compute `model.Layer.forward`.

    Where the weights of some modules are in half precision, so are the products with them. Tokens,
    norms and what concerns the dictionary keep the precision of the tokens.
    """
    window, category, half = layer.window, layer.category, layer.qkv.weight.dtype
    u = layer.norm_attention(x)
    qkv = layer.qkv(u.to(half)).flatten(1, 2)
    looked_up, similarity = layer.dictionary(u, dictionary)
    from_window = window.proj(attend_in_windows(qkv, window.bias_table, windows, window.side))
    from_category = category.proj(
        _attend_in_categories(
            qkv,
            place_by_category(similarity, x.shape[1], x.shape[2], category.block),
            category.log_scale(),
            category.heads,
            category.group,
        )
    )
    x = x + looked_up + (from_window + from_category).to(x.dtype).view(x.shape)
    codes = layer.codes(dictionary, similarity.argmax(-1), x)
    x = x + layer.ffn(layer.norm_ffn(x).to(half), codes).to(x.dtype)
    if layer.refinement is not None:
        dictionary = layer.refinement(dictionary, similarity, x)
    return x, dictionary


# ------------------------------------------------------------------------------------ windows


def make_windows(h: int, w: int, side: int, shifted: bool, device: torch.device) -> Windows:
    """Compute what `windows.shift`, `windows.partition` and `windows.shift_penalties` mean."""
    step = side // 2 if shifted else 0
    rows, columns, n = h // side, w // side, side**2
    y, x = (torch.arange(length, device=device).roll(-step) for length in (h, w))
    order = y.view(rows, 1, side, 1) * w + x.view(1, columns, 1, side)

    inner = torch.arange(side, device=device)
    row, column = (torch.arange(count, device=device)[:, None] for count in (rows, columns))
    from_row = (row * (columns * n) + inner * side).flatten().roll(step)
    from_column = (column * n + inner).flatten().roll(step)
    place = from_row[:, None] + from_column

    regions = None
    if shifted:
        kinds = torch.arange(2, device=device)  # 0 keeps its neighbours, 1 is rolled around
        of_row, of_column = (
            ((torch.arange(length, device=device) >= length - step)[:, None] == kinds).float()
            for length in (h, w)
        )  # length 2
        regions = of_row.view(rows, 1, side, 1, 2, 1) * of_column.view(1, columns, 1, side, 1, 2)
        regions = regions.reshape(1, -1, 1, n, 4)
    pairs = position_index(side, device).flatten()
    return Windows(order.reshape(1, -1), place.reshape(1, -1), pairs, regions)


def attend_in_windows(qkv: Tensor, table: Tensor, windows: Windows, side: int) -> Tensor:
    """Compute `attention.window_attention` of `b n 3c`: `b n c`."""
    b, n, _ = qkv.shape
    size, heads = side**2, table.shape[1]
    bias = table.index_select(0, windows.pairs).view(size, size, heads).permute(2, 0, 1)
    tokens = _select_tokens(qkv, windows.order).reshape(-1, size, qkv.shape[-1])
    q, k, v = split_heads(tokens, heads)  # b*windows heads size d
    q = q * q.shape[-1] ** -0.5
    if windows.regions is not None:
        regions = windows.regions.expand(b, -1, heads, -1, -1).reshape(-1, heads, size, 4)
        regions = regions.to(q.dtype)
        # the products of these channels add up to 0 in one region, to the penalty in two
        q = torch.cat([q, regions * SHIFT_PENALTY], dim=-1)
        k = torch.cat([k, 1 - regions], dim=-1)
    out = join_heads((q @ k.mT + bias).softmax(-1) @ v).reshape(b, n, -1)
    return _select_tokens(out, windows.place)


# --------------------------------------------------------------------------------- categories


def place_by_category(similarity: Tensor, h: int, w: int, block: int | None) -> Tensor:
    """Return where each token comes when tokens are sorted by category, ties by position.

    A token comes after all of lower categories, and after those of its own that stand before it.
    With blocks it comes after all of the blocks before its own, too. Counts are exact up to 2^24
    tokens; they are floats since TensorRT adds up no others.

    Args:
        similarity: `b n m`, the attention map A. A token's category is the index of its largest
            value, the first one where several are the largest.
        h: Rows of tokens.
        w: Columns of tokens.
        block: `ATDConfig.category_block`.

    Returns:
        int64 `b n`.
    """
    categories = torch.arange(similarity.shape[-1], device=similarity.device)
    is_in = (similarity.argmax(-1, keepdim=True) == categories).float()  # b n m
    if block is None:
        return _count_before(is_in[:, None])[:, 0]
    rows, columns = (h + block - 1) // block, (w + block - 1) // block
    is_in = F.pad(is_in.view(-1, h, w, len(categories)), (0, 0, 0, columns * block - w))
    is_in = F.pad(is_in, (0, 0, 0, 0, 0, rows * block - h))  # what is added is in no category
    is_in = is_in.view(-1, rows, block, columns, block, len(categories)).transpose(2, 3)
    place = _count_before(is_in.reshape(-1, rows * columns, block**2, len(categories)))
    place = place.view(-1, rows, columns, block, block).transpose(2, 3)
    return place.reshape(-1, rows * block, columns * block)[:, :h, :w].flatten(1)


def _count_before(is_in: Tensor) -> Tensor:
    """Return how many tokens come before each, `b blocks n`.

    Args:
        is_in: `b blocks n m`, 1 for the category of each token, else 0.
    """
    counts = is_in.sum(2).flatten(1)  # b blocks*m
    first = (counts.cumsum(-1) - counts).view(-1, is_in.shape[1], 1, is_in.shape[-1])
    return ((is_in.cumsum(2) + first) * is_in).sum(-1).long() - 1


def _attend_in_categories(
    qkv: Tensor, place: Tensor, log_scale: Tensor, heads: int, group: int
) -> Tensor:
    """Compute `attention.category_attention` of `b n 3c`, where n is at least `group`.

    Args:
        qkv: `b n 3c`, channel = part * c + head * (c / heads) + i.
        place: int64 `b n`, of `place_by_category`.
        log_scale: Scores are multiplied by its exponential.
        heads: Number of heads.
        group: Tokens in a run.

    Returns:
        `b n c` in the original order, before the projection.
    """
    b, n, _ = qkv.shape
    position = torch.arange(n, device=qkv.device)
    order = torch.zeros_like(place).scatter(1, place, position.expand(b, n))
    length = (n + group - 1) // group * group
    index = torch.arange(length, device=qkv.device)
    index = torch.minimum(index, 2 * n - 1 - index)  # the last run borrows tokens, mirrored
    runs = _select_tokens(qkv, order.index_select(1, index)).reshape(-1, group, qkv.shape[-1])
    q, k, v = split_heads(runs, heads)
    out = join_heads((q * log_scale.exp() @ k.mT).softmax(-1) @ v).reshape(b, length, -1)
    return _select_tokens(out, place)


def _select_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Return the tokens of `b n c` that stand at `b k`, or at the same `1 k` in all: `b k c`."""
    b, n, c = x.shape
    start = torch.arange(b, device=x.device)[:, None] * n
    return x.reshape(b * n, c).index_select(0, (index + start).flatten()).reshape(b, -1, c)
