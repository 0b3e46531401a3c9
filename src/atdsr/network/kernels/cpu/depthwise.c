/* The middle of the feed-forward part: x + GELU(depthwise convolution of x), channels last.

   LANES channels of a tile, with the border that the kernel needs, are copied to the cache side by
   side, zeros outside of the picture; then there are no edges to think of. */

#include "depthwise.h"

#include "lanes.h"

enum { ROWS = 32, COLUMNS = 128 }; /* of a tile; with its border it fits the second cache */
enum { ACROSS = 8 };               /* neighbours that are summed side by side, in registers */

/* Sums of ACROSS neighbours. `pitch` vectors from a row of the tile to the next. */
INLINE void convolve(int k, const lanes *tile, int pitch, const lanes *weight, lanes *sum) {
    /* Each weight that is loaded serves ACROSS neighbours, whose sums do not wait for each other:
       that hides the latency of a multiplication. */
    for (int y = 0; y < k; y++) {
        const lanes *row = tile + y * pitch;
        for (int x = 0; x < k; x++) {
            lanes w = weight[y * k + x];
            for (int i = 0; i < ACROSS; i++) sum[i] += w * row[x + i];
        }
    }
}

struct tile {
    int top, left, rows, columns; /* in the picture */
    int channel, channels;        /* the first one, and how many */
    int pitch;
    lanes *numbers, *weight;
    lanes bias;
};

static void fill(const struct depthwise *a, const float *picture, struct tile *t) {
    const int border = a->kernel / 2;
    for (int y = -border; y < t->rows + border; y++)
        for (int x = -border; x < t->columns + border; x++) {
            lanes *to = t->numbers + (y + border) * t->pitch + x + border;
            const int row = t->top + y, column = t->left + x;
            /* all tests for the picture's border are here, once a pixel and not once a tap */
            const int inside = row >= 0 && row < a->height && column >= 0 && column < a->width;
            const size_t at = ((size_t)row * a->width + column) * a->channels + t->channel;
            *to = inside ? load_some(picture + at, t->channels) : all(0);
        }
    t->bias = load_some(a->bias + t->channel, t->channels);
    /* copied, since the weights of two taps are as far apart as the layer is wide */
    for (int i = 0; i < a->kernel * a->kernel; i++)
        t->weight[i] = load_some(a->weight + (size_t)i * a->channels + t->channel, t->channels);
}

INLINE void finish(const struct depthwise *a, const struct tile *t, int k, float *out) {
    const int border = k / 2;
    for (int y = 0; y < t->rows; y++)
        for (int x = 0; x < t->columns; x += ACROSS) {
            lanes sum[ACROSS];
            for (int i = 0; i < ACROSS; i++) sum[i] = t->bias;
            convolve(k, t->numbers + y * t->pitch + x, t->pitch, t->weight, sum);
            /* The GELU and the addition happen while the sums are in registers. Neighbours beyond
               the tile were computed from the padding and are dropped. */
            for (int i = 0; i < ACROSS && x + i < t->columns; i++) {
                const size_t pixel = (size_t)(t->top + y) * a->width + t->left + x + i;
                lanes middle = t->numbers[(y + border) * t->pitch + x + i + border];
                store_some(out + pixel * a->channels + t->channel, middle + gelu_lanes(sum[i]),
                           t->channels);
            }
        }
}

void depthwise_gelu(struct depthwise *a) {
    const int k = a->kernel, pitch = COLUMNS + k - 1 + ACROSS;
    const size_t down = (a->height + ROWS - 1) / ROWS, across = (a->width + COLUMNS - 1) / COLUMNS;
    const size_t groups = (a->channels + LANES - 1) / LANES;
    const size_t tasks = a->pictures * down * across * groups;
    struct tile t = {.pitch = pitch};
    t.numbers = aligned_block(((size_t)(ROWS + k - 1) * pitch + k * k) * sizeof(lanes), &a->failed);
    if (!t.numbers) return;
    t.weight = t.numbers + (size_t)(ROWS + k - 1) * pitch;
    for (size_t task; (task = atomic_fetch_add(&a->next, 1)) < tasks;) {
        /* channels vary fastest, so that the same pixels are read again while they are in the
           cache */
        const size_t tile = task / groups, place = tile % (down * across);
        const size_t picture = tile / (down * across) * a->height * a->width * a->channels;
        t.top = place / across * ROWS;
        t.left = place % across * COLUMNS;
        t.rows = a->height - t.top < ROWS ? a->height - t.top : ROWS;
        t.columns = a->width - t.left < COLUMNS ? a->width - t.left : COLUMNS;
        t.channel = task % groups * LANES;
        t.channels = a->channels - t.channel < LANES ? a->channels - t.channel : LANES;
        fill(a, a->x + picture, &t);
        switch (k) { /* those of the published models with loops of known lengths */
        case 5: finish(a, &t, 5, a->out + picture); break;
        case 7: finish(a, &t, 7, a->out + picture); break;
        default: finish(a, &t, k, a->out + picture);
        }
    }
    free_block(t.numbers);
}
