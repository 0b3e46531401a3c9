"""The kernels of `rows_backward.py`, which says how they share the work, in Triton."""

# names are bound under compile-time constants, which pyright takes for variables
# pyright: reportPossiblyUnboundVariable=false

# Kernels are in the language of Triton, where a loop unrolled has no type.
# pyright: reportGeneralTypeIssues=false

import triton
import triton.language as tl

from atdsr.network.kernels.gpu.blocks import dot, gelu_slope
from atdsr.network.kernels.gpu.row_kernels import (
    load_rows,
    load_vector,
    load_weight,
    normed,
    places,
    store_rows,
    unit_rows,
)


@triton.jit
def _norm_gradient(scaled, unit, scale, C: tl.constexpr):
    """The gradient with respect to what was normed, of that with respect to `unit_rows`."""
    level = tl.sum(scaled, 1) / C
    along = tl.sum(scaled * unit, 1) / C
    return scale[:, None] * (scaled - level[:, None] - unit * along[:, None])


@triton.jit
def _before_gelu(block, weight, bias, PRECISION: tl.constexpr):
    """What the forward pass took the GELU of: rows times weight `m c`, and bias."""
    return dot(block, tl.trans(weight), PRECISION) + bias[None, :]


@triton.jit
def _folded(
    weight,
    bias,
    norm_weight,
    norm_bias,
    like,
    M: tl.constexpr,
    C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """A map with its norm's weight and bias in it, for `unit_rows`; a block after the other."""
    # Folded once a program: rows then need no multiplication by the norm's weight, and `unit_rows`
    # serve the forward value, the weight's gradient and the norm's.
    blocks, biases = (), ()
    for start in tl.static_range(0, M, BLOCK_M):
        block = load_weight(weight, start, 0, M, C, BLOCK_M, BLOCK_C).to(tl.float32)
        offset = tl.sum(block * load_vector(norm_bias, 0, C, BLOCK_C)[None, :], 1)
        block = block * load_vector(norm_weight, 0, C, BLOCK_C)[None, :]
        blocks += (block.to(like.dtype.element_ty),)
        biases += (offset + load_vector(bias, start, M, BLOCK_M),)
    return blocks, biases


@triton.jit
def _no_sums(ROWS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr):
    """Sums for a weight and its bias, in blocks of rows, before there is something to add."""
    sums = ()
    for _ in tl.static_range(0, ROWS, BLOCK_ROWS):
        sums += (tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32),)
    return sums


@triton.jit
def _with_ones(block, COLUMN: tl.constexpr, BLOCK: tl.constexpr):
    """The block in float32 with ones in a column, so that a product with it has sums beside it."""
    return tl.where((tl.arange(0, BLOCK) == COLUMN)[None, :], 1.0, block.to(tl.float32))


@triton.jit
def _column(block, COLUMN: tl.constexpr, BLOCK: tl.constexpr):
    return tl.sum(tl.where((tl.arange(0, BLOCK) == COLUMN)[None, :], block, 0.0), 1)


@triton.jit
def _store_vector(vector, out, start, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    columns = start + tl.arange(0, BLOCK)
    tl.store(out + columns, vector, mask=columns < SIZE)


@triton.jit
def _through_map(
    block,
    total,
    gradient,
    weights,
    biases,
    sums,
    at,
    M: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_M: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Add a map's part to the gradient of its rows, and these rows' to its parameters' sums."""
    # a tuple cannot be changed in place, so the sums are built anew
    more = ()
    for i in tl.static_range(len(weights)):
        given = load_rows(gradient, at, i * BLOCK_M, M, BLOCK_M)
        if GELU:
            # made again: to keep it would cost as much memory as the result
            before = _before_gelu(block, weights[i], biases[i], PRECISION)
            given = (given.to(tl.float32) * gelu_slope(before)).to(block.dtype)
        total += dot(given, weights[i], PRECISION)
        more += (sums[i] + dot(tl.trans(given), block, PRECISION),)
    return total, more


@triton.jit
def _store_map_sums(
    products,
    of_norm_weight,
    of_norm_bias,
    weight,
    norm_weight,
    norm_bias,
    of_weight,
    of_bias,
    M: tl.constexpr,
    C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """From products of gradients and `unit_rows`: store a map's sums, add to those of its norm."""
    for i in tl.static_range(len(products)):
        outputs = i * BLOCK_M + tl.arange(0, BLOCK_M)
        # the column of ones has summed the gradient's columns: the bias's gradient at no cost
        level = _column(products[i], C, BLOCK_C)
        block = load_weight(weight, i * BLOCK_M, 0, M, C, BLOCK_M, BLOCK_C).to(tl.float32)
        of_norm_weight += tl.sum(block * products[i], 0)
        of_norm_bias += tl.sum(block * level[:, None], 0)
        found = products[i] * load_vector(norm_weight, 0, C, BLOCK_C)[None, :]
        found += level[:, None] * load_vector(norm_bias, 0, C, BLOCK_C)[None, :]
        store_rows(found, of_weight, (outputs, outputs < M), 0, C, BLOCK_C)
        _store_vector(level, of_bias, i * BLOCK_M, M, BLOCK_M)
    return of_norm_weight, of_norm_bias


@triton.jit
def normed_backward_fused(
    x,
    norm_weight,
    norm_bias,
    through,
    gradient0,
    weight0,
    bias0,
    gradient1,
    weight1,
    bias1,
    found,
    sums,
    n,
    eps,
    C: tl.constexpr,
    M0: tl.constexpr,
    M1: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M0: tl.constexpr,
    BLOCK_M1: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """All gradients of a program's share of narrow rows: theirs, and the parameters' sums."""
    weights0, biases0 = _folded(
        weight0, bias0, norm_weight, norm_bias, gradient0, M0, C, BLOCK_M0, BLOCK_C
    )
    weights1, biases1 = _folded(
        weight1, bias1, norm_weight, norm_bias, gradient0, M1, C, BLOCK_M1, BLOCK_C
    )
    products0 = _no_sums(M0, BLOCK_M0, BLOCK_C)
    products1 = _no_sums(M1, BLOCK_M1, BLOCK_C)
    for index in range(tl.program_id(0), tl.cdiv(n, BLOCK_N), tl.num_programs(0)):
        at = places(index, n, BLOCK_N)
        unit, scale = unit_rows(x, at, eps, C, BLOCK_C)
        block = _with_ones(unit, C, BLOCK_C).to(gradient0.dtype.element_ty)
        total = tl.zeros((BLOCK_N, BLOCK_C), tl.float32)
        total, products0 = _through_map(
            *(block, total, gradient0, weights0, biases0, products0, at),
            *(M0, GELU, BLOCK_M0, PRECISION),
        )
        total, products1 = _through_map(
            *(block, total, gradient1, weights1, biases1, products1, at),
            *(M1, False, BLOCK_M1, PRECISION),
        )
        result = _norm_gradient(total, unit, scale, C)
        result += load_rows(through, at, 0, C, BLOCK_C).to(tl.float32)
        store_rows(result, found, at, 0, C, BLOCK_C)
    of_weight = sums + tl.program_id(0) * ((M0 + M1 + 2) * C + M0 + M1)
    of_bias = of_weight + (M0 + M1) * C
    of_norm_weight = tl.zeros((BLOCK_C,), tl.float32)
    of_norm_bias = tl.zeros((BLOCK_C,), tl.float32)
    of_norm_weight, of_norm_bias = _store_map_sums(
        *(products0, of_norm_weight, of_norm_bias, weight0, norm_weight, norm_bias),
        *(of_weight, of_bias, M0, C, BLOCK_M0, BLOCK_C),
    )
    of_norm_weight, of_norm_bias = _store_map_sums(
        *(products1, of_norm_weight, of_norm_bias, weight1, norm_weight, norm_bias),
        *(of_weight + M0 * C, of_bias + M0, M1, C, BLOCK_M1, BLOCK_C),
    )
    _store_vector(of_norm_weight, of_bias + M0 + M1, 0, C, BLOCK_C)
    _store_vector(of_norm_bias, of_bias + M0 + M1 + C, 0, C, BLOCK_C)


@triton.jit
def normed_backward(
    x,
    norm_weight,
    norm_bias,
    through,
    gradient0,
    weight0,
    bias0,
    gradient1,
    weight1,
    found,
    normed_out,
    before_out,
    sums,
    n,
    eps,
    C: tl.constexpr,
    M0: tl.constexpr,
    M1: tl.constexpr,
    PITCH0: tl.constexpr,
    PITCH1: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M0: tl.constexpr,
    BLOCK_M1: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradient of a block of wide rows, and what the weights' gradients are made of."""
    dtype = gradient0.dtype.element_ty
    at = places(tl.program_id(0), n, BLOCK_N)
    unit, _ = unit_rows(x, at, eps, C, BLOCK_C)
    block = normed(unit, norm_weight, norm_bias, C, BLOCK_C).to(dtype)
    store_rows(block, normed_out, at, 0, C, BLOCK_C)
    total = tl.zeros((BLOCK_N, BLOCK_C), tl.float32)
    for start in range(0, M0, BLOCK_M0):
        weight = load_weight(weight0, start, 0, M0, PITCH0, BLOCK_M0, BLOCK_C).to(dtype)
        given = load_rows(gradient0, at, start, M0, BLOCK_M0)
        if GELU:
            bias = load_vector(bias0, start, M0, BLOCK_M0)
            before = _before_gelu(block, weight, bias, PRECISION)
            given = (given.to(tl.float32) * gelu_slope(before)).to(dtype)
            store_rows(given, before_out, at, start, M0, BLOCK_M0)
        total += dot(given, weight, PRECISION)
    if M1 > 0:
        for start in range(0, M1, BLOCK_M1):
            weight = load_weight(weight1, start, 0, M1, PITCH1, BLOCK_M1, BLOCK_C).to(dtype)
            given = load_rows(gradient1, at, start, M1, BLOCK_M1)
            total += dot(given, weight, PRECISION)
    # once more: kept, it would not leave room for the products
    unit, scale = unit_rows(x, at, eps, C, BLOCK_C)
    sums += tl.program_id(0) * 2 * C
    _store_vector(tl.sum(total * unit, 0), sums, 0, C, BLOCK_C)
    _store_vector(tl.sum(total, 0), sums + C, 0, C, BLOCK_C)
    scaled = total * load_vector(norm_weight, 0, C, BLOCK_C)[None, :]
    result = _norm_gradient(scaled, unit, scale, C)
    result += load_rows(through, at, 0, C, BLOCK_C).to(tl.float32)
    store_rows(result, found, at, 0, C, BLOCK_C)


@triton.jit
def weight_gradient(
    gradient,
    x,
    sums,
    n,
    TOTAL: tl.constexpr,
    OF_WEIGHT: tl.constexpr,
    OF_BIAS: tl.constexpr,
    M: tl.constexpr,
    K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A block of gradient^T @ x and of the columns' sums, over a program's share of the rows."""
    row, column = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_K
    of_weight = tl.zeros((BLOCK_M, BLOCK_K), tl.float32)
    of_bias = tl.zeros((BLOCK_M,), tl.float32)
    # A fixed number of programs divides the rows, each with sums of its own that are added in one
    # order: no atomic additions, and the same bits in each run.
    for index in range(tl.program_id(2), tl.cdiv(n, BLOCK_N), tl.num_programs(2)):
        at = places(index, n, BLOCK_N)
        given = load_rows(gradient, at, row, M, BLOCK_M)
        block = load_rows(x, at, column, K, BLOCK_K)
        of_bias += tl.sum(given.to(tl.float32), 0)
        of_weight += dot(tl.trans(given.to(block.dtype)), block, PRECISION)
    sums += tl.program_id(2) * TOTAL
    outputs = row + tl.arange(0, BLOCK_M)
    store_rows(of_weight, sums + OF_WEIGHT, (outputs, outputs < M), column, K, BLOCK_K)
    if column == 0:  # the other blocks of columns have the same sums of the gradient
        _store_vector(of_bias, sums + OF_BIAS, row, M, BLOCK_M)


@triton.jit
def added_backward_fused(
    gradient,
    copy,
    rows0,
    weight0,
    found0,
    rows1,
    weight1,
    found1,
    sums,
    n,
    C: tl.constexpr,
    K0: tl.constexpr,
    K1: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K0: tl.constexpr,
    BLOCK_K1: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """All gradients of a program's share of narrow rows that were mapped and added."""
    dtype = rows0.dtype.element_ty
    part0 = load_weight(weight0, 0, 0, C, K0, BLOCK_C, BLOCK_K0).to(dtype)
    products0 = tl.zeros((BLOCK_C, BLOCK_K0), tl.float32)
    products1 = tl.zeros((BLOCK_C, BLOCK_K1), tl.float32)
    if K1 > 0:
        part1 = load_weight(weight1, 0, 0, C, K1, BLOCK_C, BLOCK_K1).to(dtype)
    for index in range(tl.program_id(0), tl.cdiv(n, BLOCK_N), tl.num_programs(0)):
        at = places(index, n, BLOCK_N)
        given = load_rows(gradient, at, 0, C, BLOCK_C).to(dtype)
        if copy is not None:
            store_rows(given, copy, at, 0, C, BLOCK_C)
        block = load_rows(rows0, at, 0, K0, BLOCK_K0)
        block = _with_ones(block, K0, BLOCK_K0).to(dtype)
        products0 += dot(tl.trans(given), block, PRECISION)
        store_rows(dot(given, part0, PRECISION), found0, at, 0, K0, BLOCK_K0)
        if K1 > 0:
            block = load_rows(rows1, at, 0, K1, BLOCK_K1)
            products1 += dot(tl.trans(given), block, PRECISION)
            store_rows(dot(given, part1, PRECISION), found1, at, 0, K1, BLOCK_K1)
    sums += tl.program_id(0) * ((K0 + K1 + 1) * C)
    outputs = tl.arange(0, BLOCK_C)
    store_rows(products0, sums, (outputs, outputs < C), 0, K0, BLOCK_K0)
    if K1 > 0:
        store_rows(products1, sums + C * K0, (outputs, outputs < C), 0, K1, BLOCK_K1)
    of_bias = _column(products0, K0, BLOCK_K0)
    _store_vector(of_bias, sums + C * (K0 + K1), 0, C, BLOCK_C)
