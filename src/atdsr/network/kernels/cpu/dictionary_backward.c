/* The backward passes of `dictionary.c`, each in one pass over the tokens, tile by tile: the
   products and what stands between them stay in the cache. */

#include "dictionary_backward.h"

#include "products.h"

enum { TILE = 32 }; /* tokens; a multiple of ROWS */

static const float LN_2 = 0.69314718f;
static const float SHORTEST = 1e-12f; /* what queries are divided by at least */

INLINE int least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows of a tile that begins at `first`; those that are missing repeat its first one, so that loops
   keep their known lengths. */
INLINE void point_at(const float **rows, const float *first, int pitch, int count) {
    for (int row = 0; row < TILE; row++) rows[row] = first + (size_t)(row < count ? row : 0) * pitch;
}

/* -------------------------------------------------------------------------------------- refine */

/* Shares of a token among all tokens, in place of their gradients, and the gradient of its map. */
INLINE void gathering_token(const struct dictionary_backward *a, size_t picture, size_t token,
                            float *shares, float *sums) {
    const int m = a->entries;
    const size_t of_entries = picture * m;
    for (int j = 0; j < m; j += LANES) {
        const int count = m - j;
        lanes attention = load_some(a->attention + token * m + j, count);
        lanes factor = load_some(a->factor + of_entries + j, count);
        lanes reference = load_some(a->reference + of_entries + j, count);
        lanes share = exp2_lanes((attention - reference) * factor) *
                      load_some(a->per_total + of_entries + j, count);
        lanes grad = share * (load(shares + j) - load_some(a->along + of_entries + j, count));
        store(sums + j, load(sums + j) + grad * attention);
        /* the factor holds log2(e), its gradient does not */
        store_some(a->grad_attention + token * m + j, grad * factor * LN_2, count);
        store(shares + j, share);
    }
}

static void gathering_tile(const struct dictionary_backward *a, size_t picture, size_t first,
                           int count, float *shares, float *grad_x, float *sums) {
    const int m = a->entries, c = a->width;
    const float *rows[TILE];
    point_at(rows, a->x + first * c, c, count);
    product(false, rows, TILE, c, a->grad_columns + picture * c * a->wide_entries, a->wide_entries, shares);
    for (int row = 0; row < count; row++)
        gathering_token(a, picture, first + row, shares + row * a->wide_entries, sums);
    point_at(rows, shares, a->wide_entries, TILE);
    product(false, rows, TILE, m, a->grad + picture * m * a->wide, a->wide, grad_x);
    for (int row = 0; row < count; row++) {
        const size_t place = (first + row) * c;
        for (int i = 0; i < c; i += LANES) {
            lanes value = load(grad_x + row * a->wide + i);
            value += load_some(a->through + place + i, c - i);
            store_some(a->grad_x + place + i, value, c - i);
        }
    }
}

void gather_shares_backward(struct dictionary_backward *a) {
    const size_t chunks = (a->tokens + a->chunk - 1) / a->chunk;
    const size_t floats = TILE * (a->wide_entries + a->wide) + a->wide_entries;
    float *shares = aligned_block(4 * floats, &a->failed);
    if (!shares) return;
    float *grad_x = shares + TILE * a->wide_entries, *sums = grad_x + TILE * a->wide;
    for (size_t task; (task = atomic_fetch_add(&a->next, 1)) < a->pictures * chunks;) {
        const size_t picture = task / chunks, begin = task % chunks * a->chunk;
        const int tokens = least(a->chunk, a->tokens - begin);
        memset(sums, 0, 4 * a->wide_entries);
        for (int first = 0; first < tokens; first += TILE)
            gathering_tile(a, picture, picture * a->tokens + begin + first,
                           least(TILE, tokens - first), shares, grad_x, sums);
        memcpy(a->sums + task * a->entries, sums, 4 * a->entries);
    }
    free_block(shares);
}

/* -------------------------------------------------------------------------------------- look up */

struct looking {
    float *grad_scores;  /* TILE x wide_entries */
    float *normed;       /* TILE x wide_reduced: the queries, of length 1 */
    float *grad_normed;  /* as `normed` */
    float *sums;         /* wide_entries x wide_reduced */
};

/* The backward pass of a token's softmax over the entries. */
INLINE void scores_backward(const struct dictionary_backward *a, size_t picture, size_t token,
                            float *grad_scores) {
    const int m = a->entries;
    lanes sum = all(0);
    for (int j = 0; j < m; j += LANES) {
        const int count = m - j;
        lanes attention = load_some(a->attention + token * m + j, count);
        lanes grad = load_some(a->grad_attention + token * m + j, count);
        if (a->of_variance)
            grad += load_some(a->of_variance + picture * m + j, count) *
                    (attention - load_some(a->mean + picture * m + j, count));
        sum += attention * grad;
        store(grad_scores + j, grad);
    }
    const float along = sum_of(sum);
    for (int j = 0; j < m; j += LANES) {
        lanes attention = load_some(a->attention + token * m + j, m - j); /* zeros after the last */
        store(grad_scores + j, attention * (load(grad_scores + j) - along));
    }
}

/* One over the length of a query; writes the query of length 1. */
INLINE float normalise(const float *q, int d, float *normed) {
    lanes squares = all(0);
    for (int i = 0; i < d; i += LANES) {
        lanes value = load_some(q + i, d - i);
        squares += value * value;
    }
    const float length = sqrtf(sum_of(squares)), scale = 1.0f / (length > SHORTEST ? length : SHORTEST);
    for (int i = 0; i < d; i += LANES) store(normed + i, load_some(q + i, d - i) * scale);
    return scale;
}

INLINE void normalise_backward(const float *normed, float scale, int d, const float *grad,
                               float *out) {
    lanes product = all(0);
    for (int i = 0; i < d; i += LANES) product += load(normed + i) * load(grad + i);
    /* a query that is too short to be normalised is multiplied by a constant */
    const float along = scale < 1.0f / SHORTEST ? sum_of(product) : 0;
    for (int i = 0; i < d; i += LANES)
        store_some(out + i, (load(grad + i) - load(normed + i) * along) * scale, d - i);
}

static void looking_tile(const struct dictionary_backward *a, size_t picture, size_t first,
                         int count, const struct looking *l) {
    const int m = a->entries, d = a->reduced, wide = a->wide_reduced;
    const float *rows[TILE];
    float scales[TILE];
    for (int row = 0; row < count; row++) {
        scores_backward(a, picture, first + row, l->grad_scores + row * a->wide_entries);
        scales[row] = normalise(a->q + (first + row) * d, d, l->normed + row * wide);
    }
    point_at(rows, l->grad_scores, a->wide_entries, count);
    product(false, rows, TILE, m, a->keys + picture * m * wide, wide, l->grad_normed);
    add_outer(false, l->grad_scores, a->wide_entries, l->normed, wide, count, l->sums);
    for (int row = 0; row < count; row++)
        normalise_backward(l->normed + row * wide, scales[row], d, l->grad_normed + row * wide,
                           a->grad_q + (first + row) * d);
}

void look_up_backward(struct dictionary_backward *a) {
    const size_t chunks = (a->tokens + a->chunk - 1) / a->chunk;
    const size_t scores = TILE * a->wide_entries, rows = TILE * a->wide_reduced;
    const size_t sums = a->wide_entries * a->wide_reduced;
    struct looking l;
    l.grad_scores = aligned_block(4 * (scores + 2 * rows + sums), &a->failed);
    if (!l.grad_scores) return;
    l.normed = l.grad_scores + scores;
    l.grad_normed = l.normed + rows;
    l.sums = l.grad_normed + rows;
    for (size_t task; (task = atomic_fetch_add(&a->next, 1)) < a->pictures * chunks;) {
        const size_t picture = task / chunks, begin = task % chunks * a->chunk;
        const int tokens = least(a->chunk, a->tokens - begin);
        memset(l.sums, 0, 4 * sums);
        for (int first = 0; first < tokens; first += TILE)
            looking_tile(a, picture, picture * a->tokens + begin + first,
                         least(TILE, tokens - first), &l);
        float *out = a->sums + task * a->entries * a->reduced;
        for (int64_t j = 0; j < a->entries; j++)
            memcpy(out + j * a->reduced, l.sums + j * a->wide_reduced, 4 * a->reduced);
    }
    free_block(l.grad_scores);
}
