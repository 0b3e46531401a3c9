/* What `depthwise.c` is told; `tokenwise.py` mirrors it field by field. */

#ifndef ATDSR_DEPTHWISE_H
#define ATDSR_DEPTHWISE_H

#include <stdatomic.h>
#include <stdint.h>

enum { TILE_HEIGHT = 32, TILE_WIDTH = 128 }; /* with its border it fits the second cache */

struct depthwise {
    const float *x;      /* pictures x height x width x channels */
    const float *weight; /* kernel x kernel x channels */
    const float *bias;   /* channels */
    const float *grad;   /* as x; not for `depthwise_gelu` */
    float *out;          /* as x, may be `grad` */
    float *sums;         /* pictures x tiles x (kernel x kernel + 1) x channels: each tile's part of
                            the gradients of the weight and the bias, for
                            `depthwise_gelu_backward` */
    int64_t pictures, height, width, channels;
    int64_t kernel; /* odd */

    /* among the threads that call at the same time with the same struct, 0 at first */
    atomic_llong next;
    atomic_int failed; /* set where there was no memory */
};

/* Each function does tiles until none is left. */

/* out = x + gelu(convolution of x). */
void depthwise_gelu(struct depthwise *a);

/* The gradients of the convolution, out = grad gelu'(convolution of x), and `sums`; `grad` is with
   respect to what `depthwise_gelu` returned. */
void depthwise_gelu_backward(struct depthwise *a);

/* out = grad + convolution of x. */
void depthwise_add(struct depthwise *a);

#endif
