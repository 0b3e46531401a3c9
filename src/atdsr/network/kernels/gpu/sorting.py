"""Tokens sorted by category, by counting: stable, in three launches, without atomics.

A block of tokens counts its categories. The running sum of all counts, category by category and
block by block, is where the block's tokens of a category begin in the sorted order.
"""

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from atdsr.network.kernels import gpu


@dataclass(frozen=True)
class SortingBlocks:
    """How the work is cut.

    Attributes:
        tokens: of a program.
        categories: that are counted at a time.
        warps: of a program.
    """

    tokens: int
    categories: int
    warps: int


BLOCKS = SortingBlocks(tokens=128, categories=64, warps=4)


@triton.jit
def _count(
    categories, counts, tokens, blocks, COUNT: tl.constexpr, T: tl.constexpr, K: tl.constexpr
):
    """Counts `picture category block` of one block's tokens."""
    picture = (tl.program_id(0) // blocks).to(tl.int64)
    block = tl.program_id(0) % blocks
    token = block * T + tl.arange(0, T)
    given = tl.load(categories + picture * tokens + token, mask=token < tokens, other=-1)
    # every pair of token and category is compared: no atomic counters, and no race for an order
    for first in range(0, COUNT, K):
        category = first + tl.arange(0, K)
        count = tl.sum((given[:, None] == category[None, :]).to(tl.int32), 0)
        out = counts + (picture * COUNT + category) * blocks + block
        tl.store(out, count, mask=category < COUNT)


@triton.jit
def _place(categories, ends, order, tokens, blocks, COUNT: tl.constexpr, T: tl.constexpr):
    """Write each token of a block to its place in the sorted order."""
    picture = (tl.program_id(0) // blocks).to(tl.int64)
    block = tl.program_id(0) % blocks
    row = tl.arange(0, T)
    token = block * T + row
    given = tl.load(categories + picture * tokens + token, mask=token < tokens, other=-1)
    # T^2 comparisons in registers give each token's rank inside its block, which makes it stable
    same = (given[:, None] == given[None, :]) & (row[:, None] < row[None, :])
    before = tl.sum(same.to(tl.int32), 0)  # tokens of the block that come before, each
    run = (picture * COUNT + given) * blocks + block
    here = token < tokens
    begin = tl.load(ends + run - 1, mask=here & (run > 0), other=0)
    # the sums run on over the pictures, each of which has as many tokens
    place = begin - (picture * tokens).to(tl.int32) + before
    tl.store(order + picture * tokens + place, token, mask=here)


def sort_by_category(categories: Tensor, count: int) -> Tensor:
    """Return the tokens of each picture sorted by category, ties by position.

    Args:
        categories: int32 `b n`, each from 0 to count - 1; n is below 2^31.
        count: Number of categories.

    Returns:
        int32 `b n`.
    """
    (b, n), how = categories.shape, BLOCKS
    categories = categories.contiguous()
    blocks = math.ceil(n / how.tokens)
    counts = categories.new_empty(b * count * blocks)
    gpu.launch(
        _count,
        (b * blocks,),
        categories,
        counts,
        n,
        blocks,
        warps=how.warps,
        COUNT=count,
        T=how.tokens,
        K=how.categories,
    )
    ends = counts.cumsum(0, dtype=torch.int32)  # may wrap around, and back in a difference
    order = torch.empty_like(categories)
    gpu.launch(
        _place,
        (b * blocks,),
        categories,
        ends,
        order,
        n,
        blocks,
        warps=how.warps,
        COUNT=count,
        T=how.tokens,
    )
    return order
