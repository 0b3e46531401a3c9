/* Vectors of LANES floats, written with the extensions that GCC and Clang share, so that one
   source makes the code of AVX-512, AVX2 and NEON. */

#ifndef ATDSR_LANES_H
#define ATDSR_LANES_H

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The compiler is told one instruction set for the whole file, so the width of a vector is fixed
   here and every loop over lanes has a known length. */
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

/* Always inlined, since a call would spill all vectors to memory, and since the lengths of loops
   are known to the compiler only where it sees the arguments of the caller. */
#define INLINE static inline __attribute__((always_inline))

typedef float lanes __attribute__((vector_size(4 * LANES)));
/* Rows of a head begin at any multiple of 4 bytes; an ordinary vector type would promise more. */
typedef float lanes_anywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t int_lanes __attribute__((vector_size(4 * LANES)));
typedef uint32_t bit_lanes __attribute__((vector_size(4 * LANES)));

/* A subtraction of zero and not an addition: it keeps the sign of -0, and so costs
   no instruction. */
INLINE lanes all(float value) { return value - (lanes){0}; }

INLINE lanes load(const float *from) { return *(const lanes_anywhere *)from; }

INLINE void store(float *to, lanes value) { *(lanes_anywhere *)to = value; }

/* The first `count` lanes; zeros after them, or nothing. */
INLINE lanes load_some(const float *from, int count) {
    if (count >= LANES) return load(from);
#if LANES == 16
    /* a masked load does not touch what lies behind the end of the array */
    return (lanes)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#else
    lanes value = {0};
    memcpy(&value, from, 4 * count);
    return value;
#endif
}

/* With zeros for all but the first `count` lanes. */
INLINE lanes zero_after(lanes value, int count) {
    if (count < LANES)
        for (int lane = count; lane < LANES; lane++) value[lane] = 0;
    return value;
}

INLINE void store_some(float *to, lanes value, int count) {
    if (count >= LANES)
        store(to, value);
    else
#if LANES == 16
        /* a copy of unknown length would be a call */
        _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)value);
#else
        memcpy(to, &value, 4 * count);
#endif
}

/* A copy of some numbers, which as a `memcpy` would be a call. */
INLINE void copy_some(float *to, const float *from, int count) {
    for (int i = 0; i < count; i += LANES) store_some(to + i, load_some(from + i, count - i), count - i);
}

INLINE lanes larger(lanes a, lanes b) {
/* Intrinsics, since compilers may not turn a comparison and a choice into one instruction: the two
   differ where a number is NaN. */
#if LANES == 16
    return (lanes)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (lanes)__builtin_ia32_maxps256(a, b);
#else
    int_lanes wins = a > b;
    return (lanes)((wins & (int_lanes)a) | (~wins & (int_lanes)b));
#endif
}

INLINE lanes smaller(lanes a, lanes b) { return -larger(-a, -b); }

/* ------------------------------------------------------------------ rows and columns of numbers */

typedef float quad __attribute__((vector_size(16)));
typedef float quad_anywhere __attribute__((vector_size(16), aligned(4), may_alias));

/* In every four lanes alike: numbers i, j, k, l of the eight that a and b have there. */
#define PICK(four, i) ((i) < 4 ? 4 * (four) + (i) : LANES + 4 * (four) + (i) - 4)
#define FOUR(n, i, j, k, l) PICK(n, i), PICK(n, j), PICK(n, k), PICK(n, l)
#if LANES == 16
#define SHUFFLE(a, b, ...) \
    __builtin_shufflevector(a, b, FOUR(0, __VA_ARGS__), FOUR(1, __VA_ARGS__), \
                            FOUR(2, __VA_ARGS__), FOUR(3, __VA_ARGS__))
#elif LANES == 8
#define SHUFFLE(a, b, ...) \
    __builtin_shufflevector(a, b, FOUR(0, __VA_ARGS__), FOUR(1, __VA_ARGS__))
#else
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, FOUR(0, __VA_ARGS__))
#endif

#define ROW(n) (*(quad_anywhere *)(rows + 4 * (n) * pitch))

/* Four numbers of each of the rows 0, 4, 8.. Loading every fourth row puts them where swaps inside
   groups of four lanes are enough for a transpose; moving numbers across these groups is slower. */
INLINE lanes load_fours(float *rows, int pitch) {
#if LANES == 16
    typedef float eight __attribute__((vector_size(32)));
    eight low = __builtin_shufflevector(ROW(0), ROW(1), 0, 1, 2, 3, 4, 5, 6, 7);
    eight high = __builtin_shufflevector(ROW(2), ROW(3), 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif LANES == 8
    return __builtin_shufflevector(ROW(0), ROW(1), 0, 1, 2, 3, 4, 5, 6, 7);
#else
    return ROW(0);
#endif
}

INLINE void store_fours(float *rows, int pitch, lanes fours) {
#if LANES == 16
    ROW(0) = __builtin_shufflevector(fours, fours, 0, 1, 2, 3);
    ROW(1) = __builtin_shufflevector(fours, fours, 4, 5, 6, 7);
    ROW(2) = __builtin_shufflevector(fours, fours, 8, 9, 10, 11);
    ROW(3) = __builtin_shufflevector(fours, fours, 12, 13, 14, 15);
#elif LANES == 8
    ROW(0) = __builtin_shufflevector(fours, fours, 0, 1, 2, 3);
    ROW(1) = __builtin_shufflevector(fours, fours, 4, 5, 6, 7);
#else
    ROW(0) = fours;
#endif
}

INLINE float sum_of(lanes value) {
#if LANES == 16
    return _mm512_reduce_add_ps((__m512)value);
#else
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += value[lane];
    return sum;
#endif
}

/* Swap rows and columns inside every four lanes of four vectors. Eight shuffles move 4 * LANES
   numbers; one at a time would be as many loads and stores. */
INLINE void transpose_fours(lanes x[4]) {
    lanes a = SHUFFLE(x[0], x[1], 0, 4, 1, 5), b = SHUFFLE(x[2], x[3], 0, 4, 1, 5);
    lanes c = SHUFFLE(x[0], x[1], 2, 6, 3, 7), d = SHUFFLE(x[2], x[3], 2, 6, 3, 7);
    x[0] = SHUFFLE(a, b, 0, 1, 4, 5);
    x[1] = SHUFFLE(a, b, 2, 3, 6, 7);
    x[2] = SHUFFLE(c, d, 0, 1, 4, 5);
    x[3] = SHUFFLE(c, d, 2, 3, 6, 7);
}

/* Number i of LANES rows becomes the vector columns[i], for i below d rounded up to 4.

   With one row in each lane, sums over the features of a row need no sum across lanes, and heads
   of a width that is no multiple of LANES waste nothing. */
INLINE void to_columns(int d, float *rows, int pitch, lanes *columns) {
    for (int i = 0; i < d; i += 4) {
        lanes x[4];
        for (int row = 0; row < 4; row++) x[row] = load_fours(rows + row * pitch + i, pitch);
        transpose_fours(x);
        for (int j = 0; j < 4; j++) columns[i + j] = x[j];
    }
}

/* The inverse of `to_columns`. */
INLINE void to_rows(int d, const lanes *columns, float *rows, int pitch) {
    for (int i = 0; i < d; i += 4) {
        lanes x[4];
        for (int j = 0; j < 4; j++) x[j] = columns[i + j];
        transpose_fours(x);
        for (int row = 0; row < 4; row++) store_fours(rows + row * pitch + i, pitch, x[row]);
    }
}

/* ---------------------------------------------------------------------------------- pairs of bf16 */

/* A pair lies where a float could, so that code may serve for both. */
typedef uint32_t word __attribute__((may_alias));

/* In each lane two numbers of bf16: those of an even index in the lower half, of the odd one after
   it in the upper. A product of pairs is two multiplications and additions at the price of one. */
typedef uint32_t pairs __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef uint16_t half __attribute__((may_alias));
typedef uint16_t halves_anywhere __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

/* Whether the processor multiplies pairs itself; elsewhere they are only there to be tested. */
#if LANES == 16 && defined(__AVX512BF16__)
#define MULTIPLIES_PAIRS 1
#else
#define MULTIPLIES_PAIRS 0
#endif

INLINE pairs all_pairs(uint32_t pair) { return pair - (pairs){0}; }

/* Rounded to the nearest bf16, ties to even; a NaN stays one. In the upper half of each lane, and
   anything in the lower. */
INLINE bit_lanes rounded_up(lanes value) {
    bit_lanes bits = (bit_lanes)value, nan = (bit_lanes)(value != value);
    return (bits + 0x7fff + ((bits >> 16) & 1)) | (nan & 0x7fc00000);
}

/* The numbers of `even` and of `odd` as pairs, lane by lane. */
INLINE pairs to_pairs(lanes even, lanes odd) {
#if MULTIPLIES_PAIRS
    static const uint16_t interleave[] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                          8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
    return (pairs)_mm512_permutexvar_epi16(_mm512_loadu_si512(interleave), both);
#else
    return (pairs)(rounded_up(even) >> 16 | (rounded_up(odd) & 0xffff0000u));
#endif
}

/* Neighbours as pairs: the numbers of a vector rounded, in half the memory. */
INLINE void store_halves(half *to, lanes value) {
#if MULTIPLIES_PAIRS
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh((__m512)value));
#else
    *(halves_anywhere *)to = __builtin_convertvector(rounded_up(value) >> 16, halves);
#endif
}

/* sum + the products of both numbers of each lane. */
INLINE lanes add_products(lanes sum, pairs a, pairs b) {
#if MULTIPLIES_PAIRS
    return (lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    sum += (lanes)(a << 16) * (lanes)(b << 16);
    return sum + (lanes)(a & 0xffff0000u) * (lanes)(b & 0xffff0000u);
#endif
}

/* Factors of products are floats or, where they are rounded, pairs of bf16, each in the place of a
   float. Whether they are is known to the compiler, as shapes are. */

/* Floats that take the place of so many factors. */
INLINE int places_of(int factors, bool rounded) { return rounded ? (factors + 1) / 2 : factors; }

/* sum + a * b, or the products of both numbers of each pair. */
INLINE lanes add_product(lanes sum, lanes a, const float *b, bool rounded) {
    if (rounded) return add_products(sum, (pairs)a, all_pairs(*(const word *)b));
    return sum + a * *b;
}

/* `count` numbers as pairs of neighbours, with zeros up to a whole vector of halves. */
INLINE void round_row(const float *row, int count, float *to) {
    for (int i = 0; i < count; i += LANES)
        store_halves((half *)to + i, load_some(row + i, count - i));
}

/* Pairs of numbers one below the other in rows of the given pitch; below an odd last row are zeros. What
   the last vector writes behind a row is written again by the next one. */
INLINE void pair_rows(const float *rows, int count, int pitch, float *to) {
    for (int row = 0; row < count; row += 2, rows += 2 * pitch, to += pitch)
        for (int i = 0; i < pitch; i += LANES) {
            lanes odd = row + 1 < count ? load(rows + pitch + i) : all(0);
            store(to + i, (lanes)to_pairs(load(rows + i), odd));
        }
}

/* --------------------------------------------------------------------------------- exponentials */

/* 2^x with a relative error of 1e-7, and 0 for all that is less than 2^-64: beside the largest term
   of a softmax, 1, nothing is lost, and no product comes near the end of the range of floats,
   where processors are a hundred times slower.

   The polynomials are minimax on the interval to which x is brought. */
#define LEAST_POWER (-64.0f)

INLINE lanes exp2_lanes(lanes x) {
#if LANES == 16
    /* AVX-512 takes the fraction of a number, and scales by 2^floor(x), in one instruction each */
    __mmask16 counts = _mm512_cmp_ps_mask((__m512)x, (__m512)all(LEAST_POWER), _CMP_GE_OQ);
    static const float c[] = {0.99999994f, 0.69315308f,   0.24015361f,
                              0.055826318f, 0.0089893406f, 0.0018775767f};
    lanes f = (lanes)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#else
    static const float c[] = {1.0000001f, 0.69314694f,   0.2402212f,
                              0.055507131f, 0.0096755419f, 0.0013276471f};
    const float round = 12582912.0f; /* 1.5 * 2^23 leaves the integer in the low bits of a sum */
    int_lanes counts = x >= LEAST_POWER;
    lanes n = x + round;
    lanes f = x - (n - round);
#endif
    /* Horner's rule: five fused multiplications and additions. Several of these chains run side by
       side, because callers work on independent vectors. */
    lanes p = c[5] * f + c[4];
    p = p * f + c[3];
    p = p * f + c[2];
    p = p * f + c[1];
    p = p * f + c[0];
#if LANES == 16
    return (lanes)_mm512_maskz_scalef_ps(counts, (__m512)p, (__m512)x);
#else
    /* adding n to the exponent bits multiplies by 2^n; unsigned, for the sum overflows where x
       does not count */
    return (lanes)(((bit_lanes)p + ((bit_lanes)n << 23)) & (bit_lanes)counts);
#endif
}

/* The share of a normal distribution that is less than x, (1 + erf(x / sqrt 2)) / 2; the rational
   function is minimax for erf up to 3.95, after which erf is 1 to within 2.3e-8. */
INLINE lanes normal_share(lanes x) {
    static const float p[] = {1.128379f,     0.1940374f,    0.05320724f,
                              0.003917379f, 2.8759998e-4f, 2.0117027e-6f};
    static const float q[] = {1.0f,          0.50529265f,   0.115591414f,
                              0.015270826f, 0.0011982119f, 3.7839265e-5f};
    /* clamped first, because the rational function runs away outside of its interval */
    lanes z = smaller(larger(x * 0.70710678f, all(-3.95f)), all(3.95f)), t = z * z;
    lanes above = all(p[5]), below = all(q[5]);
    for (int i = 4; i >= 0; i--) {
        above = above * t + p[i];
        below = below * t + q[i];
    }
    return 0.5f * (1.0f + z * above / below);
}

INLINE lanes gelu_lanes(lanes x) { return x * normal_share(x); }

/* The derivative of GELU: the share plus x times the density, exp(-x^2 / 2) / sqrt(2 pi). */
INLINE lanes gelu_gradient_lanes(lanes x) {
    const float half_log2_e = 0.72134752f, density = 0.39894228f;
    return normal_share(x) + x * density * exp2_lanes(-half_log2_e * x * x);
}

/* --------------------------------------------------------------------------------------- memory */

/* Zeros, aligned for vectors; NULL, and `failed` set, where there is no memory. */
static inline void *aligned_block(size_t bytes, atomic_int *failed) {
    /* zeros, because padding is multiplied like everything else and must not hold NaN */
    char *block = calloc(bytes + 128, 1);
    if (!block) {
        atomic_store(failed, 1);
        return NULL;
    }
    /* Whole cache lines: a vector that crosses two of them takes two accesses. At least 64 bytes
       further on, which leaves room for the address that `free` needs. C11's aligned_alloc is
       missing on Windows. */
    char *aligned = block + 128 - ((uintptr_t)block & 63);
    memcpy(aligned - sizeof block, &block, sizeof block);
    return aligned;
}

static inline void free_block(void *aligned) {
    char *block;
    memcpy(&block, (char *)aligned - sizeof block, sizeof block);
    free(block);
}

#endif
