/* What `dictionary_backward.c` is told; `dictionary.py` mirrors it field by field. */

#ifndef ATDSR_DICTIONARY_BACKWARD_H
#define ATDSR_DICTIONARY_BACKWARD_H

#include <stdatomic.h>
#include <stdint.h>

/* The work on a picture's tokens is cut into pieces of `chunk` tokens, the last one shorter, each
   done by one thread. What is summed over tokens is given chunk by chunk. */
struct dictionary_backward {
    int64_t pictures, tokens, entries, chunk;
    int64_t wide_entries; /* rounded up to 16 */

    const float *attention; /* pictures x tokens x entries, the map A */
    float *grad_attention;  /* as A: written by `gather_shares_backward`, then with more added read
                               by `look_up_backward` */
    float *sums; /* pictures x chunks x entries: gradients of the factors; or, of `look_up_backward`,
                    x entries x reduced: of the keys */

    /* for `look_up_backward` */
    const float *q;       /* pictures x tokens x reduced, not normalised */
    const float *keys;    /* pictures x entries x reduced, rows padded to `wide_reduced` */
    const float *mean;    /* pictures x entries, of A over the tokens */
    const float *of_variance; /* pictures x entries: the gradient of A's variance times 2 / tokens;
                                 NULL where nothing is refined */
    float *grad_q;            /* as q */
    int64_t reduced, wide_reduced; /* `wide_reduced`: rounded up to 16 */

    /* for `gather_shares_backward`; e = exp((A - reference) factor) */
    const float *x;         /* pictures x tokens x width */
    const float *factor;    /* pictures x entries, times log2 e */
    const float *reference; /* pictures x entries */
    const float *per_total; /* pictures x entries: one over the sum of e */
    const float *grad;      /* pictures x entries x width, of what was gathered, rows padded to `wide` */
    const float *grad_columns; /* pictures x width x entries, rows padded to `wide_entries` */
    const float *along;   /* pictures x entries: what was gathered times its gradient */
    const float *through; /* as x, added to `grad_x` */
    float *grad_x;        /* as x, may be `through` */
    int64_t width, wide;  /* `wide`: rounded up to 16 */

    /* among the threads that call at the same time with the same struct, 0 at first */
    atomic_llong next;
    atomic_int failed; /* set where there was no memory */
};

/* From the gradient of what the entries gather to those of the map, of the factors and of x. */
void gather_shares_backward(struct dictionary_backward *a);

/* From the gradient of the map to those of the queries and of the keys. */
void look_up_backward(struct dictionary_backward *a);

#endif
