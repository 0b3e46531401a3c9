/* What `rows.c` is told; `tokenwise.py` mirrors it field by field. */

#ifndef ATDSR_ROWS_H
#define ATDSR_ROWS_H

#include <stdatomic.h>
#include <stdint.h>

enum { INPUTS = 3 };

/* out = act(norm([inputs]) weight + bias) + residual, row by row. */
struct rows {
    const float *inputs[INPUTS]; /* rows x widths[i] each, side by side; one may be `out` */
    int64_t widths[INPUTS];      /* 0: none */
    const float *weight;         /* sum of widths x out_width, each row padded to `wide` numbers */
    const float *bias;           /* wide */
    const float *norm_weight, *norm_bias; /* of a LayerNorm of the only input; NULL: none */
    const float *residual;                /* rows x out_width, may be `out`; NULL: none */
    float *out;                           /* rows x out_width */
    int64_t out_width;
    int64_t wide;           /* out_width rounded up to 16 */
    int64_t pictures, rows; /* `rows` of each picture */
    int64_t weight_pitch;   /* numbers from a picture's weights to the next one's; 0: one for all */
    int32_t gelu;
    int32_t rounds; /* whether factors of products are rounded to bf16; their sums are floats */
    float epsilon; /* of the LayerNorm */

    /* among the threads that call at the same time with the same struct, 0 at first */
    atomic_llong next;
    atomic_int failed; /* set where there was no memory */
};

/* Do pieces of rows until none is left. */
void rows_linear(struct rows *a);

#endif
