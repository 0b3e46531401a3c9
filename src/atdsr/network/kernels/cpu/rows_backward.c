/* The backward pass of `rows.c`: the gradients of the rows, of the weights and of what stands
   around the product, in one pass over the tokens.

   A tile of rows is copied to the cache, padded with zeros, so that no loop has a remainder. */

#include "rows_backward.h"

#include "products.h"

/* Rows of a tile. With their gradients and the weights they fit the second cache, and are enough to
   make loading and storing the sums of the weights' gradients cheap. */
enum { TILE = 32 };

/* What one thread works with. */
struct work {
    const struct rows_backward *a;
    int height, wide; /* of all gradients side by side, rounded up to ROWS; of x */
    float *grads;     /* TILE x height */
    float *rows;      /* TILE x wide: x, or what its norm makes of it */
    float *normed;    /* TILE x wide: x minus its mean, over its deviation */
    float *grad_rows; /* TILE x wide */
    float *scale;     /* TILE: one over the deviation of x */
    /* as pairs: the weight and that of the forward pass, and a tile of gradients and of rows, each
       pairs of neighbours for products with a weight and of rows for sums over rows */
    float *rounded_weight, *rounded_forward_weight;
    float *rounded_grads, *rounded_rows, *paired_grads, *paired_rows;
    float *weight_sums, *bias_sums;        /* height x wide; height */
    float *norm_weight_sums, *norm_bias_sums; /* wide */
};

/* LayerNorm of a row, as `norm_row` in `rows.c` has it. */
INLINE void norm_row(const struct work *w, int row, const float *x) {
    const struct rows_backward *a = w->a;
    const int n = a->width;
    float *normed = w->normed + row * w->wide, *out = w->rows + row * w->wide;
    lanes sum = all(0), squares = all(0);
    for (int i = 0; i < n; i += LANES) sum += load_some(x + i, n - i);
    const float mean = sum_of(sum) / n;
    for (int i = 0; i < n; i += LANES) {
        lanes distance = zero_after(load_some(x + i, n - i) - mean, n - i);
        squares += distance * distance;
        store(normed + i, distance);
    }
    const float scale = 1.0f / sqrtf(sum_of(squares) / n + a->epsilon);
    w->scale[row] = scale;
    for (int i = 0; i < n; i += LANES) {
        lanes value = load(normed + i) * scale;
        store(normed + i, value);
        value = value * load_some(a->norm_weight + i, n - i) + load_some(a->norm_bias + i, n - i);
        store(out + i, value);
    }
}

static void copy_rows(const struct work *w, size_t first, int count) {
    const struct rows_backward *a = w->a;
    for (int row = 0; row < TILE; row++) {
        float *grads = w->grads + row * w->height;
        if (row >= count) {
            /* Rows that are missing add nothing to any sum. Both factors are zeros: an earlier
               tile's row may hold a NaN, of another picture even. */
            memset(grads, 0, 4 * w->height);
            memset(w->rows + row * w->wide, 0, 4 * w->wide);
            continue;
        }
        for (int i = 0; i < GRADIENTS; i++) {
            copy_some(grads, a->grads[i] + (first + row) * a->heights[i], a->heights[i]);
            grads += a->heights[i];
        }
        const float *x = a->x + (first + row) * a->width;
        if (a->norm_weight)
            norm_row(w, row, x);
        else
            copy_some(w->rows + row * w->wide, x, a->width);
    }
}

/* Gradients of what the GELU took, in place of those of what it returned; it is mapped again, since
   to keep it would take as much memory as the result. */
INLINE void gelu_columns(const struct work *w, bool rounded, int column, int vectors) {
    const struct rows_backward *a = w->a;
    const int pitch = rounded ? rounded_width(a->width) : w->wide;
    const int steps = places_of(a->width, rounded);
    const float *from = rounded ? w->rounded_rows : w->rows;
    const float *weight = rounded ? w->rounded_forward_weight : a->forward_weight;
    for (int first = 0; first < TILE; first += ROWS) {
        lanes sum[ROWS][ACROSS];
        const float *rows[ROWS];
        for (int row = 0; row < ROWS; row++) {
            rows[row] = from + (first + row) * pitch;
            for (int v = 0; v < vectors; v++) sum[row][v] = load(a->bias + column + v * LANES);
        }
        multiply(rounded, rows, steps, weight + column, a->forward_wide, vectors, sum);
        for (int row = 0; row < ROWS; row++)
            for (int v = 0; v < vectors; v++) {
                const int at = column + v * LANES, count = a->heights[0] - at;
                float *grad = w->grads + (first + row) * w->height + at;
                lanes value = load_some(grad, count) * gelu_gradient_lanes(sum[row][v]);
                store_some(grad, value, count);
            }
    }
}

/* From the gradient of a normed row to that of the row. */
INLINE void norm_backward(const struct work *w, int row) {
    const int n = w->a->width;
    const float *normed = w->normed + row * w->wide;
    float *grad = w->grad_rows + row * w->wide;
    lanes sum = all(0), product = all(0);
    for (int i = 0; i < n; i += LANES) {
        lanes g = load(grad + i), value = load(normed + i);
        store(w->norm_weight_sums + i, load(w->norm_weight_sums + i) + g * value);
        store(w->norm_bias_sums + i, load(w->norm_bias_sums + i) + g);
        g *= load_some(w->a->norm_weight + i, n - i); /* zeros beyond the row */
        sum += g;
        product += g * value;
        store(grad + i, g);
    }
    const float mean = sum_of(sum) / n, along = sum_of(product) / n, scale = w->scale[row];
    for (int i = 0; i < n; i += LANES)
        store(grad + i, (load(grad + i) - mean - load(normed + i) * along) * scale);
}

/* The gradients of a tile's rows, and what they add to those of the weights. */
INLINE void do_products(const struct work *w, bool rounded, const float *weight) {
    const struct rows_backward *a = w->a;
    const int height = a->heights[0] + a->heights[1], count = places_of(TILE, rounded);
    const float *grads[TILE], *left = w->grads, *right = w->rows;
    if (a->forward_weight) {
        for (int row = 0; row < TILE && rounded; row++)
            round_row(w->rows + row * w->wide, a->width,
                      w->rounded_rows + row * rounded_width(a->width));
        FOR_COLUMNS(a->heights[0], gelu_columns, w, rounded);
    }
    for (int row = 0; row < TILE; row++) {
        grads[row] = w->grads + row * w->height;
        if (!rounded) continue;
        float *to = w->rounded_grads + row * rounded_width(height);
        round_row(grads[row], height, to);
        grads[row] = to;
    }
    if (rounded) {
        left = w->paired_grads;
        right = w->paired_rows;
        pair_rows(w->grads, TILE, w->height, w->paired_grads);
        pair_rows(w->rows, TILE, w->wide, w->paired_rows);
    }
    product(rounded, grads, TILE, places_of(height, rounded), weight, w->wide, w->grad_rows);
    add_outer(rounded, left, w->height, right, w->wide, count, w->weight_sums);
}

static void do_tile(const struct work *w, size_t picture, size_t first, int count) {
    const struct rows_backward *a = w->a;
    const int n = a->width;
    copy_rows(w, first, count);
    if (a->rounds)
        do_products(w, true, w->rounded_weight);
    else
        do_products(w, false, a->weight + picture * a->weight_pitch);
    for (int i = 0; i < w->height; i += LANES) {
        lanes sum = load(w->bias_sums + i);
        for (int row = 0; row < count; row++) sum += load(w->grads + row * w->height + i);
        store(w->bias_sums + i, sum);
    }
    for (int row = 0; row < count; row++) {
        const size_t place = (first + row) * n;
        if (a->norm_weight) norm_backward(w, row);
        for (int i = 0; i < n; i += LANES) {
            lanes value = load(w->grad_rows + row * w->wide + i);
            if (a->through) value += load_some(a->through + place + i, n - i);
            store_some(a->grad_x + place + i, value, n - i);
        }
    }
}

/* Where the block of memory has the pieces of `work`; returns the number of floats in all. */
static size_t lay_out(struct work *w, float *block) {
    const struct rows_backward *a = w->a;
    const size_t rows = (size_t)TILE * w->wide, vector = LANES;
    /* the last row of gradients is read and written as whole vectors */
    const size_t grads = (size_t)TILE * w->height + vector;
    const int height = a->heights[0] + a->heights[1], rounds = a->rounds ? 1 : 0;
    const struct {
        float **piece;
        size_t floats;
    } pieces[] = {
        {&w->grads, grads},
        {&w->rows, rows},
        {&w->normed, rows},
        {&w->grad_rows, rows},
        {&w->scale, TILE},
        {&w->rounded_weight, rounds * places_of(height, true) * (size_t)w->wide},
        {&w->rounded_forward_weight, rounds * places_of(a->width, true) * (size_t)a->forward_wide},
        {&w->rounded_grads, rounds * TILE * (size_t)rounded_width(height)},
        {&w->rounded_rows, rounds * TILE * (size_t)rounded_width(a->width)},
        {&w->paired_grads, rounds * grads},
        {&w->paired_rows, rounds * rows},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        *pieces[i].piece = block + used;
        used += (pieces[i].floats + 15) / 16 * 16;
    }
    w->weight_sums = block + used; /* from here on all are sums, set to zero together */
    w->bias_sums = w->weight_sums + (size_t)w->height * w->wide;
    w->norm_weight_sums = w->bias_sums + w->height + vector;
    w->norm_bias_sums = w->norm_weight_sums + w->wide;
    return used + (size_t)w->height * w->wide + w->height + vector + 2 * w->wide;
}

static void write_sums(const struct work *w, float *out) {
    const int height = w->a->heights[0] + w->a->heights[1], n = w->a->width;
    for (int m = 0; m < height; m++, out += n)
        memcpy(out, w->weight_sums + (size_t)m * w->wide, 4 * n);
    memcpy(out, w->bias_sums, 4 * height);
    if (!w->a->norm_weight) return;
    memcpy(out + height, w->norm_weight_sums, 4 * n);
    memcpy(out + height + n, w->norm_bias_sums, 4 * n);
}

void rows_backward(struct rows_backward *a) {
    const size_t chunks = (a->rows + a->chunk - 1) / a->chunk;
    const int height = a->heights[0] + a->heights[1];
    const size_t length = (size_t)height * (a->width + 1) + (a->norm_weight ? 2 * a->width : 0);
    struct work w = {.a = a, .height = (height + ROWS - 1) / ROWS * ROWS, .wide = a->wide};
    const size_t floats = lay_out(&w, NULL);
    float *block = aligned_block(4 * floats, &a->failed);
    if (!block) return;
    lay_out(&w, block);
    const float *unrounded = NULL; /* what `rounded_weight` was made of */
    for (size_t task; (task = atomic_fetch_add(&a->next, 1)) < a->pictures * chunks;) {
        const size_t picture = task / chunks, begin = task % chunks * a->chunk;
        const size_t left = a->rows - begin, rows = left < (size_t)a->chunk ? left : (size_t)a->chunk;
        const float *weight = a->weight + picture * a->weight_pitch;
        if (a->rounds && unrounded != weight) {
            unrounded = weight;
            pair_rows(weight, height, a->wide, w.rounded_weight);
            if (a->forward_weight)
                pair_rows(a->forward_weight, a->width, a->forward_wide, w.rounded_forward_weight);
        }
        memset(w.weight_sums, 0, 4 * (block + floats - w.weight_sums));
        for (size_t row = 0; row < rows; row += TILE)
            do_tile(&w, picture, picture * a->rows + begin + row,
                    rows - row < TILE ? rows - row : TILE);
        write_sums(&w, a->sums + task * length);
    }
    free_block(block);
}
