/* The middle of the feed-forward part, x + GELU(depthwise convolution of x), channels last, and its
   gradients.

   LANES channels of a tile, with the border that the kernel needs, are copied to the cache side by
   side, zeros outside of the picture; then there are no edges to think of. */

#include "depthwise.h"

#include "lanes.h"

enum { ACROSS = 8 }; /* neighbours that are summed side by side, in registers */
/* Taps whose gradients are summed side by side, in registers: AVX2 has 16, the others have 32, and
   each product needs two more. */
enum { TAPS = LANES == 8 ? 14 : 28 };

/* Calls `function(k, ..)`: for the kernels of the published models with loops of known lengths. */
#define WITH_KERNEL(k, function, ...) \
    switch (k) { \
    case 5: function(5, __VA_ARGS__); break; \
    case 7: function(7, __VA_ARGS__); break; \
    default: function(k, __VA_ARGS__); \
    }

/* Vectors from a row of the tile to the next, known to the compiler where k is. */
INLINE int pitch_of(int k) { return TILE_WIDTH + k - 1 + ACROSS; }

/* Sums of ACROSS neighbours. */
INLINE void convolve(int k, const lanes *tile, const lanes *weight, lanes *sum) {
    /* Each weight that is loaded serves ACROSS neighbours, whose sums do not wait for each other:
       that hides the latency of a multiplication. */
    for (int y = 0; y < k; y++) {
        const lanes *row = tile + y * pitch_of(k);
        for (int x = 0; x < k; x++) {
            lanes w = weight[y * k + x];
            for (int i = 0; i < ACROSS; i++) sum[i] += w * row[x + i];
        }
    }
}

struct tile {
    size_t index;                 /* among the tiles of all pictures */
    size_t picture;               /* where the picture begins */
    int top, left, rows, columns; /* in the picture */
    int channel, channels;        /* the first one, and how many */
    lanes *numbers; /* of the tile and its border */
    lanes *weight;  /* of each tap */
    lanes bias;
    lanes *grads; /* of a row of the tile, with respect to the convolution */
    lanes *sums;  /* of each tap's gradients, then of the bias's */
};

/* False where there is no memory. */
static bool make_room(struct depthwise *a, struct tile *t) {
    const int k = a->kernel, taps = k * k;
    const size_t numbers = (size_t)(TILE_HEIGHT + k - 1) * pitch_of(k);
    t->numbers = aligned_block((numbers + TILE_WIDTH + 2 * taps + 1) * sizeof(lanes), &a->failed);
    if (!t->numbers) return false;
    t->weight = t->numbers + numbers;
    t->grads = t->weight + taps;
    t->sums = t->grads + TILE_WIDTH;
    return true;
}

INLINE void fill(const struct depthwise *a, struct tile *t) {
    const int border = a->kernel / 2, pitch = pitch_of(a->kernel);
    const float *picture = a->x + t->picture;
    for (int y = -border; y < t->rows + border; y++)
        for (int x = -border; x < t->columns + border; x++) {
            lanes *to = t->numbers + (y + border) * pitch + x + border;
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

/* The next tile's place and numbers; false where none is left. */
INLINE bool next_tile(struct depthwise *a, struct tile *t) {
    const size_t down = (a->height + TILE_HEIGHT - 1) / TILE_HEIGHT;
    const size_t across = (a->width + TILE_WIDTH - 1) / TILE_WIDTH;
    const size_t groups = (a->channels + LANES - 1) / LANES, tiles = down * across;
    const size_t task = atomic_fetch_add(&a->next, 1);
    if (task >= a->pictures * tiles * groups) return false;
    /* channels vary fastest, so that the same pixels are read again while they are in the cache */
    t->index = task / groups;
    const size_t place = t->index % tiles;
    t->picture = t->index / tiles * a->height * a->width * a->channels;
    t->top = place / across * TILE_HEIGHT;
    t->left = place % across * TILE_WIDTH;
    t->rows = a->height - t->top < TILE_HEIGHT ? a->height - t->top : TILE_HEIGHT;
    t->columns = a->width - t->left < TILE_WIDTH ? a->width - t->left : TILE_WIDTH;
    t->channel = task % groups * LANES;
    t->channels = a->channels - t->channel < LANES ? a->channels - t->channel : LANES;
    fill(a, t);
    return true;
}

/* Where a pixel of the tile is in x and in all that have its shape. */
INLINE size_t place_of(const struct depthwise *a, const struct tile *t, int y, int x) {
    const size_t pixel = (size_t)(t->top + y) * a->width + t->left + x;
    return t->picture + pixel * a->channels + t->channel;
}

/* The convolution at ACROSS neighbours. Those beyond the tile are computed from the padding; the
   caller drops them. */
INLINE void convolve_at(int k, const struct tile *t, int y, int x, lanes sum[ACROSS]) {
    for (int i = 0; i < ACROSS; i++) sum[i] = t->bias;
    convolve(k, t->numbers + y * pitch_of(k) + x, t->weight, sum);
}

/* ------------------------------------------------------------------------------------- forward */

INLINE void finish(int k, const struct depthwise *a, const struct tile *t) {
    const int border = k / 2;
    for (int y = 0; y < t->rows; y++)
        for (int x = 0; x < t->columns; x += ACROSS) {
            lanes sum[ACROSS];
            convolve_at(k, t, y, x, sum);
            /* the GELU and the addition happen while the sums are in registers */
            for (int i = 0; i < ACROSS && x + i < t->columns; i++) {
                lanes middle = t->numbers[(y + border) * pitch_of(k) + x + i + border];
                store_some(a->out + place_of(a, t, y, x + i), middle + gelu_lanes(sum[i]),
                           t->channels);
            }
        }
}

void depthwise_gelu(struct depthwise *a) {
    struct tile t;
    if (!make_room(a, &t)) return;
    while (next_tile(a, &t)) WITH_KERNEL(a->kernel, finish, a, &t);
    free_block(t.numbers);
}

/* ------------------------------------------------------------------------------------ backward */

/* Adds a row of the tile to the gradients of `down` rows of `across` taps, which follow each other
   in `sums`. `numbers` is where the first tap is for the row's first pixel. */
INLINE void add_taps(int down, int across, const struct tile *t, const lanes *numbers, int pitch,
                     lanes *sums) {
    lanes sum[TAPS];
    for (int i = 0; i < down * across; i++) sum[i] = sums[i];
    for (int pixel = 0; pixel < t->columns; pixel++) {
        lanes grad = t->grads[pixel];
        const lanes *from = numbers + pixel;
        /* Compilers that see that the next pixel's numbers are mostly these keep them, and have no
           registers left for the sums. */
        __asm__("" : "+r"(from));
        for (int y = 0; y < down; y++)
            for (int x = 0; x < across; x++)
                sum[y * across + x] += grad * from[y * pitch + x];
    }
    for (int i = 0; i < down * across; i++) sums[i] = sum[i];
}

/* The same for all taps, as many of their rows at a time as registers hold. */
INLINE void add_all_taps(int k, const struct tile *t, const lanes *numbers) {
    const int down = TAPS / k, pitch = pitch_of(k);
    int y = 0;
    for (; y + down <= k; y += down)
        add_taps(down, k, t, numbers + y * pitch, pitch, t->sums + y * k);
    if (k % down) add_taps(k % down, k, t, numbers + y * pitch, pitch, t->sums + y * k);
}

static void add_row(int k, const struct tile *t, int row) {
    const int pitch = pitch_of(k);
    const lanes *numbers = t->numbers + row * pitch;
    switch (k) {
    case 5: add_all_taps(5, t, numbers); break;
    case 7: add_all_taps(7, t, numbers); break;
    default: /* sums stay in registers only where their number is known */
        for (int i = 0; i < k * k; i++)
            add_taps(1, 1, t, numbers + i / k * pitch + i % k, pitch, t->sums + i);
    }
}

/* The convolution is computed again: to keep it from the forward pass would take as much memory as
   the result. */
INLINE void differentiate(int k, const struct depthwise *a, const struct tile *t) {
    for (int i = 0; i <= k * k; i++) t->sums[i] = all(0);
    lanes bias = all(0);
    for (int y = 0; y < t->rows; y++) {
        for (int x = 0; x < t->columns; x += ACROSS) {
            lanes sum[ACROSS];
            convolve_at(k, t, y, x, sum);
            for (int i = 0; i < ACROSS && x + i < t->columns; i++) {
                const size_t place = place_of(a, t, y, x + i);
                lanes grad = load_some(a->grad + place, t->channels) * gelu_gradient_lanes(sum[i]);
                bias += grad;
                t->grads[x + i] = grad;
                store_some(a->out + place, grad, t->channels);
            }
        }
        /* row by row, while the row and its neighbours are in the first cache */
        add_row(k, t, y);
    }
    t->sums[k * k] = bias;
    float *to = a->sums + t->index * (k * k + 1) * a->channels + t->channel;
    for (int i = 0; i <= k * k; i++) store_some(to + i * a->channels, t->sums[i], t->channels);
}

void depthwise_gelu_backward(struct depthwise *a) {
    struct tile t;
    if (!make_room(a, &t)) return;
    while (next_tile(a, &t)) WITH_KERNEL(a->kernel, differentiate, a, &t);
    free_block(t.numbers);
}

INLINE void add_up(int k, const struct depthwise *a, const struct tile *t) {
    for (int y = 0; y < t->rows; y++)
        for (int x = 0; x < t->columns; x += ACROSS) {
            lanes sum[ACROSS];
            convolve_at(k, t, y, x, sum);
            for (int i = 0; i < ACROSS && x + i < t->columns; i++) {
                const size_t place = place_of(a, t, y, x + i);
                lanes grad = load_some(a->grad + place, t->channels);
                store_some(a->out + place, grad + sum[i], t->channels);
            }
        }
}

void depthwise_add(struct depthwise *a) {
    struct tile t;
    if (!make_room(a, &t)) return;
    while (next_tile(a, &t)) WITH_KERNEL(a->kernel, add_up, a, &t);
    free_block(t.numbers);
}
