/* Softmax attention inside groups of tokens, forward and backward, nothing n x n in memory.

   A group is a list of tokens: a window of the picture, or a run of tokens sorted by category.
   Rows are gathered through the list and results stored through it, so neither windows nor runs
   are ever laid out. Queries stand in the lanes of vectors; keys and values are walked one by one
   and broadcast, so that heads of every width fill the lanes. Scores are in units of log2, for the
   exponential is one of 2; they live in the cache for one vector of queries at a time, and the
   backward pass computes them again.

   Results do not depend on the number of threads: who computes what is fixed, whoever is free
   does it. */

#include "attention.h"

#include "lanes.h"

/* Keys whose scores are computed side by side: enough to hide the latency of multiplications. */
#if LANES == 16
enum { KEYS = 16 };
#else
enum { KEYS = 8 };
#endif
/* Features of a head that are summed side by side, in registers. Together with a share and a value
   they fit AVX2's 16 registers, and AVX-512's 32. */
#if LANES == 16
enum { ACROSS = 16 };
#else
enum { ACROSS = 12 };
#endif
/* Rows of windows are made of so many tokens, or of several times as many. */
enum { SIDE_MULTIPLE = 8 };
/* Keys at a time in the backward pass, about what the first cache holds: their scores are made once
   and then used in three products. */
enum { KEYS_CACHED = 64 };

/* The score of a key that is not there. A finite number, since the difference of two infinities
   would be NaN; its exponential is 0 all the same. */
#define NEVER (-1e30f)

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

/* `count` numbers, from `at` on, of an array of floats or bf16. */
INLINE void read_row(float *to, const void *from, size_t at, int count, bool bf16) {
    if (bf16) {
        const uint16_t *row = (const uint16_t *)from + at;
        for (int i = 0; i < count; i++) to[i] = from_bf16(row[i]);
        return;
    }
    const float *row = (const float *)from + at;
    int i = 0;
    /* copies of a known length become moves of vectors; one of an unknown `count` would be a call
       */
    for (; i + 4 <= count; i += 4) memcpy(to + i, row + i, 16);
    for (; i < count; i++) to[i] = row[i];
}

INLINE void write_row(void *to, size_t at, const float *from, int count, bool bf16) {
    if (bf16)
        for (int i = 0; i < count; i++) ((uint16_t *)to)[at + i] = to_bf16(from[i]);
    else
        memcpy((float *)to + at, from, 4 * count);
}

INLINE void add_row(void *to, size_t at, const float *from, int count, bool bf16) {
    for (int i = 0; i < count; i++) {
        float sum;
        read_row(&sum, to, at + i, 1, bf16);
        sum += from[i];
        write_row(to, at + i, &sum, 1, bf16);
    }
}

/* -------------------------------------------------------------- the three products of matrices */

/* s[j] += q . k_j, KEYS rows of k side by side. */
INLINE void add_scores(int d, const lanes *q, const float *k, lanes *s) {
    const int pitch = pitch_of(d);
    /* KEYS sums in registers; on AVX-512 a key's number is broadcast by the instruction that
       multiplies it, so no register holds it */
    for (int i = 0; i < d; i++) {
        lanes qi = q[i];
        for (int j = 0; j < KEYS; j++) s[j] += qi * k[j * pitch + i];
    }
}

/* out[i] += sum over n keys of p_j * v_ji, `width` features side by side; p_j lies every
   `step` floats. */
INLINE void mix_some(int width, int n, const float *p, int step, const float *v, int pitch,
                     lanes *out) {
    /* All keys pass by while the sums stay in registers; memory is touched once before and after.
       */
    lanes sum[ACROSS];
    for (int i = 0; i < width; i++) sum[i] = out[i];
    for (int j = 0; j < n; j++, p += step, v += pitch) {
        lanes pj = load(p);
        for (int i = 0; i < width; i++) sum[i] += pj * v[i];
    }
    for (int i = 0; i < width; i++) out[i] = sum[i];
}

INLINE void mix_across(int width, int n, const float *p, int step, const float *v, int pitch,
                       lanes *out) {
    /* A loop of unknown length would keep `sum` in memory, so each length gets code of its own;
       where the width is known, one case is left. */
#define CASE(w) \
    case w: \
        mix_some(w, n, p, step, v, pitch, out); \
        break;
    switch (width) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
        CASE(12)
#if LANES == 16
        CASE(13) CASE(14) CASE(15) CASE(16)
#endif
    }
#undef CASE
}

INLINE void mix(int d, int n, const float *p, int step, const float *v, lanes *out) {
    /* As many rounds as it takes, all of about the same width: the few sums of a short last round
       would wait for each other. */
    const int pitch = pitch_of(d), rounds = (d + ACROSS - 1) / ACROSS;
    const int width = (d + rounds - 1) / rounds, whole = d / width * width;
    for (int i = 0; i < whole; i += width) mix_across(width, n, p, step, v + i, pitch, out + i);
    if (whole < d) mix_across(d - whole, n, p, step, v + whole, pitch, out + whole);
}

/* rows_j += sum over the lanes l of p_jl * x_l, for n keys; here the features stand in the lanes,
   and the rows are of the wide pitch. */
INLINE void spread(int d, int n, const float *p, int step, const float *x, float *rows) {
    const int pitch = pitch_of(d), wide = wide_pitch_of(d);
    /* Sums over queries, which elsewhere stand in the lanes: with features there instead, nothing
       has to be added across lanes. */
    for (int i = 0; i < d; i += LANES)
        for (int j = 0; j < n; j += KEYS) {
            const float *pj = p + j * step;
            float *row = rows + j * wide + i;
            lanes sum[KEYS];
            for (int key = 0; key < KEYS; key++) sum[key] = load(row + key * wide);
            for (int lane = 0; lane < LANES; lane++) {
                lanes xi = load(x + lane * pitch + i);
                for (int key = 0; key < KEYS; key++) sum[key] += xi * pj[key * step + lane];
            }
            for (int key = 0; key < KEYS; key++) store(row + key * wide, sum[key]);
        }
}

/* -------------------------------------------------------------------------------------- work */

/* What one thread works with: one head of one group at a time, its rows gathered side by side. */
struct work {
    const struct attention *a;
    int keys;  /* of a group, rounded up to KEYS */

    const int64_t *order; /* the group's tokens; a short last group continues before its end */
    size_t row;           /* the picture's first row */
    size_t position;      /* of the group's first token among the sorted tokens of all heads */
    int head;
    int queries; /* those of the group that are not borrowed */
    const float *table, *penalties;

    float *q, *k, *v;    /* rows; q is scaled */
    lanes *q_columns;    /* of LANES queries; in the backward pass of all */
    lanes *s, *o;        /* forward: scores of all keys, results, for LANES queries */
    float *rows;         /* LANES results, row by row */

    float *grad_out;                       /* backward: rows */
    lanes *grad_out_columns, *grad_q;      /* of all queries */
    lanes *log_sum, *delta;                /* of all queries; delta: out . grad_out */
    float *grad_k, *grad_v;                /* rows of the wide pitch */
    float *p, *grad_s; /* of the cached keys and LANES queries; grad_s as `grad_score` has it */
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

/* The side of windows whose rows fill vectors; 0 for others, and where there are no windows. */
INLINE int filling(int side) { return side % LANES ? 0 : side; }

/* The backward pass walks whole rows of a window, where they fill vectors. */
INLINE int cached_keys(int filling) {
    if (!filling) return KEYS_CACHED;
    return filling < KEYS_CACHED ? KEYS_CACHED / filling * filling : filling;
}

static void lay_out(struct work *w, struct pieces *memory, bool backward) {
    const struct attention *a = w->a;
    const int d = a->width, side = a->table ? filling(a->side) : 0;
    const size_t all_queries = round_up(a->group, LANES);
    w->keys = round_up(a->group, KEYS);
    const size_t rows = (size_t)round_up(a->group, KEYS > LANES ? KEYS : LANES) * pitch_of(d);
    w->q = take(memory, rows + LANES); /* whole vectors are read from the last row too */
    w->k = take(memory, rows);
    w->v = take(memory, rows);
    if (!backward) {
        w->rows = take(memory, (size_t)pitch_of(d) * LANES);
        w->q_columns = take(memory, (size_t)pitch_of(d) * LANES);
        w->o = take(memory, (size_t)pitch_of(d) * LANES);
        w->s = take(memory, (size_t)w->keys * LANES);
        return;
    }
    w->grad_out = take(memory, rows + LANES);
    w->q_columns = take(memory, all_queries * pitch_of(d));
    w->grad_out_columns = take(memory, all_queries * pitch_of(d));
    w->grad_q = take(memory, all_queries * pitch_of(d));
    w->log_sum = take(memory, all_queries);
    w->delta = take(memory, all_queries);
    w->grad_k = take(memory, (size_t)w->keys * wide_pitch_of(d));
    w->grad_v = take(memory, (size_t)w->keys * wide_pitch_of(d));
    w->p = take(memory, (size_t)cached_keys(side) * LANES);
    w->grad_s = take(memory, (size_t)cached_keys(side) * (side + LANES));
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

INLINE void gather(const struct work *w, int d) {
    const struct attention *a = w->a;
    const size_t c = a->heads * d, number = a->bf16 ? 2 : 4;
    const int group = a->group, pitch = pitch_of(d);
    const bool bf16 = a->bf16;
    const float scale = a->scale;
    float *q = w->q, *k = w->k, *v = w->v;
    for (int j = 0; j < group; j++, q += pitch, k += pitch, v += pitch) {
        const size_t at = place_of(w, d, token_of(w, j));
        if (j + 8 < group) { /* tokens sorted by category are a surprise to the processor */
            const char *soon = (const char *)a->qkv + place_of(w, d, token_of(w, j + 8)) * number;
            for (int part = 0; part < 3; part++) __builtin_prefetch(soon + part * c * number);
        }
        read_row(q, a->qkv, at, d, bf16);
        /* once a query here, and not once a score */
        for (int i = 0; i < pitch; i++) q[i] *= scale;
        read_row(k, a->qkv, at + c, d, bf16);
        read_row(v, a->qkv, at + 2 * c, d, bf16);
    }
}

/* Where, in a table of a window's biases, that of a query and a key stands. The queries after it in
   the row of the window have theirs after it, the keys after it have theirs before it. */
INLINE int bias_at(int side, int query, int key) {
    return (query / side - key / side + side - 1) * (2 * side - 1) + side - 1 + query % side -
           key % side;
}

/* The biases of the queries from `first` on, for SIDE_MULTIPLE keys of a row of the window. */
INLINE void load_biases(const struct work *w, int side, int first, int key, lanes *s) {
    const float *bias = w->table + bias_at(side, first, key);
#if LANES == 16
    if (!filling(side)) { /* the vector holds queries of two rows */
        const float *below = w->table + bias_at(side, first + SIDE_MULTIPLE, key);
        for (int i = 0; i < SIDE_MULTIPLE; i++)
            s[i] = (lanes)_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(bias - i)),
                                             _mm256_loadu_ps(below - i), 1);
        return;
    }
#endif
    for (int i = 0; i < SIDE_MULTIPLE; i++) s[i] = load(bias - i);
}

/* The scores of KEYS keys from j on, for the queries from `first` on. */
INLINE void score(const struct work *w, int d, int side, const lanes *q, int first, int j,
                  lanes *s) {
    const struct attention *a = w->a;
    if (side) {
        for (int key = 0; key < KEYS; key += SIDE_MULTIPLE)
            load_biases(w, side, first, j + key, s + key);
    } else {
        for (int key = 0; key < KEYS; key++) s[key] = all(0);
    }
    if (side && w->penalties)
        for (int key = 0; key < KEYS; key++)
            s[key] += load(w->penalties + (size_t)(j + key) * side * side + first);
    add_scores(d, q, w->k + j * pitch_of(d), s);
    if (!side)
        for (int key = a->group - j; key < KEYS; key++) s[key] = all(NEVER);
}

/* ----------------------------------------------------------------------------------- forward */

INLINE void forward_width(const struct work *w, int d, int side) {
    const struct attention *a = w->a;
    const int pitch = pitch_of(d), keys = w->keys;
    lanes *s = w->s, *o = w->o, *q = w->q_columns;
    gather(w, d);
    for (int first = 0; first < w->queries; first += LANES) {
        /* four running maxima, since one would have each comparison wait for the one before it */
        lanes most[4] = {all(NEVER), all(NEVER), all(NEVER), all(NEVER)}, sum = all(0);
        to_columns(d, w->q + first * pitch, pitch, q);
        for (int j = 0; j < keys; j += KEYS) {
            lanes some[KEYS];
            score(w, d, side, q, first, j, some);
            for (int key = 0; key < KEYS; key++) {
                s[j + key] = some[key];
                most[key % 4] = larger(most[key % 4], some[key]);
            }
        }
        /* All scores of LANES queries are in the cache, so the largest is known before the first
           exponential, and sums need not be scaled again on the way. */
        lanes largest = larger(larger(most[0], most[1]), larger(most[2], most[3]));
        for (int j = 0; j < keys; j++) {
            s[j] = exp2_lanes(s[j] - largest);
            sum += s[j];
        }
        for (int i = 0; i < d; i++) o[i] = all(0);
        mix(d, keys, (const float *)s, LANES, w->v, o);
        /* the result is divided and not the shares: d numbers a query and not one a key */
        sum = 1.0f / sum;
        for (int i = 0; i < d; i++) o[i] *= sum;
        to_rows(d, o, w->rows, pitch);
        for (int lane = 0; lane < LANES && first + lane < w->queries; lane++) {
            const size_t row = w->row + w->order[first + lane];
            write_row(a->out, (row * a->heads + w->head) * d, w->rows + lane * pitch, d, a->bf16);
        }
        if (a->log_sums)
            for (int lane = 0; lane < LANES && first + lane < w->queries; lane++)
                a->log_sums[w->position + first + lane] = largest[lane] - log2f(sum[lane]);
    }
}

/* ---------------------------------------------------------------------------------- backward */

/* What the queries bring: the gradient of their results, and how their softmax went. */
INLINE void gather_grad_out(const struct work *w, int d) {
    const struct attention *a = w->a;
    const int pitch = pitch_of(d);
    /* The sum over keys of share times gradient, which a softmax's backward pass subtracts, equals
       out . grad_out: one product a query and no pass over the scores. */
    float *out = (float *)w->grad_q; /* free until it is summed */
    for (int j = 0; j < round_up(a->group, LANES); j++) {
        /* queries that are padding or borrowed get shares of 2^(-1e30) = 0, and so no gradients */
        float *grad = w->grad_out + j * pitch, delta = 0, log_sum = -NEVER;
        if (j < w->queries) {
            const size_t at = ((w->row + w->order[j]) * a->heads + w->head) * d;
            read_row(grad, a->grad_out, at, d, a->bf16);
            read_row(out, a->out, at, d, a->bf16);
            for (int i = 0; i < d; i++) delta += grad[i] * out[i];
            log_sum = a->log_sums[w->position + j];
        } else {
            memset(grad, 0, 4 * pitch);
        }
        ((float *)w->delta)[j] = delta;
        ((float *)w->log_sum)[j] = log_sum;
    }
}

/* Floats from the gradients of the scores of one cached key to those of the next.

   Where a window's rows fill vectors, each key of a row begins one float earlier in its row of
   memory, side + LANES floats, than the key before it, as in the table of biases, so that sums
   of columns are the table's gradient; the gaps stay zero. */
INLINE int step_of(int filling) { return filling ? filling + LANES - 1 : LANES; }

/* Where those of the first key of a row of the window, or of any key elsewhere, begin. */
INLINE float *grad_scores(const struct work *w, int filling, int j) {
    return filling ? w->grad_s + j * (filling + LANES) + filling - 1 : w->grad_s + j * LANES;
}

INLINE void add_to_table(const struct work *w, int side, int first, int key, int n, float *table) {
#if LANES == 16
    if (!filling(side)) { /* either half of a vector belongs to another row of the table */
        for (int j = 0; j < n; j += SIDE_MULTIPLE)
            for (int half = 0; half < LANES; half += SIDE_MULTIPLE) {
                const float *grad_s = w->grad_s + j * LANES + half;
                float *row = table + bias_at(side, first + half, key + j) - (SIDE_MULTIPLE - 1);
                lanes sum = load(row);
                for (int x = 0; x < SIDE_MULTIPLE; x++) {
                    const int gap = SIDE_MULTIPLE - 1 - x;
                    sum += (lanes)_mm512_maskz_loadu_ps(0xff << gap, grad_s + x * LANES - gap);
                }
                store(row, sum);
            }
        return;
    }
#endif
    for (int j = 0; j < n; j += side) {
        float *row = table + bias_at(side, first, key + j) - (side - 1);
        const float *grad_s = w->grad_s + j * (side + LANES);
        for (int i = 0; i < side + LANES; i += LANES) {
            lanes sum = load(row + i);
            for (int x = 0; x < side; x++) sum += load(grad_s + x * (side + LANES) + i);
            store(row + i, sum);
        }
    }
}

/* LANES queries against the cached keys from `key` on. */
INLINE void backward_tile(const struct work *w, int d, int side, int first, int key,
                          float *grad_table) {
    const int rows = filling(side), run = rows ? rows : KEYS, step = step_of(rows);
    const int pitch = pitch_of(d), column = first / LANES;
    const int left = w->keys - key, n = left < cached_keys(rows) ? left : cached_keys(rows);
    const lanes *q = w->q_columns + column * pitch;
    const lanes *grad_out = w->grad_out_columns + column * pitch;
    const lanes log_sum = w->log_sum[column], delta = w->delta[column];
    for (int j = 0; j < n; j += run) {
        float *grad_s = grad_scores(w, rows, j), *p = w->p + j * LANES;
        for (int i = 0; i < run; i += KEYS) {
            lanes s[KEYS], grad_p[KEYS];
            score(w, d, side, q, first, key + j + i, s);
            /* to memory and back: s and grad_p together do not fit in registers */
            for (int x = 0; x < KEYS; x++) store(p + (i + x) * LANES, s[x]);
            for (int x = 0; x < KEYS; x++) grad_p[x] = -delta;
            add_scores(d, grad_out, w->v + (key + j + i) * pitch, grad_p);
            for (int x = 0; x < KEYS; x++) {
                /* made again from the scores: to keep it would take n x n numbers a head */
                lanes share = exp2_lanes(load(p + (i + x) * LANES) - log_sum);
                store(p + (i + x) * LANES, share);
                store(grad_s + (i + x) * step, share * grad_p[x]);
            }
        }
    }
    for (int j = 0; j < n; j += run) {
        const float *grad_s = grad_scores(w, rows, j);
        const size_t wide = (size_t)(key + j) * wide_pitch_of(d);
        mix(d, run, grad_s, step, w->k + (key + j) * pitch, w->grad_q + column * pitch);
        spread(d, run, grad_s, step, w->q + first * pitch, w->grad_k + wide);
        spread(d, run, w->p + j * LANES, LANES, w->grad_out + first * pitch, w->grad_v + wide);
    }
    if (side) add_to_table(w, side, first, key, n, grad_table);
}

/* Gradients of borrowed keys and values come on top of those that their own group wrote. */
INLINE void write_grad_qkv(const struct work *w, int d) {
    const struct attention *a = w->a;
    const size_t c = a->heads * d;
    const int pitch = pitch_of(d);
    for (int first = 0; first < w->queries; first += LANES)
        to_rows(d, w->grad_q + first / LANES * pitch, w->q + first * pitch, pitch);
    for (int j = 0; j < a->group; j++) {
        const size_t at = place_of(w, d, token_of(w, j));
        float *k = w->grad_k + j * wide_pitch_of(d), *v = w->grad_v + j * wide_pitch_of(d);
        for (int i = 0; i < d; i++) k[i] *= LN_2; /* q holds a factor of log2(e), as the scores do
        */
        if (j < w->queries) {
            write_row(a->grad_qkv, at, w->q + j * pitch, d, a->bf16);
            write_row(a->grad_qkv, at + c, k, d, a->bf16);
            write_row(a->grad_qkv, at + 2 * c, v, d, a->bf16);
        } else {
            add_row(a->grad_qkv, at + c, k, d, a->bf16);
            add_row(a->grad_qkv, at + 2 * c, v, d, a->bf16);
        }
    }
}

/* Returns d loss / d log(scale) of the group. */
INLINE double backward_width(const struct work *w, int d, int side, float *grad_table) {
    const struct attention *a = w->a;
    const int columns = round_up(a->group, LANES) / LANES, pitch = pitch_of(d);
    double grad_scale = 0;
    gather(w, d);
    gather_grad_out(w, d);
    memset(w->grad_k, 0, 4 * (size_t)w->keys * wide_pitch_of(d));
    memset(w->grad_v, 0, 4 * (size_t)w->keys * wide_pitch_of(d));
    memset(w->grad_q, 0, sizeof(lanes) * columns * pitch);
    for (int i = 0; i < columns; i++) {
        const size_t rows = (size_t)i * LANES * pitch;
        to_columns(d, w->q + rows, pitch, w->q_columns + i * pitch);
        to_columns(d, w->grad_out + rows, pitch, w->grad_out_columns + i * pitch);
    }
    /* keys outside, so that a block of them and its gradients stay in the cache for all queries */
    for (int key = 0; key < w->keys; key += cached_keys(filling(side)))
        for (int first = 0; first < w->queries; first += LANES)
            backward_tile(w, d, side, first, key, grad_table);
    for (int i = 0; i < columns * pitch; i++) {
        /* d loss / d log(scale) is the sum of scores times their gradients, which is that of
           queries times theirs; in double, since its terms cancel */
        lanes product = w->grad_q[i] * w->q_columns[i] * LN_2;
        for (int lane = 0; lane < LANES; lane++) grad_scale += product[lane];
        w->grad_q[i] *= a->scale * LN_2;
    }
    write_grad_qkv(w, d);
    return grad_scale;
}

/* -------------------------------------------------------------------------------- the threads */

/* Shapes of the published models get code of their own, with loops of known lengths, where that is
   faster: where heads are narrow. */
#define FOR_SHAPE(call) \
    if (side == 16 && d == 12) call(12, 16); \
    else if (side == 16 && d == 16) call(16, 16); \
    else if (side == 16 && d == 35) call(35, 16); \
    else if (side == 0 && d == 12) call(12, 0); \
    else if (side == 0 && d == 16) call(16, 0); \
    else if (side == 0 && d == 35) call(35, 0); \
    else call(d, side)

static void forward_head(const struct work *w) {
    const int d = w->a->width, side = w->table ? w->a->side : 0;
#define FORWARD(d, side) forward_width(w, d, side)
    FOR_SHAPE(FORWARD);
}

static double backward_head(const struct work *w, float *grad_table) {
    const int d = w->a->width, side = w->table ? w->a->side : 0;
#define BACKWARD(d, side) return backward_width(w, d, side, grad_table)
    FOR_SHAPE(BACKWARD);
}

static void share_work(struct attention *a, bool backward) {
    const size_t span = 2 * a->side - 1, table = span * span + 1;
    const size_t groups = (a->tokens + a->group - 1) / a->group;
    /* a short last group adds to what the one before it has written, so one task does both */
    const size_t tied = backward && a->tokens % a->group ? 1 : 0;
    const size_t tasks = a->pictures * (groups - tied) * a->heads;
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
                    forward_head(&w);
                    continue;
                }
                float *grad_table =
                    a->table ? a->grad_table + (chunk * a->heads + head) * table : NULL;
                double grad_scale = backward_head(&w, grad_table);
                if (a->grad_scale)
                    a->grad_scale[(picture * groups + group) * a->heads + head] = grad_scale;
            }
        }
    free_block(memory.block);
}

void attention_forward(struct attention *a) { share_work(a, false); }

void attention_backward(struct attention *a) { share_work(a, true); }
