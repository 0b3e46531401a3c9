"""A depthwise convolution and its gradients, channels last, in Triton.

Arithmetic bounds them as much as memory does. So each lane has one channel and a few neighbouring
columns: a number that was loaded and made float32 serves the sums of them all. Lanes next to each
other have channels next to each other, and go on with the next columns after a block of channels.
"""

# names are bound under compile-time constants, which pyright takes for variables
# pyright: reportPossiblyUnboundVariable=false
# Triton's constants and unrolled loops are no numbers and no iterators to a type checker
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

from atdsr.network.kernels.gpu.blocks import gelu_and_slope


@triton.jit
def _lanes(
    strip,
    block,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Each lane's row of the tile, first column and channel, of LANES lanes a row.

    Lanes beyond the channels are outside the picture.
    """
    # told to the compiler, which sees that channels come in pairs for some numbers of them only
    PAIR: tl.constexpr = 1 if BLOCK_C % 2 or C % 2 else 2
    # Lanes next to each other have channels next to each other, so a warp's loads are of whole
    # lines.
    lane = tl.arange(0, ROWS * LANES)
    row = tl.max_constancy(lane // LANES, LANES)
    across = strip * LANES + lane % LANES
    channel = tl.max_contiguous(tl.multiple_of(across % BLOCK_C, PAIR), PAIR) + block * BLOCK_C
    column = tl.max_constancy(across // BLOCK_C * COLUMNS, PAIR)
    # far to the left, so that the test for the picture's border masks them as well
    if C % BLOCK_C != 0:
        column = tl.where(channel < C, column, -(2**30))
    return row, column, channel


@triton.jit
def _row(
    x, picture, y, h, w, column, channel, FIRST: tl.constexpr, COUNT: tl.constexpr, C: tl.constexpr
):
    """Addresses of COUNT neighbours in row y from each lane's column + FIRST on, and masks."""
    pointers = x + (picture.to(tl.int64) * h + y) * w * C + (column * C + channel)
    # A row outside has width 0, and a negative column is a huge unsigned number: one comparison
    # a pixel tests all four borders.
    width = tl.where((y >= 0) & (y < h), w, 0).to(tl.uint32)
    found = ()
    for q in tl.static_range(COUNT):
        inside = (column + (FIRST + q)).to(tl.uint32, bitcast=True) < width
        found = found + ((pointers + (FIRST + q) * C, inside),)
    return found


@triton.jit
def _load(places, COUNT: tl.constexpr):
    """Numbers in float32, zeros outside the picture."""
    values = ()
    for q in tl.static_range(COUNT):
        value = tl.load(places[q][0], mask=places[q][1], other=0.0).to(tl.float32)
        values = values + (value,)
    return values


@triton.jit
def _convolution(
    x,
    taps,
    start,
    picture,
    top,
    h,
    w,
    column,
    channel,
    FLIPPED: tl.constexpr,
    K: tl.constexpr,
    C: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The sums of each lane's COLUMNS neighbours in its row, as a tuple."""
    # Tuples and unrolled loops keep the sums in registers. COLUMNS + K - 1 numbers are loaded for
    # COLUMNS * K products of a row of taps.
    sums = ()
    for _ in tl.static_range(COLUMNS):
        sums = sums + (start,)
    # unrolled along the rows of taps only, which keeps the code small
    for dy in range(K):
        y = top + dy - K // 2
        places = _row(x, picture, y, h, w, column, channel, -(K // 2), COLUMNS + K - 1, C)
        values = _load(places, COLUMNS + K - 1)
        for dx in tl.static_range(K):
            # the gradient with respect to the input is a convolution with the taps turned around
            tap = K * K - 1 - dy * K - dx if FLIPPED else dy * K + dx
            weight = tl.load(taps + tap * C + channel, mask=channel < C, other=0.0)
            more = ()
            for j in tl.static_range(COLUMNS):
                more = more + (sums[j] + values[j + dx] * weight,)
            sums = more
    return sums


@triton.jit
def _tile(
    h,
    w,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """This program's picture, first row, and strip of columns; and its block of channels."""
    program = tl.program_id(0)
    blocks = tl.cdiv(C, BLOCK_C)
    across = tl.cdiv(tl.cdiv(w, COLUMNS) * BLOCK_C, LANES)
    down = tl.cdiv(h, ROWS)
    place = program // blocks
    top = place // across % down * ROWS
    return place // across // down, top, place % across, program % blocks


@triton.jit
def mix_kernel(
    x,
    taps,
    bias,
    out,
    slope,
    h,
    w,
    K: tl.constexpr,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write x + GELU(convolution), and GELU's slope where there is room for it."""
    picture, top, strip, block = _tile(h, w, C, BLOCK_C, LANES, ROWS, COLUMNS)
    row, column, channel = _lanes(strip, block, C, BLOCK_C, LANES, ROWS, COLUMNS)
    y = top + row
    start = tl.load(bias + channel, mask=channel < C, other=0.0)
    sums = _convolution(x, taps, start, picture, y, h, w, column, channel, False, K, C, COLUMNS)
    values = _load(_row(x, picture, y, h, w, column, channel, 0, COLUMNS, C), COLUMNS)
    to = _row(out, picture, y, h, w, column, channel, 0, COLUMNS, C)
    if slope is not None:
        slope_to = _row(slope, picture, y, h, w, column, channel, 0, COLUMNS, C)
    for j in tl.static_range(COLUMNS):
        # The slope shares its exponential with the GELU. Kept, it spares the backward pass a second
        # convolution.
        mixed, steep = gelu_and_slope(sums[j])
        tl.store(to[j][0], (values[j] + mixed).to(out.dtype.element_ty), mask=to[j][1])
        if slope is not None:
            tl.store(slope_to[j][0], steep.to(slope.dtype.element_ty), mask=slope_to[j][1])


@triton.jit
def input_gradient_kernel(
    grad_mixed,
    taps,
    grad_out,
    grad_x,
    h,
    w,
    K: tl.constexpr,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the gradient past the convolution plus the one through it."""
    picture, top, strip, block = _tile(h, w, C, BLOCK_C, LANES, ROWS, COLUMNS)
    row, column, channel = _lanes(strip, block, C, BLOCK_C, LANES, ROWS, COLUMNS)
    y = top + row
    start = tl.zeros((ROWS * LANES,), tl.float32)
    sums = _convolution(
        grad_mixed, taps, start, picture, y, h, w, column, channel, True, K, C, COLUMNS
    )
    through = _load(_row(grad_out, picture, y, h, w, column, channel, 0, COLUMNS, C), COLUMNS)
    to = _row(grad_x, picture, y, h, w, column, channel, 0, COLUMNS, C)
    for j in tl.static_range(COLUMNS):
        tl.store(to[j][0], (through[j] + sums[j]).to(grad_x.dtype.element_ty), mask=to[j][1])


@triton.jit
def _grad_mixed(
    grad_out,
    slope,
    grad_mixed,
    picture,
    top,
    h,
    w,
    column,
    channel,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile's gradient of the convolution's result, which is also written down."""
    found = ()
    for r in tl.static_range(ROWS):
        places = _row(grad_out, picture, top + r, h, w, column, channel, 0, COLUMNS, C)
        outer = _load(places, COLUMNS)
        places = _row(slope, picture, top + r, h, w, column, channel, 0, COLUMNS, C)
        inner = _load(places, COLUMNS)
        to = _row(grad_mixed, picture, top + r, h, w, column, channel, 0, COLUMNS, C)
        for j in tl.static_range(COLUMNS):
            value = outer[j] * inner[j]
            tl.store(to[j][0], value.to(grad_mixed.dtype.element_ty), mask=to[j][1])
            found = found + (value,)
    return found


@triton.jit
def weight_gradient_kernel(
    grad_out,
    slope,
    x,
    grad_mixed,
    parts,
    h,
    w,
    K: tl.constexpr,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Sums over a chunk of the picture for each tap and, in a last row, for the bias."""
    picture, first, strip, block = _tile(h, w, C, BLOCK_C, LANES, ROWS * STEPS, COLUMNS)
    _, column, channel = _lanes(strip, block, C, BLOCK_C, LANES, 1, COLUMNS)
    # K * K + 1 sums a lane, over several tiles of rows: fewer partial sums to write and to add
    sums = ()
    for _ in tl.static_range(K * K + 1):
        sums = sums + (tl.zeros((LANES,), tl.float32),)
    for step in range(tl.cdiv(tl.minimum(h - first, ROWS * STEPS), ROWS)):
        top = first + step * ROWS
        given = _grad_mixed(
            grad_out, slope, grad_mixed, picture, top, h, w, column, channel, C, ROWS, COLUMNS
        )
        total = sums[K * K]
        for i in tl.static_range(ROWS * COLUMNS):
            total += given[i]
        sums = sums[: K * K] + (total,)
        # Each row of x is loaded once and multiplied with all rows of gradients that it reaches.
        for i in tl.static_range(ROWS + K - 1):
            y = top + i - K // 2
            places = _row(x, picture, y, h, w, column, channel, -(K // 2), COLUMNS + K - 1, C)
            values = _load(places, COLUMNS + K - 1)
            more = ()
            for dy in tl.static_range(K):
                for dx in tl.static_range(K):
                    total = sums[dy * K + dx]
                    if i >= dy and i - dy < ROWS:
                        for j in tl.static_range(COLUMNS):
                            total += values[j + dx] * given[(i - dy) * COLUMNS + j]
                    more = more + (total,)
            sums = more + (sums[K * K],)
    # a place for each program, added later in one order: no atomic additions
    part = tl.program_id(0) // tl.cdiv(C, BLOCK_C)
    channels = tl.program_id(0) % tl.cdiv(C, BLOCK_C) * BLOCK_C + tl.arange(0, BLOCK_C)
    for tap in tl.static_range(K * K + 1):
        total = tl.sum(tl.reshape(sums[tap], (LANES // BLOCK_C, BLOCK_C)), 0)
        to = parts + (part.to(tl.int64) * (K * K + 1) + tap) * C + channels
        tl.store(to, total, mask=channels < C)
