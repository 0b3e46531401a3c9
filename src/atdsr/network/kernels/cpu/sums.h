/* What `sums.c` is told; `__init__.py` mirrors it field by field. */

#ifndef ATDSR_SUMS_H
#define ATDSR_SUMS_H

#include <stdatomic.h>
#include <stdint.h>

struct sums {
    const float *parts; /* groups x count x length */
    float *out;         /* groups x length */
    int64_t groups, count, length;

    /* among the threads that call at the same time with the same struct, 0 at first */
    atomic_llong next;
    atomic_int failed; /* never set */
};

/* Add the parts of each group until none is left. */
void add_parts(struct sums *a);

#endif
