/* What `rows_backward.c` is told; `tokenwise.py` mirrors it field by field. */

#ifndef ATDSR_ROWS_BACKWARD_H
#define ATDSR_ROWS_BACKWARD_H

#include <stdatomic.h>
#include <stdint.h>

enum { GRADIENTS = 2 };

/* Gradients of linear maps of the same rows x, each row y_i = act(norm(x) W_i^T + b_i).

   The rows of a picture are cut into chunks of `chunk` rows, the last one shorter, each done by one
   thread. What is summed over rows is given chunk by chunk. */
struct rows_backward {
    const float *grads[GRADIENTS];         /* rows x heights[i], with respect to y_i */
    int64_t heights[GRADIENTS];            /* 0: none */
    const float *weight;                   /* the W_i one below the other, rows padded to `wide` */
    const float *x;                        /* rows x width */
    const float *norm_weight, *norm_bias;  /* of a LayerNorm of x before the maps; NULL: none */
    const float *forward_weight, *bias;    /* W_0^T, rows padded to `forward_wide`, and b_0, padded
                                              too, where a GELU follows; NULL: none */
    const float *through;                  /* rows x width, added to `grad_x`; NULL: none */
    float *grad_x;                         /* rows x width, may be `through` */
    float *sums;                           /* pictures x chunks x the gradients of the W_i, of the b_i,
                                              of norm_weight and norm_bias, one after the other */
    int64_t width, wide, forward_wide;     /* `wide`: width rounded up to 16, and so on */
    int64_t pictures, rows, chunk;         /* `rows` of each picture */
    int64_t weight_pitch; /* numbers from a picture's weights to the next one's; 0: one for all */
    int32_t rounds;       /* whether factors of products are rounded to bf16; their sums are floats */
    float epsilon;        /* of the LayerNorm */

    /* among the threads that call at the same time with the same struct, 0 at first */
    atomic_llong next;
    atomic_int failed; /* set where there was no memory */
};

/* Do chunks of rows until none is left. */
void rows_backward(struct rows_backward *a);

#endif
