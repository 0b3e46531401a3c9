/* What `dictionary.c` is told; `dictionary.py` mirrors it field by field. */

#ifndef ATDSR_DICTIONARY_H
#define ATDSR_DICTIONARY_H

#include <stdatomic.h>
#include <stdint.h>

/* The work on a picture's tokens is cut into `chunks` pieces of `chunk` tokens, the last one
   shorter, each done by one thread. What is summed over tokens is given chunk by chunk. */
struct dictionary {
    int64_t pictures, tokens, entries, chunk;

    float *attention; /* pictures x tokens x entries, the map A */

    /* for `look_up` */
    const float *q;      /* pictures x tokens x reduced, not normalised */
    const float *keys;   /* pictures x entries x reduced: unit vectors times the temperature */
    int32_t *categories; /* pictures x tokens: the entry of the largest share, the first of several */
    float *statistics;   /* pictures x chunks x 4 x entries, of the shares of the chunk's tokens:
                            mean, sum of squares of the distance to it, least, largest; or
                            NULL, where nothing is refined */
    int64_t reduced;

    /* for `gather_shares` */
    const float *x;         /* pictures x tokens x width */
    const float *factor;    /* pictures x entries, times log2 e */
    const float *reference; /* pictures x entries */
    float *totals;          /* pictures x chunks x entries: sums of e = exp((A - reference) factor) */
    float *mixed;           /* pictures x chunks x entries x width: sums of e x */
    int64_t width;

    /* among the threads that call at the same time with the same struct, 0 at first */
    atomic_llong next;
    atomic_int failed; /* set where there was no memory */
};

/* Dictionary attention without the values: the map, its categories and statistics. */
void look_up(struct dictionary *a);

/* What the refinement gathers from the tokens. */
void gather_shares(struct dictionary *a);

/* order[0..tokens): the tokens sorted by category, those of one category in their order;
   `ends` has room for the number of categories. */
void sort_by_category(const int32_t *categories, int64_t tokens, int64_t count, int64_t *ends,
                      int64_t *order);

#endif
