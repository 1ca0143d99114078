/* SPDX-License-Identifier: Apache-2.0 */
/* Products of rows of bytes with AVX-512 VNNI, in vectors of 256 bits. */
#ifndef INSITU_DOT8_AVX512_H
#define INSITU_DOT8_AVX512_H

/* The instruction multiplies bytes without a sign by bytes with one: where x has one, w + 128 by x, less 128 x. */
INSITU_INLINE __m256i add_products_of_bytes(__m256i sums, __m256i x, __m256i w, uint8_t is_signed)
{
    if (is_signed)
        return _mm256_dpbusd_epi32(sums, _mm256_xor_si256(w, _mm256_set1_epi8(-128)), x);
    return _mm256_dpbusd_epi32(sums, x, w);
}

/* Columns from i on: 32, or those that are left. Rows start anywhere: of loads of 64 bytes most would cross a line. */
INSITU_INLINE __m256i load_columns(const uint8_t *p, uint32_t i, uint32_t n)
{
    if (i < (n & ~31u))
        return _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
    return _mm256_maskz_loadu_epi8(((__mmask32)1 << (n - i)) - 1u, p + i);
}

/* Sums modulo 2^32 on the way. */
INSITU_INLINE int32_t dot_1row(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t is_signed, int32_t sum)
{
    __m256i s = _mm256_setzero_si256(), less = s, a;
    uint32_t i;

    for (i = 0; i < n; i += 32u) {
        a = load_columns(x, i, n);
        s = add_products_of_bytes(s, a, load_columns(w, i, n), is_signed);
        if (is_signed)
            less = _mm256_dpbusd_epi32(less, _mm256_set1_epi8(-128), a);
    }
    return sum + sum_of_lanes(_mm256_sub_epi32(s, less));
}

INSITU_INLINE void dot_4rows(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed,
                             int32_t *out)
{
    const uint8_t *w1 = w + pitch, *w2 = w1 + pitch, *w3 = w2 + pitch;
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, less = s0, a;
    uint32_t i, whole = n & ~31u;

    for (i = 0; i < whole; i += 32u) {
        a = load_columns(x, i, n);
        if (_mm256_testz_si256(a, a)) /* no weights are read */
            continue;
        s0 = add_products_of_bytes(s0, a, load_columns(w, i, n), is_signed);
        s1 = add_products_of_bytes(s1, a, load_columns(w1, i, n), is_signed);
        s2 = add_products_of_bytes(s2, a, load_columns(w2, i, n), is_signed);
        s3 = add_products_of_bytes(s3, a, load_columns(w3, i, n), is_signed);
        if (is_signed)
            less = _mm256_dpbusd_epi32(less, _mm256_set1_epi8(-128), a);
    }
    if (i < n) {
        a = load_columns(x, i, n);
        s0 = add_products_of_bytes(s0, a, load_columns(w, i, n), is_signed);
        s1 = add_products_of_bytes(s1, a, load_columns(w1, i, n), is_signed);
        s2 = add_products_of_bytes(s2, a, load_columns(w2, i, n), is_signed);
        s3 = add_products_of_bytes(s3, a, load_columns(w3, i, n), is_signed);
        if (is_signed)
            less = _mm256_dpbusd_epi32(less, _mm256_set1_epi8(-128), a);
    }
    s0 = _mm256_hadd_epi32(_mm256_sub_epi32(s0, less), _mm256_sub_epi32(s1, less));
    s2 = _mm256_hadd_epi32(_mm256_sub_epi32(s2, less), _mm256_sub_epi32(s3, less));
    s0 = _mm256_hadd_epi32(s0, s2);
    _mm_storeu_si128((__m128i *)(void *)out, _mm_add_epi32(_mm256_castsi256_si128(s0), _mm256_extracti128_si256(s0, 1)));
}

#endif
