/* What `depthwise.c` is told; `tokenwise.py` mirrors it field by field. */

#ifndef ATDSR_DEPTHWISE_H
#define ATDSR_DEPTHWISE_H

#include <stdatomic.h>
#include <stdint.h>

struct depthwise {
    const float *x;      /* pictures x height x width x channels */
    const float *weight; /* kernel x kernel x channels */
    const float *bias;   /* channels */
    float *out;          /* as x */
    int64_t pictures, height, width, channels;
    int64_t kernel; /* odd */

    /* among the threads that call at the same time with the same struct, 0 at first */
    atomic_llong next;
    atomic_int failed; /* set where there was no memory */
};

/* Do tiles until none is left. */
void depthwise_gelu(struct depthwise *a);

#endif
