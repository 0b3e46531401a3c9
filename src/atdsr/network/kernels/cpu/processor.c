/* What this processor can do beyond the instruction set that a library is made for. */

#include "lanes.h"

#if MULTIPLIES_PAIRS
#include <cpuid.h>
#endif

/* Whether products of pairs of bf16 are faster than those of floats. Where the library has the
   instruction and the processor has not, nobody may call a kernel that rounds. */
int multiplies_pairs(void) {
#if MULTIPLIES_PAIRS
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
#else
    return 0;
#endif
}
