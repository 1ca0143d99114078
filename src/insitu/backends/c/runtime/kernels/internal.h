/* SPDX-License-Identifier: Apache-2.0
 *
 * What kernels share and programs do not call.
 */
#ifndef INSITU_INTERNAL_H
#define INSITU_INTERNAL_H

#include "../insitu_kernels.h"

/* The smallest code: no form of a kernel that is there for speed alone. */
#if defined(INSITU_SMALL)
#undef INSITU_DSP
#endif

/* A fast form for words of fewer than 8 bits; not in a program without them (INSITU_BYTES). */
#if !defined(INSITU_SMALL) && !defined(INSITU_BYTES)
#define INSITU_NARROW
#endif

/* Forms of convolutions for a host, in runtime/host; not in a project. */
#if defined(INSITU_AVX2) && defined(INSITU_NARROW)
#define INSITU_HOST
#endif

/* A flag that is constant where a function is called costs nothing then. */
#if defined(__GNUC__)
#define INSITU_INLINE static inline __attribute__((always_inline))
#if defined(INSITU_SMALL)
#define INSITU_APART static
#else
#define INSITU_APART static __attribute__((noinline)) /* its arrays are on the stack while it runs alone */
#endif
#define INSITU_RARE(x) __builtin_expect((x) != 0, 0)
#else
#define INSITU_INLINE static inline
#define INSITU_APART static
#define INSITU_RARE(x) (x)
#endif

/* Columns whose random words are at hand at a time. */
#if defined(INSITU_VNNI)
#define INSITU_BLOCK 1024u
#elif defined(INSITU_AVX2)
#define INSITU_BLOCK 512u
#else
#define INSITU_BLOCK 64u
#endif

/* Arithmetic shifts to the right, k below the width; compilers keep one of the two forms. */
INSITU_INLINE int32_t insitu_asr(int32_t x, uint32_t k)
{
    if ((-1 >> 1) == -1)
        return x >> k;
    return x < 0 ? ~(~x >> k) : x >> k;
}

INSITU_INLINE int64_t insitu_asr64(int64_t x, uint32_t k)
{
    if ((-1 >> 1) == -1)
        return x >> k;
    return x < 0 ? ~(~x >> k) : x >> k;
}

/* x * 2^k without overflow traps. */
INSITU_INLINE int64_t insitu_left(int64_t x, uint32_t k)
{
    return k < 64u ? (int64_t)((uint64_t)x << k) : 0;
}

INSITU_INLINE int32_t insitu_clip(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* A byte as an integer: one flag of an array decides. */
INSITU_INLINE int32_t insitu_byte(const uint8_t *data, uint32_t i, uint8_t is_signed)
{
    return is_signed ? (int32_t)(int8_t)data[i] : (int32_t)data[i];
}

#include "words.h"

/* All words 0, which stands for 0 in every form but the binary one. */
INSITU_INLINE void insitu_clear(const insitu_array *a)
{
    uint32_t bytes = (a->size * a->bits + 7u) / 8u, i;

    for (i = 0; i < bytes; i++)
        a->data[i] = 0;
}

/* Are the elements bytes that hold integers? */
INSITU_INLINE int insitu_bytes(const insitu_array *a)
{
    return a->bits == 8u && (a->form == INSITU_SIGNED || a->form == INSITU_UNSIGNED);
}

/* Are weights signed bytes, read as they are stored? */
INSITU_INLINE int insitu_plain(const insitu_array *w, const insitu_read *read)
{
    return w->bits == 8u && w->form == INSITU_SIGNED && read->how == INSITU_AS_STORED && read->channels == NULL &&
           read->sign == 0u;
}

/* Are weights, as they are read, signed bytes or less? */
INSITU_INLINE int insitu_narrow(const insitu_array *w, const insitu_read *read)
{
#if defined(INSITU_NARROW)
    if (w->bits > 8u || w->form == INSITU_REAL || read->channels != NULL || read->sign != 0u)
        return 0;
    return (read->how == INSITU_AS_STORED && (w->bits < 8u || w->form != INSITU_UNSIGNED)) ||
           (read->how == INSITU_HIGH_BITS && w->form == INSITU_SIGNED && read->shift >= 0 && read->shift < 8);
#else
    (void)w;
    (void)read;
    return 0;
#endif
}

/* A bias as what is added to an exact sum; 0 without. */
INSITU_INLINE int64_t insitu_bias(const insitu_array *bias, uint32_t channel, const insitu_read *read, int8_t shift)
{
    if (bias == NULL)
        return 0;
#if defined(INSITU_AVX2)
    if (read->how == INSITU_AS_STORED && read->channels == NULL && read->sign == 0u)
        return insitu_left(insitu_get(bias, channel), (uint32_t)shift);
#endif
    return insitu_left(insitu_weight(bias, channel, channel, read), (uint32_t)shift);
}

/* Products of n up to INSITU_DOT bytes fit 32 bits. */
#define INSITU_DOT 65536u

/* Sum of x_i w_i; w signed bytes, x signed or not. */
int32_t insitu_dot8(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t x_signed);
/* The same for the four rows w, w + pitch, ... */
void insitu_dot8_4rows(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t x_signed, int32_t out[4]);

#if defined(INSITU_NARROW)
/* Weights start to start + count, as they are read (read NULL: as stored), as bytes. */
void insitu_unpack(const insitu_array *w, uint32_t start, uint32_t count, const insitu_read *read, int8_t *to);
/* Sums of x times up to four rows of such weights from element `first` on, a row `pitch` further. */
void insitu_dot_narrow(const uint8_t *x, uint8_t x_signed, const insitu_array *w, uint32_t first, uint32_t pitch,
                       uint32_t rows, uint32_t n, const insitu_read *read, int32_t out[4]);
#endif

/* The gradient of one weight of a convolution; c counts within the group of output channel k. */
int64_t insitu_conv_gradient(const insitu_array *d, const insitu_array *x, const insitu_conv *n, uint32_t k, uint32_t c,
                             uint32_t r, uint32_t s);
/* The sum of one channel of d. */
int64_t insitu_channel_sum(const insitu_array *d, uint32_t batch, uint32_t channels, uint32_t inner, uint32_t channel);

/* The same summed over `rows` rows of both. */
int32_t insitu_dot8_rows(const uint8_t *x, uint32_t x_pitch, const uint8_t *w, uint32_t w_pitch, uint32_t rows,
                         uint32_t n, uint8_t x_signed);

/* out_j = sum over `rows` rows of d w_j, bytes; d lies `step` apart, rows of w `pitch`. */
void insitu_weighted_rows(const uint8_t *d, uint32_t step, uint8_t d_signed, const uint8_t *w, uint32_t pitch,
                    uint8_t w_signed, uint32_t rows, uint32_t count, int32_t *out);

/* An exact sum becomes element i: insitu_fitted in 32 bits where they do. */
static inline void insitu_finish32(const insitu_array *a, uint32_t i, int32_t x, const insitu_fit *fit,
                                   const insitu_clock *clock)
{
    int32_t k = fit->shift;

    if (fit->limited)
        x = insitu_fitted(x, fit, clock, i);
    else if (fit->rounding == INSITU_EXACT || (k == 0 && fit->times == 1)) /* nothing to round */
        x = insitu_clip(x, fit->low, fit->high);
    else if (fit->rounding != INSITU_STOCHASTIC && k > 0 && k < 32 && fit->times == 1) {
        if (fit->rounding == INSITU_HALF_UP)
            x = insitu_asr(x, (uint32_t)k) + (insitu_asr(x, (uint32_t)k - 1u) & 1);
        else
            x = insitu_asr(x, (uint32_t)k);
        x = insitu_clip(x, fit->low, fit->high);
    } else
        x = insitu_fitted(x, fit, clock, i);
    if (a->bits == 8u)
        a->data[i] = (uint8_t)(uint32_t)x;
    else
        insitu_set(a, i, x);
}

static inline void insitu_finish(const insitu_array *a, uint32_t i, int64_t sum, const insitu_fit *fit,
                                 const insitu_clock *clock)
{
    int32_t x = (int32_t)(uint32_t)(uint64_t)sum;

    if (x == sum)
        insitu_finish32(a, i, x, fit, clock);
    else
        insitu_set(a, i, insitu_fitted(sum, fit, clock, i));
}

/* Can insitu_finish_4 do it, for sums of `size` products of bytes and something small? */
INSITU_INLINE int insitu_quick(uint32_t size, const insitu_array *z, const insitu_fit *fit)
{
    return size <= INSITU_DOT / 4u && z->bits == 8u && fit->rounding == INSITU_HALF_UP && fit->times == 1 && !fit->limited &&
           fit->shift > 0 && fit->shift < 30;
}

INSITU_INLINE int insitu_small(int64_t x)
{
    return x < 0x40000000 && x > -0x40000000;
}

#if defined(INSITU_HELIUM)
#include "finish_helium.h"
#else
/* Four sums become bytes. */
INSITU_INLINE void insitu_finish_4(uint8_t *z, uint32_t plane, const int32_t *sums, const int64_t *more, const insitu_fit *fit)
{
    uint32_t k = (uint32_t)fit->shift, j;
    int32_t half = (int32_t)((uint32_t)1 << (k - 1u)), low = fit->low, high = fit->high;

    for (j = 4u; j > 0u; j--, z += plane)
        *z = (uint8_t)insitu_clip(insitu_asr(*sums++ + (int32_t)*more++ + half, k), low, high);
}
#endif

#include "mover.h"

/* insitu_mix where a call would cost as much. */
#if defined(INSITU_SMALL)
#define insitu_mixed insitu_mix
#else
INSITU_INLINE uint32_t insitu_mixed(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}
#endif

/* insitu_feedback, so too. */
INSITU_INLINE int32_t insitu_feedback_of(uint32_t word, int32_t reach)
{
    if (reach == 0)
        return word >> 31 ? 1 : -1;
    return (int32_t)((uint64_t)word * ((uint32_t)reach * 2u + 1u) >> 32) - reach;
}

/* insitu_word with the part that depends on the key alone done. */
INSITU_INLINE uint32_t insitu_salt(uint32_t key)
{
    return insitu_mix(key ^ 0x9E3779B9u);
}

#endif
