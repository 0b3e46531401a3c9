/* Attention to the token dictionary and what its refinement needs, each in one pass over tokens. */

#include "dictionary.h"

#include "products.h"

/* Entries side by side in registers: as many independent sums hide the latency of multiplications.
   */
enum { ENTRIES = 8 };
/* Tokens at a time in `gather_shares`: their exponentials stay in the first cache until they are
   multiplied. */
enum { GATHERED = 64 };

static const float LOG2_E = 1.4426950f;

INLINE int least(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE int round_up(int count, int unit) { return (count + unit - 1) / unit * unit; }

/* -------------------------------------------------------------------------------------- look up */

struct looking {
    const struct dictionary *a;
    int entries, reduced; /* rounded up to ENTRIES and to 4 */
    float *keys;          /* entries x reduced, zeros for those beyond the last entry */
    float *rows;          /* LANES queries, then LANES rows of shares */
    lanes *q, *shares;
    lanes *pivot, *sum, *squares, *smallest, *largest; /* of each entry; sums of share - pivot */
};

static void copy_keys(const struct looking *l, size_t picture) {
    const struct dictionary *a = l->a;
    for (int entry = 0; entry < a->entries; entry++)
        memcpy(l->keys + entry * l->reduced, a->keys + (picture * a->entries + entry) * a->reduced,
               4 * a->reduced);
}

/* LANES tokens' shares of all entries, unit sums; returns the category of each. */
INLINE int_lanes share(const struct looking *l, const float *q, int here) {
    const struct dictionary *a = l->a;
    const int d = l->reduced, given = a->reduced; /* what lies between is of earlier shares */
    /* Tokens stand in the lanes, entries are walked: the softmax and the search for the largest
       share need no work across lanes. Missing tokens repeat the first one, and are not stored. */
    for (int lane = 0; lane < LANES; lane++)
        copy_some(l->rows + lane * d, q + (lane < here ? lane : 0) * given, given);
    to_columns(d, l->rows, d, l->q);
    lanes norm = all(0), total = all(0), best = all(-1);
    int_lanes category = {0};
    for (int i = 0; i < given; i++) norm += l->q[i] * l->q[i];
    for (int lane = 0; lane < LANES; lane++) norm[lane] = sqrtf(norm[lane]);
    /* log2(e) goes into the query's scale, since the exponential is one of 2 */
    lanes scale = LOG2_E / larger(norm, all(1e-12f));
    for (int i = 0; i < given; i++) l->q[i] *= scale;
    for (int first = 0; first < a->entries; first += ENTRIES) {
        const float *keys = l->keys + first * d;
        lanes s[ENTRIES];
        for (int j = 0; j < ENTRIES; j++) s[j] = all(0);
        for (int i = 0; i < given; i++)
            for (int j = 0; j < ENTRIES; j++) s[j] += l->q[i] * keys[j * d + i];
        for (int j = 0; j < ENTRIES && first + j < a->entries; j++) {
            lanes e = exp2_lanes(s[j]); /* cosines are small: no need to know the largest */
            /* A strict comparison, so that the first entry wins a tie. Of exponentials, since the
               category is the largest share after the softmax. */
            int_lanes wins = e > best;
            category = (wins & (first + j)) | (~wins & category);
            best = larger(best, e);
            total += e;
            l->shares[first + j] = e;
        }
    }
    /* one division a token and not one an entry */
    total = 1.0f / total;
    for (int j = 0; j < a->entries; j++) l->shares[j] *= total;
    return category;
}

/* Distances are summed from the chunk's first token on, which keeps small variances exact. */
INLINE void count(const struct looking *l, bool begins, int here) {
    for (int j = 0; j < l->a->entries; j++) {
        lanes value = l->shares[j];
        if (begins) {
            l->pivot[j] = l->smallest[j] = l->largest[j] = all(value[0]);
            l->sum[j] = l->squares[j] = all(0);
        }
        /* missing tokens get the pivot, which adds nothing to the sums and is in the range anyway
           */
        for (int lane = here; lane < LANES; lane++) value[lane] = l->pivot[j][0];
        lanes distance = value - l->pivot[j];
        l->sum[j] += distance;
        l->squares[j] += distance * distance;
        l->smallest[j] = smaller(l->smallest[j], value);
        l->largest[j] = larger(l->largest[j], value);
    }
}

static void write_statistics(const struct looking *l, int tokens, float *out) {
    const int m = l->a->entries;
    for (int j = 0; j < m; j++) {
        /* in double, since a difference of these is taken below */
        double sum = 0, squares = 0;
        float smallest = l->smallest[j][0], largest = l->largest[j][0];
        for (int lane = 0; lane < LANES; lane++) {
            sum += l->sum[j][lane];
            squares += l->squares[j][lane];
            if (l->smallest[j][lane] < smallest) smallest = l->smallest[j][lane];
            if (l->largest[j][lane] > largest) largest = l->largest[j][lane];
        }
        out[j] = l->pivot[j][0] + sum / tokens;
        /* from the distance to the pivot to the distance to the mean; safe, since the pivot is
           near */
        out[m + j] = squares - sum * sum / tokens;
        out[2 * m + j] = smallest;
        out[3 * m + j] = largest;
    }
}

INLINE void look_up_chunk(const struct looking *l, size_t picture, size_t chunk, size_t chunks) {
    const struct dictionary *a = l->a;
    const int m = a->entries, tokens = least(a->chunk, a->tokens - chunk * a->chunk);
    const size_t begin = picture * a->tokens + chunk * a->chunk;
    /* copied once a chunk into rows of a padded length, so that the loop over ENTRIES entries needs
       no test for the last ones */
    copy_keys(l, picture);
    for (int first = 0; first < tokens; first += LANES) {
        const int here = least(LANES, tokens - first);
        int_lanes category = share(l, a->q + (begin + first) * a->reduced, here);
        if (a->statistics) count(l, first == 0, here);
        memcpy(a->categories + begin + first, &category, 4 * here);
        to_rows(m, l->shares, l->rows, round_up(m, 4));
        for (int lane = 0; lane < here; lane++)
            copy_some(a->attention + (begin + first + lane) * m, l->rows + lane * round_up(m, 4), m);
    }
    if (a->statistics)
        write_statistics(l, tokens, a->statistics + (picture * chunks + chunk) * 4 * m);
}

void look_up(struct dictionary *a) {
    const size_t chunks = (a->tokens + a->chunk - 1) / a->chunk;
    struct looking l = {.a = a};
    l.entries = round_up(a->entries, ENTRIES);
    l.reduced = round_up(a->reduced, 4);
    const size_t columns = l.reduced > l.entries ? l.reduced : l.entries;
    const size_t vectors = columns + l.reduced + 6 * (size_t)l.entries;
    const size_t keys = (size_t)l.entries * l.reduced;
    lanes *block = aligned_block(sizeof(lanes) * vectors + sizeof(float) * keys, &a->failed);
    if (!block) return;
    l.rows = (float *)block;
    l.q = block + columns;
    l.shares = l.q + l.reduced;
    l.pivot = l.shares + l.entries;
    l.sum = l.pivot + l.entries;
    l.squares = l.sum + l.entries;
    l.smallest = l.squares + l.entries;
    l.largest = l.smallest + l.entries;
    l.keys = (float *)(l.largest + l.entries);
    for (size_t t; (t = atomic_fetch_add(&a->next, 1)) < a->pictures * chunks;)
        look_up_chunk(&l, t / chunks, t % chunks, chunks);
    free_block(block);
}

/* -------------------------------------------------------------------------------------- refine */

void gather_shares(struct dictionary *a) {
    const size_t chunks = (a->tokens + a->chunk - 1) / a->chunk, m = a->entries;
    const int pitch = round_up(m, LANES > ROWS ? LANES : ROWS), wide = round_up(a->width, LANES);
    const size_t sums = (size_t)pitch * wide;
    float *e = aligned_block(4 * (GATHERED * (size_t)(pitch + wide) + sums), &a->failed);
    if (!e) return;
    float *x = e + GATHERED * pitch, *mixed = x + GATHERED * wide;
    for (size_t t; (t = atomic_fetch_add(&a->next, 1)) < a->pictures * chunks;) {
        const size_t picture = t / chunks, begin = t % chunks * a->chunk;
        const int tokens = least(a->chunk, a->tokens - begin);
        const float *factor = a->factor + picture * m, *reference = a->reference + picture * m;
        /* Each chunk has sums of its own, which the caller adds in order. Their number depends on
           the picture and not on the threads, and so do the bits of the result. */
        float *totals = a->totals + t * m;
        memset(mixed, 0, 4 * sums);
        for (int first = 0; first < tokens; first += GATHERED) {
            const int here = least(GATHERED, tokens - first);
            const size_t row = picture * a->tokens + begin + first;
            for (size_t j = 0; j < m; j += LANES) {
                const int count = m - j;
                lanes f = load_some(factor + j, count), r = load_some(reference + j, count);
                lanes total = load_some(totals + j, count);
                for (int i = 0; i < here; i++) {
                    lanes share = load_some(a->attention + (row + i) * m + j, count);
                    /* The reference is the share with the largest exponent over all tokens, which
                       `look_up` has found, so nothing overflows and no second pass is needed. */
                    lanes value = exp2_lanes((share - r) * f);
                    total += value;
                    store(e + i * pitch + j, value);
                }
                store_some(totals + j, total, count);
            }
            for (int i = 0; i < here; i++)
                copy_some(x + i * wide, a->x + (row + i) * a->width, a->width);
            add_outer(false, e, pitch, x, wide, here, mixed);
        }
        for (size_t j = 0; j < m; j++)
            memcpy(a->mixed + (t * m + j) * a->width, mixed + j * wide, 4 * a->width);
    }
    free_block(e);
}

/* ---------------------------------------------------------------------------------------- sort */

void sort_by_category(const int32_t *categories, int64_t tokens, int64_t count, int64_t *ends,
                      int64_t *order) {
    /* Counting takes two passes over the tokens where a comparison sort takes log n. Placing them
       from the last to the first makes it stable. */
    memset(ends, 0, 8 * count);
    for (int64_t t = 0; t < tokens; t++) ends[categories[t]]++;
    for (int64_t j = 1; j < count; j++) ends[j] += ends[j - 1];
    for (int64_t t = tokens; t-- > 0;) order[--ends[categories[t]]] = t;
}
