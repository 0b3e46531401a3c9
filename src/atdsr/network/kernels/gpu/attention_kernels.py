"""The kernels of window attention and category attention, forward and backward.

Both are attention inside groups of tokens: windows of a map, or runs of tokens sorted by category.
They differ in how a group's rows are found, which arithmetic or the sort's index tells, and in the
bias; nothing is rolled, cut, gathered or sorted in memory and no score is written.

A program takes some rows of one head's score matrix in one group after the other. The biases of
those rows are the same in every window, so they stay in registers, and so do the sums of their
gradients. Scores are in units of log2. Group order means tokens group by group; one number a query
is kept in it. Numbers of the launch are told in `attention.py`.
"""

import math

import triton
import triton.language as tl

from atdsr.network import windows
from atdsr.network.kernels.gpu.blocks import LOG2_E, dot

_PENALTY = tl.constexpr(windows.SHIFT_PENALTY * math.log2(math.e))


# ------------------------------------------------------------------------- addresses and biases


@triton.jit
def _tokens(order, picture, group, i, tokens, height, width, GROUP: tl.constexpr,
            SIDE: tl.constexpr, SHIFT: tl.constexpr, LARGE: tl.constexpr):  # fmt: skip
    """The tokens of a picture at places `i` of a group; any for padding."""
    # Arithmetic costs less than an index in memory, which would be one more load before each load.
    if SIDE > 0:
        columns = width // SIDE
        y = group // columns * SIDE + i // SIDE + SHIFT
        x = group % columns * SIDE + i % SIDE + SHIFT
        if SHIFT > 0:
            # a comparison and not a remainder: integer division takes dozens of instructions
            y = tl.where(y >= height, y - height, y)
            x = tl.where(x >= width, x - width, x)
        token = y * width + x
    else:
        place = group * GROUP + i
        place = tl.where(place < tokens, place, 2 * tokens - 1 - place)  # borrowed, mirrored
        token = tl.load(order + picture * tokens + place, mask=i < GROUP, other=0)
    # 64-bit offsets take twice the registers, so only pictures that need them pay for them
    return token.to(tl.int64) if LARGE else token.to(tl.int32)


@triton.jit
def _real(group, i, tokens, GROUP: tl.constexpr, MASKED: tl.constexpr):
    """Which places of a group are queries: no padding, and not borrowed."""
    real = i < GROUP
    if MASKED:
        real = real & (group * GROUP + i < tokens)
    return real


@triton.jit
def _start(head, WIDTH: tl.constexpr, PAIRS: tl.constexpr):
    """Where a head's channels are loaded from: its first one, or the one before it, an even one.

    Rows of an odd width are two bytes off every second time. From an even channel on they can be
    copied in pairs.
    """
    start = head * WIDTH
    if PAIRS:
        start = tl.multiple_of(start - head % 2, 2)
    return start


@triton.jit
def _own(head, WIDTH: tl.constexpr, PAIRS: tl.constexpr, D: tl.constexpr):
    """Which channels of a loaded row are the head's, `1 D`."""
    i = tl.arange(0, D)[None, :]
    if PAIRS:
        i -= head % 2
    return (i >= 0) & (i < WIDTH)


@triton.jit
def _load(start, token, real, PITCH: tl.constexpr, WIDTH: tl.constexpr, PAIRS: tl.constexpr,
          D: tl.constexpr):  # fmt: skip
    """One head's part of the rows of some tokens, zeros for padding.

    With PAIRS there is one number of the head before or after it.
    """
    i = tl.arange(0, D)[None, :]
    LOADED: tl.constexpr = WIDTH + 1 if PAIRS else WIDTH
    return tl.load(start + token[:, None] * PITCH + i, mask=real[:, None] & (i < LOADED), other=0.0)


@triton.jit
def _load_own(start, token, real, own, PITCH: tl.constexpr, WIDTH: tl.constexpr,
              PAIRS: tl.constexpr, D: tl.constexpr):  # fmt: skip
    """The same without that number, for one factor of each product."""
    x = _load(start, token, real, PITCH, WIDTH, PAIRS, D)
    return tl.where(own, x, 0.0) if PAIRS else x


@triton.jit
def _store(start, token, real, own, value, PITCH: tl.constexpr, D: tl.constexpr):
    i = tl.arange(0, D)[None, :]
    to = start + token[:, None] * PITCH + i
    tl.store(to, value.to(start.dtype.element_ty), mask=real[:, None] & own)


@triton.jit
def _load_line(start, i, real, other, MASKED: tl.constexpr):
    """One number a query, `other` for padding."""
    return tl.load(start + i, mask=real, other=other) if MASKED else tl.load(start + i)


@triton.jit
def _biases(table, head, queries, keys, HEADS: tl.constexpr, GROUP: tl.constexpr,
            SIDE: tl.constexpr):  # fmt: skip
    """Relative position biases of some queries and keys, -inf for keys that are padding."""
    dy = queries // SIDE - keys // SIDE + SIDE - 1
    dx = queries % SIDE - keys % SIDE + SIDE - 1
    real = (queries < GROUP) & (keys < GROUP)
    bias = tl.load(table + (dy * (2 * SIDE - 1) + dx) * HEADS + head, mask=real, other=0.0)
    # Padding is masked here, once a program, and not in the loop over windows. Multiplied by
    # log2(e) once, since the exponential of the hardware is one of 2.
    return tl.where(keys < GROUP, bias * LOG2_E, float("-inf"))


@triton.jit
def _region(i, last_row, last_column, SIDE: tl.constexpr):
    """Which part of the picture the tokens of a shifted window at the edge come from."""
    below = (i // SIDE >= SIDE // 2) & last_row
    right = (i % SIDE >= SIDE // 2) & last_column
    return 2 * below.to(tl.int32) + right.to(tl.int32)


@triton.jit
def _penalised(scores, queries, keys, group, height, width, SIDE: tl.constexpr,
               SHIFT: tl.constexpr):  # fmt: skip
    """Scores with the penalty between tokens that only the shift made neighbours."""
    if SHIFT > 0:
        columns = width // SIDE
        last_row = group // columns == height // SIDE - 1
        last_column = group % columns == columns - 1
        # the same for all threads of a program, so windows inside the picture skip the work
        if last_row | last_column:
            apart = _region(queries, last_row, last_column, SIDE) != _region(
                keys, last_row, last_column, SIDE
            )
            scores += tl.where(apart, _PENALTY, 0.0)
    return scores


@triton.jit
def _factor(log_scale, WIDTH: tl.constexpr, SIDE: tl.constexpr):
    """What the products of queries and keys are multiplied by."""
    return WIDTH**-0.5 if SIDE > 0 else tl.math.exp2(tl.load(log_scale) * LOG2_E)


# ------------------------------------------------------------------------------------- kernels


@triton.jit
def forward_kernel(
    qkv, order, table, log_scale, out, log_sums, groups, per_program, tokens, height, width,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, GROUP: tl.constexpr, SIDE: tl.constexpr,
    SHIFT: tl.constexpr, LARGE: tl.constexpr, PAIRS: tl.constexpr, MASKED: tl.constexpr,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCKS: tl.constexpr,
    TILES: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A block of queries of one head in one group after the other."""
    C: tl.constexpr = HEADS * WIDTH
    PADDED: tl.constexpr = TILES * COLUMNS > GROUP
    program = tl.program_id(0)
    head = program % HEADS
    own = _own(head, WIDTH, PAIRS, D)
    i = program // HEADS % BLOCKS * ROWS + tl.arange(0, ROWS)
    first = program // (HEADS * BLOCKS) * per_program
    scale = _factor(log_scale, WIDTH, SIDE) * LOG2_E
    # A tuple and unrolled loops, since Triton keeps an array in registers only where its index is a
    # constant. The gather from the table is paid once for all windows of the program.
    biases = ()
    for t in tl.static_range(TILES if SIDE > 0 else 0):
        j = t * COLUMNS + tl.arange(0, COLUMNS)
        biases += (_biases(table, head, i[:, None], j[None, :], HEADS, GROUP, SIDE),)
    runs = tl.cdiv(tokens, GROUP)
    for at in range(first, tl.minimum(first + per_program, groups)):
        picture = (at // runs).to(tl.int64)
        group = at % runs
        start = qkv + picture * tokens * (3 * C) + _start(head, WIDTH, PAIRS)
        token = _tokens(order, picture, group, i, tokens, height, width, GROUP, SIDE, SHIFT, LARGE)
        real = _real(group, i, tokens, GROUP, MASKED)
        q = _load_own(start, token, real, own, 3 * C, WIDTH, PAIRS, D)
        # The softmax is taken tile by tile: what was summed is scaled down whenever a larger score
        # comes, so no more than one tile of scores exists at a time.
        largest = tl.full((ROWS,), float("-inf"), tl.float32)
        total = tl.zeros((ROWS,), tl.float32)
        mixed = tl.zeros((ROWS, D), tl.float32)
        for t in tl.static_range(TILES):
            j = t * COLUMNS + tl.arange(0, COLUMNS)
            key = _tokens(
                order, picture, group, j, tokens, height, width, GROUP, SIDE, SHIFT, LARGE
            )
            k = _load(start + C, key, j < GROUP, 3 * C, WIDTH, PAIRS, D)
            v = _load(start + 2 * C, key, j < GROUP, 3 * C, WIDTH, PAIRS, D)
            scores = dot(q, tl.trans(k), PRECISION)
            if SIDE > 0:
                scores = scores * scale + biases[t]
                scores = _penalised(
                    scores, i[:, None], j[None, :], group, height, width, SIDE, SHIFT
                )
                larger = tl.maximum(largest, tl.max(scores, 1))
                shares = tl.math.exp2(scores - larger[:, None])
            else:
                # The scale is positive, so the largest score is known before scaling, and scaling
                # and subtracting are one fused instruction a score.
                if PADDED:
                    scores = tl.where(j[None, :] < GROUP, scores, float("-inf"))
                larger = tl.maximum(largest, tl.max(scores, 1) * scale)
                shares = tl.math.exp2(scores * scale - larger[:, None])
            if t > 0:
                fade = tl.math.exp2(largest - larger)
                total *= fade
                mixed *= fade[:, None]
            total += tl.sum(shares, 1)
            mixed += dot(shares.to(v.dtype), v, PRECISION)
            largest = larger
        to = out + picture * tokens * C + _start(head, WIDTH, PAIRS)
        # divided once a result and not once a share
        _store(to, token, real, own, mixed / total[:, None], C, D)
        # One number a query is all that the backward pass needs to make the shares again.
        if KEEP:
            to = log_sums + (picture * HEADS + head) * tokens + group * GROUP
            tl.store(to + i, largest + tl.math.log2(total), mask=real)


@triton.jit
def queries_kernel(
    qkv, order, table, log_scale, out, log_sums, grad_out, grad_q, deltas, grad_biases,
    grad_scales, pictures, groups, per_program, tokens, height, width,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, GROUP: tl.constexpr, SIDE: tl.constexpr,
    SHIFT: tl.constexpr, LARGE: tl.constexpr, PAIRS: tl.constexpr, MASKED: tl.constexpr,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCKS: tl.constexpr,
    PARTS: tl.constexpr, TILES: tl.constexpr, PITCH: tl.constexpr, BIAS_GRAD: tl.constexpr,
    SCALE_GRAD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of a block of queries, of its biases and of the scale.

    Where the keys are divided among programs, each writes its part of the queries' gradients.
    """
    C: tl.constexpr = HEADS * WIDTH
    PADDED: tl.constexpr = PARTS * TILES * COLUMNS > GROUP
    program = tl.program_id(0)
    head = program % HEADS
    own = _own(head, WIDTH, PAIRS, D)
    i = program // HEADS % BLOCKS * ROWS + tl.arange(0, ROWS)
    part = program // (HEADS * BLOCKS) % PARTS
    chunk = program // (HEADS * BLOCKS * PARTS)
    first = chunk * per_program
    factor = _factor(log_scale, WIDTH, SIDE)
    biases = ()
    sums = ()
    for t in tl.static_range(TILES if SIDE > 0 else 0):
        j = (part * TILES + t) * COLUMNS + tl.arange(0, COLUMNS)
        biases += (_biases(table, head, i[:, None], j[None, :], HEADS, GROUP, SIDE),)
        if BIAS_GRAD:
            sums += (tl.zeros((ROWS, COLUMNS), tl.float32),)
    grad_scale = tl.zeros((ROWS,), tl.float32)
    runs = tl.cdiv(tokens, GROUP)
    for at in range(first, tl.minimum(first + per_program, groups)):
        picture = (at // runs).to(tl.int64)
        group = at % runs
        start = qkv + picture * tokens * (3 * C) + _start(head, WIDTH, PAIRS)
        token = _tokens(order, picture, group, i, tokens, height, width, GROUP, SIDE, SHIFT, LARGE)
        real = _real(group, i, tokens, GROUP, MASKED)
        beside = picture * tokens * C + _start(head, WIDTH, PAIRS)
        q = _load_own(start, token, real, own, 3 * C, WIDTH, PAIRS, D)
        grad = _load_own(grad_out + beside, token, real, own, C, WIDTH, PAIRS, D)
        # The sum over keys of shares times their gradients is out . grad: no pass over the scores.
        # It is written for `keys_kernel`, by one of the programs that share the keys.
        delta = _load(out + beside, token, real, C, WIDTH, PAIRS, D).to(tl.float32)
        delta = tl.sum(delta * grad.to(tl.float32), 1)
        line = (picture * HEADS + head) * tokens + group * GROUP
        # padding gets 2^-inf = 0 for shares, and so no gradient
        log_sum = _load_line(log_sums + line, i, real, float("inf"), MASKED)
        tl.store(deltas + line + i, delta, mask=real & (part == 0))
        mixed = tl.zeros((ROWS, D), tl.float32)
        new_sums = ()
        for t in tl.static_range(TILES):
            j = (part * TILES + t) * COLUMNS + tl.arange(0, COLUMNS)
            key = _tokens(
                order, picture, group, j, tokens, height, width, GROUP, SIDE, SHIFT, LARGE
            )
            k = _load(start + C, key, j < GROUP, 3 * C, WIDTH, PAIRS, D)
            v = _load(start + 2 * C, key, j < GROUP, 3 * C, WIDTH, PAIRS, D)
            scores = dot(q, tl.trans(k), PRECISION) * (factor * LOG2_E)
            if SIDE > 0:
                scores = _penalised(
                    scores + biases[t], i[:, None], j[None, :], group, height, width, SIDE, SHIFT
                )
            elif PADDED:
                scores = tl.where(j[None, :] < GROUP, scores, float("-inf"))
            # made again, which is faster than reading n x n numbers a head would be
            shares = tl.math.exp2(scores - log_sum[:, None])
            grad_scores = shares * (dot(grad, tl.trans(v), PRECISION) - delta[:, None])
            mixed += dot(grad_scores.to(k.dtype), k, PRECISION)
            if BIAS_GRAD:
                new_sums += (sums[t] + grad_scores,)
        sums = new_sums
        mixed *= factor
        to = grad_q + (part * pictures + picture) * tokens * PITCH + _start(head, WIDTH, PAIRS)
        _store(to, token, real, own, mixed, PITCH, D)
        if SCALE_GRAD:  # a query times its own gradient: scores times theirs, summed over keys
            grad_scale += tl.sum(q.to(tl.float32) * mixed, 1)
    # Each program writes sums of its own, to be added in one fixed order; atomic additions would
    # come in another order, and give other bits, in each run.
    if BIAS_GRAD:
        for t in tl.static_range(TILES):
            j = (part * TILES + t) * COLUMNS + tl.arange(0, COLUMNS)
            to = grad_biases + ((chunk * HEADS + head) * GROUP + i[:, None]).to(tl.int64) * GROUP
            tl.store(to + j[None, :], sums[t], mask=(i < GROUP)[:, None] & (j < GROUP)[None, :])
    if SCALE_GRAD:
        tl.store(grad_scales + program, tl.sum(grad_scale, 0))


@triton.jit
def keys_kernel(
    qkv, order, table, log_scale, log_sums, deltas, grad_out, grad_qkv, borrowed, groups,
    per_program, tokens, height, width,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, GROUP: tl.constexpr, SIDE: tl.constexpr,
    SHIFT: tl.constexpr, LARGE: tl.constexpr, PAIRS: tl.constexpr, MASKED: tl.constexpr,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCKS: tl.constexpr,
    TILES: tl.constexpr, BORROWS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of a block of keys and of its values; keys are the rows of the scores here."""
    C: tl.constexpr = HEADS * WIDTH
    program = tl.program_id(0)
    head = program % HEADS
    own = _own(head, WIDTH, PAIRS, D)
    i = program // HEADS % BLOCKS * ROWS + tl.arange(0, ROWS)
    first = program // (HEADS * BLOCKS) * per_program
    factor = _factor(log_scale, WIDTH, SIDE)
    biases = ()
    for t in tl.static_range(TILES if SIDE > 0 else 0):
        j = t * COLUMNS + tl.arange(0, COLUMNS)
        biases += (_biases(table, head, j[None, :], i[:, None], HEADS, GROUP, SIDE),)
    runs = tl.cdiv(tokens, GROUP)
    for at in range(first, tl.minimum(first + per_program, groups)):
        picture = (at // runs).to(tl.int64)
        group = at % runs
        start = qkv + picture * tokens * (3 * C) + _start(head, WIDTH, PAIRS)
        token = _tokens(order, picture, group, i, tokens, height, width, GROUP, SIDE, SHIFT, LARGE)
        real = i < GROUP
        k = _load_own(start + C, token, real, own, 3 * C, WIDTH, PAIRS, D)
        v = _load_own(start + 2 * C, token, real, own, 3 * C, WIDTH, PAIRS, D)
        beside = picture * tokens * C + _start(head, WIDTH, PAIRS)
        line = (picture * HEADS + head) * tokens + group * GROUP
        grad_k = tl.zeros((ROWS, D), tl.float32)
        grad_v = tl.zeros((ROWS, D), tl.float32)
        for t in tl.static_range(TILES):
            j = t * COLUMNS + tl.arange(0, COLUMNS)
            query = _tokens(
                order, picture, group, j, tokens, height, width, GROUP, SIDE, SHIFT, LARGE
            )
            good = _real(group, j, tokens, GROUP, MASKED)
            q = _load(start, query, good, 3 * C, WIDTH, PAIRS, D)
            grad = _load(grad_out + beside, query, good, C, WIDTH, PAIRS, D)
            log_sum = _load_line(log_sums + line, j, good, float("inf"), MASKED)
            delta = _load_line(deltas + line, j, good, 0.0, MASKED)
            # Transposed scores: sums over queries are then products, and need no atomic additions
            # as they would in `queries_kernel`.
            scores = dot(k, tl.trans(q), PRECISION) * (factor * LOG2_E)
            if SIDE > 0:
                scores = _penalised(
                    scores + biases[t], j[None, :], i[:, None], group, height, width, SIDE, SHIFT
                )
            shares = tl.math.exp2(scores - log_sum[None, :])
            grad_v += dot(shares.to(grad.dtype), grad, PRECISION)
            grad_scores = shares * (dot(v, tl.trans(grad), PRECISION) - delta[None, :])
            grad_k += dot(grad_scores.to(q.dtype), q, PRECISION)
        grad_k *= factor
        if BORROWS:  # by the last run: what its own program writes, another one's must not
            place = group * GROUP + i
            to = borrowed + picture * (runs * GROUP - tokens) * (2 * C)
            to += _start(head, WIDTH, PAIRS)
            other = real & (place >= tokens)
            _store(to, place - tokens, other, own, grad_k, 2 * C, D)
            _store(to + C, place - tokens, other, own, grad_v, 2 * C, D)
            real = real & (place < tokens)
        to = grad_qkv + picture * tokens * (3 * C) + _start(head, WIDTH, PAIRS)
        _store(to + C, token, real, own, grad_k, 3 * C, D)
        _store(to + 2 * C, token, real, own, grad_v, 3 * C, D)


@triton.jit
def add_borrowed_kernel(grad_qkv, order, borrowed, tokens, missing, C: tl.constexpr,
                         BLOCK: tl.constexpr):  # fmt: skip
    """Add what the last run found for one token that it borrowed; no token is borrowed twice."""
    picture = tl.program_id(0) // missing
    place = tl.program_id(0) % missing
    token = tl.load(order + picture.to(tl.int64) * tokens + (tokens - 1 - place)).to(tl.int64)
    i = tl.arange(0, BLOCK)
    mask = i < 2 * C
    to = grad_qkv + (picture.to(tl.int64) * tokens + token) * (3 * C) + C + i
    more = tl.load(borrowed + tl.program_id(0).to(tl.int64) * (2 * C) + i, mask=mask, other=0.0)
    total = tl.load(to, mask=mask, other=0.0).to(tl.float32) + more
    tl.store(to, total.to(grad_qkv.dtype.element_ty), mask=mask)


@triton.jit
def fold_kernel(grad_biases, grad_table, HEADS: tl.constexpr, SIDE: tl.constexpr,
                 BLOCK: tl.constexpr):  # fmt: skip
    """Sum the gradients of one head's biases that share a row of the table, -dy to dy."""
    SPAN: tl.constexpr = 2 * SIDE - 1
    head = tl.program_id(0) % HEADS
    dy = tl.program_id(0) // HEADS - (SIDE - 1)
    at = tl.arange(0, 2 * BLOCK)[:, None]
    qy = tl.arange(0, BLOCK * BLOCK)[None, :] // BLOCK
    qx = tl.arange(0, BLOCK * BLOCK)[None, :] % BLOCK
    ky = qy - dy
    kx = qx - (at - (SIDE - 1))
    real = (qy < SIDE) & (qx < SIDE) & (ky >= 0) & (ky < SIDE) & (kx >= 0) & (kx < SIDE)
    place = (head * SIDE * SIDE + qy * SIDE + qx) * (SIDE * SIDE) + ky * SIDE + kx
    # a gather, so that each number of the table is summed by one program, in one order
    found = tl.load(grad_biases + place, mask=real & (at < SPAN), other=0.0)
    row = (dy + SIDE - 1) * SPAN + tl.arange(0, 2 * BLOCK)
    to = grad_table + row * HEADS + head
    tl.store(to, tl.sum(found, 1), mask=tl.arange(0, 2 * BLOCK) < SPAN)
