/* Linear maps of the tokens' rows, with what stands before and after them in the same pass: a
   LayerNorm or two inputs side by side, and a GELU or a residual.

   ROWS rows of three vectors of results stay in registers while the inputs' features are walked;
   the weights come from the cache. */

#include "rows.h"

#include "products.h"

/* Rows that a thread takes at a time: enough to make the counter that threads share cheap, few
   enough for all threads to end at about the same time. */
enum { PIECE = 256 };

/* What one thread works with: the rows of a tile in each input, and the weights. */
struct tile {
    const float *rows[INPUTS][ROWS];
    size_t first; /* of the tile's rows among all */
    int count;    /* that are wanted */
    const float *weight;
    float *scratch; /* ROWS rows of the first input, or of one that is `out` */
    float *rounded; /* ROWS rows of all inputs side by side, as pairs */
    size_t pitch;   /* floats from one of these rows to the next */
};

INLINE void do_columns(const struct rows *a, bool rounded, const struct tile *t, int column,
                       int vectors) {
    /* beginning with the bias saves a pass over the sums */
    lanes sum[ROWS][ACROSS];
    const float *weight = t->weight + column;
    for (int row = 0; row < ROWS; row++)
        for (int v = 0; v < vectors; v++) sum[row][v] = load(a->bias + column + v * LANES);
    /* Inputs side by side are one product after the other into the same sums, so that nobody has to
       copy them together. */
    for (int i = 0; i < INPUTS; i++) {
        const int steps = places_of(a->widths[i], rounded);
        multiply(rounded, t->rows[i], steps, weight, a->wide, vectors, sum);
        weight += steps * a->wide;
    }
    for (int row = 0; row < t->count; row++)
        for (int v = 0; v < vectors; v++) {
            const int at = column + v * LANES, count = a->out_width - at;
            const size_t place = (t->first + row) * a->out_width + at;
            lanes value = a->gelu ? gelu_lanes(sum[row][v]) : sum[row][v];
            if (a->residual) value += load_some(a->residual + place, count);
            store_some(a->out + place, value, count);
        }
}

/* LayerNorm over the features of one row. */
INLINE void norm_row(const struct rows *a, const float *x, float *out) {
    const int n = a->widths[0];
    lanes sum = all(0), squares = all(0);
    for (int i = 0; i < n; i += LANES) sum += load_some(x + i, n - i);
    const float mean = sum_of(sum) / n;
    /* A second pass for the variance: the row is in the cache, and the mean of squares minus the
       square of the mean would lose the digits of a small variance. Lanes beyond the row would
       count with the distance of a zero. */
    for (int i = 0; i < n; i += LANES) {
        lanes distance = zero_after(load_some(x + i, n - i) - mean, n - i);
        squares += distance * distance;
    }
    const float scale = 1.0f / sqrtf(sum_of(squares) / n + a->epsilon);
    for (int i = 0; i < n; i += LANES) {
        lanes value = (load_some(x + i, n - i) - mean) * scale;
        value = value * load_some(a->norm_weight + i, n - i) + load_some(a->norm_bias + i, n - i);
        store_some(out + i, value, n - i);
    }
}

INLINE void do_tile(const struct rows *a, bool rounded, struct tile *t) {
    for (int row = 0; row < ROWS; row++) {
        /* rows that are missing repeat the first one: the loops keep their known lengths, and
           `do_columns` stores only `count` rows */
        const size_t place = t->first + (row < t->count ? row : 0);
        float *to = t->rounded + row * t->pitch;
        for (int i = 0; i < INPUTS; i++) {
            const float *from = a->inputs[i] + place * a->widths[i];
            if (a->norm_weight && i == 0) {
                float *normed = t->scratch + row * a->widths[0];
                norm_row(a, from, normed);
                from = normed;
            } else if (a->inputs[i] == a->out && !rounded) {
                /* the first columns are written before the last ones are computed from these rows */
                float *copy = t->scratch + row * a->out_width;
                copy_some(copy, from, a->out_width);
                from = copy;
            }
            t->rows[i][row] = from;
            if (!rounded) continue;
            round_row(from, a->widths[i], to);
            t->rows[i][row] = to;
            to += rounded_width(a->widths[i]);
        }
    }
    FOR_COLUMNS(a->out_width, do_columns, a, rounded, t);
}

/* The weights of a picture as pairs, those of each input beginning with a pair of its own. */
static void round_weights(const struct rows *a, const float *weight, float *to) {
    for (int i = 0; i < INPUTS; i++) {
        pair_rows(weight, a->widths[i], a->wide, to);
        weight += a->widths[i] * a->wide;
        to += places_of(a->widths[i], true) * a->wide;
    }
}

void rows_linear(struct rows *a) {
    const size_t pieces = (a->rows + PIECE - 1) / PIECE;
    const size_t widest = a->widths[0] > a->out_width ? a->widths[0] : a->out_width;
    size_t pitch = 0, weights = 0; /* floats */
    for (int i = 0; i < INPUTS && a->rounds; i++) {
        pitch += rounded_width(a->widths[i]);
        weights += places_of(a->widths[i], true) * a->wide;
    }
    float *block = aligned_block(4 * (ROWS * (widest + pitch) + weights), &a->failed);
    if (!block) return;
    struct tile t = {.scratch = block, .rounded = block + ROWS * widest, .pitch = pitch};
    float *rounded_weights = t.rounded + ROWS * pitch;
    const float *unrounded = NULL; /* what these were made of */
    /* Threads help themselves to the next piece, so that a slower one gets fewer. Pieces do not
       share a sum, so who does which makes no difference to the result. */
    for (size_t task; (task = atomic_fetch_add(&a->next, 1)) < a->pictures * pieces;) {
        const size_t picture = task / pieces, begin = task % pieces * PIECE;
        const size_t end = begin + PIECE < (size_t)a->rows ? begin + PIECE : (size_t)a->rows;
        t.weight = a->weight + picture * a->weight_pitch;
        if (a->rounds) {
            if (unrounded != t.weight) round_weights(a, t.weight, rounded_weights);
            unrounded = t.weight;
            t.weight = rounded_weights;
        }
        for (size_t row = begin; row < end; row += ROWS) {
            t.first = picture * a->rows + row;
            t.count = end - row < ROWS ? end - row : ROWS;
            if (a->rounds)
                do_tile(a, true, &t);
            else
                do_tile(a, false, &t);
        }
    }
    free_block(block);
}
