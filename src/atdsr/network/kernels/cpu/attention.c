/* Softmax attention inside groups of tokens, forward and backward, nothing n x n in memory.

   A group is a list of tokens: a window of the picture, or a run of tokens sorted by category.
   Rows are gathered through the list and results stored through it, so neither windows nor runs
   are ever laid out. One token of every pair stands in the lanes of vectors; the other ones are
   walked one by one and broadcast, so that heads of every width fill the lanes. Queries stand in
   the lanes in the forward pass and keys in the backward pass, where the gradients of keys and of
   values are sums over queries: sums over what is walked need no sum across lanes. Scores are in
   units of log2, for the exponential is one of 2; they live in the cache for a block of pairs at a
   time, and the backward pass computes them again.

   Results do not depend on the number of threads: who computes what is fixed, whoever is free
   does it. */

#include "attention.h"

#include "lanes.h"

/* Vectors of tokens that are worked on side by side, so that what is broadcast serves for several
   multiplications: a processor loads no more numbers in a cycle than it multiplies. */
enum { COLUMNS = 2 };
/* Rows, and features of a head, whose sums for all COLUMNS are kept in registers: enough to hide
   the latency of multiplications, and together with a factor for each column and a number that is
   broadcast they fit AVX2's 16 registers, or the 32 of others. */
#if LANES == 8
enum { ROWS = 4, ACROSS = 6 };
#else
enum { ROWS = 8, ACROSS = 12 };
#endif
/* Sums that `spread` keeps in registers, for so many vectors of features. Two of them share what is
   broadcast, but with AVX2 they are slower. */
#if LANES == 8
enum { SUMS = 2 * ROWS, VECTORS = 1 };
#else
enum { SUMS = 2 * ROWS, VECTORS = 2 };
#endif
/* Tokens of COLUMNS vectors. */
enum { ABREAST = COLUMNS * LANES };
/* Rows of windows are made of so many tokens, or of several times as many. */
enum { SIDE_MULTIPLE = 8 };
/* Rows at a time: with ABREAST others, their scores are made once, and lie in the first cache while
   they are used in up to three products. */
enum { ROWS_CACHED = 64 };

/* The score of a key that is not there. A finite number, since the difference of two infinities
   would be NaN; its exponential is 0 all the same. */
#define NEVER (-1e30f)

/* The pair of bf16 (1, 1). */
#define ONES 0x3f803f80u

static const float LN_2 = 0.69314718f;

INLINE int round_up(int count, int unit) { return (count + unit - 1) / unit * unit; }

/* Floats from one gathered row to the next, and where rows are written as whole vectors. Both
   follow from the width, so that they are known where it is. */
/* A multiple of 4 for `load_fours`; not of LANES, which would add a third to rows of 12. */
INLINE int pitch_of(int d) { return round_up(d, 4); }
INLINE int wide_pitch_of(int d) { return round_up(d, LANES); }

/* ------------------------------------------------------------------------------------ rows */

INLINE float from_bf16(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}

INLINE uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (value != value) return 0x7fc0; /* rounding could make infinity or zero of it */
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16; /* to nearest, ties to even */
}

#define QUAD(address) (*(quad_anywhere *)(address))

/* `count` numbers, from `at` on, of an array of floats or bf16, times a factor. */
INLINE void read_row(float *to, const void *from, size_t at, int count, float factor, bool bf16) {
    if (bf16) {
        const uint16_t *row = (const uint16_t *)from + at;
        for (int i = 0; i < count; i++) to[i] = factor * from_bf16(row[i]);
        return;
    }
    const float *row = (const float *)from + at;
    int i = 0;
    /* in fours, of which most widths are multiples; a copy of an unknown `count` would be a call */
    for (; i + 4 <= count; i += 4) QUAD(to + i) = factor * QUAD(row + i);
    for (; i < count; i++) to[i] = factor * row[i];
}

INLINE void write_row(void *to, size_t at, const float *from, int count, bool bf16) {
    if (bf16)
        for (int i = 0; i < count; i++) ((uint16_t *)to)[at + i] = to_bf16(from[i]);
    else
        memcpy((float *)to + at, from, 4 * count);
}

INLINE void add_row(void *to, size_t at, const float *from, int count, bool bf16) {
    if (bf16) {
        uint16_t *row = (uint16_t *)to + at;
        for (int i = 0; i < count; i++) row[i] = to_bf16(from_bf16(row[i]) + from[i]);
        return;
    }
    float *row = (float *)to + at;
    int i = 0;
    for (; i + 4 <= count; i += 4) QUAD(row + i) += QUAD(from + i);
    for (; i < count; i++) row[i] += from[i];
}

/* Tell the processor that a row will soon be read; tokens sorted by category are a surprise to
   it. */
INLINE void prefetch_row(const void *from, size_t at, int count, bool bf16) {
    const size_t number = bf16 ? 2 : 4;
    /* its end may be in another cache line than its beginning */
    for (size_t byte = 0; byte < count * number; byte += 64)
        __builtin_prefetch((const char *)from + at * number + byte);
    __builtin_prefetch((const char *)from + (at + count) * number - 1);
}

INLINE float dot(int count, const float *a, const float *b) {
    quad sums = {0};
    int i = 0;
    for (; i + 4 <= count; i += 4) sums += QUAD(a + i) * QUAD(b + i);
    float sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    for (; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* -------------------------------------------------------------- the three products of matrices */

/* s[j][c] += column_c . row_j, for ROWS rows side by side. Pairs are of two features. */
INLINE void add_scores(int d, const lanes *columns, const float *rows, lanes s[][COLUMNS],
                       bool rounded) {
    const int pitch = pitch_of(d), places = places_of(pitch, rounded);
    for (int i = 0; i < places_of(d, rounded); i++)
        for (int j = 0; j < ROWS; j++)
            for (int c = 0; c < COLUMNS; c++)
                s[j][c] = add_product(s[j][c], columns[c * pitch + i], rows + j * places + i,
                                      rounded);
}

/* out[c][i] += sum over n rows of p_jc * row_ji, `width` features side by side. Pairs are of two
   rows, and n of pairs. */
INLINE void mix_some(int width, int n, const lanes (*p)[COLUMNS], const float *rows, int pitch,
                     lanes *out, bool rounded) {
    /* All rows pass by while the sums stay in registers; memory is touched once before and after.
       */
    lanes sum[ACROSS][COLUMNS];
    for (int i = 0; i < width; i++)
        for (int c = 0; c < COLUMNS; c++) sum[i][c] = out[c * pitch + i];
    for (int j = 0; j < n; j++, rows += pitch)
        for (int i = 0; i < width; i++)
            for (int c = 0; c < COLUMNS; c++)
                sum[i][c] = add_product(sum[i][c], p[j][c], rows + i, rounded);
    for (int i = 0; i < width; i++)
        for (int c = 0; c < COLUMNS; c++) out[c * pitch + i] = sum[i][c];
}

INLINE void mix_across(int width, int n, const lanes (*p)[COLUMNS], const float *rows, int pitch,
                       lanes *out, bool rounded) {
    /* A loop of unknown length would keep `sum` in memory, so each length gets code of its own;
       where the width is known, one case is left. */
#define CASE(w) \
    case w: \
        mix_some(w, n, p, rows, pitch, out, rounded); \
        break;
    switch (width) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if LANES != 8
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
#undef CASE
}

INLINE void mix(int d, int n, const lanes (*p)[COLUMNS], const float *rows, lanes *out,
                bool rounded) {
    /* As many rounds as it takes, all of about the same width: the few sums of a short last round
       would wait for each other. */
    const int pitch = pitch_of(d), rounds = (d + ACROSS - 1) / ACROSS;
    const int width = (d + rounds - 1) / rounds, whole = d / width * width;
    for (int i = 0; i < whole; i += width)
        mix_across(width, n, p, rows + i, pitch, out + i, rounded);
    if (whole < d) mix_across(d - whole, n, p, rows + whole, pitch, out + whole, rounded);
}

/* out_j += sum over ABREAST l of p_jl * row_l, for n rows of the wide pitch and `vectors` of their
   features from `out` on. Pairs are of two l. */
INLINE void spread_some(int vectors, int d, int n, const float *p, const float *rows, float *out,
                        bool rounded) {
    const int pitch = pitch_of(d), wide = wide_pitch_of(d), some = SUMS / vectors;
    const int abreast = places_of(ABREAST, rounded);
    /* Sums over what stands in the lanes elsewhere: with features there instead, nothing has to be
       added across lanes. */
    for (int j = 0; j < n; j += some, out += some * wide) {
        const float *pj = p + j * abreast;
        lanes sum[SUMS];
        for (int x = 0; x < some; x++)
            for (int i = 0; i < vectors; i++)
                sum[x * vectors + i] = load(out + x * wide + i * LANES);
        for (int l = 0; l < abreast; l++)
            for (int x = 0; x < some; x++)
                for (int i = 0; i < vectors; i++)
                    sum[x * vectors + i] =
                        add_product(sum[x * vectors + i], load(rows + l * pitch + i * LANES),
                                    pj + x * abreast + l, rounded);
        for (int x = 0; x < some; x++)
            for (int i = 0; i < vectors; i++)
                store(out + x * wide + i * LANES, sum[x * vectors + i]);
    }
}

INLINE void spread(int d, int n, const float *p, const float *rows, float *out, bool rounded) {
    int i = 0;
    for (; i + (VECTORS - 1) * LANES < d; i += VECTORS * LANES)
        spread_some(VECTORS, d, n, p, rows + i, out + i, rounded);
    if (i < d) spread_some(1, d, n, p, rows + i, out + i, rounded);
}

/* -------------------------------------------------------------------------------------- work */

/* Rows of all tokens of a group, as they are gathered, and as factors: in pairs of two features, or
   of two rows. Where factors are not rounded, all three are the same. */
struct rows {
    float *exact, *by_feature, *by_row;
};

/* What one thread works with: one head of one group at a time, its rows gathered side by side. */
struct work {
    const struct attention *a;
    int padded; /* tokens of a group, rounded up to whole blocks of rows and of columns */

    const int64_t *order; /* the group's tokens; a short last group continues before its end */
    size_t row;           /* the picture's first row */
    size_t position;      /* of the group's first token among the sorted tokens of all heads */
    int head;
    int queries; /* those of the group that are not borrowed */
    const float *table, *penalties;

    struct rows q, k, v; /* q is scaled */
    lanes (*p)[COLUMNS]; /* shares of ROWS_CACHED rows; pairs are of two rows */
    lanes *absent;       /* zero, or NEVER for keys that are padding */

    lanes *q_columns, *o; /* forward: of ABREAST queries, and their results */
    float *rows;          /* LANES results, row by row */

    struct rows grad_out;         /* backward: of all queries, as the next three */
    float *log_sum, *less;        /* less: -out . grad_out */
    float *grad_q;                /* rows of the wide pitch */
    lanes *k_columns, *v_columns; /* of ABREAST keys */
    lanes *grad_k, *grad_v;       /* of ABREAST keys */
    lanes (*grad_s)[COLUMNS];     /* gradients of the scores of ROWS_CACHED queries, like p */
    float *grad_s_by_key;         /* the same; pairs are of two keys */
    float *grad_biases;           /* as `grad_bias_at` has them */
    float *shifted;               /* what `add_to_table` works in */
};

/* Pieces of a block of memory; without the block they are only counted. */
struct pieces {
    char *block;
    size_t used;
};

static void *take(struct pieces *from, size_t floats) {
    char *piece = from->block ? from->block + from->used : NULL;
    from->used += (4 * floats + 63) / 64 * 64; /* each piece begins at a cache line */
    return piece;
}

static struct rows take_rows(const struct work *w, struct pieces *memory) {
    /* whole vectors are read from the last row too, and written behind the last pairs */
    const size_t count = (size_t)w->padded * pitch_of(w->a->width) + LANES;
    float *exact = take(memory, count);
    if (!w->a->rounds) return (struct rows){exact, exact, exact};
    float *by_feature = take(memory, count / 2 + LANES);
    return (struct rows){exact, by_feature, take(memory, count / 2 + LANES)};
}

static void lay_out(struct work *w, struct pieces *memory, bool backward) {
    const struct attention *a = w->a;
    const int d = a->width;
    const size_t columns = (size_t)pitch_of(d) * ABREAST, side = a->side;
    w->padded = round_up(a->group, ABREAST > SUMS ? ABREAST : SUMS);
    w->q = take_rows(w, memory);
    w->k = take_rows(w, memory);
    w->v = take_rows(w, memory);
    w->p = take(memory, ROWS_CACHED * ABREAST);
    w->absent = take(memory, ABREAST);
    if (!backward) {
        w->q_columns = take(memory, columns);
        w->o = take(memory, columns);
        w->rows = take(memory, columns / COLUMNS);
        return;
    }
    w->grad_out = take_rows(w, memory);
    w->log_sum = take(memory, w->padded);
    w->less = take(memory, w->padded);
    w->k_columns = take(memory, columns);
    w->v_columns = take(memory, columns);
    w->grad_k = take(memory, columns);
    w->grad_v = take(memory, columns);
    w->grad_q = take(memory, (size_t)w->padded * wide_pitch_of(d));
    w->grad_s = take(memory, ROWS_CACHED * ABREAST);
    w->grad_s_by_key = a->rounds ? take(memory, ROWS_CACHED * ABREAST / 2) : (float *)w->grad_s;
    w->grad_biases = take(memory, (2 * side - (side > 0)) * side * side);
    w->shifted = take(memory, 2 * side * side);
}

static void find_group(struct work *w, size_t picture, size_t index, int head) {
    const struct attention *a = w->a;
    const size_t first = index * a->group, left = a->tokens - first, span = 2 * a->side - 1;
    w->order = a->order + picture * a->order_pitch + first;
    w->row = picture * a->tokens;
    w->position = (picture * a->heads + head) * a->tokens + first;
    w->head = head;
    w->queries = left < (size_t)a->group ? (int)left : (int)a->group;
    w->table = a->table ? a->table + head * span * span : NULL;
    w->penalties = NULL;
    if (a->kinds && a->kinds[index])
        w->penalties = a->penalties + (size_t)a->kinds[index] * a->group * a->group;
}

/* The token of the group's key j; a short group borrows those before its end, last one first. */
INLINE int64_t token_of(const struct work *w, int j) {
    return w->order[j < w->queries ? j : 2 * w->queries - 1 - j];
}

/* Where the queries of a token stand in qkv; keys and values follow a width of all heads later. */
INLINE size_t place_of(const struct work *w, int d, int64_t token) {
    return (w->row + token) * 3 * w->a->heads * d + w->head * d;
}

/* Tokens whose rows are prefetched before they are needed. */
enum { AHEAD = 16 };

INLINE void gather(const struct work *w, int d) {
    const struct attention *a = w->a;
    const size_t c = a->heads * d;
    const int group = a->group, pitch = pitch_of(d);
    const void *qkv = a->qkv;
    const bool bf16 = a->bf16;
    const float scale = a->scale;
    float *q = w->q.exact, *k = w->k.exact, *v = w->v.exact;
    for (int j = 0; j < group; j++, q += pitch, k += pitch, v += pitch) {
        const size_t at = place_of(w, d, token_of(w, j));
        if (j + AHEAD < group)
            for (int part = 0; part < 3; part++)
                prefetch_row(qkv, place_of(w, d, token_of(w, j + AHEAD)) + part * c, d, bf16);
        read_row(q, qkv, at, d, scale, bf16); /* once a query here, and not once a score */
        read_row(k, qkv, at + c, d, 1, bf16);
        read_row(v, qkv, at + 2 * c, d, 1, bf16);
    }
}

/* Round all rows to pairs of features; the last ones may be padding. */
INLINE void pair_features(const struct work *w, int d, struct rows rows) {
    round_row(rows.exact, w->padded * pitch_of(d), rows.by_feature);
}

/* The rows of LANES tokens from `first` on as columns of factors. */
INLINE void columns_of(int d, struct rows rows, int first, lanes *columns, bool rounded) {
    const int pitch = places_of(pitch_of(d), rounded);
    to_columns(places_of(d, rounded), rows.by_feature + first * pitch, pitch, columns);
}

/* Where, in a table of a window's biases, that of a token in a lane and of one that is walked
   stands. The lanes after it in the row of the window have theirs after it, the rows after it have
   theirs before it. This is the table for queries in the lanes; with its numbers in reverse it is
   that for keys in the lanes. */
INLINE int bias_at(int side, int lane, int row) {
    return (lane / side - row / side + side - 1) * (2 * side - 1) + side - 1 + lane % side -
           row % side;
}

/* The biases of the lanes from `first` on, for ROWS rows, which are in one row of the window. */
INLINE void load_biases(const struct work *w, int side, int first, int row, int c,
                        lanes s[][COLUMNS]) {
    const float *bias = w->table + bias_at(side, first, row);
#if LANES == 16
    if (side % LANES) { /* the vector holds tokens of two rows of the window */
        const float *below = w->table + bias_at(side, first + SIDE_MULTIPLE, row);
        for (int i = 0; i < ROWS; i++)
            s[i][c] = (lanes)_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(bias - i)),
                                                _mm256_loadu_ps(below - i), 1);
        return;
    }
#endif
    for (int i = 0; i < ROWS; i++) s[i][c] = load(bias - i);
}

/* The scores of COLUMNS vectors of tokens from `first` on, with ROWS tokens from `row` on. */
INLINE void score(const struct work *w, int d, int side, const lanes *columns, int first,
                  struct rows rows, int row, lanes s[][COLUMNS], bool rounded) {
    for (int c = 0; c < COLUMNS; c++) {
        if (side)
            load_biases(w, side, first + c * LANES, row, c, s);
        else
            for (int j = 0; j < ROWS; j++) s[j][c] = w->absent[c];
    }
    if (side && w->penalties)
        for (int j = 0; j < ROWS; j++)
            for (int c = 0; c < COLUMNS; c++) /* which are the same for query and key */
                s[j][c] += load(w->penalties + (size_t)(row + j) * side * side + first + c * LANES);
    add_scores(d, columns, rows.by_feature + row * places_of(pitch_of(d), rounded), s, rounded);
}

/* ----------------------------------------------------------------------------------- forward */

INLINE void forward_width(const struct work *w, int d, int side, bool rounded) {
    const struct attention *a = w->a;
    const int pitch = pitch_of(d);
    lanes *o = w->o, *q = w->q_columns;
    gather(w, d);
    if (rounded) {
        pair_features(w, d, w->q);
        pair_features(w, d, w->k);
        pair_rows(w->v.exact, w->padded, pitch, w->v.by_row);
    }
    for (int first = 0; first < w->queries; first += ABREAST) {
        lanes largest[COLUMNS], sum[COLUMNS];
        for (int c = 0; c < COLUMNS; c++) {
            columns_of(d, w->q, first + c * LANES, q + c * pitch, rounded);
            largest[c] = all(NEVER);
            sum[c] = all(0);
            for (int i = 0; i < d; i++) o[c * pitch + i] = all(0);
        }
        for (int key = 0; key < a->group; key += ROWS_CACHED) {
            const int left = round_up(a->group - key, ROWS);
            const int n = left < ROWS_CACHED ? left : ROWS_CACHED;
            /* two running maxima a column, since one would have each comparison wait for the one
               before it */
            lanes most[2][COLUMNS];
            for (int c = 0; c < COLUMNS; c++) most[0][c] = most[1][c] = largest[c];
            for (int j = 0; j < n; j += ROWS) {
                lanes s[ROWS][COLUMNS];
                score(w, d, side, q, first, w->k, key + j, s, rounded);
                if (!side && key + j + ROWS > a->group)
                    for (int x = 0; x < ROWS; x++)
                        for (int c = 0; c < COLUMNS; c++)
                            if (key + j + x >= a->group) s[x][c] = all(NEVER);
                for (int x = 0; x < ROWS; x++)
                    for (int c = 0; c < COLUMNS; c++) {
                        w->p[j + x][c] = s[x][c];
                        most[x % 2][c] = larger(most[x % 2][c], s[x][c]);
                    }
            }
            /* The scores of a block are in the cache, so its largest is known before the first
               exponential, and sums are scaled again once a block and not once a key. */
            for (int c = 0; c < COLUMNS; c++) {
                lanes before = largest[c];
                largest[c] = larger(most[0][c], most[1][c]);
                lanes less = exp2_lanes(before - largest[c]);
                sum[c] *= less;
                for (int i = 0; i < d; i++) o[c * pitch + i] *= less;
            }
            lanes more[COLUMNS] = {0}; /* in registers, unlike the sum of all blocks */
            for (int j = 0; j < n; j += rounded ? 2 : 1)
                for (int c = 0; c < COLUMNS; c++) {
                    lanes share = exp2_lanes(w->p[j][c] - largest[c]);
                    if (rounded) {
                        pairs both = to_pairs(share, exp2_lanes(w->p[j + 1][c] - largest[c]));
                        w->p[j / 2][c] = (lanes)both;
                        /* The sum of what values are multiplied by: weights then sum to 1, and
                           what all values have in common is not rounded. */
                        more[c] = add_products(more[c], both, all_pairs(ONES));
                    } else {
                        w->p[j][c] = share;
                        more[c] += share;
                    }
                }
            for (int c = 0; c < COLUMNS; c++) sum[c] += more[c];
            mix(d, places_of(n, rounded), w->p, w->v.by_row + places_of(key, rounded) * pitch, o,
                rounded);
        }
        for (int c = 0; c < COLUMNS; c++) {
            /* the result is divided and not the shares: d numbers a query and not one a key */
            lanes part = 1.0f / sum[c], most = largest[c];
            for (int i = 0; i < d; i++) o[c * pitch + i] *= part;
            to_rows(d, o + c * pitch, w->rows, pitch);
            const int left = w->queries - first - c * LANES;
            const int64_t *order = w->order + first + c * LANES;
            for (int lane = 0; lane < LANES && lane < left; lane++) {
                const size_t row = w->row + order[lane];
                const size_t at = row * a->out_pitch + a->out_first + w->head * d;
                write_row(a->out, at, w->rows + lane * pitch, d, a->bf16);
            }
            if (a->log_sums)
                for (int lane = 0; lane < LANES && lane < left; lane++)
                    a->log_sums[w->position + first + c * LANES + lane] =
                        most[lane] - log2f(part[lane]);
        }
    }
}

/* ---------------------------------------------------------------------------------- backward */

/* What the queries bring: the gradient of their results, and how their softmax went. */
INLINE void gather_grad_out(const struct work *w, int d, bool rounded) {
    const struct attention *a = w->a;
    const int pitch = pitch_of(d);
    /* The sum over keys of share times gradient, which a softmax's backward pass subtracts, equals
       out . grad_out: one product a query and no pass over the scores. */
    float *out = w->grad_q; /* free until it is summed */
    const size_t c = a->heads * d;
    const bool bf16 = a->bf16;
    for (int j = 0; j < w->queries; j++) {
        const size_t at = ((w->row + w->order[j]) * a->heads + w->head) * d;
        float *grad = w->grad_out.exact + j * pitch;
        if (j + AHEAD < w->queries) {
            const size_t soon = ((w->row + w->order[j + AHEAD]) * a->heads + w->head) * d;
            prefetch_row(a->grad_out, soon, d, bf16);
            prefetch_row(a->out, soon, d, bf16);
        }
        /* what is written at the end: stores to lines that are not in the cache would queue up */
        for (int part = 0; part < 3; part++)
            prefetch_row(a->grad_qkv, place_of(w, d, w->order[j]) + part * c, d, bf16);
        read_row(grad, a->grad_out, at, d, 1, bf16);
        read_row(out, a->out, at, d, 1, bf16);
        /* Rounded before the product with the result too: what all values of a group have in
           common is in all these products, and cancels only if they have the same factors. What
           stands behind the row is written later. */
        if (rounded)
            for (int i = 0; i < d; i += LANES)
                store(grad + i, (lanes)(rounded_up(load(grad + i)) & 0xffff0000u));
        w->less[j] = -dot(d, grad, out);
        w->log_sum[j] = a->log_sums[w->position + j];
    }
    for (int j = w->queries; j < w->padded; j++) {
        /* queries that are padding or borrowed get shares of 2^(-1e30) = 0, and so no gradients */
        memset(w->grad_out.exact + j * pitch, 0, 4 * pitch);
        w->less[j] = 0;
        w->log_sum[j] = -NEVER;
    }
}

/* Where the gradient of the bias of a token in a lane and of one that is walked is summed, apart
   for each column of the window in which the latter stands, so that the lanes of a vector are
   neighbours here at the beginning of a cache line. */
INLINE int grad_bias_at(int side, int lane, int row) {
    return ((lane / side - row / side + side - 1) * side + row % side) * side + lane % side;
}

/* Add the gradients of the scores of the lanes from `first` on, for ROWS rows. */
INLINE void add_grad_biases(const struct work *w, int side, int first, int row, int c,
                            lanes grad_s[][COLUMNS]) {
    float *to = w->grad_biases + grad_bias_at(side, first, row);
#if LANES == 16
    if (side % LANES) { /* as in `load_biases` */
        float *below = w->grad_biases + grad_bias_at(side, first + SIDE_MULTIPLE, row);
        for (int i = 0; i < ROWS; i++, to += side, below += side) {
            __m256 low = _mm512_castps512_ps256((__m512)grad_s[i][c]);
            __m256 high = _mm512_extractf32x8_ps((__m512)grad_s[i][c], 1);
            _mm256_storeu_ps(to, _mm256_loadu_ps(to) + low);
            _mm256_storeu_ps(below, _mm256_loadu_ps(below) + high);
        }
        return;
    }
#endif
    for (int i = 0; i < ROWS; i++, to += side) store(to, load(to) + grad_s[i][c]);
}

/* Sum, over the columns of the window, the gradients of the biases into those of the table. */
INLINE void add_to_table(const struct work *w, int side, float *table) {
    const int width = 2 * side;
    const float *grad = w->grad_biases;
    for (int i = 0; i < width - 1; i++, table += width - 1) {
        /* Each column begins one float earlier in its row of memory than the column before it, as
           in the table, so that sums down the rows are the table's; the gaps stay zero. */
        for (int x = 0; x < side; x++, grad += side)
            memcpy(w->shifted + x * width + side - 1 - x, grad, 4 * side);
        for (int t = 0; t < width; t += LANES) {
            lanes sum = load(table + t);
            for (int x = 0; x < side; x++) sum += load(w->shifted + x * width + t);
            store(table + t, sum);
        }
    }
}

/* Round ROWS vectors a column to pairs of rows. */
INLINE void pair_vectors(lanes s[][COLUMNS], lanes to[][COLUMNS]) {
    for (int x = 0; x < ROWS; x += 2)
        for (int c = 0; c < COLUMNS; c++) to[x / 2][c] = (lanes)to_pairs(s[x][c], s[x + 1][c]);
}

/* COLUMNS vectors of keys from `first` on against the cached queries from `query` on. */
INLINE void backward_tile(const struct work *w, int d, int side, int first, int query,
                          bool rounded) {
    const int pitch = pitch_of(d), left = round_up(w->queries, SUMS) - query;
    const int n = left < ROWS_CACHED ? left : ROWS_CACHED;
    const int places = places_of(pitch, rounded);
    for (int j = 0; j < n; j += ROWS) {
        const float *log_sum = w->log_sum + query + j, *less = w->less + query + j;
        lanes exact[2][ROWS][COLUMNS]; /* shares and gradients before they are rounded */
        lanes (*p)[COLUMNS] = rounded ? exact[0] : w->p + j;
        lanes (*grad_s)[COLUMNS] = rounded ? exact[1] : w->grad_s + j;
        lanes s[ROWS][COLUMNS], grad_p[ROWS][COLUMNS];
        score(w, d, side, w->k_columns, first, w->q, query + j, s, rounded);
        for (int x = 0; x < ROWS; x++)
            for (int c = 0; c < COLUMNS; c++)
                /* made again from the scores: to keep it would take n x n numbers a head */
                p[x][c] = exp2_lanes(s[x][c] - log_sum[x]);
        for (int x = 0; x < ROWS; x++)
            for (int c = 0; c < COLUMNS; c++) grad_p[x][c] = all(less[x]);
        add_scores(d, w->v_columns, w->grad_out.by_feature + (query + j) * places, grad_p, rounded);
        for (int x = 0; x < ROWS; x++)
            for (int c = 0; c < COLUMNS; c++) grad_s[x][c] = grad_p[x][c] *= p[x][c];
        if (side)
            for (int c = 0; c < COLUMNS; c++)
                add_grad_biases(w, side, first + c * LANES, query + j, c, grad_p);
        if (rounded) {
            pair_vectors(p, w->p + j / 2);
            pair_vectors(grad_s, w->grad_s + j / 2);
            uint16_t *by_key = (uint16_t *)w->grad_s_by_key + j * ABREAST;
            for (int x = 0; x < ROWS; x++)
                for (int c = 0; c < COLUMNS; c++)
                    store_halves(by_key + x * ABREAST + c * LANES, grad_s[x][c]);
        }
    }
    const int rows = places_of(n, rounded), row = places_of(query, rounded);
    mix(d, rows, w->grad_s, w->q.by_row + row * pitch, w->grad_k, rounded);
    mix(d, rows, w->p, w->grad_out.by_row + row * pitch, w->grad_v, rounded);
    spread(d, n, w->grad_s_by_key, w->k.by_row + places_of(first, rounded) * pitch,
           w->grad_q + query * wide_pitch_of(d), rounded);
}

/* Put a row where the gradient of qkv has it; `adds`: to what is there. */
INLINE void put_row(const struct work *w, size_t at, const float *from, int d, bool adds) {
    const struct attention *a = w->a;
    if (adds || a->adds)
        add_row(a->grad_qkv, at, from, d, a->bf16);
    else
        write_row(a->grad_qkv, at, from, d, a->bf16);
}

/* The gradients of ABREAST keys and values. Those of borrowed ones come on top of those that their
   own group wrote. */
INLINE void put_grad_columns(const struct work *w, int d, int first) {
    const struct attention *a = w->a;
    const int pitch = pitch_of(d);
    const size_t c = a->heads * d;
    float *k = (float *)w->k_columns, *v = (float *)w->v_columns; /* no more used */
    for (int i = 0; i < COLUMNS * pitch; i++)
        w->grad_k[i] *= LN_2; /* q holds a factor of log2(e), as the scores do */
    for (int column = 0; column < COLUMNS; column++) {
        to_rows(d, w->grad_k + column * pitch, k + column * LANES * pitch, pitch);
        to_rows(d, w->grad_v + column * pitch, v + column * LANES * pitch, pitch);
    }
    for (int lane = 0; lane < ABREAST && first + lane < a->group; lane++) {
        const size_t at = place_of(w, d, token_of(w, first + lane));
        const bool adds = first + lane >= w->queries;
        put_row(w, at + c, k + lane * pitch, d, adds);
        put_row(w, at + 2 * c, v + lane * pitch, d, adds);
    }
}

/* Returns d loss / d log(scale) of the group. */
INLINE double backward_width(const struct work *w, int d, int side, bool rounded,
                             float *grad_table) {
    const struct attention *a = w->a;
    const int pitch = pitch_of(d), wide = wide_pitch_of(d);
    double grad_scale = 0;
    gather(w, d);
    gather_grad_out(w, d, rounded);
    if (rounded) {
        const struct rows rows[] = {w->q, w->k, w->grad_out, w->v};
        for (int i = 0; i < 4; i++) pair_features(w, d, rows[i]);
        for (int i = 0; i < 3; i++) /* but not v */
            pair_rows(rows[i].exact, w->padded, pitch, rows[i].by_row);
    }
    memset(w->grad_q, 0, 4 * (size_t)w->padded * wide);
    if (side) memset(w->grad_biases, 0, 4 * (size_t)(2 * side - 1) * side * side);
    for (int first = 0; first < a->group; first += ABREAST) {
        for (int c = 0; c < COLUMNS; c++) {
            columns_of(d, w->k, first + c * LANES, w->k_columns + c * pitch, rounded);
            columns_of(d, w->v, first + c * LANES, w->v_columns + c * pitch, rounded);
        }
        for (int lane = 0; lane < ABREAST; lane++)
            ((float *)w->absent)[lane] = first + lane < a->group ? 0 : NEVER;
        memset(w->grad_k, 0, sizeof(lanes) * COLUMNS * pitch);
        memset(w->grad_v, 0, sizeof(lanes) * COLUMNS * pitch);
        for (int query = 0; query < w->queries; query += ROWS_CACHED)
            backward_tile(w, d, side, first, query, rounded);
        put_grad_columns(w, d, first);
    }
    if (side) add_to_table(w, side, grad_table);
    const float scale = a->scale * LN_2;
    for (int j = 0; j < w->queries; j++) {
        float *grad_q = w->grad_q + j * wide;
        /* d loss / d log(scale) is the sum of scores times their gradients, which is that of
           queries times theirs; in double, since its terms cancel */
        if (a->grad_scale) grad_scale += dot(d, grad_q, w->q.exact + j * pitch) * LN_2;
        for (int i = 0; i < wide; i += LANES) store(grad_q + i, load(grad_q + i) * scale);
        put_row(w, place_of(w, d, w->order[j]), grad_q, d, false);
    }
    return grad_scale;
}

/* --------------------------------------------------------------------------------- the shapes */

/* Both directions for one head of one group. */
struct code {
    int d, side;
    bool rounded;
    void (*forward)(const struct work *w);
    double (*backward)(const struct work *w, float *grad_table);
};

/* Each shape has functions of its own, since the time that compilers take grows faster than the
   length of a function. */
#define DEFINE(name, d, side, rounded) \
    static void forward_##name(const struct work *w) { forward_width(w, d, side, rounded); } \
    static double backward_##name(const struct work *w, float *grad_table) { \
        return backward_width(w, d, side, rounded, grad_table); \
    }
#define DEFINE_SHAPE(d, side, rounded) DEFINE(d##_##side##_##rounded, d, side, rounded)
#define SHAPE(d, side, rounded) \
    {d, side, rounded, forward_##d##_##side##_##rounded, backward_##d##_##side##_##rounded},

/* The shapes of the published models, whose loops have known lengths: faster where heads are
   narrow. */
#define PUBLISHED(use, rounded) \
    use(12, 16, rounded) use(16, 16, rounded) use(35, 16, rounded) \
    use(12, 0, rounded) use(16, 0, rounded) use(35, 0, rounded)

PUBLISHED(DEFINE_SHAPE, 0)
DEFINE(any_0, w->a->width, w->a->side, 0)
DEFINE(any_1, w->a->width, w->a->side, 1)
#if MULTIPLIES_PAIRS /* elsewhere they are only there to be tested */
PUBLISHED(DEFINE_SHAPE, 1)
#endif

static struct code code_of(const struct attention *a) {
    static const struct code published[] = {
        PUBLISHED(SHAPE, 0)
#if MULTIPLIES_PAIRS
        PUBLISHED(SHAPE, 1)
#endif
    };
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        const struct code *code = published + i;
        if (code->d == a->width && code->side == a->side && code->rounded == !!a->rounds)
            return *code;
    }
    if (a->rounds) return (struct code){.forward = forward_any_1, .backward = backward_any_1};
    return (struct code){.forward = forward_any_0, .backward = backward_any_0};
}

/* -------------------------------------------------------------------------------- the threads */

static void share_work(struct attention *a, bool backward) {
    const size_t span = 2 * a->side - 1, table = span * span + 1;
    const size_t groups = (a->tokens + a->group - 1) / a->group;
    /* a short last group adds to what the one before it has written, so one task does both */
    const size_t tied = backward && a->tokens % a->group ? 1 : 0;
    const size_t tasks = a->pictures * (groups - tied) * a->heads;
    const struct code code = code_of(a);
    struct work w = {.a = a};
    /* laid out twice, first to count: one list of buffers serves for the size and the addresses */
    struct pieces memory = {NULL, 0};
    lay_out(&w, &memory, backward);
    memory = (struct pieces){aligned_block(memory.used, &a->failed), 0};
    if (!memory.block) return;
    lay_out(&w, &memory, backward);
    /* The number of chunks is fixed and each has sums of its own, so that the bits do not depend on
       how many threads there are or which one is fast. */
    for (size_t chunk; (chunk = atomic_fetch_add(&a->next, 1)) < (size_t)a->chunks;)
        for (size_t t = tasks * chunk / a->chunks; t < tasks * (chunk + 1) / a->chunks; t++) {
            const size_t head = t % a->heads, unit = t / a->heads;
            const size_t picture = unit / (groups - tied), index = unit % (groups - tied);
            const size_t last = index + 1 == groups - tied ? groups - 1 : index;
            for (size_t group = index; group <= last; group++) {
                find_group(&w, picture, group, head);
                if (!backward) {
                    code.forward(&w);
                    continue;
                }
                float *grad_table =
                    a->table ? a->grad_table + (chunk * a->heads + head) * table : NULL;
                double grad_scale = code.backward(&w, grad_table);
                if (a->grad_scale)
                    a->grad_scale[(picture * groups + group) * a->heads + head] = grad_scale;
            }
        }
    free_block(memory.block);
}

void attention_forward(struct attention *a) { share_work(a, false); }

void attention_backward(struct attention *a) { share_work(a, true); }
