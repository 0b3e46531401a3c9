/* What the attention kernels are told; `attention.py` mirrors it field by field. */

#ifndef ATDSR_ATTENTION_H
#define ATDSR_ATTENTION_H

#include <stdatomic.h>
#include <stdint.h>

/* Rows of `qkv` hold queries, keys and values one after the other, each heads * width numbers.
   Rows of `out`, its gradient and that of `qkv` are laid out likewise, but the forward pass may
   write to a part of longer rows. Numbers are float32 or bf16; everything else is float32. With
   `rounds`, the library of AVX-512 needs a processor that has AVX512-BF16. */
struct attention {
    /* given */
    const void *qkv;        /* pictures x tokens rows */
    const int64_t *order;   /* pictures x tokens, or tokens for all pictures: group by group */
    const float *table;     /* heads x (2 side - 1)^2, times log2 e, in reverse for the backward
                               pass; NULL: no bias */
    const float *penalties; /* kinds x group x group, symmetric, times log2 e */
    const uint8_t *kinds;   /* for each group of a picture, its penalties, 0: none; or NULL */

    /* made by the forward pass, given to the backward pass */
    void *out;       /* pictures x tokens rows */
    float *log_sums; /* pictures x heads x tokens, as sorted: log2 of the sum of 2^score; or NULL */

    /* of the backward pass */
    const void *grad_out;
    void *grad_qkv;
    float *grad_table;  /* chunks x heads x ((2 side - 1)^2 + 1), zeros: to sum over the chunks; in
                           reverse like the table */
    double *grad_scale; /* pictures x groups x heads, zeros: d loss / d log(scale); or NULL */

    int64_t pictures, tokens, heads, width;
    int64_t group;       /* tokens in a group, at most `tokens` */
    int64_t side;        /* of a window, a multiple of 8; 0 where there is no table */
    int64_t order_pitch; /* numbers from a picture's order to the next one's; 0: one for all */
    int64_t chunks;      /* pieces of work, each done by one thread */
    int64_t out_pitch;   /* forward: numbers from a row of `out` to the next one */
    int64_t out_first;   /* forward: where in a row of `out` the first head's numbers begin */
    int32_t bf16;
    int32_t rounds;      /* whether factors of products are rounded to bf16; sums are float32 */
    int32_t adds;        /* whether `grad_qkv` is added to what is there */
    float scale;         /* of the scores, times log2 e */

    /* among the threads that call at the same time with the same struct, 0 at first */
    atomic_llong next;
    atomic_int failed; /* set where there was no memory */
};

/* Do chunks until none is left. */
void attention_forward(struct attention *a);
void attention_backward(struct attention *a);

#endif
