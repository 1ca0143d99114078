/* SPDX-License-Identifier: Apache-2.0 */
/* Products of rows of bytes with AVX2. */
#ifndef INSITU_DOT8_AVX2_H
#define INSITU_DOT8_AVX2_H

#include <immintrin.h>

INSITU_INLINE int32_t sum_of_lanes(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
    return _mm_cvtsi128_si32(s);
}

INSITU_INLINE __m256i widen_to_16_bits(__m128i bytes, uint8_t is_signed)
{
    return is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
}

INSITU_INLINE __m128i load_16_bytes(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

INSITU_INLINE __m256i load_16_widened(const uint8_t *p, uint8_t is_signed)
{
    return widen_to_16_bits(load_16_bytes(p), is_signed);
}

INSITU_INLINE __m256i load_8_widened(const uint8_t *p, uint8_t is_signed)
{
    return widen_to_16_bits(_mm_loadl_epi64((const __m128i *)(const void *)p), is_signed);
}

#if defined(INSITU_VNNI)
#include "dot8_avx512.h"
#else

INSITU_INLINE int32_t dot_1row(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t is_signed, int32_t sum)
{
    __m256i sums = _mm256_setzero_si256(), more = sums;
    uint32_t i = 0;

    for (; i + 32u <= n; i += 32u) {
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(load_16_widened(x + i, is_signed), load_16_widened(w + i, 1)));
        more = _mm256_add_epi32(more, _mm256_madd_epi16(load_16_widened(x + i + 16, is_signed), load_16_widened(w + i + 16, 1)));
    }
    if (i + 16u <= n) {
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(load_16_widened(x + i, is_signed), load_16_widened(w + i, 1)));
        i += 16u;
    }
    if (i + 8u <= n) {
        more = _mm256_add_epi32(more, _mm256_madd_epi16(load_8_widened(x + i, is_signed), load_8_widened(w + i, 1)));
        i += 8u;
    }
    sum += sum_of_lanes(_mm256_add_epi32(sums, more));
    for (; i < n; i++)
        sum += insitu_byte(x, i, is_signed) * (int8_t)w[i];
    return sum;
}

INSITU_INLINE void dot_4rows(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed,
                             int32_t *out)
{
    const uint8_t *w1 = w + pitch, *w2 = w1 + pitch, *w3 = w2 + pitch;
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, a;
    uint32_t i = 0, j;

    for (; i + 16u <= n; i += 16u) {
        a = load_16_widened(x + i, is_signed);
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(a, load_16_widened(w + i, 1)));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(a, load_16_widened(w1 + i, 1)));
        s2 = _mm256_add_epi32(s2, _mm256_madd_epi16(a, load_16_widened(w2 + i, 1)));
        s3 = _mm256_add_epi32(s3, _mm256_madd_epi16(a, load_16_widened(w3 + i, 1)));
    }
    if (i + 8u <= n) {
        a = load_8_widened(x + i, is_signed);
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(a, load_8_widened(w + i, 1)));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(a, load_8_widened(w1 + i, 1)));
        s2 = _mm256_add_epi32(s2, _mm256_madd_epi16(a, load_8_widened(w2 + i, 1)));
        s3 = _mm256_add_epi32(s3, _mm256_madd_epi16(a, load_8_widened(w3 + i, 1)));
        i += 8u;
    }
    out[0] = sum_of_lanes(s0);
    out[1] = sum_of_lanes(s1);
    out[2] = sum_of_lanes(s2);
    out[3] = sum_of_lanes(s3);
    for (; i < n; i++)
        for (j = 0; j < 4u; j++)
            out[j] += insitu_byte(x, i, is_signed) * (int8_t)w[i + j * pitch];
}

#endif

/* Products of 16 columns of two rows and their errors. */
INSITU_INLINE void add_2rows(__m256i *low, __m256i *high, __m128i a, __m128i b, __m256i d, uint8_t is_signed)
{
    *low = _mm256_add_epi32(*low, _mm256_madd_epi16(widen_to_16_bits(_mm_unpacklo_epi8(a, b), is_signed), d));
    *high = _mm256_add_epi32(*high, _mm256_madd_epi16(widen_to_16_bits(_mm_unpackhi_epi8(a, b), is_signed), d));
}

INSITU_INLINE __m256i pair_of_factors(int32_t first, int32_t second)
{
    return _mm256_set1_epi32((int32_t)((uint32_t)second << 16 | ((uint32_t)first & 0xFFFFu)));
}

/* out += the products of four rows. */
INSITU_INLINE void add_4rows(const uint8_t *const *w, const int32_t *d, uint32_t count, uint8_t is_signed, int32_t *out)
{
    __m256i first = pair_of_factors(d[0], d[1]), second = pair_of_factors(d[2], d[3]);
    uint32_t i = 0;

    for (; i + 16u <= count; i += 16u) {
        __m256i *to = (__m256i *)(void *)(out + i);
        __m256i low = _mm256_loadu_si256(to), high = _mm256_loadu_si256(to + 1);

        add_2rows(&low, &high, load_16_bytes(w[0] + i), load_16_bytes(w[1] + i), first, is_signed);
        add_2rows(&low, &high, load_16_bytes(w[2] + i), load_16_bytes(w[3] + i), second, is_signed);
        _mm256_storeu_si256(to, low);
        _mm256_storeu_si256(to + 1, high);
    }
    for (; i < count; i++)
        out[i] += d[0] * insitu_byte(w[0], i, is_signed) + d[1] * insitu_byte(w[1], i, is_signed) +
                  d[2] * insitu_byte(w[2], i, is_signed) + d[3] * insitu_byte(w[3], i, is_signed);
}

INSITU_INLINE void weighted_rows(const uint8_t *d, uint32_t step, uint8_t d_signed, const uint8_t *w, uint32_t pitch,
                           uint8_t w_signed, uint32_t rows, uint32_t count, int32_t *out)
{
    const uint8_t *at[4] = {w, w, w, w};
    int32_t error[4];
    uint32_t i, some = 0;

    for (i = 0; i < count; i++)
        out[i] = 0;
    for (i = 0; i < rows; i++, d += step, w += pitch) {
        if (*d != 0u) {
            at[some] = w;
            error[some++] = insitu_byte(d, 0, d_signed);
        }
        if (some == 0u || (some < 4u && i + 1u < rows))
            continue;
        for (; some < 4u; some++) {
            at[some] = at[0];
            error[some] = 0;
        }
        add_4rows(at, error, count, w_signed, out);
        some = 0;
    }
}

#endif
