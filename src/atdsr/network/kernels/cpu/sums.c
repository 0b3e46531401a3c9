/* The sum of what pieces of work have summed, each on its own.

   The parts are added one after the other: the order of a parallel sum would depend on the number
   of threads, and so would the bits of the result. */

#include "sums.h"

#include "lanes.h"

enum { SLICE = 2048 }; /* numbers that a thread takes at a time */

void add_parts(struct sums *a) {
    const size_t slices = (a->length + SLICE - 1) / SLICE;
    for (size_t task; (task = atomic_fetch_add(&a->next, 1)) < a->groups * slices;) {
        const size_t group = task / slices, begin = task % slices * SLICE;
        const int count = a->length - begin < SLICE ? (int)(a->length - begin) : SLICE;
        const float *part = a->parts + group * a->count * a->length + begin;
        float *out = a->out + group * a->length + begin;
        memcpy(out, part, 4 * count);
        for (int64_t i = 1; i < a->count; i++) {
            part += a->length;
            for (int j = 0; j < count; j++) out[j] += part[j];
        }
    }
}
