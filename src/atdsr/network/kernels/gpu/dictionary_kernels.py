"""The kernels of `dictionary.py`.

Every kernel makes the map A again, a block of tokens at a time, from the queries and the keys: the
least of what there is to read. A program walks along a chunk of a picture's tokens; what it sums
over tokens goes to a place of its own.
"""

# names are bound under compile-time constants, which pyright takes for variables
# pyright: reportPossiblyUnboundVariable=false
# pyright: reportGeneralTypeIssues=false

import triton
import triton.language as tl

from atdsr.network.kernels.gpu.blocks import LOG2_E, dot

_EPSILON = tl.constexpr(1e-5)  # added to the variance of A, as an instance norm does
_SHORTEST = tl.constexpr(1e-12)  # norm of a query, as in `F.normalize`


# ---------------------------------------------------------------------------- what kernels share


@triton.jit
def _load(x, begin, rows, here, PITCH, columns, WIDTH):
    """A block of rows from the row `begin` on, zeros where there are none."""
    x += tl.cast(begin, tl.int64) * PITCH
    mask = here[:, None] & (columns[None, :] < WIDTH)
    return tl.load(x + rows[:, None] * PITCH + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _store(x, begin, rows, here, columns, WIDTH, block):
    x += tl.cast(begin, tl.int64) * WIDTH
    mask = here[:, None] & (columns[None, :] < WIDTH)
    out = x + rows[:, None] * WIDTH + columns[None, :]
    tl.store(out, block.to(x.dtype.element_ty), mask=mask)


@triton.jit
def _product(a, b, PRECISION: tl.constexpr):
    """The product of blocks of one type; PRECISION is for float32."""
    return dot(a, b, PRECISION if a.dtype == tl.float32 else "ieee")


@triton.jit
def _inverse_norms(q):
    """1 / max(norm, 1e-12) of float32 rows."""
    return 1.0 / tl.maximum(tl.sqrt(tl.sum(q * q, 1)), _SHORTEST)


@triton.jit
def _softmax(logits, scale, ENTRIES: tl.constexpr):
    """Shares of the entries in each row and the largest logit, before its scale in log2 units."""
    M: tl.constexpr = logits.shape[1]
    if ENTRIES < M:
        logits = tl.where(tl.arange(0, M)[None, :] < ENTRIES, logits, float("-inf"))
    # The scale is positive, so the largest logit is found before it, and scaling and subtracting
    # are one fused instruction. The largest goes first, so that no exponential overflows.
    top = tl.max(logits, 1)
    shares = tl.math.exp2(logits * scale[:, None] - (top * scale)[:, None])
    return logits, top, shares * (1.0 / tl.sum(shares, 1))[:, None]


@triton.jit
def _look(q, keys, ENTRIES: tl.constexpr, PRECISION: tl.constexpr):
    """Shares of the entries for a block of queries as they come, `N D` and `M D`.

    Queries are normalised after the product, which is then one of bfloat16 where they are; the
    float32 keys are taken in three parts there, which leaves nothing out.

    Returns:
        Logits before their scale, the largest of each row, shares, the inverse norms.
    """
    if q.dtype == tl.bfloat16:
        high = keys.to(tl.bfloat16)
        rest = keys - high.to(tl.float32)
        middle = rest.to(tl.bfloat16)
        low = (rest - middle.to(tl.float32)).to(tl.bfloat16)
        logits = dot(q, tl.trans(low), "ieee") + dot(q, tl.trans(middle), "ieee")
        logits += dot(q, tl.trans(high), "ieee")
    else:
        logits = dot(q, tl.trans(keys), PRECISION)
    inverse = _inverse_norms(q.to(tl.float32))
    logits, top, shares = _softmax(logits, inverse * LOG2_E, ENTRIES)
    return logits, top, shares, inverse


@triton.jit
def _factor(weight, variance, smallest, largest, entry, ENTRIES):
    """What A is multiplied by before the softmax over tokens, and the A of its largest exponent.

    The former is in log2 units. Pointers to the statistics are those of the picture.
    """
    mask = entry < ENTRIES
    # The smallest and largest share bound every exponent, so `gather` needs no pass for a maximum.
    factor = tl.load(weight + entry, mask=mask, other=0.0)
    factor *= tl.rsqrt(tl.load(variance + entry, mask=mask, other=0.0) + _EPSILON) * LOG2_E
    smallest = tl.load(smallest + entry, mask=mask, other=0.0)
    largest = tl.load(largest + entry, mask=mask, other=0.0)
    return factor, tl.where(factor > 0, largest, smallest)


@triton.jit
def _center(gathered, columns, WIDTH):
    """What the first entry of a picture gathered, a mean of its tokens: `1 columns`."""
    return tl.load(gathered + columns, mask=columns < WIDTH, other=0.0)[None, :]


@triton.jit
def _query_gradient(q, inverse, keys, shares, grad_shares, PRECISION: tl.constexpr):
    """From the shares' gradient back through both softmax and norm.

    Returns:
        Gradients of the queries and of the logits, and the unit queries; the two latter in the
        queries' type.
    """
    inner = tl.sum(shares * grad_shares, 1)
    grad_logits = (shares * (grad_shares - inner[:, None])).to(q.dtype)
    # made again from q: to keep unit queries would double what a step keeps of them
    unit = q.to(tl.float32) * inverse[:, None]
    grad = _product(grad_logits, keys.to(q.dtype), PRECISION)
    # a query shorter than the limit is divided by a constant, which has no gradient
    along = tl.where(inverse < 1.0 / _SHORTEST, tl.sum(grad * unit, 1), 0.0)
    grad = (grad - unit * along[:, None]) * inverse[:, None]
    return grad, grad_logits, unit.to(q.dtype)


@triton.jit
def _pairs(block, N: tl.constexpr, M: tl.constexpr):
    """`N M` as `N/16 2 8 M`: pairs of rows that tensor cores leave in the same thread.

    Sums over tokens begin with them, and are held for each eighth row until the chunk's end.
    """
    return tl.reshape(block, (N // 16, 2, 8, M))


@triton.jit
def _chunk(tokens, chunk, chunks):
    """The program's picture, its first token, and the one after its last."""
    # int64, since it multiplies the size of a picture: offsets of a batch exceed 2^31
    picture = (tl.program_id(0) // chunks).to(tl.int64)
    first = tl.program_id(0) % chunks * chunk
    return picture, first, tl.minimum(first + chunk, tokens)


# ---------------------------------------------------------------------------------------- kernels


@triton.jit
def look_up(
    q, keys, values, mixed, categories, statistics, tokens, chunk, chunks,
    PITCH: tl.constexpr, ENTRIES: tl.constexpr, REDUCED: tl.constexpr, WIDTH: tl.constexpr,
    N: tl.constexpr, M: tl.constexpr, D: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Shares of the values for a chunk of tokens, and their categories.

    With the chunk's mean, squares of distances from it, smallest and largest of each entry's
    shares. Distances are summed from the share of the first token on, which keeps small variances
    exact.
    """
    picture, first, end = _chunk(tokens, chunk, chunks)
    row, entry, reduced = tl.arange(0, N), tl.arange(0, M), tl.arange(0, D)
    column = tl.arange(0, C)
    real = entry < ENTRIES
    # Narrow values stay in the program for the whole chunk. Wide ones do not fit, and are loaded
    # again from the second cache for every block of tokens.
    whole: tl.constexpr = WIDTH <= C
    q += picture * tokens * PITCH
    mixed += picture * tokens * WIDTH
    categories += picture * tokens
    values += picture * ENTRIES * WIDTH
    k = _load(keys + picture * ENTRIES * REDUCED, 0, entry, real, REDUCED, reduced, REDUCED)
    if whole:
        v = _load(values, 0, entry, real, WIDTH, column, WIDTH)

    at_first = q + tl.cast(first, tl.int64) * PITCH + reduced[None, :]
    start = tl.load(at_first, mask=reduced[None, :] < REDUCED, other=0.0).to(tl.float32)
    scale = _inverse_norms(start) * LOG2_E
    pivot = tl.sum(_softmax(tl.sum(k * start, 1)[None, :], scale, ENTRIES)[2], 0)
    total, squares = tl.zeros((N // 16, 8, M), tl.float32), tl.zeros((N // 16, 8, M), tl.float32)
    lowest, highest = tl.zeros((N // 16, 8, M), tl.float32), tl.zeros((N // 16, 8, M), tl.float32)
    for begin in range(first, end, N):
        here = begin + row < end
        block = _load(q, begin, row, here, PITCH, reduced, REDUCED)
        logits, top, shares, _ = _look(block, k, ENTRIES, PRECISION)
        # the smallest index among the largest logits: the first entry wins a tie, on every GPU
        found = tl.min(tl.where(logits == top[:, None], entry[None, :], M), 1)
        # where a number is not one, none is the largest
        tl.store(categories + begin + row, tl.minimum(found, ENTRIES - 1), mask=here)
        distance = tl.where(here[:, None], shares - pivot[None, :], 0.0)
        distance = _pairs(distance, N, M)
        total += tl.sum(distance, 1)
        squares += tl.sum(distance * distance, 1)
        lowest = tl.minimum(lowest, tl.min(distance, 1))
        highest = tl.maximum(highest, tl.max(distance, 1))
        operand = shares.to(values.dtype.element_ty)
        if whole:
            _store(mixed, begin, row, here, column, WIDTH, _product(operand, v, PRECISION))
        else:
            for c in range(0, WIDTH, C):
                v = _load(values, 0, entry, real, WIDTH, c + column, WIDTH)
                out = _product(operand, v, PRECISION)
                _store(mixed, begin, row, here, c + column, WIDTH, out)
    sum_ = tl.sum(tl.sum(total, 0), 0)
    shift = sum_ / (end - first)
    out = statistics + tl.cast(tl.program_id(0), tl.int64) * 4 * ENTRIES + entry
    tl.store(out, pivot + shift, mask=real)
    tl.store(out + ENTRIES, tl.sum(tl.sum(squares, 0), 0) - sum_ * shift, mask=real)
    tl.store(out + 2 * ENTRIES, pivot + tl.min(tl.min(lowest, 0), 0), mask=real)
    tl.store(out + 3 * ENTRIES, pivot + tl.max(tl.max(highest, 0), 0), mask=real)


@triton.jit
def merge_statistics(
    parts, mean, variance, smallest, largest, tokens, chunk, chunks,
    ENTRIES: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """The statistics of a picture from those of its chunks, K at a time."""
    picture = tl.cast(tl.program_id(0), tl.int64)
    entry, row = tl.arange(0, M), tl.arange(0, K)
    parts += picture * chunks * 4 * ENTRIES
    # in float64 and in the order of the chunks: few numbers, and variances are small beside them
    total = tl.zeros((M,), tl.float64)
    for begin in range(0, chunks, K):
        here = begin + row < chunks
        means = _load(parts, begin, row, here, 4 * ENTRIES, entry, ENTRIES).to(tl.float64)
        size = tl.maximum(tl.minimum(chunk, tokens - (begin + row) * chunk), 0)
        total += tl.sum(means * size[:, None], 0)
    middle = total / tokens
    squares = tl.zeros((M,), tl.float64)
    lowest, highest = tl.full((M,), 1.0, tl.float32), tl.zeros((M,), tl.float32)
    for begin in range(0, chunks, K):
        index = begin + row
        here = index < chunks
        size = tl.maximum(tl.minimum(chunk, tokens - index * chunk), 0)
        distance = _load(parts, begin, row, here, 4 * ENTRIES, entry, ENTRIES).to(tl.float64)
        distance -= middle[None, :]
        inside = _load(parts + ENTRIES, begin, row, here, 4 * ENTRIES, entry, ENTRIES).to(
            tl.float64
        )
        squares += tl.sum(inside + distance * distance * size[:, None], 0)
        lower = _load(parts + 2 * ENTRIES, begin, row, here, 4 * ENTRIES, entry, ENTRIES)
        lowest = tl.minimum(lowest, tl.min(tl.where(here[:, None], lower, 1.0), 0))
        upper = _load(parts + 3 * ENTRIES, begin, row, here, 4 * ENTRIES, entry, ENTRIES)
        highest = tl.maximum(highest, tl.max(upper, 0))
    out, real = picture * ENTRIES + entry, entry < ENTRIES
    tl.store(mean + out, middle.to(tl.float32), mask=real)
    tl.store(variance + out, (squares / tokens).to(tl.float32), mask=real)
    tl.store(smallest + out, lowest, mask=real)
    tl.store(largest + out, highest, mask=real)


@triton.jit
def look_up_backward(
    q, keys, values, mean, grad_mixed, grad_variance, grad_q, grad_keys, grad_values,
    tokens, chunk, chunks,
    PITCH: tl.constexpr, ENTRIES: tl.constexpr, REDUCED: tl.constexpr, WIDTH: tl.constexpr,
    N: tl.constexpr, M: tl.constexpr, D: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of a chunk's queries, and its part of those of the keys.

    And its part of the values' where one block takes all channels; either may be missing of the
    gradients that are given, of the result and of the variance.
    """
    picture, first, end = _chunk(tokens, chunk, chunks)
    program = tl.cast(tl.program_id(0), tl.int64)
    row, entry, reduced = tl.arange(0, N), tl.arange(0, M), tl.arange(0, D)
    column = tl.arange(0, C)
    real = entry < ENTRIES
    whole: tl.constexpr = WIDTH <= C
    q += picture * tokens * PITCH
    grad_q += picture * tokens * REDUCED
    k = _load(keys + picture * ENTRIES * REDUCED, 0, entry, real, REDUCED, reduced, REDUCED)
    sum_keys = tl.zeros((M, D), tl.float32)
    if grad_mixed is not None:
        values += picture * ENTRIES * WIDTH
        grad_mixed += picture * tokens * WIDTH
        if whole:
            v = _load(values, 0, entry, real, WIDTH, column, WIDTH)
            sum_values = tl.zeros((M, C), tl.float32)
    if grad_variance is not None:
        middle = tl.load(mean + picture * ENTRIES + entry, mask=real, other=0.0)
        pull = tl.load(grad_variance + picture * ENTRIES + entry, mask=real, other=0.0)
        pull *= 2.0 / tokens  # the gradient of the variance is 2 (share - mean) / tokens
    for begin in range(first, end, N):
        here = begin + row < end
        block = _load(q, begin, row, here, PITCH, reduced, REDUCED)
        _, _, shares, inverse = _look(block, k, ENTRIES, PRECISION)
        grad_shares = tl.zeros((N, M), tl.float32)
        if grad_mixed is not None:
            if whole:
                grad = _load(grad_mixed, begin, row, here, WIDTH, column, WIDTH)
                grad_shares = _product(grad, tl.trans(v), PRECISION)
                sum_values += _product(tl.trans(shares.to(v.dtype)), grad, PRECISION)
            else:
                for c in range(0, WIDTH, C):
                    grad = _load(grad_mixed, begin, row, here, WIDTH, c + column, WIDTH)
                    v = _load(values, 0, entry, real, WIDTH, c + column, WIDTH)
                    grad_shares += _product(grad, tl.trans(v), PRECISION)
        if grad_variance is not None:
            grad_shares += pull[None, :] * (shares - middle[None, :])
        found, grad_logits, unit = _query_gradient(
            block, inverse, k, shares, grad_shares, PRECISION
        )
        _store(grad_q, begin, row, here, reduced, REDUCED, found)
        # rows that are not there have unit queries of zeros
        sum_keys += _product(tl.trans(grad_logits), unit, PRECISION)
    _store(grad_keys + program * ENTRIES * REDUCED, 0, entry, real, reduced, REDUCED, sum_keys)
    if whole and grad_mixed is not None:
        _store(grad_values + program * ENTRIES * WIDTH, 0, entry, real, column, WIDTH, sum_values)


@triton.jit
def gather(
    q, keys, x, weight, variance, smallest, largest, sums, totals, tokens, chunk, chunks,
    PITCH: tl.constexpr, ENTRIES: tl.constexpr, REDUCED: tl.constexpr, WIDTH: tl.constexpr,
    N: tl.constexpr, M: tl.constexpr, D: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
    TYPE: tl.constexpr,
):  # fmt: skip
    """Sums over a chunk of tokens of x, each times the token's share or its exponential.

    The latter where there is a weight, with their totals; for a block of channels, in products of
    TYPE.
    """
    picture, first, end = _chunk(tokens, chunk, chunks)
    program = tl.cast(tl.program_id(0), tl.int64)
    row, entry, reduced = tl.arange(0, N), tl.arange(0, M), tl.arange(0, D)
    column = tl.program_id(1) * C + tl.arange(0, C)
    real = entry < ENTRIES
    q += picture * tokens * PITCH
    x += picture * tokens * WIDTH
    k = _load(keys + picture * ENTRIES * REDUCED, 0, entry, real, REDUCED, reduced, REDUCED)
    if weight is not None:
        at = picture * ENTRIES
        factor, reference = _factor(
            weight, variance + at, smallest + at, largest + at, entry, ENTRIES
        )
        total = tl.zeros((N // 16, 8, M), tl.float32)
    sum_ = tl.zeros((M, C), tl.float32)
    for begin in range(first, end, N):
        here = begin + row < end
        block = _load(q, begin, row, here, PITCH, reduced, REDUCED)
        rows = _load(x, begin, row, here, WIDTH, column, WIDTH).to(TYPE)
        _, _, shares, _ = _look(block, k, ENTRIES, PRECISION)
        if weight is not None:
            exponent = (shares - reference[None, :]) * factor[None, :]
            # rows that are not there get 2^-inf = 0; their queries of zeros would gather as well
            shares = tl.math.exp2(tl.where(here[:, None], exponent, float("-inf")))
        operand = shares.to(TYPE)
        if weight is not None:  # what is summed is what is multiplied, rounded as it is
            total += tl.sum(_pairs(operand.to(tl.float32), N, M), 1)
        sum_ += _product(tl.trans(operand), rows, PRECISION)
    # a place for each chunk, added later in one order: no atomic additions, and the same bits each
    # run
    _store(sums + program * ENTRIES * WIDTH, 0, entry, real, column, WIDTH, sum_)
    if weight is not None and tl.program_id(1) == 0:
        tl.store(totals + program * ENTRIES + entry, tl.sum(tl.sum(total, 0), 0), mask=real)


@triton.jit
def gather_backward(
    q, keys, x, weight, mean, variance, smallest, largest, totals, gathered, grad,
    grad_q, grad_keys, grad_x, grad_factor, tokens, chunk, chunks,
    PITCH: tl.constexpr, ENTRIES: tl.constexpr, REDUCED: tl.constexpr, WIDTH: tl.constexpr,
    N: tl.constexpr, M: tl.constexpr, D: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
    TYPE: tl.constexpr,
):  # fmt: skip
    """Gradients of a chunk's queries and x, and its part of those of the keys and the factor.

    The logits of the softmax W over tokens have the gradient W (x . grad - gathered . grad). The
    same is taken from x and from what was gathered, which leaves less to round.
    """
    picture, first, end = _chunk(tokens, chunk, chunks)
    program = tl.cast(tl.program_id(0), tl.int64)
    row, entry, reduced = tl.arange(0, N), tl.arange(0, M), tl.arange(0, D)
    column = tl.arange(0, C)
    real = entry < ENTRIES
    whole: tl.constexpr = WIDTH <= C
    at = picture * ENTRIES
    q += picture * tokens * PITCH
    x += picture * tokens * WIDTH
    grad_q += picture * tokens * REDUCED
    grad_x += picture * tokens * WIDTH
    gathered += at * WIDTH
    grad += at * WIDTH
    k = _load(keys + at * REDUCED, 0, entry, real, REDUCED, reduced, REDUCED)
    factor, reference = _factor(weight, variance + at, smallest + at, largest + at, entry, ENTRIES)
    middle = tl.load(mean + at + entry, mask=real, other=0.0)
    # distances are taken from the mean, and the total's logarithm from the exponents
    offset = (reference - middle) * factor + tl.log2(
        tl.load(totals + at + entry, mask=real, other=1.0)
    )
    # gathered . grad is the same for all tokens, so it is made once a program
    inner = tl.zeros((M,), tl.float32)
    for c in range(0, WIDTH, C):
        upstream = _load(grad, 0, entry, real, WIDTH, c + column, WIDTH).to(TYPE)
        result = _load(gathered, 0, entry, real, WIDTH, c + column, WIDTH)
        result -= _center(gathered, c + column, WIDTH)
        inner += tl.sum(result * upstream.to(tl.float32), 1)
    if whole:
        upstream = _load(grad, 0, entry, real, WIDTH, column, WIDTH).to(TYPE)
        center = _center(gathered, column, WIDTH)
    # nobody gives anything to entries that are not there
    offset = tl.where(real, offset, float("inf"))
    sum_keys = tl.zeros((M, D), tl.float32)
    sum_factor = tl.zeros((N // 16, 8, M), tl.float32)
    for begin in range(first, end, N):
        here = begin + row < end
        block = _load(q, begin, row, here, PITCH, reduced, REDUCED)
        _, _, shares, inverse = _look(block, k, ENTRIES, PRECISION)
        distance = shares - middle[None, :]
        exponent = distance * factor[None, :] - offset[None, :]
        share = tl.math.exp2(tl.where(here[:, None], exponent, float("-inf")))
        operand = share.to(TYPE)
        if whole:
            out = _product(operand, upstream, PRECISION)
            _store(grad_x, begin, row, here, column, WIDTH, out)
            rows = _load(x, begin, row, here, WIDTH, column, WIDTH).to(tl.float32) - center
            grad_share = _product(rows.to(TYPE), tl.trans(upstream), PRECISION)
        else:
            grad_share = tl.zeros((N, M), tl.float32)
            for c in range(0, WIDTH, C):
                upstream = _load(grad, 0, entry, real, WIDTH, c + column, WIDTH).to(TYPE)
                out = _product(operand, upstream, PRECISION)
                _store(grad_x, begin, row, here, c + column, WIDTH, out)
                rows = _load(x, begin, row, here, WIDTH, c + column, WIDTH).to(tl.float32)
                rows -= _center(gathered, c + column, WIDTH)
                grad_share += _product(rows.to(TYPE), tl.trans(upstream), PRECISION)
        grad_share = share * (grad_share - inner[None, :])
        # these sum to zero over the tokens, so a shift of A changes nothing but the rounding
        sum_factor += tl.sum(_pairs(grad_share * distance, N, M), 1)
        grad_share *= factor[None, :]  # in log2 units up to here
        found, grad_logits, unit = _query_gradient(block, inverse, k, shares, grad_share, PRECISION)
        _store(grad_q, begin, row, here, reduced, REDUCED, found / LOG2_E)
        sum_keys += _product(tl.trans(grad_logits), unit, PRECISION)
    _store(
        grad_keys + program * ENTRIES * REDUCED, 0, entry, real, reduced, REDUCED, sum_keys / LOG2_E
    )
    sum_ = tl.sum(tl.sum(sum_factor, 0), 0)
    tl.store(grad_factor + program * ENTRIES + entry, sum_, mask=real)


@triton.jit
def factor_backward(
    parts, weight, variance, grad_weight, grad_variance, chunks,
    ENTRIES: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """A picture's gradients of the weight and the variance from its chunks', K at a time."""
    picture = tl.cast(tl.program_id(0), tl.int64)
    entry, row = tl.arange(0, M), tl.arange(0, K)
    parts += picture * chunks * ENTRIES
    grad = tl.zeros((M,), tl.float32)
    for begin in range(0, chunks, K):
        index = begin + row
        grad += tl.sum(_load(parts, begin, row, index < chunks, ENTRIES, entry, ENTRIES), 0)
    real, out = entry < ENTRIES, picture * ENTRIES + entry
    inverse = tl.rsqrt(tl.load(variance + out, mask=real, other=0.0) + _EPSILON)
    tl.store(grad_weight + out, grad * inverse, mask=real)
    grad *= -0.5 * tl.load(weight + entry, mask=real, other=0.0) * inverse * inverse * inverse
    tl.store(grad_variance + out, grad, mask=real)


@triton.jit
def sum_chunks(
    parts, totals, out, whole, chunks,
    LENGTH: tl.constexpr, WIDTH: tl.constexpr, C: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """The sum of a picture's chunks of LENGTH numbers, K at a time.

    Where there are totals of each WIDTH numbers, over their sum, which goes to `whole`.
    """
    picture = tl.cast(tl.program_id(0), tl.int64)
    column, row = tl.program_id(1) * C + tl.arange(0, C), tl.arange(0, K)
    parts += picture * chunks * LENGTH
    sum_, total = tl.zeros((C,), tl.float32), tl.zeros((C,), tl.float32)
    for begin in range(0, chunks, K):
        here = begin + row < chunks
        sum_ += tl.sum(_load(parts, begin, row, here, LENGTH, column, LENGTH), 0)
        if totals is not None:
            begins = totals + picture * chunks * (LENGTH // WIDTH)
            entry, entries = column // WIDTH, LENGTH // WIDTH
            total += tl.sum(_load(begins, begin, row, here, entries, entry, entries), 0)
    real = column < LENGTH
    if totals is not None:
        sum_ /= tl.where(real, total, 1.0)
        entry = picture * (LENGTH // WIDTH) + column // WIDTH
        tl.store(whole + entry, total, mask=real & (column % WIDTH == 0))
    tl.store(out + picture * LENGTH + column, sum_.to(out.dtype.element_ty), mask=real)
