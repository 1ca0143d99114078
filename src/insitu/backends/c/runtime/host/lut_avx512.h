/* SPDX-License-Identifier: Apache-2.0 */
/* A table of 256 bytes with AVX-512, 64 elements at a time. */
#ifndef INSITU_LUT_AVX512_H
#define INSITU_LUT_AVX512_H

#include <immintrin.h>

/* Bytes of a table of 256, 64 at a time; returns how many. */
static uint32_t look_up_64bytes(const uint8_t *x, uint8_t *y, const uint8_t *table, uint8_t least, uint32_t count)
{
    __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
    __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
    uint32_t i;

    for (i = 0; i + 64u <= count; i += 64u) {
        __m512i at = _mm512_sub_epi8(_mm512_loadu_si512(x + i), _mm512_set1_epi8((int8_t)least));
        __m512i low = _mm512_permutex2var_epi8(t0, at, t1), high = _mm512_permutex2var_epi8(t2, at, t3);

        _mm512_storeu_si512(y + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), low, high));
    }
    return i;
}

#endif
