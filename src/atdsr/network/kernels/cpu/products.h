/* Products of rows with matrices, in blocks of ROWS x ACROSS vectors of sums that stay in
   registers.

   Where `rounded` is true, rows and matrices hold pairs of bf16 in the place of floats, and half as
   many: a row those of neighbours, a matrix those of numbers one below the other. It is a constant
   in each call. */

#ifndef ATDSR_PRODUCTS_H
#define ATDSR_PRODUCTS_H

#include "lanes.h"

#if LANES == 8
enum { ROWS = 4 }; /* AVX2 has half as many registers */
#else
enum { ROWS = 8 };
#endif
/* ROWS * ACROSS sums, ACROSS weights and a feature fill the registers: 24 + 4 of AVX-512's 32, and
   12 + 4 of AVX2's 16. Each weight that is loaded serves ROWS multiplications, each feature
   ACROSS. */
enum { ACROSS = 3 };

/* Calls `block(.., column, vectors)` for all columns of a row of `width` numbers. The last columns
   take fewer vectors: computing all three would cost up to three times as much where rows are
   narrow. `vectors` is a constant in each call, so that loops over it are unrolled. */
#define FOR_COLUMNS(width, block, ...) \
    do { \
        int column = 0; \
        for (; column + (ACROSS - 1) * LANES < (width); column += ACROSS * LANES) \
            block(__VA_ARGS__, column, ACROSS); \
        if (column + LANES < (width)) \
            block(__VA_ARGS__, column, 2); \
        else if (column < (width)) \
            block(__VA_ARGS__, column, 1); \
    } while (0)

/* sum[row][v] += the rows' features times `vectors` vectors of weights. */
INLINE void multiply(bool rounded, const float *const *rows, int width, const float *weight,
                     int wide, int vectors, lanes sum[ROWS][ACROSS]) {
    /* Features outside, so that sums never leave their registers. `vectors` is known where this is
       inlined, and the inner loops are unrolled. */
    for (int i = 0; i < width; i++, weight += wide) {
        lanes w[ACROSS];
        for (int v = 0; v < vectors; v++) w[v] = load(weight + v * LANES);
        for (int row = 0; row < ROWS; row++)
            for (int v = 0; v < vectors; v++)
                sum[row][v] = add_product(sum[row][v], w[v], rows[row] + i, rounded);
    }
}

/* out = rows of `width` numbers times a matrix, for `count` rows, a multiple of ROWS, and the columns
   of `vectors` vectors from `column` on. Rows of `out` and of the matrix are of the same `wide`
   pitch. */
INLINE void product_columns(bool rounded, const float *const *rows, int count, int width,
                            const float *matrix, int wide, float *out, int column, int vectors) {
    for (int first = 0; first < count; first += ROWS) {
        lanes sum[ROWS][ACROSS];
        for (int row = 0; row < ROWS; row++)
            for (int v = 0; v < vectors; v++) sum[row][v] = all(0);
        multiply(rounded, rows + first, width, matrix + column, wide, vectors, sum);
        for (int row = 0; row < ROWS; row++)
            for (int v = 0; v < vectors; v++)
                store(out + (first + row) * wide + column + v * LANES, sum[row][v]);
    }
}

/* The same for all columns. */
INLINE void product(bool rounded, const float *const *rows, int count, int width,
                    const float *matrix, int wide, float *out) {
    FOR_COLUMNS(wide, product_columns, rounded, rows, count, width, matrix, wide, out);
}

/* sums[m][n] += a[row][m] * b[row][n], summed over `count` rows or pairs of rows, for `height` m, a
   multiple of ROWS, and the n of `vectors` vectors from `column` on. Rows of `sums` and of b are of
   the same `wide` pitch. */
INLINE void outer_columns(bool rounded, const float *a, int height, const float *b, int wide,
                          int count, float *sums, int column, int vectors) {
    for (int m = 0; m < height; m += ROWS) {
        lanes sum[ROWS][ACROSS];
        float *to = sums + (size_t)m * wide + column;
        for (int i = 0; i < ROWS; i++)
            for (int v = 0; v < vectors; v++) sum[i][v] = load(to + i * wide + v * LANES);
        for (int row = 0; row < count; row++) {
            const float *left = a + row * height + m, *right = b + row * wide + column;
            lanes x[ACROSS];
            for (int v = 0; v < vectors; v++) x[v] = load(right + v * LANES);
            for (int i = 0; i < ROWS; i++)
                for (int v = 0; v < vectors; v++)
                    sum[i][v] = add_product(sum[i][v], x[v], left + i, rounded);
        }
        for (int i = 0; i < ROWS; i++)
            for (int v = 0; v < vectors; v++) store(to + i * wide + v * LANES, sum[i][v]);
    }
}

/* The same for all n. */
INLINE void add_outer(bool rounded, const float *a, int height, const float *b, int wide,
                      int count, float *sums) {
    FOR_COLUMNS(wide, outer_columns, rounded, a, height, b, wide, count, sums);
}

/* Floats of memory that `round_row` takes. */
INLINE int rounded_width(int width) { return (width + LANES - 1) / LANES * LANES / 2; }

#endif
